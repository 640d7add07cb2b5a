//! Inbound rules: `IpPermissions.N` in requests, one rule per source in the account, grouped again in answers.

use std::collections::BTreeMap;

use cloud_provider_simulation::mix;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::{
    context::Context,
    ec2::security_groups,
    error::ApiError,
    model::{Rule, Source},
    params::Params,
    xml::Xml,
};

type Ports = (Option<i64>, Option<i64>);

pub(crate) fn authorize(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let group = security_groups::named(context, params)?;
    let id = group.id.clone();
    let rules = requested(context, params, &group.vpc)?;
    let mut all = group.ingress.clone();
    for rule in &rules {
        if all.iter().any(|existing| same(existing, rule)) {
            let text = format!("the specified rule \"{}\" already exists", describe(rule));
            return Err(ApiError::new("InvalidPermission.Duplicate", text));
        }
        all.push(rule.clone());
    }
    let most = context.knobs.quotas.rules_per_group;
    let not = |wrong: fn(&Source) -> bool| all.iter().filter(|rule| !wrong(&rule.source)).count();
    // References to groups and prefix lists count against both families.
    if not(|s| matches!(s, Source::Ipv6(_))) > most || not(|s| matches!(s, Source::Ipv4(_))) > most {
        let text = "The maximum number of rules per security group has been reached.";
        return Err(ApiError::new("RulesPerSecurityGroupLimitExceeded", text));
    }
    let account = context.state.account.clone();
    let item = |rule: &Rule| {
        let item = rule_item(&id, rule).text("groupOwnerId", &account);
        match &rule.source {
            Source::Group(source) => {
                item.node("referencedGroupInfo", Xml::new().text("groupId", source).text("userId", &account))
            }
            _ => item,
        }
    };
    let answer = Xml::succeeded().list("securityGroupRuleSet", "item", rules.iter().map(item));
    if let Some(group) = context.state.security_groups.get_mut(&id) {
        group.ingress = all;
    }
    Ok(answer)
}

pub(crate) fn revoke(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let group = security_groups::named(context, params)?;
    let id = group.id.clone();
    let rules = requested(context, params, &group.vpc)?;
    let mut left = group.ingress.clone();
    for rule in &rules {
        let Some(position) = left.iter().position(|existing| same(existing, rule)) else {
            let text = "The specified rule does not exist in this security group.";
            return Err(ApiError::new("InvalidPermission.NotFound", text));
        };
        left.remove(position);
    }
    let item = |rule: &Rule| {
        let source = match &rule.source {
            Source::Group(source) => Some(source),
            _ => None,
        };
        rule_item(&id, rule).maybe("referencedGroupId", source)
    };
    let answer = Xml::succeeded().list("revokedSecurityGroupRuleSet", "item", rules.iter().map(item));
    if let Some(group) = context.state.security_groups.get_mut(&id) {
        group.ingress = left;
    }
    Ok(answer)
}

/// Descriptions do not tell rules apart.
fn same(left: &Rule, right: &Rule) -> bool {
    left.protocol == right.protocol
        && left.from_port == right.from_port
        && left.to_port == right.to_port
        && left.source == right.source
}

fn describe(rule: &Rule) -> String {
    let peer = match &rule.source {
        Source::Ipv4(cidr) => cidr.to_string(),
        Source::Ipv6(cidr) => cidr.to_string(),
        Source::Group(id) | Source::PrefixList(id) => id.clone(),
    };
    let protocol = if rule.protocol == "-1" { "ALL".to_owned() } else { rule.protocol.to_uppercase() };
    let ports = match (rule.from_port, rule.to_port) {
        (Some(from), Some(to)) => format!(", from port: {from}, to port: {to}"),
        _ => String::new(),
    };
    format!("peer: {peer}, {protocol}{ports}, ALLOW")
}

