//! Network Load Balancers themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use crate::{
    context::{Context, time},
    elb,
    elbv2::{attributes, check_arn, invalid_configuration, load_balancer},
    error::ApiError,
    params::Params,
    state::{
        State,
        balancing::{LoadBalancer, SubnetMapping},
    },
    xml::Xml,
};

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let (arns, names) = (params.list("LoadBalancerArns"), params.list("Names"));
    if !arns.is_empty() && !names.is_empty() {
        return Err(ApiError::validation(
            "Load balancer names and load balancer ARNs cannot be specified at the same time",
        ));
    }
    if arns.len().max(names.len()) > 20 {
        return Err(ApiError::validation("At most 20 load balancers can be specified"));
    }
    let all = &context.state.load_balancers;
    for arn in &arns {
        check_arn(context.state, arn, "loadbalancer")?;
        if !all.contains_key(*arn) {
            return Err(ApiError::new("LoadBalancerNotFound", "One or more load balancers not found"));
        }
    }
    if let Some(name) = names.iter().find(|name| !all.values().any(|balancer| balancer.name == **name)) {
        return Err(ApiError::new("LoadBalancerNotFound", format!("Load balancers '[{name}]' not found")));
    }
    let found = all.values().filter(|balancer| {
        (arns.is_empty() || arns.contains(&balancer.arn.as_str()))
            && (names.is_empty() || names.contains(&balancer.name.as_str()))
    });
    let (found, next) = elb::page(params, found.collect(), |balancer: &LoadBalancer| &balancer.arn)?;
    let items = found.into_iter().map(|balancer| item(context, balancer));
    Ok(Xml::new().list("LoadBalancers", "member", items).maybe("NextMarker", next))
}

fn item(context: &Context<'_>, balancer: &LoadBalancer) -> Xml {
    // Even without a delay the answer to its creation says `provisioning`.
    let by_time = if context.now <= balancer.active { "provisioning" } else { "active" };
    let state = balancer.forced_state.as_deref().unwrap_or(by_time);
    let described = Xml::new()
        .text("LoadBalancerArn", &balancer.arn)
        .text("DNSName", &balancer.dns_name)
        .text("CanonicalHostedZoneId", "Z26RNL4JYFTOTI")
        .text("CreatedTime", time(balancer.created))
        .text("LoadBalancerName", &balancer.name)
        .text("Scheme", &balancer.scheme)
        .text("VpcId", &balancer.vpc)
        .node("State", Xml::new().text("Code", state))
        .text("Type", "network")
        .list("AvailabilityZones", "member", zones(context.state, balancer))
        .text("IpAddressType", &balancer.ip_address_type);
    if balancer.security_groups.is_empty() {
        return described;
    }
    described.texts("SecurityGroups", "member", &balancer.security_groups)
}

fn zones(state: &State, balancer: &LoadBalancer) -> Vec<Xml> {
    let zone = |mapping: &SubnetMapping| {
        let public = mapping.allocation.as_ref().and_then(|allocation| state.elastic_ips.get(allocation));
        let address = Xml::new()
            .maybe("IpAddress", public)
            .maybe("AllocationId", mapping.allocation.as_ref())
            .maybe("PrivateIPv4Address", mapping.private_address);
        let fixed = mapping.allocation.is_some() || mapping.private_address.is_some();
        Xml::new().maybe("ZoneName", state.zone_of_subnet(&mapping.subnet)).text("SubnetId", &mapping.subnet).list(
            "LoadBalancerAddresses",
            "member",
            fixed.then_some(address),
        )
    };
    balancer.subnets.iter().map(zone).collect()
}

/// `Subnets` or `SubnetMappings`, in distinct zones of one VPC, with that VPC.
fn mappings(
    state: &State,
    params: &Params<'_>,
    scheme: &str,
    own_arn: Option<&str>,
) -> Result<(Vec<SubnetMapping>, String), ApiError> {
    let plain = params.list("Subnets");
    let structures = params.structures("SubnetMappings");
    if !plain.is_empty() && !structures.is_empty() {
        return Err(ApiError::validation("You cannot specify subnets and subnet mappings in the same request"));
    }
    let bare = |subnet: &&str| SubnetMapping { subnet: (*subnet).into(), allocation: None, private_address: None };
    let mut mappings: Vec<SubnetMapping> = plain.iter().map(bare).collect();
    for given in structures {
        mappings.push(mapping(state, &given, scheme)?);
    }
    let ids: Vec<&str> = mappings.iter().map(|mapping| mapping.subnet.as_str()).collect();
    if ids.is_empty() {
        return Err(ApiError::validation("At least one subnet must be specified"));
    }
    let vpc = state.distinct_zones(&ids)?;
    let fixed = mappings.iter().filter(|mapping| mapping.allocation.is_some()).count();
    if fixed != 0 && fixed != mappings.len() {
        return Err(invalid_configuration("An Elastic IP address must be specified for all subnets or for none"));
    }
    let others = state.load_balancers.values().filter(|other| own_arn != Some(other.arn.as_str()));
    let taken: BTreeSet<&String> =
        others.flat_map(|other| &other.subnets).filter_map(|mapping| mapping.allocation.as_ref()).collect();
    if let Some(id) = mappings.iter().filter_map(|mapping| mapping.allocation.as_ref()).find(|id| taken.contains(id)) {
        return Err(ApiError::new("ResourceInUse", format!("The allocation ID '{id}' is in use")));
    }
    Ok((mappings, vpc))
}

