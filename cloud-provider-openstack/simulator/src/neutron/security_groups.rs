//! Security groups and their rules.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    attributes::to_create,
    reading::{find, own},
    resources::{SECURITY_GROUP_RULES as RULES, SECURITY_GROUPS as GROUPS},
    writing::{self, apply, changes, check_quota, store, updated},
};
use crate::{
    context::Context,
    document::{Document, Fields as _, object},
    error::ApiError,
    request::{Reply, Request},
};

pub(super) fn create(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    writing::create(context, request, &GROUPS, |context, asked| {
        let mut made = to_create(GROUPS.attributes, asked, context.knobs)?;
        if made.text("name").eq_ignore_ascii_case("default") {
            return Err(ApiError::of(
                409,
                "SecurityGroupDefaultAlreadyExists",
                "Default security group already exists.",
            ));
        }
        let project = context.project_of(asked)?;
        check_quota(context, &GROUPS, &project, context.knobs.quotas.security_groups, "security_group")?;
        made.set("shared", false);
        let id = store(context, &GROUPS, &project, made);
        for ethertype in ["IPv4", "IPv6"] {
            let mut rule = to_create(
                RULES.attributes,
                &object(json!({ "security_group_id": id, "direction": "egress", "ethertype": ethertype })),
                context.knobs,
            )?;
            rule.extend(object(json!({ "normalized_cidr": null, "belongs_to_default_sg": false })));
            store(context, &RULES, &project, rule);
        }
        Ok(id)
    })
}

pub(super) fn update(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let changes = changes(context, request, &GROUPS)?;
    if own(context, &GROUPS, request.id())?.text("name") == "default" && changes.contains_key("name") {
        return Err(ApiError::of(
            409,
            "SecurityGroupCannotUpdateDefault",
            "Updating default security group not allowed.",
        ));
    }
    apply(context, &GROUPS, request.id(), changes);
    Ok(updated(context, &GROUPS, request.id()))
}

pub(super) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let group = own(context, &GROUPS, request.id())?;
    let id = group.text("id").to_owned();
    if group.text("name") == "default" && !context.is_admin() {
        let text = "Insufficient rights for removing default security group.";
        return Err(ApiError::of(409, "SecurityGroupCannotRemoveDefault", text));
    }
    if context.state.ports.values().any(|port| port.texts("security_groups").contains(&id.as_str())) {
        return Err(ApiError::of(409, "SecurityGroupInUse", format!("Security Group {id} in use.")));
    }
    for rule in context.state.security_group_rules.ids_with("security_group_id", &id) {
        context.state.security_group_rules.remove(&rule);
    }
    context.state.security_groups.remove(&id);
    Ok(Reply::empty(204))
}

pub(super) fn create_rule(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    writing::create(context, request, &RULES, |context, asked| {
        let mut made = to_create(RULES.attributes, asked, context.knobs)?;
        let group = find(context, &GROUPS, made.text("security_group_id"))?.clone();
        let project = context.project_of(asked)?;
        check_quota(context, &RULES, &project, context.knobs.quotas.security_group_rules, "security_group_rule")?;
        if !made.has("ethertype") {
            made.set("ethertype", "IPv4");
        }
        if let Some(protocol) = made.get("protocol").filter(|protocol| !protocol.is_null()) {
            let text = protocol.as_str().map_or_else(|| protocol.to_string(), str::to_lowercase);
            made.set("protocol", text);
        }
        check_rule(&made)?;
        if made.has("remote_group_id") {
            find(context, &GROUPS, made.text("remote_group_id"))?;
        }
        let normal = made.text("remote_ip_prefix").parse::<IpNet>().map(|cidr| cidr.trunc().to_string());
        made.set("normalized_cidr", normal.map(Value::from).unwrap_or_default());
        made.set("belongs_to_default_sg", group.text("name") == "default");
        if let Some(same) = context.state.security_group_rules.values().find(|rule| is_same(rule, &made)) {
            let text = format!("Security group rule already exists. Rule id is {}.", same.text("id"));
            return Err(ApiError::of(409, "SecurityGroupRuleExists", text));
        }
        // A rule counts as a change of its group.
        apply(context, &GROUPS, group.text("id"), Document::new());
        Ok(store(context, &RULES, &project, made))
    })
}

