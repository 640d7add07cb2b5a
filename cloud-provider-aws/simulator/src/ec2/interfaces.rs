//! Network interfaces.

use crate::{
    context::Context,
    ec2::{
        filters::{Filters, one},
        page, refuse_unknown, tag_set,
    },
    error::ApiError,
    model::{Instance, NetworkInterface},
    params::Params,
    seed::private_dns_name,
    xml::Xml,
};

const FILTERS: &[&str] = &[
    "addresses.private-ip-address",
    "attachment.instance-id",
    "attachment.status",
    "availability-zone",
    "description",
    "group-id",
    "network-interface-id",
    "private-dns-name",
    "private-ip-address",
    "status",
    "subnet-id",
    "vpc-id",
];

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ids = params.list("NetworkInterfaceId");
    let filters = Filters::of(params, FILTERS)?;
    let state = &context.state;
    let known = |id: &str| state.all_interfaces().any(|(interface, _)| interface.id == id);
    refuse_unknown(&ids, known, "InvalidNetworkInterfaceID.NotFound", "networkInterface")?;
    let mut all: Vec<(&NetworkInterface, Option<&Instance>)> = state
        .all_interfaces()
        .filter(|(interface, instance)| {
            (ids.is_empty() || ids.contains(&interface.id.as_str()))
                && filters.pass(&interface.tags, |name| field(context, interface, *instance, name))
        })
        .collect();
    all.sort_by(|(left, _), (right, _)| left.id.cmp(&right.id));
    let (found, next) = page(params, all.iter().collect(), |(interface, _)| &interface.id, (5, 1000))?;
    let items = found.into_iter().map(|&(interface, instance)| {
        let public = instance.and_then(|instance| association(instance, interface));
        Xml::new()
            .maybe("availabilityZone", context.state.zone_of_subnet(&interface.subnet))
            .node("attachment", attachment(interface, instance))
            .and(common(context, interface, public))
            .and(tag_set(&interface.tags))
    });
    Ok(Xml::new().list("networkInterfaceSet", "item", items).maybe("nextToken", next))
}

fn attachment_status(interface: &NetworkInterface) -> &'static str {
    match interface.status.as_str() {
        "in-use" => "attached",
        "attaching" => "attaching",
        "detaching" => "detaching",
        _ => "detached",
    }
}

fn field(context: &Context<'_>, interface: &NetworkInterface, instance: Option<&Instance>, name: &str) -> Vec<String> {
    match name {
        "attachment.instance-id" => instance.map(|instance| instance.id.clone()).into_iter().collect(),
        "attachment.status" => one(attachment_status(interface)),
        "availability-zone" => context.state.zone_of_subnet(&interface.subnet).map(str::to_owned).into_iter().collect(),
        "description" => one(&interface.description),
        "group-id" => interface.groups.clone(),
        "network-interface-id" => one(&interface.id),
        "private-dns-name" => one(&interface.private_dns_name),
        "private-ip-address" => interface.private_ips.iter().take(1).map(ToString::to_string).collect(),
        "addresses.private-ip-address" => interface.private_ips.iter().map(ToString::to_string).collect(),
        "status" => one(&interface.status),
        "subnet-id" => one(&interface.subnet),
        "vpc-id" => context.state.vpc_of_subnet(&interface.subnet).map(str::to_owned).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Security groups by ID with their names.
pub(crate) fn groups(context: &Context<'_>, ids: &[String]) -> Vec<Xml> {
    let name = |id: &String| context.state.security_groups.get(id).map(|group| &group.name);
    ids.iter().map(|id| Xml::new().text("groupId", id).maybe("groupName", name(id))).collect()
}

/// An interface as it stands in its instance.
pub(crate) fn of_instance(context: &Context<'_>, instance: &Instance, interface: &NetworkInterface) -> Xml {
    Xml::new().node("attachment", attachment(interface, None)).and(common(
        context,
        interface,
        association(instance, interface),
    ))
}

/// The public address, which is that of the first interface.
fn association(instance: &Instance, interface: &NetworkInterface) -> Option<Xml> {
    let is_primary = instance.primary().is_some_and(|primary| primary.id == interface.id);
    let address = instance.public_ip.filter(|_| is_primary)?;
    let dns = instance.public_dns_name.as_deref().unwrap_or_default();
    Some(Xml::new().text("ipOwnerId", "amazon").text("publicDnsName", dns).text("publicIp", address))
}

fn attachment(interface: &NetworkInterface, instance: Option<&Instance>) -> Xml {
    Xml::new()
        .text("attachmentId", interface.id.replacen("eni-", "eni-attach-", 1))
        .maybe("deviceIndex", interface.device_index)
        .text("networkCardIndex", 0)
        .maybe("instanceId", instance.map(|instance| &instance.id))
        .text("status", attachment_status(interface))
}

fn common(context: &Context<'_>, interface: &NetworkInterface, public: Option<Xml>) -> Xml {
    let addresses = interface.private_ips.iter().enumerate().map(|(position, address)| {
        let dns = match position {
            0 => interface.private_dns_name.clone(),
            _ => private_dns_name(&context.state.region, *address),
        };
        let item =
            Xml::new().text("primary", position == 0).text("privateDnsName", dns).text("privateIpAddress", address);
        match public.clone().filter(|_| position == 0) {
            Some(public) => item.node("association", public),
            None => item,
        }
    });
    let ipv6 =
        interface.ipv6.iter().map(|address| Xml::new().text("ipv6Address", address).text("isPrimaryIpv6", false));
    let all = Xml::new()
        .text("description", &interface.description)
        .list("groupSet", "item", groups(context, &interface.groups))
        .list("ipv6AddressesSet", "item", ipv6)
        .text("networkInterfaceId", &interface.id)
        .text("ownerId", &context.state.account)
        .text("privateDnsName", &interface.private_dns_name)
        .maybe("privateIpAddress", interface.private_ips.first())
        .list("privateIpAddressesSet", "item", addresses)
        .text("status", &interface.status)
        .text("subnetId", &interface.subnet)
        .maybe("vpcId", context.state.vpc_of_subnet(&interface.subnet))
        .text("interfaceType", "interface");
    match public {
        Some(public) => all.node("association", public),
        None => all,
    }
}
