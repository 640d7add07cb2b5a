//! Classic load balancers themselves, their subnets and security groups.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    context::{Context, time},
    elb::{invalid_configuration, listeners, named, not_found, page, tags},
    error::ApiError,
    params::Params,
    state::{
        State,
        balancing::{ClassicAttributes, ClassicLoadBalancer, HealthCheck},
    },
    xml::Xml,
};

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let names = params.list("LoadBalancerNames");
    let all = &context.state.classic_load_balancers;
    if let Some(missing) = names.iter().find(|name| !all.contains_key(**name)) {
        return Err(not_found(missing));
    }
    let found = all.values().filter(|balancer| names.is_empty() || names.contains(&balancer.name.as_str()));
    let (found, next) = page(params, found.collect(), |balancer: &ClassicLoadBalancer| &balancer.name)?;
    let items = found.into_iter().map(|balancer| item(context.state, balancer));
    Ok(Xml::new().list("LoadBalancerDescriptions", "member", items).maybe("NextMarker", next))
}

fn item(state: &State, balancer: &ClassicLoadBalancer) -> Xml {
    let listeners = balancer.listeners.values().map(|listener| {
        let body = Xml::new()
            .text("Protocol", &listener.protocol)
            .text("LoadBalancerPort", listener.port)
            .text("InstanceProtocol", &listener.instance_protocol)
            .text("InstancePort", listener.instance_port)
            .maybe("SSLCertificateId", listener.certificate.as_ref());
        Xml::new().node("Listener", body).texts("PolicyNames", "member", &listener.policies)
    });
    let of_kind = |kind: &'static str| balancer.policies.iter().filter(move |(_, policy)| policy.kind == kind);
    let value = |attributes: &[(String, String)], name: &str| {
        attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let app_cookies = of_kind("AppCookieStickinessPolicyType").map(|(name, policy)| {
        Xml::new().text("PolicyName", name).maybe("CookieName", value(&policy.attributes, "CookieName"))
    });
    let cookies = of_kind("LBCookieStickinessPolicyType").map(|(name, policy)| {
        let period = value(&policy.attributes, "CookieExpirationPeriod");
        Xml::new().text("PolicyName", name).maybe("CookieExpirationPeriod", period)
    });
    let others = balancer.policies.iter().filter(|(_, policy)| !policy.kind.contains("Cookie")).map(|(name, _)| name);
    let policies = Xml::new()
        .list("AppCookieStickinessPolicies", "member", app_cookies)
        .list("LBCookieStickinessPolicies", "member", cookies)
        .texts("OtherPolicies", "member", others);
    let backends = balancer
        .backends
        .iter()
        .map(|(port, policies)| Xml::new().text("InstancePort", port).texts("PolicyNames", "member", policies));
    let zones: BTreeSet<&str> = balancer.subnets.iter().filter_map(|subnet| state.zone_of_subnet(subnet)).collect();
    let source = balancer.security_groups.first().and_then(|id| state.security_groups.get(id));
    let described = Xml::new()
        .text("LoadBalancerName", &balancer.name)
        .text("DNSName", &balancer.dns_name)
        .text("CanonicalHostedZoneName", &balancer.dns_name)
        .text("CanonicalHostedZoneNameID", "Z35SXDOTRQ7X7K")
        .list("ListenerDescriptions", "member", listeners)
        .node("Policies", policies)
        .list("BackendServerDescriptions", "member", backends)
        .texts("AvailabilityZones", "member", zones)
        .texts("Subnets", "member", &balancer.subnets)
        .text("VPCId", &balancer.vpc)
        .list("Instances", "member", balancer.instances.iter().map(|id| Xml::new().text("InstanceId", id)))
        .node("HealthCheck", health_check(&balancer.health_check))
        .texts("SecurityGroups", "member", &balancer.security_groups)
        .text("CreatedTime", time(balancer.created))
        .text("Scheme", &balancer.scheme);
    match source {
        Some(group) => described
            .node("SourceSecurityGroup", Xml::new().text("OwnerAlias", &state.account).text("GroupName", &group.name)),
        None => described,
    }
}

pub(crate) fn health_check(check: &HealthCheck) -> Xml {
    Xml::new()
        .text("Target", &check.target)
        .text("Interval", check.interval)
        .text("Timeout", check.timeout)
        .text("UnhealthyThreshold", check.unhealthy)
        .text("HealthyThreshold", check.healthy)
}

/// Names of load balancers and target groups: at most 32 letters, digits and hyphens, no hyphen at the ends.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), ApiError> {
    if name.is_empty() || name.len() > 32 {
        return Err(ApiError::validation(format!("{what} name '{name}' cannot be longer than '32' characters")));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        let text = format!("{what} name '{name}' can only contain characters that are alphanumeric or hyphens(-)");
        return Err(ApiError::validation(text));
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(ApiError::validation(format!("{what} name '{name}' cannot begin or end with a hyphen")));
    }
    Ok(())
}

