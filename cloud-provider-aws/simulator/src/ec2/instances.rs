//! Instances and where they are in the network.

use crate::{
    context::{Context, time},
    ec2::{
        filters::{Filters, one},
        interfaces, page, tag_set,
    },
    error::ApiError,
    model::{Instance, InstanceState},
    params::Params,
    xml::Xml,
};

const FILTERS: &[&str] = &[
    "availability-zone",
    "dns-name",
    "instance-id",
    "instance-state-code",
    "instance-state-name",
    "instance-type",
    "instance.group-id",
    "ip-address",
    "network-interface.private-dns-name",
    "private-dns-name",
    "private-ip-address",
    "subnet-id",
    "vpc-id",
];

/// Checks IDs as EC2 does: all malformed ones are refused before unknown ones.
fn check_ids(context: &Context<'_>, ids: &[&str]) -> Result<(), ApiError> {
    let well_formed = |id: &&&str| {
        id.strip_prefix("i-").is_some_and(|hex| {
            matches!(hex.len(), 8 | 17)
                && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        })
    };
    if let Some(id) = ids.iter().find(|id| !well_formed(id)) {
        return Err(ApiError::new("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\"")));
    }
    let unknown: Vec<&str> = ids.iter().copied().filter(|id| !is_shown(context, id)).collect();
    match unknown.as_slice() {
        [] => Ok(()),
        [one] => Err(ApiError::new("InvalidInstanceID.NotFound", format!("The instance ID '{one}' does not exist"))),
        many => {
            let text = format!("The instance IDs '{}' do not exist", many.join(", "));
            Err(ApiError::new("InvalidInstanceID.NotFound", text))
        }
    }
}

fn is_shown(context: &Context<'_>, id: &str) -> bool {
    let instance = context.state.instances.get(id);
    instance.is_some_and(|found| context.is_visible(found.launched, context.knobs.delays.instance_visible_ms))
}

/// The instance that a write names.
pub(crate) fn find<'a>(context: &'a Context<'_>, id: &str) -> Result<&'a Instance, ApiError> {
    check_ids(context, &[id])?;
    context.state.instances.get(id).ok_or_else(|| ApiError::new("InvalidInstanceID.NotFound", id))
}

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ids = params.list("InstanceId");
    let filters = Filters::of(params, FILTERS)?;
    if !ids.is_empty() && params.optional("MaxResults").is_some() {
        let text = "The parameter instancesSet cannot be used with the parameter maxResults";
        return Err(ApiError::new("InvalidParameterCombination", text));
    }
    if ids.len() > 1000 {
        return Err(ApiError::new("InvalidParameterValue", "Too many instance IDs: at most 1000 are allowed"));
    }
    check_ids(context, &ids)?;
    let all = context.state.instances.values().filter(|instance| {
        (ids.is_empty() || ids.contains(&instance.id.as_str()))
            && is_shown(context, &instance.id)
            && !context.knobs.hidden_instances.contains(&instance.id)
            && filters.pass(&instance.tags, |name| field(context, instance, name))
    });
    let (found, next) = page(params, all.collect(), |instance: &Instance| &instance.id, (5, 1000))?;
    let reservations = found.into_iter().map(|instance| {
        Xml::new()
            .text("reservationId", instance.id.replacen("i-", "r-", 1))
            .text("ownerId", &context.state.account)
            .node("groupSet", Xml::new())
            .list("instancesSet", "item", [item(context, instance)])
    });
    Ok(Xml::new().list("reservationSet", "item", reservations).maybe("nextToken", next))
}

fn field(context: &Context<'_>, instance: &Instance, name: &str) -> Vec<String> {
    let optional = |value: Option<String>| value.into_iter().collect();
    let primary = instance.primary();
    match name {
        "availability-zone" => optional(context.state.zone_of_subnet(&instance.subnet).map(str::to_owned)),
        "dns-name" => optional(instance.public_dns_name.clone()),
        "instance-id" => one(&instance.id),
        "instance-state-code" => one(instance.state_at(context.now).code()),
        "instance-state-name" => one(instance.state_at(context.now).name()),
        "instance-type" => one(&instance.instance_type),
        "instance.group-id" => primary.map(|interface| interface.groups.clone()).unwrap_or_default(),
        "ip-address" => optional(instance.public_ip.map(|address| address.to_string())),
        "network-interface.private-dns-name" => {
            instance.interfaces.iter().map(|interface| interface.private_dns_name.clone()).collect()
        }
        "private-dns-name" => one(&instance.private_dns_name),
        "private-ip-address" => {
            let addresses = instance.interfaces.iter().flat_map(|interface| &interface.private_ips);
            addresses.map(ToString::to_string).collect()
        }
        "subnet-id" => one(&instance.subnet),
        "vpc-id" => optional(context.state.vpc_of_subnet(&instance.subnet).map(str::to_owned)),
        _ => Vec::new(),
    }
}