fn requested(context: &Context<'_>, params: &Params<'_>, vpc: &str) -> Result<Vec<Rule>, ApiError> {
    let mut rules = Vec::new();
    for permission in params.required_structures("IpPermissions")? {
        let (protocol, (from_port, to_port)) = protocol_and_ports(&permission)?;
        let sources = sources(context, &permission, vpc)?;
        if sources.is_empty() {
            let text =
                "Invalid value 'null' for source. You must specify an IP range, a prefix list or a security group";
            return Err(ApiError::new("InvalidParameterValue", text));
        }
        for (source, description) in sources {
            rules.push(Rule { protocol: protocol.clone(), from_port, to_port, source, description });
        }
    }
    let repeated =
        rules.iter().enumerate().any(|(index, rule)| rules[..index].iter().any(|earlier| same(earlier, rule)));
    if repeated {
        let text = "The same permission must not appear multiple times";
        return Err(ApiError::new("InvalidParameterValue", text));
    }
    Ok(rules)
}

fn protocol_and_ports(permission: &Params<'_>) -> Result<(String, Ports), ApiError> {
    let given = permission.required("IpProtocol")?;
    let (from, to): Ports = (permission.parsed("FromPort")?, permission.parsed("ToPort")?);
    let lower = given.to_ascii_lowercase();
    let protocol = match lower.as_str() {
        "6" => "tcp",
        "17" => "udp",
        "1" => "icmp",
        "58" => "icmpv6",
        "all" => "-1",
        other => other,
    };
    match protocol {
        "tcp" | "udp" => {
            let ports = |port| (0..=65535).contains(&port);
            let (Some(first), Some(last)) = (from, to) else {
                let text = format!("Must specify both from and to ports with {}.", protocol.to_uppercase());
                return Err(ApiError::new("InvalidParameterValue", text));
            };
            if !ports(first) || !ports(last) || first > last {
                let text = format!("Invalid {} port range ({first},{last})", protocol.to_uppercase());
                return Err(ApiError::new("InvalidParameterValue", text));
            }
            Ok((protocol.into(), (from, to)))
        }
        "icmp" | "icmpv6" => {
            let (kind, code) = (from.unwrap_or(-1), to.unwrap_or(-1));
            if !(-1..=255).contains(&kind) || !(-1..=255).contains(&code) {
                let text = format!("ICMP type ({kind}) or code ({code}) out of range");
                return Err(ApiError::new("InvalidParameterValue", text));
            }
            Ok((protocol.into(), (Some(kind), Some(code))))
        }
        // Ports mean nothing for the other protocols, and AWS does not keep them.
        "-1" => Ok((protocol.into(), (None, None))),
        number if number.parse::<u8>().is_ok() => Ok((protocol.into(), (None, None))),
        _ => {
            let text = format!("Invalid value '{given}' for IP protocol. Unknown protocol.");
            Err(ApiError::new("InvalidParameterValue", text))
        }
    }
}

fn sources(
    context: &Context<'_>,
    permission: &Params<'_>,
    vpc: &str,
) -> Result<Vec<(Source, Option<String>)>, ApiError> {
    let malformed = |cidr: &str| ApiError::new("InvalidParameterValue", format!("CIDR block {cidr} is malformed"));
    let mut found = Vec::new();
    for range in permission.structures("IpRanges") {
        let cidr = range.required("CidrIp")?;
        let net: Ipv4Net = cidr.parse().map_err(|_| malformed(cidr))?;
        found.push((Source::Ipv4(net.trunc()), description(&range)?));
    }
    for range in permission.structures("Ipv6Ranges") {
        let cidr = range.required("CidrIpv6")?;
        let net: Ipv6Net = cidr.parse().map_err(|_| malformed(cidr))?;
        found.push((Source::Ipv6(net.trunc()), description(&range)?));
    }
    for list in permission.structures("PrefixListIds") {
        found.push((Source::PrefixList(list.required("PrefixListId")?.into()), description(&list)?));
    }
    for pair in permission.structures("Groups") {
        let id = pair.required("GroupId")?;
        // What answers hold beside the ID may be sent back.
        let user = pair.optional("UserId");
        pair.optional("GroupName");
        pair.optional("VpcId");
        let known = context.visible_group(id).is_some_and(|group| group.vpc == vpc);
        if !known || user.is_some_and(|user| user != context.state.account) {
            return Err(security_groups::not_found(id));
        }
        found.push((Source::Group(id.into()), description(&pair)?));
    }
    Ok(found)
}