/// `internet-facing` unless the request says `internal`.
pub(crate) fn scheme(params: &Params<'_>) -> Result<&'static str, ApiError> {
    let scheme = params.one_of("Scheme", &["internet-facing", "internal"]);
    let scheme =
        scheme.map_err(|_| ApiError::new("InvalidScheme", "The scheme must be internet-facing or internal"))?;
    Ok(scheme.unwrap_or("internet-facing"))
}

pub(crate) fn create(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let name = params.required("LoadBalancerName")?;
    check_name("LoadBalancer", name)?;
    let scheme = scheme(params)?;
    let subnets = params.list("Subnets");
    if params.has_list("AvailabilityZones") {
        let text = "Only subnets can be specified: the account has no default VPC";
        return Err(ApiError::validation(text));
    }
    if subnets.is_empty() {
        return Err(ApiError::validation("Either AvailabilityZones or SubnetIds must be specified"));
    }
    let vpc = context.state.distinct_zones(&subnets).map_err(|error| match error.code.as_str() {
        "InvalidConfigurationRequest" => error.with_status(409),
        _ => error,
    })?;
    if scheme == "internet-facing" && !context.state.has_internet_gateway(&vpc) {
        return Err(ApiError::new("InvalidSubnet", format!("VPC {vpc} has no internet gateway")));
    }
    let quotas = &context.knobs.quotas;
    let groups = params.list("SecurityGroups");
    context.state.check_groups(&groups, &vpc, quotas.groups_per_load_balancer)?;
    let mut security_groups: BTreeSet<String> = groups.iter().map(|&group| group.to_owned()).collect();
    if security_groups.is_empty() {
        let default = context.state.security_groups.values().find(|group| group.vpc == vpc && group.name == "default");
        security_groups.extend(default.map(|group| group.id.clone()));
    }
    let new_tags = tags::read(params, quotas.tags)?;
    let prefix = if scheme == "internal" { "internal-" } else { "" };
    let number = context.state.next_number() % 9_000_000_000 + 1_000_000_000;
    let (region, suffix) = (&context.state.region, context.state.dns_suffix());
    let mut balancer = ClassicLoadBalancer {
        name: name.into(),
        dns_name: format!("{prefix}{name}-{number}.{region}.elb.{suffix}"),
        scheme: scheme.into(),
        vpc,
        created: context.now,
        subnets: subnets.iter().map(|&subnet| subnet.to_owned()).collect(),
        security_groups,
        listeners: BTreeMap::new(),
        policies: BTreeMap::new(),
        backends: BTreeMap::new(),
        instances: BTreeSet::new(),
        health_check: HealthCheck { target: String::new(), interval: 30, timeout: 5, unhealthy: 2, healthy: 10 },
        attributes: ClassicAttributes {
            cross_zone: false,
            access_log: None,
            draining: false,
            draining_timeout: 300,
            idle_timeout: 60,
            additional: [("elb.http.desyncmitigationmode".to_owned(), "defensive".to_owned())].into(),
        },
        tags: new_tags,
    };
    let given = listeners::read(context.state, params)?;
    balancer.health_check.target =
        given.first().map(|first| format!("TCP:{}", first.instance_port)).unwrap_or_default();
    listeners::add(&mut balancer, given, quotas.classic_listeners)?;
    if let Some(existing) = context.state.classic_load_balancers.get(name) {
        let same = existing.scheme == balancer.scheme
            && existing.subnets == balancer.subnets
            && existing.security_groups == balancer.security_groups
            && existing.listeners == balancer.listeners;
        if same {
            return Ok(Xml::new().text("DNSName", &existing.dns_name));
        }
        let text = format!("The load balancer '{name}' already exists and it is configured with different parameters.");
        return Err(ApiError::new("DuplicateLoadBalancerName", text));
    }
    if context.state.classic_load_balancers.len() >= quotas.classic_load_balancers {
        return Err(ApiError::new(
            "TooManyLoadBalancers",
            "The quota for the number of load balancers has been reached",
        ));
    }
    let answer = Xml::new().text("DNSName", &balancer.dns_name);
    context.state.classic_load_balancers.insert(name.into(), balancer);
    Ok(answer)
}

/// Deleting what is not there succeeds.
pub(crate) fn delete(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let name = params.required("LoadBalancerName")?;
    if let Some(balancer) = context.state.classic_load_balancers.remove(name) {
        let until = context.later(context.knobs.delays.groups_released_ms);
        context.state.lingering_groups.push((until, balancer.security_groups.into_iter().collect()));
    }
    Ok(Xml::new())
}

pub(crate) fn attach_subnets(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let new = params.required_list("Subnets")?;
    let balancer = named(context, params)?.clone();
    let mut all: Vec<&str> = balancer.subnets.iter().map(String::as_str).collect();
    all.extend(new.iter().filter(|subnet| !balancer.subnets.contains(**subnet)));
    context.state.distinct_zones(&all).map_err(|error| match error.code.as_str() {
        "InvalidConfigurationRequest" => error.with_status(409),
        _ => error,
    })?;
    let balancer = named(context, params)?;
    balancer.subnets.extend(new.into_iter().map(str::to_owned));
    Ok(Xml::new().texts("Subnets", "member", &balancer.subnets))
}

pub(crate) fn detach_subnets(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let gone = params.required_list("Subnets")?;
    let balancer = named(context, params)?;
    let left: BTreeSet<String> =
        balancer.subnets.iter().filter(|subnet| !gone.contains(&subnet.as_str())).cloned().collect();
    if left.is_empty() {
        let text = format!("The load balancer '{}' must be attached to at least one subnet", balancer.name);
        return Err(invalid_configuration(text));
    }
    balancer.subnets = left;
    Ok(Xml::new().texts("Subnets", "member", &balancer.subnets))
}

pub(crate) fn apply_groups(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let groups = params.required_list("SecurityGroups")?;
    let vpc = named(context, params)?.vpc.clone();
    context.state.check_groups(&groups, &vpc, context.knobs.quotas.groups_per_load_balancer)?;
    let balancer = named(context, params)?;
    balancer.security_groups = groups.into_iter().map(str::to_owned).collect();
    Ok(Xml::new().texts("SecurityGroups", "member", &balancer.security_groups))
}
