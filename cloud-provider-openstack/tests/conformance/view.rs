//! What there is in a cloud, from its state as a whole: documents as the APIs show them, by kind and ID.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use cloud_provider_testing::conformance::{LoadBalancer, Route};
use serde_json::Value;

fn all<'a>(state: &'a Value, kind: &str) -> impl Iterator<Item = &'a Value> {
    state[kind].as_object().into_iter().flat_map(|all| all.values())
}

fn list<'a>(resource: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    resource[name].as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Whether it is not on its way out.
fn stays(resource: &&Value) -> bool {
    resource["provisioning_status"] != "PENDING_DELETE" && resource["provisioning_status"] != "DELETED"
}

/// The names of servers by the addresses of their ports.
fn addresses(state: &Value) -> BTreeMap<String, String> {
    let mut addresses = BTreeMap::new();
    for port in all(state, "ports") {
        let server = &state["servers"][port["device_id"].as_str().unwrap_or_default()];
        let Some(name) = server["name"].as_str() else { continue };
        let fixed = list(port, "fixed_ips").filter_map(|fixed| fixed["ip_address"].as_str());
        addresses.extend(fixed.map(|address| (address.to_owned(), name.to_owned())));
    }
    addresses
}

/// An address of a node.
pub(crate) fn address(state: &Value, node: &str) -> anyhow::Result<String> {
    let address = addresses(state).into_iter().find(|(_, name)| name == node);
    address.map(|(address, _)| address).with_context(|| format!("{node} has no address"))
}

/// The routes of a router.
pub(crate) fn routes(state: &Value, router: &str) -> BTreeSet<Route> {
    let names = addresses(state);
    let route = |route: &Value| Route {
        destination: text(&route["destination"]),
        node: route["nexthop"].as_str().and_then(|address| names.get(address)).cloned(),
    };
    list(&state["routers"][router], "routes").map(route).collect()
}

/// The load balancers, each with the nodes that all its listeners lead to.
pub(crate) fn load_balancers(state: &Value) -> Vec<LoadBalancer> {
    let names = addresses(state);
    let members = |listener: &Value| -> BTreeSet<String> {
        let of_pool = |member: &&Value| member["_pool_id"] == listener["default_pool_id"];
        let addresses = all(state, "members").filter(stays).filter(of_pool).map(|member| text(&member["address"]));
        addresses.map(|address| names.get(&address).cloned().unwrap_or(address)).collect()
    };
    let balancer = |balancer: &Value| {
        let mut floating = all(state, "floatingips");
        let public = floating.find(|floating| floating["port_id"] == balancer["vip_port_id"]);
        let own = |listener: &&Value| listener["_loadbalancer_id"] == balancer["id"];
        let own: Vec<&Value> = all(state, "listeners").filter(stays).filter(own).collect();
        let port = |listener: &&Value| i32::try_from(listener["protocol_port"].as_i64()?).ok();
        LoadBalancer {
            id: text(&balancer["id"]),
            ingress: public.map_or_else(|| text(&balancer["vip_address"]), |it| text(&it["floating_ip_address"])),
            ports: own.iter().filter_map(port).collect(),
            backends: own.into_iter().map(members).reduce(|one, other| &one & &other).unwrap_or_default(),
        }
    };
    all(state, "loadbalancers").filter(stays).map(balancer).collect()
}

/// Load balancers and what is below them, floating IPs, security groups, their rules, and the ports that are in them.
pub(crate) fn belongings(state: &Value) -> BTreeSet<String> {
    let mut belongings = BTreeSet::new();
    for kind in [
        "loadbalancers",
        "listeners",
        "pools",
        "members",
        "healthmonitors",
        "floatingips",
        "security-groups",
        "security-group-rules",
    ] {
        belongings.extend(all(state, kind).map(|one| format!("{kind} {}", text(&one["id"]))));
    }
    let default = all(state, "security-groups").find(|group| group["name"] == "default").map(|group| &group["id"]);
    for port in all(state, "ports") {
        let id = text(&port["id"]);
        let groups = list(port, "security_groups").filter(|group| Some(*group) != default);
        belongings.extend(groups.map(|group| format!("port {id} in group {}", text(group))));
        belongings.extend(list(port, "tags").map(|tag| format!("port {id} tagged {}", text(tag))));
    }
    belongings
}
