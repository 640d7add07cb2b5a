//! Floating IPs.

use serde_json::{Value, json};

use super::{
    addresses::in_use,
    attributes::to_create,
    reading::{find, own},
    resources::{FLOATING_IPS, NETWORKS, PORTS, SUBNETS},
    writing::{self, apply, changes, check_quota, store, updated},
};
use crate::{
    context::Context,
    document::{Document, Fields as _, object, objects},
    error::ApiError,
    policy::Access,
    request::{Reply, Request},
    seed::{self, mac},
    state::State,
};

pub(super) fn create(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    writing::create(context, request, &FLOATING_IPS, |context, asked| {
        let mut made = to_create(FLOATING_IPS.attributes, asked, context.knobs)?;
        if made.has("floating_ip_address") && !context.may("create_floatingip:floating_ip_address", Access::Admin) {
            let text =
                "((rule:create_floatingip and rule:create_floatingip:floating_ip_address)) is disallowed by policy";
            return Err(ApiError::of(403, "PolicyNotAuthorized", text));
        }
        let network = find(context, &NETWORKS, made.text("floating_network_id"))?.text("id").to_owned();
        if !context.state.networks.get(&network).is_some_and(|network| network.flag("router:external")) {
            return Err(bad_floating_ip(format!("Network {network} is not a valid external network")));
        }
        let project = context.project_of(asked)?;
        check_quota(context, &FLOATING_IPS, &project, context.knobs.quotas.floating_ips, "floatingip")?;
        let fixed = external_address(context, &network, &made)?;
        made.set("floating_ip_address", fixed["ip_address"].clone());
        made.remove("subnet_id");
        made.extend(object(
            json!({ "status": "DOWN", "router_id": null, "port_forwardings": [], "qos_network_policy_id": null }),
        ));
        let asked_port = made.insert("port_id".to_owned(), Value::Null).unwrap_or_default();
        let asked_fixed = made.insert("fixed_ip_address".to_owned(), Value::Null).unwrap_or_default();
        let id = store(context, &FLOATING_IPS, &project, made);
        let place = context.state.next_place();
        let mut port = seed::port("", &network, "", &json!([fixed]));
        port.extend(object(json!({
            "mac_address": mac(place), "status": "N/A", "device_id": id, "device_owner": "network:floatingip",
            "port_security_enabled": false,
        })));
        let port = store(context, &PORTS, "", port);
        let mut link = object(json!({ "_port": port }));
        if let Some(target) = asked_port.as_str() {
            link.extend(association(context, &id, target, asked_fixed.as_str())?);
        }
        if let Some(floating) = context.state.floating_ips.get_mut(&id) {
            floating.extend(link);
        }
        Ok(id)
    })
}

fn bad_floating_ip(text: String) -> ApiError {
    ApiError::of(400, "BadRequest", format!("Bad floatingip request: {text}."))
}

/// The address on the external network: the one that was asked for, else a free one of the subnet or of any IPv4 subnet.
fn external_address(context: &Context<'_>, network: &str, asked: &Document) -> Result<Value, ApiError> {
    let state = &*context.state;
    let (address, subnet) = (asked.text("floating_ip_address"), asked.text("subnet_id"));
    if !address.is_empty() {
        let subnet = state.subnet_with_address(network, address).ok_or_else(|| {
            let text =
                format!("IP address {address} is not a valid IP for any of the subnets on the specified network.");
            ApiError::of(400, "InvalidIpForNetwork", text)
        })?;
        if state.is_taken(subnet.text("id"), address) {
            return Err(in_use(network, address));
        }
        return Ok(json!({ "subnet_id": subnet.text("id"), "ip_address": address }));
    }
    if !subnet.is_empty() {
        let found = find(context, &SUBNETS, subnet)?;
        if found.text("network_id") != network {
            return Err(bad_floating_ip(format!("Subnet {subnet} is not on network {network}")));
        }
    }
    let subnets = state.subnets.with("network_id", network).filter(|found| {
        if subnet.is_empty() { found.number("ip_version") == Some(4) } else { found.text("id") == subnet }
    });
    let free = subnets.map(|found| found.text("id")).find_map(|id| {
        let address = state.free_addresses(id).next()?;
        Some(json!({ "subnet_id": id, "ip_address": address.to_string() }))
    });
    free.ok_or_else(|| {
        let text = format!("Unable to find any IP address on external network {network}.");
        ApiError::of(400, "ExternalIpAddressExhausted", text)
    })
}