fn invalid(kind: &str, text: impl std::fmt::Display) -> ApiError {
    ApiError::of(400, kind, text.to_string())
}

fn check_rule(rule: &Document) -> Result<(), ApiError> {
    let (direction, ethertype, protocol) = (rule.text("direction"), rule.text("ethertype"), rule.text("protocol"));
    if !matches!(direction, "ingress" | "egress") {
        let text = format!("Invalid input for direction. Reason: '{direction}' is not in ['ingress', 'egress'].");
        return Err(ApiError::bad_request(text));
    }
    if !matches!(ethertype, "IPv4" | "IPv6") {
        let text = format!(
            "Security group rule for ethertype '{ethertype}' not supported. Allowed values are ['IPv4', 'IPv6']."
        );
        return Err(invalid("SecurityGroupRuleInvalidEtherType", text));
    }
    let known = [
        "",
        "any",
        "tcp",
        "udp",
        "sctp",
        "icmp",
        "icmpv6",
        "ipv6-icmp",
        "ah",
        "esp",
        "gre",
        "vrrp",
        "ipip",
        "udplite",
        "dccp",
        "igmp",
        "ospf",
        "pgm",
        "rsvp",
        "egp",
        "ipv6-encap",
        "ipv6-frag",
        "ipv6-nonxt",
        "ipv6-opts",
        "ipv6-route",
    ];
    if !known.contains(&protocol) && protocol.parse::<u8>().is_err() {
        let text = format!(
            "Security group rule protocol {protocol} not supported. Only protocol values {known:?} and integer representations [0 to 255] are supported."
        );
        return Err(invalid("SecurityGroupRuleInvalidProtocol", text));
    }
    let (least, most) = (rule.number("port_range_min"), rule.number("port_range_max"));
    if (least.is_some() || most.is_some()) && protocol.is_empty() {
        return Err(invalid(
            "SecurityGroupProtocolRequiredWithPorts",
            "Must also specify protocol if port range is given.",
        ));
    }
    if matches!(protocol, "tcp" | "udp" | "sctp" | "6" | "17" | "132") {
        let good = match (least, most) {
            (None, None) => true,
            (Some(least), Some(most)) => least <= most && (1..=65_535).contains(&least) && (1..=65_535).contains(&most),
            _ => false,
        };
        if !good {
            return Err(invalid(
                "SecurityGroupInvalidPortRange",
                "For TCP/UDP protocols, port_range_min must be <= port_range_max",
            ));
        }
    }
    if rule.has("remote_ip_prefix") && rule.has("remote_group_id") {
        let text = "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.";
        return Err(invalid("SecurityGroupMultipleRemoteEntites", text));
    }
    if rule.has("remote_ip_prefix") {
        let text = rule.text("remote_ip_prefix");
        let cidr = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        let cidr = cidr.map_err(|_| {
            ApiError::bad_request(format!(
                "Invalid input for remote_ip_prefix. Reason: '{text}' is not a valid IP subnet."
            ))
        })?;
        if cidr.addr().is_ipv6() != (ethertype == "IPv6") {
            let text = format!("Conflicting value ethertype {ethertype} for CIDR {text}");
            return Err(invalid("SecurityGroupRuleParameterConflict", format!("Invalid input for operation: {text}.")));
        }
    }
    Ok(())
}

/// Whether two rules let the same through; any address may be written in three ways.
fn is_same(a: &Document, b: &Document) -> bool {
    let prefix = |rule: &Document| match rule.text("remote_ip_prefix") {
        "0.0.0.0/0" | "::/0" => String::new(),
        text => text.to_owned(),
    };
    let names = [
        "security_group_id",
        "direction",
        "ethertype",
        "protocol",
        "port_range_min",
        "port_range_max",
        "remote_group_id",
    ];
    prefix(a) == prefix(b)
        && names.iter().all(|name| a.get(*name).unwrap_or(&Value::Null) == b.get(*name).unwrap_or(&Value::Null))
}

pub(super) fn delete_rule(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let rule = find(context, &RULES, request.id())?.clone();
    context.state.security_group_rules.remove(request.id());
    apply(context, &GROUPS, rule.text("security_group_id"), Document::new());
    Ok(Reply::empty(204))
}