fn item(context: &Context<'_>, instance: &Instance) -> Xml {
    let state = instance.state_at(context.now);
    let here = !instance.interfaces.is_empty();
    let primary = instance.primary();
    let groups = primary.map(|interface| interfaces::groups(context, &interface.groups)).unwrap_or_default();
    let zone = context.state.zone_of_subnet(&instance.subnet);
    let zone_id = zone.and_then(|zone| context.state.zones.get(zone)).map(|zone| &zone.id);
    let placement = Xml::new()
        .maybe("availabilityZoneId", zone_id)
        .text("groupName", "")
        .text("tenancy", "default")
        .maybe("availabilityZone", zone);
    let addresses = instance.interfaces.iter().map(|interface| interfaces::of_instance(context, instance, interface));
    Xml::new()
        .text("architecture", "x86_64")
        .text("instanceId", &instance.id)
        .text("imageId", "ami-0a1b2c3d4e5f60001")
        .node("instanceState", Xml::new().text("code", state.code()).text("name", state.name()))
        .text("privateDnsName", &instance.private_dns_name)
        .text("dnsName", instance.public_dns_name.as_deref().unwrap_or_default())
        .text("instanceType", &instance.instance_type)
        .maybe("launchTime", instance.launched.map(time))
        .node("placement", placement)
        .maybe("subnetId", here.then_some(&instance.subnet))
        .maybe("vpcId", context.state.vpc_of_subnet(&instance.subnet).filter(|_| here))
        .maybe("privateIpAddress", primary.and_then(|interface| interface.private_ips.first()))
        .maybe("ipAddress", instance.public_ip)
        .text("sourceDestCheck", instance.source_dest_check)
        .list("groupSet", "item", groups)
        .and(tag_set(&instance.tags))
        .list("networkInterfaceSet", "item", addresses)
}

pub(crate) fn describe_topology(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ids = params.list("InstanceId");
    let filters = Filters::of(params, &["availability-zone", "instance-type", "zone-id"])?;
    if ids.len() > 100 {
        let text = "The maximum number of instance IDs is 100";
        return Err(ApiError::new("InvalidParameterValue", text));
    }
    if !ids.is_empty() && params.optional("MaxResults").is_some() {
        let text = "The parameter InstanceIds cannot be used with the parameter MaxResults";
        return Err(ApiError::new("InvalidParameterCombination", text));
    }
    check_ids(context, &ids)?;
    let zone_of = |instance: &Instance| {
        context.state.zone_of_subnet(&instance.subnet).and_then(|zone| context.state.zones.get(zone))
    };
    let all = context.state.instances.values().filter(|instance| {
        (ids.is_empty() || ids.contains(&instance.id.as_str()))
            && is_shown(context, &instance.id)
            && !instance.network_nodes.is_empty()
            && instance.state_at(context.now) == InstanceState::Running
            && filters.pass(&instance.tags, |name| match name {
                "instance-type" => one(&instance.instance_type),
                "zone-id" => zone_of(instance).map(|zone| zone.id.clone()).into_iter().collect(),
                _ => zone_of(instance).map(|zone| zone.name.clone()).into_iter().collect(),
            })
    });
    let (found, next) = page(params, all.collect(), |instance: &Instance| &instance.id, (1, 100))?;
    let items = found.into_iter().map(|instance| {
        Xml::new()
            .text("instanceId", &instance.id)
            .text("instanceType", &instance.instance_type)
            .texts("networkNodeSet", "item", &instance.network_nodes)
            .maybe("availabilityZone", zone_of(instance).map(|zone| &zone.name))
            .maybe("zoneId", zone_of(instance).map(|zone| &zone.id))
    });
    Ok(Xml::new().list("instanceSet", "item", items).maybe("nextToken", next))
}

/// Only the source/destination check can be changed.
pub(crate) fn modify_attribute(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let id = params.required("InstanceId")?;
    let check = params.structure("SourceDestCheck").parsed::<bool>("Value")?;
    let check = check.ok_or_else(|| params.missing("SourceDestCheck.Value"))?;
    let instance = find(context, id)?;
    if instance.interfaces.len() > 1 {
        let text = format!(
            "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the operation instead."
        );
        return Err(ApiError::new("InvalidInstanceID", text));
    }
    if instance.state == InstanceState::Terminated {
        let text = format!("The instance '{id}' is not in a state from which it can be modified");
        return Err(ApiError::new("IncorrectInstanceState", text));
    }
    if let Some(instance) = context.state.instances.get_mut(id) {
        instance.source_dest_check = check;
    }
    Ok(Xml::succeeded())
}
