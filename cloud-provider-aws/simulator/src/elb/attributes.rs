//! Attributes of classic load balancers.

use crate::{
    context::Context,
    elb::{invalid_configuration, named, not_found},
    error::ApiError,
    params::Params,
    state::balancing::{AccessLog, ClassicAttributes},
    xml::Xml,
};

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let name = params.required("LoadBalancerName")?;
    let balancer = context.state.classic_load_balancers.get(name).ok_or_else(|| not_found(name))?;
    Ok(Xml::new().node("LoadBalancerAttributes", body(&balancer.attributes)))
}

fn body(attributes: &ClassicAttributes) -> Xml {
    let log = match &attributes.access_log {
        None => Xml::new().text("Enabled", false),
        Some(log) => Xml::new()
            .text("Enabled", true)
            .text("S3BucketName", &log.bucket)
            .text("EmitInterval", log.emit_interval)
            .text("S3BucketPrefix", &log.prefix),
    };
    let draining = Xml::new().text("Enabled", attributes.draining).text("Timeout", attributes.draining_timeout);
    let additional = attributes.additional.iter().map(|(key, value)| Xml::new().text("Key", key).text("Value", value));
    Xml::new()
        .node("CrossZoneLoadBalancing", Xml::new().text("Enabled", attributes.cross_zone))
        .node("AccessLog", log)
        .node("ConnectionDraining", draining)
        .node("ConnectionSettings", Xml::new().text("IdleTimeout", attributes.idle_timeout))
        .list("AdditionalAttributes", "member", additional)
}

/// Changes the attributes that the request holds and leaves the others.
pub(crate) fn modify(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let balancer = named(context, params)?;
    let given = params.structure("LoadBalancerAttributes");
    if !given.is_present() {
        return Err(params.missing("LoadBalancerAttributes"));
    }
    let mut attributes = balancer.attributes.clone();
    let enabled = |part: &Params<'_>| part.parsed::<bool>("Enabled")?.ok_or_else(|| part.missing("Enabled"));
    let part = given.structure("CrossZoneLoadBalancing");
    if part.is_present() {
        attributes.cross_zone = enabled(&part)?;
    }
    let part = given.structure("ConnectionDraining");
    if part.is_present() {
        attributes.draining = enabled(&part)?;
        attributes.draining_timeout = part.within("Timeout", 1, 3600)?.unwrap_or(attributes.draining_timeout);
    }
    let part = given.structure("ConnectionSettings");
    if part.is_present() {
        attributes.idle_timeout = part.required_within("IdleTimeout", 1, 4000)?;
    }
    let part = given.structure("AccessLog");
    if part.is_present() {
        attributes.access_log = access_log(&part, enabled(&part)?)?;
    }
    for pair in given.structures("AdditionalAttributes") {
        let (key, value) = (pair.required("Key")?, pair.optional("Value").unwrap_or_default());
        let fine = key == "elb.http.desyncmitigationmode" && ["monitor", "defensive", "strictest"].contains(&value);
        if !fine {
            return Err(invalid_configuration(format!("The attribute {key} with value {value} is not supported")));
        }
        attributes.additional.insert(key.into(), value.into());
    }
    balancer.attributes = attributes;
    Ok(Xml::new().text("LoadBalancerName", &balancer.name).node("LoadBalancerAttributes", body(&balancer.attributes)))
}

fn access_log(part: &Params<'_>, enabled: bool) -> Result<Option<AccessLog>, ApiError> {
    let bucket = part.optional("S3BucketName").unwrap_or_default();
    let prefix = part.optional("S3BucketPrefix").unwrap_or_default();
    let emit_interval = part.parsed::<i64>("EmitInterval")?.unwrap_or(60);
    if ![5, 60].contains(&emit_interval) {
        return Err(invalid_configuration(format!("EmitInterval must be 5 or 60 minutes, not {emit_interval}")));
    }
    if !enabled {
        return Ok(None);
    }
    if bucket.is_empty() {
        return Err(invalid_configuration("S3BucketName must be specified when access logs are enabled"));
    }
    Ok(Some(AccessLog { bucket: bucket.into(), prefix: prefix.into(), emit_interval }))
}
