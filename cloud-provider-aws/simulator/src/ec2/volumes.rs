//! EBS volumes, which are only looked at.

use crate::{
    context::Context,
    ec2::{
        filters::{Filters, one},
        page, tag_set,
    },
    error::ApiError,
    model::Volume,
    params::Params,
    xml::Xml,
};

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ids = params.list("VolumeId");
    let filters = Filters::of(params, &["availability-zone", "size", "status", "volume-id", "volume-type"])?;
    let volumes = &context.state.volumes;
    if let Some(id) = ids.iter().find(|id| !id.starts_with("vol-")) {
        let text = format!("Value ({id}) for parameter volumes is invalid. Expected: 'vol-...'.");
        return Err(ApiError::new("InvalidParameterValue", text));
    }
    if let Some(id) = ids.iter().find(|id| !volumes.contains_key(**id)) {
        return Err(ApiError::new("InvalidVolume.NotFound", format!("The volume '{id}' does not exist.")));
    }
    let found = volumes.values().filter(|volume| {
        (ids.is_empty() || ids.contains(&volume.id.as_str()))
            && filters.pass(&volume.tags, |name| match name {
                "availability-zone" => one(&volume.zone),
                "size" => one(volume.gibibytes),
                "status" => one("available"),
                "volume-id" => one(&volume.id),
                "volume-type" => one("gp3"),
                _ => Vec::new(),
            })
    });
    let (found, next) = page(params, found.collect(), |volume: &Volume| &volume.id, (5, 1000))?;
    let items = found.into_iter().map(|volume| {
        Xml::new()
            .text("volumeId", &volume.id)
            .text("size", volume.gibibytes)
            .text("snapshotId", "")
            .text("availabilityZone", &volume.zone)
            .maybe("availabilityZoneId", context.state.zones.get(&volume.zone).map(|zone| &zone.id))
            .text("status", "available")
            .node("attachmentSet", Xml::new())
            .and(tag_set(&volume.tags))
            .text("volumeType", "gp3")
            .text("iops", 3000)
            .text("encrypted", false)
            .text("multiAttachEnabled", false)
            .text("throughput", 125)
    });
    Ok(Xml::new().list("volumeSet", "item", items).maybe("nextToken", next))
}
