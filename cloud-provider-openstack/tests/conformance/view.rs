//! The cloud as the simulator itself holds it: looking must not be disturbed, counted or refused.

use std::collections::{BTreeMap, BTreeSet};

use cloud_provider_openstack_simulator::{Document, Handle, Ids};
use cloud_provider_testing::conformance::{LoadBalancer, Route};
use serde_json::Value;

pub(crate) fn text(resource: &Document, name: &str) -> String {
    resource.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list<'a>(resource: &'a Document, name: &str) -> impl Iterator<Item = &'a Value> {
    resource.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// The names of servers by the addresses of their ports.
pub(crate) fn addresses(handle: &Handle) -> BTreeMap<String, String> {
    let names: BTreeMap<String, String> =
        handle.all("servers").iter().map(|server| (text(server, "id"), text(server, "name"))).collect();
    let mut all = BTreeMap::new();
    for port in handle.all("ports") {
        let Some(name) = names.get(&text(&port, "device_id")) else { continue };
        let fixed = list(&port, "fixed_ips").filter_map(|fixed| fixed["ip_address"].as_str());
        all.extend(fixed.map(|address| (address.to_owned(), name.clone())));
    }
    all
}

/// The routes of the cluster's router.
pub(crate) fn routes(handle: &Handle) -> BTreeSet<Route> {
    let (names, router) = (addresses(handle), handle.get("routers", &Ids::default().router).unwrap_or_default());
    let route = |route: &Value| Route {
        destination: route["destination"].as_str().unwrap_or_default().to_owned(),
        node: route["nexthop"].as_str().and_then(|address| names.get(address)).cloned(),
    };
    list(&router, "routes").map(route).collect()
}

/// Those that are not on their way out.
pub(crate) fn load_balancers(handle: &Handle) -> Vec<LoadBalancer> {
    let (names, floating) = (addresses(handle), handle.all("floatingips"));
    let (listeners, members) = (handle.all("listeners"), handle.all("members"));
    let lives = |resource: &&Document| text(resource, "provisioning_status") != "PENDING_DELETE";
    let mut all = Vec::new();
    for balancer in handle.all("loadbalancers").iter().filter(lives) {
        let id = text(balancer, "id");
        let public = floating.iter().find(|floating| text(floating, "port_id") == text(balancer, "vip_port_id"));
        let ingress =
            public.map_or_else(|| text(balancer, "vip_address"), |public| text(public, "floating_ip_address"));
        let own: Vec<&Document> =
            listeners.iter().filter(lives).filter(|listener| text(listener, "_loadbalancer_id") == id).collect();
        let mut backends: Option<BTreeSet<String>> = None;
        for listener in &own {
            let of_pool = |member: &&Document| text(member, "_pool_id") == text(listener, "default_pool_id");
            let targets = members.iter().filter(lives).filter(of_pool).map(|member| text(member, "address"));
            let targets = targets.map(|address| names.get(&address).cloned().unwrap_or(address)).collect();
            backends = Some(match backends {
                None => targets,
                Some(before) => before.intersection(&targets).cloned().collect(),
            });
        }
        let port = |listener: &&Document| i32::try_from(listener.get("protocol_port")?.as_i64()?).ok();
        let ports = own.iter().filter_map(port).collect();
        all.push(LoadBalancer { id, ingress, ports, backends: backends.unwrap_or_default() });
    }
    all
}

/// Load balancers and what is below them, floating IPs, security groups, their rules, and the ports that are in them.
pub(crate) fn belongings(handle: &Handle) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
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
        all.extend(handle.ids(kind).into_iter().map(|id| format!("{kind} {id}")));
    }
    let default = Ids::default().security_group;
    for port in handle.all("ports") {
        let (id, groups) = (text(&port, "id"), list(&port, "security_groups").filter_map(Value::as_str));
        all.extend(groups.filter(|group| *group != default).map(|group| format!("port {id} in group {group}")));
        all.extend(list(&port, "tags").map(|tag| format!("port {id} tagged {tag}")));
    }
    all
}
