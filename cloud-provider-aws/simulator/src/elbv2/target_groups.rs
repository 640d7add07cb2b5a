//! Target groups.

use crate::{
    context::Context,
    elb,
    elbv2::{attributes, check_arn, health_check, load_balancer, target_group, target_group_missing, users},
    error::ApiError,
    params::Params,
    state::{State, balancing::TargetGroup},
    xml::Xml,
};

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let balancer = params.optional("LoadBalancerArn");
    let (arns, names) = (params.list("TargetGroupArns"), params.list("Names"));
    if usize::from(balancer.is_some()) + usize::from(!arns.is_empty()) + usize::from(!names.is_empty()) > 1 {
        let text = "Only one of load balancer ARN, target group ARNs and names can be specified";
        return Err(ApiError::validation(text));
    }
    if let Some(arn) = balancer {
        load_balancer(context, arn)?;
    }
    for arn in &arns {
        check_arn(context.state, arn, "targetgroup")?;
    }
    let state = &*context.state;
    let all = &state.target_groups;
    let unknown = arns.iter().any(|arn| !all.contains_key(*arn))
        || names.iter().any(|name| !all.values().any(|group| group.name == **name));
    if unknown {
        return Err(target_group_missing());
    }
    let found = all.values().filter(|group| {
        (arns.is_empty() || arns.contains(&group.arn.as_str()))
            && (names.is_empty() || names.contains(&group.name.as_str()))
            && balancer.is_none_or(|balancer| users(state, &group.arn).contains(&balancer))
    });
    let (found, next) = elb::page(params, found.collect(), |group: &TargetGroup| &group.arn)?;
    let items = found.into_iter().map(|group| item(state, group));
    Ok(Xml::new().list("TargetGroups", "member", items).maybe("NextMarker", next))
}

fn item(state: &State, group: &TargetGroup) -> Xml {
    Xml::new()
        .text("TargetGroupArn", &group.arn)
        .text("TargetGroupName", &group.name)
        .text("Protocol", &group.protocol)
        .text("Port", group.port)
        .text("VpcId", &group.vpc)
        .and(health_check::items(&group.health_check))
        .texts("LoadBalancerArns", "member", users(state, &group.arn))
        .text("TargetType", &group.target_type)
        .text("IpAddressType", &group.ip_address_type)
}

pub(crate) fn create(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let name = params.required("Name")?;
    elb::check_name("Target group", name)?;
    let protocols = ["TCP", "UDP", "TLS", "TCP_UDP"];
    let protocol =
        params.one_of("Protocol", &protocols)?.ok_or_else(|| ApiError::validation("A protocol must be specified"))?;
    let port = params.required_within("Port", 1, 65535)?;
    let vpc = params.required("VpcId").map_err(|_| ApiError::validation("A VPC ID must be specified"))?;
    if !context.state.vpcs.contains_key(vpc) {
        return Err(ApiError::validation(format!("The VPC ID '{vpc}' is not found")));
    }
    let target_type = params.one_of("TargetType", &["instance", "ip"])?.unwrap_or("instance");
    let ip_address_type = params.one_of("IpAddressType", &["ipv4", "ipv6"])?.unwrap_or("ipv4");
    let check = health_check::read(params, &health_check::default_for("TCP"))?;
    let tags = elb::read_tags(params, context.knobs.quotas.tags)?;
    if let Some(existing) = context.state.target_groups.values().find(|group| group.name == name) {
        let same = existing.protocol == protocol
            && existing.port == port
            && existing.vpc == vpc
            && existing.target_type == target_type
            && existing.health_check == check
            && existing.tags == tags;
        if same {
            return Ok(Xml::new().list("TargetGroups", "member", [item(context.state, existing)]));
        }
        let text = format!("A target group with the same name '{name}' exists, but with different settings");
        return Err(ApiError::new("DuplicateTargetGroupName", text));
    }
    if context.state.target_groups.len() >= context.knobs.quotas.target_groups {
        let text = "The maximum number of target groups has been reached";
        return Err(ApiError::new("TooManyTargetGroups", text));
    }
    let id = format!("{:016x}", context.state.next_number());
    let group = TargetGroup {
        arn: context.state.arn("elasticloadbalancing", &format!("targetgroup/{name}/{id}")),
        name: name.into(),
        protocol: protocol.into(),
        port,
        vpc: vpc.into(),
        target_type: target_type.into(),
        ip_address_type: ip_address_type.into(),
        health_check: check,
        attributes: attributes::of_new_target_group(protocol, target_type),
        targets: Vec::new(),
        draining: Vec::new(),
        tags,
    };
    let answer = Xml::new().list("TargetGroups", "member", [item(context.state, &group)]);
    context.state.target_groups.insert(group.arn.clone(), group);
    Ok(answer)
}

/// Changes the health check.
pub(crate) fn modify(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let group = target_group(context, params.required("TargetGroupArn")?)?;
    group.health_check = health_check::read(params, &group.health_check)?;
    let group = group.clone();
    Ok(Xml::new().list("TargetGroups", "member", [item(context.state, &group)]))
}

/// Deleting what is not there succeeds.
pub(crate) fn delete(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let arn = params.required("TargetGroupArn")?;
    check_arn(context.state, arn, "targetgroup")?;
    if !users(context.state, arn).is_empty() {
        let text = format!("Target group '{arn}' is currently in use by a listener or a rule");
        return Err(ApiError::new("ResourceInUse", text));
    }
    if context.state.target_groups.contains_key(arn) {
        context.state.target_groups.remove(arn);
    }
    Ok(Xml::new())
}
