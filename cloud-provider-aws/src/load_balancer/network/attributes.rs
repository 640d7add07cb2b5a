//! The attributes of network load balancers and target groups.

use cloud_provider::{Error, cluster::objects::Service, error::Result};

use crate::{client::elbv2::Attributes, load_balancer::annotations};

const CROSS_ZONE: &str = "load_balancing.cross_zone.enabled";
const ACCESS_LOGS: &str = "access_logs.s3.enabled";
const ACCESS_LOGS_BUCKET: &str = "access_logs.s3.bucket";
const ACCESS_LOGS_PREFIX: &str = "access_logs.s3.prefix";
const PRESERVE_CLIENT_IP: &str = "preserve_client_ip.enabled";
const PROXY_PROTOCOL: &str = "proxy_protocol_v2.enabled";

/// The attributes of target groups.
///
/// Upstream sets those of the annotation, and what leaves it keeps its last value. With `extended` that goes back to
/// AWS's default as long as the annotation is there, and the annotation of proxy protocol counts too, the more precise one
/// coming first. What neither of them says is left alone.
///
/// # Errors
///
/// Upstream's, where the annotation is wrong, or takes client addresses from UDP.
pub(super) fn of_target_groups(service: &Service, extended: bool) -> Result<Attributes> {
    let annotated = annotated(service)?;
    let hides = annotated.get(PRESERVE_CLIENT_IP).is_some_and(|value| value == "false");
    if hides && service.spec.ports.iter().any(|port| port.protocol == "UDP") {
        return Err(bad_attributes("client IP preservation can't be disabled for UDP ports"));
    }
    if !extended {
        return Ok(annotated);
    }
    let proxy_protocol = annotations::PROXY_PROTOCOL.asterisk(service)?;
    let is_there = |annotation: annotations::Annotation| annotation.of(service).is_some();
    let mut attributes = if is_there(annotations::TARGET_GROUP_ATTRIBUTES) { defaults() } else { Attributes::new() };
    if is_there(annotations::PROXY_PROTOCOL) {
        attributes.insert(PROXY_PROTOCOL.into(), proxy_protocol.to_string());
    }
    attributes.extend(annotated);
    Ok(attributes)
}

/// AWS's defaults for targets that are instances.
pub(super) fn defaults() -> Attributes {
    [(PRESERVE_CLIENT_IP, "true"), (PROXY_PROTOCOL, "false")].map(|(key, value)| (key.into(), value.into())).into()
}

/// Attributes whose annotations are absent are switched off, as upstream does.
pub(super) fn of_load_balancer(service: &Service) -> Result<Attributes> {
    let cross_zone = annotations::CROSS_ZONE.boolean(service)?.unwrap_or_default();
    let logs = annotations::ACCESS_LOG_ENABLED.boolean(service)?.unwrap_or_default();
    let mut attributes =
        Attributes::from([(CROSS_ZONE.into(), cross_zone.to_string()), (ACCESS_LOGS.into(), logs.to_string())]);
    if logs {
        for (key, annotation) in
            [(ACCESS_LOGS_BUCKET, annotations::ACCESS_LOG_BUCKET), (ACCESS_LOGS_PREFIX, annotations::ACCESS_LOG_PREFIX)]
        {
            if let Some(value) = annotation.filled(service) {
                attributes.insert(key.into(), value.to_owned());
            }
        }
    }
    Ok(attributes)
}

/// What the annotation asks for, in upstream's words where that is wrong.
fn annotated(service: &Service) -> Result<Attributes> {
    let attributes = annotations::TARGET_GROUP_ATTRIBUTES.pairs(service);
    for (key, value) in &attributes {
        match (key.as_str(), value.as_str()) {
            (PRESERVE_CLIENT_IP | PROXY_PROTOCOL, "true" | "false") => {}
            (_, "") => return Err(bad_attributes(format!("attribute value is empty for {key:?}"))),
            (PRESERVE_CLIENT_IP | PROXY_PROTOCOL, _) => {
                return Err(bad_attributes(format!("invalid attribute value for {key:?}: {value}")));
            }
            _ => {
                let problem = format!("the attribute {key:?} is not supported by the controller or is invalid");
                return Err(bad_attributes(problem));
            }
        }
    }
    Ok(attributes)
}

fn bad_attributes(problem: impl std::fmt::Display) -> Error {
    let problem = format!("error validating target group attributes: {problem}");
    Error::invalid(annotations::TARGET_GROUP_ATTRIBUTES.key, problem)
}
