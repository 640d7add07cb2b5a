//! Networks and subnets.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    attributes::to_create,
    reading::{find, own},
    resources::{NETWORKS, SUBNETS},
    writing::{self, apply, changes, store, updated},
};
use crate::{
    context::Context,
    document::{Document, Fields as _, object},
    error::ApiError,
    request::{Reply, Request},
};

pub(super) fn create(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    writing::create(context, request, &NETWORKS, |context, asked| {
        let mut made = to_create(NETWORKS.attributes, asked, context.knobs)?;
        let project = context.project_of(asked)?;
        if (made.flag("router:external") || made.flag("shared")) && !context.is_admin() {
            return Err(ApiError::of(403, "PolicyNotAuthorized", "(rule:create_network) is disallowed by policy"));
        }
        made.extend(object(json!({
            "status": "ACTIVE", "mtu": made.number("mtu").unwrap_or(1450), "availability_zones": [],
            "ipv4_address_scope": null, "ipv6_address_scope": null, "l2_adjacency": true,
        })));
        Ok(store(context, &NETWORKS, &project, made))
    })
}

pub(super) fn update(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let changes = changes(context, request, &NETWORKS)?;
    apply(context, &NETWORKS, request.id(), changes);
    Ok(updated(context, &NETWORKS, request.id()))
}

/// Refused while there are ports that somebody uses.
pub(super) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let id = own(context, &NETWORKS, request.id())?.text("id").to_owned();
    if context.state.ports.with("network_id", &id).next().is_some() {
        let text = format!(
            "Unable to complete operation on network {id}. There are one or more ports still in use on the network."
        );
        return Err(ApiError::of(409, "NetworkInUse", text));
    }
    for subnet in context.state.subnets.ids_with("network_id", &id) {
        context.state.subnets.remove(&subnet);
    }
    context.state.networks.remove(&id);
    Ok(Reply::empty(204))
}

pub(super) fn create_subnet(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    writing::create(context, request, &SUBNETS, |context, asked| {
        let mut made = to_create(SUBNETS.attributes, asked, context.knobs)?;
        let network = find(context, &NETWORKS, made.text("network_id"))?.clone();
        if !context.owns(&network) {
            return Err(ApiError::of(403, "PolicyNotAuthorized", "(rule:create_subnet) is disallowed by policy"));
        }
        let cidr: IpNet = made.text("cidr").parse().map_err(|_| ApiError::bad_request("Invalid input for cidr."))?;
        let overlaps = context.state.subnets.with("network_id", network.text("id")).any(|other| {
            other.text("cidr").parse::<IpNet>().is_ok_and(|other| other.contains(&cidr) || cidr.contains(&other))
        });
        if overlaps {
            let text = format!(
                "Invalid input for operation: Requested subnet with cidr: {cidr} for network: {} overlaps with another subnet.",
                network.text("id")
            );
            return Err(ApiError::of(400, "InvalidInput", text));
        }
        let version = if cidr.addr().is_ipv6() { 6 } else { 4 };
        if made.number("ip_version") != Some(version) {
            let text = format!("Invalid input for operation: cidr '{cidr}' does not match the ip_version.");
            return Err(ApiError::of(400, "InvalidInput", text));
        }
        fill(&mut made, cidr, network.flag("router:external"));
        let project = context.project_of(asked)?;
        Ok(store(context, &SUBNETS, &project, made))
    })
}

/// The first address is the gateway's, the others are given out.
fn fill(made: &mut Document, cidr: IpNet, external: bool) {
    let mut hosts = cidr.hosts();
    let first = hosts.next().unwrap_or_else(|| cidr.network());
    if !made.contains_key("gateway_ip") {
        made.set("gateway_ip", first.to_string());
    }
    if !made.contains_key("allocation_pools") {
        let start = hosts.next().unwrap_or(first);
        let last = match cidr {
            IpNet::V4(net) => {
                let end = u32::from(net.broadcast());
                std::net::IpAddr::V4(std::net::Ipv4Addr::from(end.saturating_sub(1)))
            }
            IpNet::V6(net) => std::net::IpAddr::V6(net.broadcast()),
        };
        made.set("allocation_pools", json!([{ "start": start.to_string(), "end": last.to_string() }]));
    }
    made.set("router:external", external);
}

pub(super) fn delete_subnet(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let id = own(context, &SUBNETS, request.id())?.text("id").to_owned();
    let uses = |fixed: &Value| fixed["subnet_id"] == id.as_str();
    if context.state.ports.values().any(|port| port.list("fixed_ips").iter().any(uses)) {
        let text = format!(
            "Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet."
        );
        return Err(ApiError::of(409, "SubnetInUse", text));
    }
    context.state.subnets.remove(&id);
    Ok(Reply::empty(204))
}