/// What a floating IP is set to when it leads to a port.
fn association(context: &Context<'_>, id: &str, port: &str, fixed: Option<&str>) -> Result<Document, ApiError> {
    let target = find(context, &PORTS, port)?;
    let floating = context.state.floating_ips.get(id).cloned().unwrap_or_default();
    let network = floating.text("floating_network_id");
    let fixed = match fixed {
        Some(fixed) => objects(target, "fixed_ips")
            .find(|own| own.text("ip_address") == fixed)
            .ok_or_else(|| bad_floating_ip(format!("Port {port} does not have fixed ip {fixed}")))?,
        None => objects(target, "fixed_ips").find(|own| !own.text("ip_address").contains(':')).ok_or_else(|| {
            bad_floating_ip(format!("Cannot add floating IP to port {port} that has no fixed IPv4 addresses"))
        })?,
    };
    let (subnet, address) = (fixed.text("subnet_id"), fixed.text("ip_address"));
    let other = context.state.floating_ips.with("port_id", port).find(|other| {
        other.text("id") != id
            && other.text("fixed_ip_address") == address
            && other.text("floating_network_id") == network
    });
    if other.is_some() {
        let text = format!(
            "Cannot associate floating IP {} ({id}) with port {port} using fixed IP {address}, as that fixed IP already has a \
             floating IP on external network {network}.",
            floating.text("floating_ip_address")
        );
        return Err(ApiError::of(409, "FloatingIPPortAlreadyAssociated", text));
    }
    let Some(router) = context.state.router_between(subnet, network) else {
        let text = format!(
            "External network {network} is not reachable from subnet {subnet}. Therefore, cannot associate Port {port} with a \
             Floating IP."
        );
        return Err(ApiError::of(404, "ExternalGatewayForFloatingIPNotFound", text));
    };
    Ok(object(json!({ "port_id": port, "fixed_ip_address": address, "router_id": router, "status": "ACTIVE" })))
}

/// An empty body detaches, as does a null port; a body without the port leaves it.
pub(super) fn update(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let id = request.id();
    let mut changes = changes(context, request, &FLOATING_IPS)?;
    let fixed = changes.remove("fixed_ip_address").and_then(|fixed| fixed.as_str().map(str::to_owned));
    if changes.is_empty() && fixed.is_none() || changes.get("port_id").is_some_and(Value::is_null) {
        changes.extend(detached());
    } else if let Some(port) = changes.get("port_id").and_then(Value::as_str).map(str::to_owned) {
        changes.extend(association(context, id, &port, fixed.as_deref())?);
    }
    apply(context, &FLOATING_IPS, id, changes);
    Ok(updated(context, &FLOATING_IPS, id))
}

fn detached() -> Document {
    object(json!({ "port_id": null, "fixed_ip_address": null, "router_id": null, "status": "DOWN" }))
}

pub(super) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    own(context, &FLOATING_IPS, request.id())?;
    let gone = context.state.floating_ips.remove(request.id()).unwrap_or_default();
    context.state.ports.remove(gone.text("_port"));
    Ok(Reply::empty(204))
}

impl State {
    /// Takes a floating IP off its port.
    pub(super) fn release_floating_ip(&mut self, id: &str) {
        if let Some(floating) = self.floating_ips.get_mut(id) {
            floating.extend(detached());
        }
    }

    /// A router with an interface in the subnet and its gateway in the network.
    fn router_between(&self, subnet: &str, network: &str) -> Option<String> {
        let reaches = |router: &&Document| {
            let gateway = router.get("external_gateway_info").and_then(|info| info["network_id"].as_str());
            let mut ports = self.ports.with("device_id", router.text("id"));
            gateway == Some(network)
                && ports.any(|port| objects(port, "fixed_ips").any(|fixed| fixed.text("subnet_id") == subnet))
        };
        self.routers.values().find(reaches).map(|router| router.text("id").to_owned())
    }
}
