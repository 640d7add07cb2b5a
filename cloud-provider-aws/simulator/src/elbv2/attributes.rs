//! Attributes of load balancers and target groups: fixed keys with checked values.

use std::collections::BTreeMap;

use crate::{
    context::Context,
    elbv2::{invalid_configuration, load_balancer, load_balancers::attribute_items, target_group},
    error::ApiError,
    params::Params,
    xml::Xml,
};

/// What values an attribute takes.
enum Values {
    Boolean,
    Text,
    Number(i64, i64),
    Words(&'static [&'static str]),
    /// A number within limits, or `off`.
    NumberOrOff(i64, i64),
}

type Definition = (&'static str, &'static str, Values);

const OF_LOAD_BALANCER: &[Definition] = &[
    ("access_logs.s3.bucket", "", Values::Text),
    ("access_logs.s3.enabled", "false", Values::Boolean),
    ("access_logs.s3.prefix", "", Values::Text),
    ("deletion_protection.enabled", "false", Values::Boolean),
    (
        "dns_record.client_routing_policy",
        "any_availability_zone",
        Values::Words(&["any_availability_zone", "availability_zone_affinity", "partial_availability_zone_affinity"]),
    ),
    ("ipv6.deny_all_igw_traffic", "false", Values::Boolean),
    ("load_balancing.cross_zone.enabled", "false", Values::Boolean),
    ("secondary_ips.auto_assigned.per_subnet", "0", Values::Number(0, 7)),
    ("zonal_shift.config.enabled", "false", Values::Boolean),
];

const OF_TARGET_GROUP: &[Definition] = &[
    ("deregistration_delay.connection_termination.enabled", "false", Values::Boolean),
    ("deregistration_delay.timeout_seconds", "300", Values::Number(0, 3600)),
    (
        "load_balancing.cross_zone.enabled",
        "use_load_balancer_configuration",
        Values::Words(&["true", "false", "use_load_balancer_configuration"]),
    ),
    ("preserve_client_ip.enabled", "true", Values::Boolean),
    ("proxy_protocol_v2.enabled", "false", Values::Boolean),
    ("stickiness.enabled", "false", Values::Boolean),
    ("stickiness.type", "source_ip", Values::Words(&["source_ip"])),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1", Values::NumberOrOff(1, 1000)),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off", Values::NumberOrOff(1, 100)),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1", Values::Number(1, 1000)),
    (
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
        "off",
        Values::NumberOrOff(1, 100),
    ),
    ("target_health_state.unhealthy.connection_termination.enabled", "true", Values::Boolean),
    ("target_health_state.unhealthy.draining_interval_seconds", "0", Values::Number(0, 360_000)),
];

fn defaults(definitions: &[Definition]) -> BTreeMap<String, String> {
    definitions.iter().map(|(key, value, _)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn of_new_load_balancer() -> BTreeMap<String, String> {
    defaults(OF_LOAD_BALANCER)
}

/// Client addresses are kept, but for TCP and TLS to targets by address.
pub(crate) fn of_new_target_group(protocol: &str, target_type: &str) -> BTreeMap<String, String> {
    let mut all = defaults(OF_TARGET_GROUP);
    let keeps = target_type == "instance" || protocol.contains("UDP");
    all.insert("preserve_client_ip.enabled".into(), keeps.to_string());
    all
}

/// The changes that a request asks for.
fn changes(what: &str, definitions: &[Definition], params: &Params<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut changes = BTreeMap::new();
    for attribute in params.required_structures("Attributes")? {
        let key = attribute.required("Key")?;
        let value = attribute.optional("Value").unwrap_or_default();
        let Some((_, _, values)) = definitions.iter().find(|(known, _, _)| *known == key) else {
            return Err(ApiError::validation(format!("{what} attribute key '{key}' is not recognized")));
        };
        let number = |least: i64, most: i64| value.parse().is_ok_and(|number: i64| (least..=most).contains(&number));
        let fine = match values {
            Values::Boolean => matches!(value, "true" | "false"),
            Values::Text => value.len() <= 1024,
            Values::Number(least, most) => number(*least, *most),
            Values::Words(words) => words.contains(&value),
            Values::NumberOrOff(least, most) => value == "off" || number(*least, *most),
        };
        if !fine {
            return Err(ApiError::validation(format!("'{value}' is not a valid value for the attribute '{key}'")));
        }
        if changes.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(ApiError::validation(format!("The attribute '{key}' was specified more than once")));
        }
    }
    Ok(changes)
}

pub(crate) fn describe_of_load_balancer(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let balancer = load_balancer(context, params.required("LoadBalancerArn")?)?;
    Ok(attribute_items(&balancer.attributes))
}

pub(crate) fn modify_of_load_balancer(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let balancer = load_balancer(context, params.required("LoadBalancerArn")?)?;
    let changes = changes("Load balancer", OF_LOAD_BALANCER, params)?;
    let mut all = balancer.attributes.clone();
    all.extend(changes);
    let is = |key: &str, value: &str| all.get(key).is_some_and(|have| have == value);
    if is("access_logs.s3.enabled", "true") && is("access_logs.s3.bucket", "") {
        let text = "The attribute 'access_logs.s3.bucket' is required when access logs are enabled";
        return Err(invalid_configuration(text));
    }
    balancer.attributes = all;
    Ok(attribute_items(&balancer.attributes))
}

pub(crate) fn describe_of_target_group(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let group = target_group(context, params.required("TargetGroupArn")?)?;
    Ok(attribute_items(&group.attributes))
}

pub(crate) fn modify_of_target_group(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let group = target_group(context, params.required("TargetGroupArn")?)?;
    let changes = changes("Target group", OF_TARGET_GROUP, params)?;
    let hides = changes.get("preserve_client_ip.enabled").is_some_and(|value| value == "false");
    if hides && group.protocol.contains("UDP") {
        let text = "Client IP preservation cannot be disabled for UDP and TCP_UDP target groups";
        return Err(invalid_configuration(text));
    }
    group.attributes.extend(changes);
    Ok(attribute_items(&group.attributes))
}
