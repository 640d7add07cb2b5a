//! Ports.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    attributes::to_create,
    reading::{find, own},
    resources::{NETWORKS, PORTS, SECURITY_GROUPS},
    writing::{self, apply, changes, check_quota, store, updated},
};
use crate::{
    context::Context,
    document::{Document, Fields as _, objects},
    error::ApiError,
    request::{Reply, Request},
    seed::{self, mac},
    state::State,
};

pub(super) fn create(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    writing::create(context, request, &PORTS, |context, asked| {
        let mut wanted = to_create(PORTS.attributes, asked, context.knobs)?;
        let network = find(context, &NETWORKS, wanted.text("network_id"))?.clone();
        let project = context.project_of(asked)?;
        check_quota(context, &PORTS, &project, context.knobs.quotas.ports, "port")?;
        let fixed = wanted.get("fixed_ips").and_then(Value::as_array).cloned();
        let fixed = context.state.fixed_ips(network.text("id"), fixed.as_deref(), &[])?;
        if !wanted.contains_key("port_security_enabled") {
            wanted.set("port_security_enabled", network.get("port_security_enabled").cloned().unwrap_or(json!(true)));
        }
        if !wanted.contains_key("security_groups") {
            let default: Vec<String> = if wanted.flag("port_security_enabled") {
                context
                    .state
                    .security_groups
                    .with("project_id", &project)
                    .filter(|group| group.text("name") == "default")
                    .map(|group| group.text("id").to_owned())
                    .collect()
            } else {
                Vec::new()
            };
            wanted.set("security_groups", default);
        }
        let place = context.state.next_place();
        let mut made = seed::port("", network.text("id"), &project, &json!(fixed));
        made.set("mac_address", mac(place));
        made.set("status", "DOWN");
        wanted.remove("fixed_ips");
        made.extend(wanted);
        check(context, &mut made)?;
        Ok(store(context, &PORTS, &project, made))
    })
}

pub(super) fn update(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let id = request.id();
    let before = own(context, &PORTS, id)?.clone();
    let mut changes = changes(context, request, &PORTS)?;
    if let Some(asked) = changes.get("fixed_ips").and_then(Value::as_array) {
        let fixed = context.state.fixed_ips(before.text("network_id"), Some(asked), before.list("fixed_ips"))?;
        changes.set("fixed_ips", fixed);
    }
    let mut after = before.clone();
    after.extend(changes.clone());
    check(context, &mut after)?;
    let changes: Document = after
        .into_iter()
        .filter(|(name, value)| before.get(name) != Some(value) || changes.contains_key(name))
        .collect();
    apply(context, &PORTS, id, changes);
    Ok(updated(context, &PORTS, id))
}

/// Checks groups and address pairs of a port as it would be, and fills what they leave out.
fn check(context: &Context<'_>, port: &mut Document) -> Result<(), ApiError> {
    let secure = port.flag("port_security_enabled") || context.knobs.release.neutron_without.contains("port-security");
    let groups = port.texts("security_groups");
    for group in &groups {
        find(context, &SECURITY_GROUPS, group)?;
    }
    if !secure && !groups.is_empty() {
        return Err(ApiError::of(
            409,
            "PortSecurityPortHasSecurityGroup",
            "Port has security group associated. Cannot disable port security or IP address until security group is removed.",
        ));
    }
    let pairs = address_pairs(port)?;
    if !secure && !pairs.is_empty() {
        let text = "Port Security must be enabled in order to have allowed address pairs on a port.";
        return Err(ApiError::of(409, "AddressPairAndPortSecurityRequired", text));
    }
    let most = context.knobs.release.max_address_pairs;
    if pairs.len() > most {
        let text = format!("The number of allowed address pair exceeds the maximum {most}.");
        return Err(ApiError::of(400, "AllowedAddressPairExhausted", text));
    }
    if port.contains_key("allowed_address_pairs") {
        port.set("allowed_address_pairs", pairs);
    }
    Ok(())
}

fn address_pairs(port: &Document) -> Result<Vec<Value>, ApiError> {
    let mut pairs: Vec<Value> = Vec::new();
    for pair in objects(port, "allowed_address_pairs") {
        let address = pair.text("ip_address");
        if address.is_empty() {
            return Err(ApiError::of(
                400,
                "AllowedAddressPairsMissingIP",
                "Invalid input for operation: AllowedAddressPair must contain ip_address.",
            ));
        }
        if address.parse::<IpAddr>().is_err() && address.parse::<IpNet>().is_err() {
            let text =
                format!("Invalid input for allowed_address_pairs. Reason: '{address}' is not a valid IP address.");
            return Err(ApiError::bad_request(text));
        }
        let mac = if pair.has("mac_address") { pair.text("mac_address") } else { port.text("mac_address") };
        let full = json!({ "ip_address": address, "mac_address": mac });
        if pairs.contains(&full) {
            let text = format!(
                "Invalid input for operation: Request contains duplicate address pair: mac_address {mac} ip_address {address}."
            );
            return Err(ApiError::of(400, "DuplicateAddressPairInRequest", text));
        }
        pairs.push(full);
    }
    Ok(pairs)
}

/// Ports of routers and floating IPs go with those, ports of servers with the server.
pub(super) fn delete(context: &mut Context<'_>, request: &Request) -> Result<Reply, ApiError> {
    let port = own(context, &PORTS, request.id())?;
    let (id, owner) = (port.text("id").to_owned(), port.text("device_owner"));
    if owner.starts_with("network:router") || owner == "network:floatingip" {
        let text = format!("Port {id} cannot be deleted directly via the port API: has device owner {owner}.");
        return Err(ApiError::of(409, "ServicePortInUse", text));
    }
    if owner.starts_with("compute:") && !context.is_admin() {
        return Err(ApiError::of(403, "PolicyNotAuthorized", "(rule:delete_port) is disallowed by policy"));
    }
    context.state.delete_port(&id);
    Ok(Reply::empty(204))
}

impl State {
    /// Removes a port; its floating IPs become free.
    pub(crate) fn delete_port(&mut self, id: &str) {
        for floating in self.floating_ips.ids_with("port_id", id) {
            self.release_floating_ip(&floating);
        }
        self.ports.remove(id);
    }

    /// Removes a server with its ports. False if there is none.
    pub(crate) fn delete_server(&mut self, id: &str) -> bool {
        for port in self.ports.ids_with("device_id", id) {
            self.delete_port(&port);
        }
        self.servers.remove(id).is_some()
    }
}