fn description(of: &Params<'_>) -> Result<Option<String>, ApiError> {
    let Some(text) = of.optional("Description") else { return Ok(None) };
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b" ._-:/()#,@[]+=&;{}!$*".contains(&byte);
    if text.len() > 255 || !text.bytes().all(fine) {
        let text = "Invalid rule description. Valid descriptions are strings less than 256 characters from the following \
                    set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*";
        return Err(ApiError::new("InvalidParameterValue", text));
    }
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// What lets everything out, as every group has it from the start.
pub(crate) fn everything_out() -> Xml {
    let all = Xml::new().text("cidrIp", "0.0.0.0/0");
    Xml::new()
        .text("ipProtocol", "-1")
        .node("groups", Xml::new())
        .list("ipRanges", "item", [all])
        .node("ipv6Ranges", Xml::new())
        .node("prefixListIds", Xml::new())
}

/// The rules as permissions: those with the same protocol and ports are one item.
pub(crate) fn items(rules: &[Rule], account: &str) -> Vec<Xml> {
    let mut grouped: BTreeMap<(&str, Ports), Vec<&Rule>> = BTreeMap::new();
    for rule in rules {
        grouped.entry((&rule.protocol, (rule.from_port, rule.to_port))).or_default().push(rule);
    }
    let item = |((protocol, (from, to)), rules): ((&str, Ports), Vec<&Rule>)| {
        let with = |pick: &dyn Fn(&Rule) -> Option<Xml>| -> Vec<Xml> {
            let described = |rule: &&Rule| pick(rule).map(|xml| xml.maybe("description", rule.description.as_ref()));
            rules.iter().filter_map(described).collect()
        };
        Xml::new()
            .text("ipProtocol", protocol)
            .maybe("fromPort", from)
            .maybe("toPort", to)
            .list(
                "groups",
                "item",
                with(&|rule| match &rule.source {
                    Source::Group(id) => Some(Xml::new().text("userId", account).text("groupId", id)),
                    _ => None,
                }),
            )
            .list(
                "ipRanges",
                "item",
                with(&|rule| match &rule.source {
                    Source::Ipv4(cidr) => Some(Xml::new().text("cidrIp", cidr)),
                    _ => None,
                }),
            )
            .list(
                "ipv6Ranges",
                "item",
                with(&|rule| match &rule.source {
                    Source::Ipv6(cidr) => Some(Xml::new().text("cidrIpv6", cidr)),
                    _ => None,
                }),
            )
            .list(
                "prefixListIds",
                "item",
                with(&|rule| match &rule.source {
                    Source::PrefixList(id) => Some(Xml::new().text("prefixListId", id)),
                    _ => None,
                }),
            )
    };
    grouped.into_iter().map(item).collect()
}

/// A rule as AWS numbers it, without what only one of both answers holds of a source group.
fn rule_item(group: &str, rule: &Rule) -> Xml {
    let name = format!("{group} {}", describe(rule));
    let number = name.bytes().fold(0_u64, |sum, byte| mix(sum ^ u64::from(byte)));
    let item = Xml::new()
        .text("securityGroupRuleId", format!("sgr-0{number:016x}"))
        .text("groupId", group)
        .text("isEgress", false)
        .text("ipProtocol", &rule.protocol)
        .text("fromPort", rule.from_port.unwrap_or(-1))
        .text("toPort", rule.to_port.unwrap_or(-1))
        .maybe("description", rule.description.as_ref());
    match &rule.source {
        Source::Ipv4(cidr) => item.text("cidrIpv4", cidr),
        Source::Ipv6(cidr) => item.text("cidrIpv6", cidr),
        Source::PrefixList(id) => item.text("prefixListId", id),
        Source::Group(_) => item,
    }
}