fn mapping(state: &State, given: &Params<'_>, scheme: &str) -> Result<SubnetMapping, ApiError> {
    let subnet = given.required("SubnetId")?;
    let allocation = given.optional("AllocationId").filter(|id| !id.is_empty());
    let private = given.optional("PrivateIPv4Address").filter(|address| !address.is_empty());
    if let Some(id) = allocation {
        if !state.elastic_ips.contains_key(id) {
            return Err(ApiError::new(
                "AllocationIdNotFound",
                format!("The allocation IDs '[{id}]' are not available for use"),
            ));
        }
        if scheme == "internal" {
            return Err(invalid_configuration("Allocation IDs cannot be specified for internal load balancers"));
        }
    }
    let mut private_address = None;
    if let Some(text) = private {
        let address: Ipv4Addr = text.parse().map_err(|_| given.invalid("PrivateIPv4Address", text))?;
        let inside = state.subnets.get(subnet).is_some_and(|subnet| subnet.cidr.contains(&address));
        if scheme != "internal" || !inside {
            let text =
                format!("The private IPv4 address '{text}' needs an internal load balancer and a subnet that holds it");
            return Err(invalid_configuration(text));
        }
        private_address = Some(address);
    }
    Ok(SubnetMapping { subnet: subnet.into(), allocation: allocation.map(str::to_owned), private_address })
}

