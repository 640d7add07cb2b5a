//! Tags of EC2 resources.

use crate::{
    context::Context,
    ec2::instances,
    error::ApiError,
    model::Tags,
    params::Params,
    state::{State, put_tags},
    xml::Xml,
};

/// A tag as AWS takes it: the key has 1 to 128 characters and is not one of AWS's own, the value at most 256.
fn check(key: &str, value: &str) -> Result<(), ApiError> {
    let wrong = |text: String| Err(ApiError::new("InvalidParameterValue", text));
    if key.is_empty() || key.chars().count() > 128 {
        return wrong(format!("Tag key '{key}' must have between 1 and 128 characters"));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return wrong(format!(
            "Value ( {key} ) for parameter key is invalid. Tag keys starting with 'aws:' are reserved for internal use"
        ));
    }
    if value.chars().count() > 256 {
        return wrong(format!("Tag value exceeds the maximum length of 256 characters: '{key}'"));
    }
    Ok(())
}

fn read(params: &[Params<'_>]) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in params {
        let key = tag.required("Key")?;
        let value = tag.optional("Value").unwrap_or_default();
        check(key, value)?;
        if tags.insert(key.into(), value.into()).is_some() {
            let text = format!("Duplicate tag keys found. Please note that Tag keys are case insensitive: {key}");
            return Err(ApiError::new("InvalidParameterValue", text));
        }
    }
    Ok(tags)
}

/// The tags for a resource of `kind` that the request makes.
pub(crate) fn at_creation(params: &Params<'_>, kind: &str) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for specification in params.structures("TagSpecification") {
        let given = specification.required("ResourceType")?;
        if given != kind {
            let text = format!("'{given}' is not a valid taggable resource type for this operation.");
            return Err(ApiError::new("InvalidParameterValue", text));
        }
        tags.extend(read(&specification.structures("Tag"))?);
    }
    Ok(tags)
}

fn tags_of<'a>(state: &'a mut State, id: &str) -> Option<&'a mut Tags> {
    let kind = id.split_once('-').map_or("", |(kind, _)| kind);
    match kind {
        "i" => state.instances.get_mut(id).map(|instance| &mut instance.tags),
        "sg" => state.security_groups.get_mut(id).map(|group| &mut group.tags),
        "subnet" => state.subnets.get_mut(id).map(|subnet| &mut subnet.tags),
        "rtb" => state.route_tables.get_mut(id).map(|table| &mut table.tags),
        "vpc" => state.vpcs.get_mut(id).map(|vpc| &mut vpc.tags),
        "eni" => {
            let standalone = state.network_interfaces.get_mut(id).map(|interface| &mut interface.tags);
            let mut attached = state.instances.values_mut().flat_map(|instance| &mut instance.interfaces);
            standalone.or_else(|| attached.find(|interface| interface.id == id).map(|interface| &mut interface.tags))
        }
        _ => None,
    }
}

fn invalid(id: &str) -> ApiError {
    ApiError::new("InvalidID", format!("The ID '{id}' is not valid"))
}

/// The resources of a request, all of which must be there.
fn resources<'a>(context: &Context<'_>, params: &Params<'a>) -> Result<Vec<&'a str>, ApiError> {
    let ids = params.required_list("ResourceId")?;
    if ids.len() > 1000 {
        return Err(ApiError::new("InvalidParameterValue", "At most 1000 resources can be given"));
    }
    for id in &ids {
        let code = match id.split_once('-').map_or("", |(kind, _)| kind) {
            "i" => {
                instances::find(context, id).map_err(|error| match error.code.as_str() {
                    "InvalidInstanceID.Malformed" => invalid(id),
                    _ => error,
                })?;
                continue;
            }
            "sg" if context.visible_group(id).is_some() => continue,
            "subnet" if context.state.subnets.contains_key(*id) => continue,
            "rtb" if context.state.route_tables.contains_key(*id) => continue,
            "vpc" if context.state.vpcs.contains_key(*id) => continue,
            "eni" if context.state.all_interfaces().any(|(interface, _)| interface.id == *id) => continue,
            "sg" => "InvalidGroup.NotFound",
            "subnet" => "InvalidSubnetID.NotFound",
            "rtb" => "InvalidRouteTableID.NotFound",
            "vpc" => "InvalidVpcID.NotFound",
            "eni" => "InvalidNetworkInterfaceID.NotFound",
            _ => return Err(invalid(id)),
        };
        return Err(ApiError::new(code, format!("The ID '{id}' does not exist")));
    }
    Ok(ids)
}

pub(crate) fn create(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ids = resources(context, params)?;
    let tags = read(&params.required_structures("Tag")?)?;
    for id in ids {
        if let Some(existing) = tags_of(context.state, id) {
            put_tags(existing, &tags, context.knobs.quotas.tags, "TagLimitExceeded")?;
        }
    }
    Ok(Xml::succeeded())
}

/// Without a value a tag is removed whatever its value is; with one, only if it has that value. Without tags, all go.
pub(crate) fn delete(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ids = resources(context, params)?;
    let mut wanted = Vec::new();
    for tag in params.structures("Tag") {
        wanted.push((tag.required("Key")?, tag.optional("Value")));
    }
    for id in ids {
        let Some(tags) = tags_of(context.state, id) else { continue };
        tags.retain(|key, value| {
            let hit = |(k, v): &(&str, Option<&str>)| key == k && v.is_none_or(|v| value == v);
            !wanted.is_empty() && !wanted.iter().any(hit)
        });
    }
    Ok(Xml::succeeded())
}