fn address_type(state: &State, params: &Params<'_>, mappings: &[SubnetMapping]) -> Result<&'static str, ApiError> {
    let kind = params.one_of("IpAddressType", &["ipv4", "dualstack"])?.unwrap_or("ipv4");
    let has_ipv6 =
        |mapping: &SubnetMapping| state.subnets.get(&mapping.subnet).is_some_and(|subnet| subnet.ipv6_cidr.is_some());
    if kind == "dualstack" && !mappings.iter().all(has_ipv6) {
        let text = "You must specify subnets with an associated IPv6 CIDR block.";
        return Err(invalid_configuration(text));
    }
    Ok(kind)
}

pub(crate) fn create(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let name = params.required("Name")?;
    elb::check_name("Load balancer", name)?;
    if name.starts_with("internal-") {
        return Err(ApiError::validation(format!("Load balancer name '{name}' cannot begin with 'internal-'")));
    }
    match params.one_of("Type", &["application", "network", "gateway"])?.unwrap_or("application") {
        "network" => {}
        other => {
            let text = format!("Load balancers of type '{other}' are not simulated");
            return Err(ApiError::new("OperationNotPermitted", text));
        }
    }
    let scheme = elb::scheme(params)?;
    let (subnets, vpc) = mappings(context.state, params, scheme, None)?;
    if scheme == "internet-facing" && !context.state.has_internet_gateway(&vpc) {
        return Err(ApiError::new("InvalidSubnet", format!("VPC {vpc} has no internet gateway")));
    }
    let ip_address_type = address_type(context.state, params, &subnets)?;
    let quotas = &context.knobs.quotas;
    let groups = params.list("SecurityGroups");
    context.state.check_groups(&groups, &vpc, quotas.groups_per_load_balancer)?;
    let security_groups: BTreeSet<String> = groups.into_iter().map(str::to_owned).collect();
    let tags = elb::read_tags(params, quotas.tags)?;
    if let Some(existing) = context.state.load_balancers.values().find(|existing| existing.name == name) {
        let same = existing.scheme == scheme
            && existing.subnets == subnets
            && existing.security_groups == security_groups
            && existing.tags == tags;
        if same {
            return Ok(Xml::new().list("LoadBalancers", "member", [item(context, existing)]));
        }
        let text = format!("A load balancer with the same name '{name}' exists, but with different settings");
        return Err(ApiError::new("DuplicateLoadBalancerName", text));
    }
    if context.state.load_balancers.len() >= quotas.load_balancers {
        let text = "The maximum number of load balancers has been reached";
        return Err(ApiError::new("TooManyLoadBalancers", text));
    }
    let id = format!("{:016x}", context.state.next_number());
    let (region, suffix) = (&context.state.region, context.state.dns_suffix());
    let balancer = LoadBalancer {
        arn: context.state.arn("elasticloadbalancing", &format!("loadbalancer/net/{name}/{id}")),
        name: name.into(),
        dns_name: format!("{name}-{id}.elb.{region}.{suffix}"),
        scheme: scheme.into(),
        vpc,
        created: context.now,
        active: context.later(context.knobs.delays.provisioning_ms),
        forced_state: None,
        subnets,
        takes_security_groups: !security_groups.is_empty(),
        security_groups,
        ip_address_type: ip_address_type.into(),
        attributes: attributes::of_new_load_balancer(),
        tags,
    };
    let answer = Xml::new().list("LoadBalancers", "member", [item(context, &balancer)]);
    context.state.load_balancers.insert(balancer.arn.clone(), balancer);
    Ok(answer)
}

/// Takes the listeners along, leaves the target groups. Deleting what is not there succeeds.
pub(crate) fn delete(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let arn = params.required("LoadBalancerArn")?;
    check_arn(context.state, arn, "loadbalancer")?;
    let Some(balancer) = context.state.load_balancers.get(arn) else { return Ok(Xml::new()) };
    if balancer.attributes.get("deletion_protection.enabled").is_some_and(|value| value == "true") {
        let text = format!("Load balancer '{arn}' cannot be deleted because deletion protection is enabled");
        return Err(ApiError::new("OperationNotPermitted", text));
    }
    let groups = balancer.security_groups.iter().cloned().collect();
    let until = context.later(context.knobs.delays.groups_released_ms);
    context.state.load_balancers.remove(arn);
    context.state.listeners.retain(|_, listener| listener.load_balancer != arn);
    context.state.lingering_groups.push((until, groups));
    Ok(Xml::new())
}

/// Only a load balancer that was made with security groups can have others.
pub(crate) fn set_groups(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let arn = params.required("LoadBalancerArn")?;
    let groups = params.required_list("SecurityGroups")?;
    let enforce = params.one_of("EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic", &["on", "off"])?;
    let balancer = load_balancer(context, arn)?.clone();
    if !balancer.takes_security_groups {
        let text = "You cannot set security groups on a Network Load Balancer that was created without security groups";
        return Err(invalid_configuration(text));
    }
    context.state.check_groups(&groups, &balancer.vpc, context.knobs.quotas.groups_per_load_balancer)?;
    let balancer = load_balancer(context, arn)?;
    balancer.security_groups = groups.into_iter().map(str::to_owned).collect();
    Ok(Xml::new()
        .texts("SecurityGroupIds", "member", &balancer.security_groups)
        .maybe("EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic", enforce))
}

pub(crate) fn set_subnets(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let arn = params.required("LoadBalancerArn")?;
    let before = load_balancer(context, arn)?.clone();
    let (subnets, vpc) = mappings(context.state, params, &before.scheme, Some(arn))?;
    let ip_address_type = match params.optional("IpAddressType") {
        Some(_) => address_type(context.state, params, &subnets)?.to_owned(),
        None => before.ip_address_type,
    };
    if vpc != before.vpc {
        return Err(ApiError::new("InvalidSubnet", "All subnets must belong to the VPC of the load balancer"));
    }
    let balancer = load_balancer(context, arn)?;
    balancer.subnets = subnets;
    balancer.ip_address_type = ip_address_type;
    let balancer = balancer.clone();
    Ok(Xml::new()
        .list("AvailabilityZones", "member", zones(context.state, &balancer))
        .text("IpAddressType", &balancer.ip_address_type))
}

/// Both families need an IPv6 range in every subnet, and there must be no listener over UDP.
pub(crate) fn set_ip_address_type(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let arn = params.required("LoadBalancerArn")?;
    params.required("IpAddressType")?;
    let before = load_balancer(context, arn)?.clone();
    let ip_address_type = address_type(context.state, params, &before.subnets)?;
    let over_udp = |protocol: &str| protocol.contains("UDP");
    let mut own = context.state.listeners.values().filter(|listener| listener.load_balancer == arn);
    if ip_address_type == "dualstack" && own.any(|listener| over_udp(&listener.protocol)) {
        return Err(invalid_configuration("UDP listeners of a dualstack load balancer are not simulated"));
    }
    load_balancer(context, arn)?.ip_address_type = ip_address_type.into();
    Ok(Xml::new().text("IpAddressType", ip_address_type))
}

/// Attributes by key, as both describe and modify answer them.
pub(crate) fn attribute_items(attributes: &BTreeMap<String, String>) -> Xml {
    let item = |(key, value)| Xml::new().text("Key", key).text("Value", value);
    Xml::new().list("Attributes", "member", attributes.iter().map(item))
}
