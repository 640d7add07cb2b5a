//! A server as Nova answers it, at each microversion.

use std::collections::BTreeMap;

use cloud_provider_simulation::mix;
use serde_json::{Value, json};

use crate::{
    context::Context,
    document::{Document, Fields as _, objects},
    state::State,
};

/// What many servers need to know of ports, floating IPs and volumes, looked up once.
pub(super) struct Attached<'a> {
    ports: BTreeMap<&'a str, Vec<&'a Document>>,
    floating: BTreeMap<&'a str, Vec<&'a Document>>,
    volumes: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Attached<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        let mut attached = Self { ports: BTreeMap::new(), floating: BTreeMap::new(), volumes: BTreeMap::new() };
        for port in state.ports.values().filter(|port| !port.text("device_id").is_empty()) {
            attached.ports.entry(port.text("device_id")).or_default().push(port);
        }
        for address in state.floating_ips.values().filter(|address| address.has("port_id")) {
            attached.floating.entry(address.text("port_id")).or_default().push(address);
        }
        for volume in state.volumes.values() {
            for attachment in objects(volume, "attachments") {
                attached.volumes.entry(attachment.text("server_id")).or_default().push(volume.text("id"));
            }
        }
        attached
    }

    pub(super) fn ports(&self, server: &str) -> &[&'a Document] {
        self.ports.get(server).map(Vec::as_slice).unwrap_or_default()
    }
}

fn links(context: &Context<'_>, collection: &str, id: &str) -> Value {
    json!([
        { "rel": "self", "href": format!("{}/compute/v2.1/{collection}/{id}", context.root) },
        bookmark(context, collection, id),
    ])
}

pub(super) fn bookmark(context: &Context<'_>, collection: &str, id: &str) -> Value {
    json!({ "rel": "bookmark", "href": format!("{}/compute/{collection}/{id}", context.root) })
}

pub(super) fn both_links(context: &Context<'_>, collection: &str, id: &str) -> Value {
    links(context, collection, id)
}

/// Addresses by the name of the network, as Nova's cache of Neutron has them. A server's own `addresses` beat them.
pub(super) fn addresses(context: &Context<'_>, server: &Document, attached: &Attached<'_>) -> Value {
    if let Some(own) = server.get("_addresses") {
        return own.clone();
    }
    let mut networks: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for port in attached.ports(server.text("id")) {
        let network = context.state.networks.get(port.text("network_id"));
        let name = network.map_or("", |network| network.text("name")).to_owned();
        let entries = networks.entry(name).or_default();
        let mut add = |address: &str, kind: &str| {
            let version = if address.contains(':') { 6 } else { 4 };
            entries.push(json!({
                "addr": address, "version": version, "OS-EXT-IPS:type": kind,
                "OS-EXT-IPS-MAC:mac_addr": port.text("mac_address"),
            }));
        };
        objects(port, "fixed_ips").for_each(|fixed| add(fixed.text("ip_address"), "fixed"));
        for floating in attached.floating.get(port.text("id")).into_iter().flatten() {
            add(floating.text("floating_ip_address"), "floating");
        }
    }
    json!(networks)
}

fn flavor(context: &Context<'_>, server: &Document) -> Value {
    let id = server.text("_flavor");
    let flavor = context.state.flavors.get(id);
    if context.minor < 47 {
        return json!({ "id": id, "links": [bookmark(context, "flavors", id)] });
    }
    let Some(flavor) = flavor else { return json!({}) };
    let number = |name: &str| flavor.number(name).unwrap_or_default();
    json!({
        "vcpus": number("vcpus"), "ram": number("ram"), "disk": number("disk"),
        "ephemeral": number("OS-FLV-EXT-DATA:ephemeral"), "swap": number("swap"),
        "original_name": flavor.text("name"),
        "extra_specs": flavor.get("_extra_specs").cloned().unwrap_or_else(|| json!({})),
    })
}

pub(super) fn basic(context: &Context<'_>, server: &Document) -> Document {
    let id = server.text("id");
    crate::document::object(json!({ "id": id, "name": server.text("name"), "links": links(context, "servers", id) }))
}

/// Vm and power state of a status.
fn states(status: &str) -> (&str, i64) {
    match status {
        "SHUTOFF" => ("stopped", 4),
        "PAUSED" => ("paused", 3),
        "SUSPENDED" => ("suspended", 4),
        "SHELVED" => ("shelved", 4),
        "SHELVED_OFFLOADED" => ("shelved_offloaded", 4),
        "BUILD" => ("building", 0),
        "ERROR" => ("error", 0),
        "DELETED" => ("deleted", 0),
        "SOFT_DELETED" => ("soft-delete", 4),
        "RESCUE" => ("rescued", 1),
        _ => ("active", 1),
    }
}

pub(super) fn full(context: &Context<'_>, server: &Document, attached: &Attached<'_>) -> Document {
    let (id, status) = (server.text("id"), server.text("status"));
    let (vm_state, power) = states(status);
    let given = |name: &str, default: Value| server.get(name).cloned().unwrap_or(default);
    let project = server.text("tenant_id");
    let volumes: Vec<Value> = attached.volumes.get(id).into_iter().flatten().map(|id| json!({ "id": id })).collect();
    let mut view = crate::document::object(json!({
        "accessIPv4": server.text("accessIPv4"), "accessIPv6": server.text("accessIPv6"),
        "addresses": addresses(context, server, attached),
        "created": server.text("created"), "updated": server.text("updated"),
        "flavor": flavor(context, server),
        "hostId": format!("{:016x}{:016x}", mix(project.len() as u64), mix(id.len() as u64)),
        "id": id, "name": server.text("name"), "image": given("image", json!("")),
        "links": links(context, "servers", id), "metadata": given("metadata", json!({})),
        "status": status, "tenant_id": project, "user_id": server.text("user_id"),
        "OS-DCF:diskConfig": "MANUAL",
        "OS-EXT-AZ:availability_zone": server.text("OS-EXT-AZ:availability_zone"),
        "config_drive": "", "key_name": given("key_name", Value::Null),
        "OS-SRV-USG:launched_at": given("OS-SRV-USG:launched_at", Value::Null), "OS-SRV-USG:terminated_at": null,
        "OS-EXT-STS:task_state": given("OS-EXT-STS:task_state", Value::Null),
        "OS-EXT-STS:vm_state": vm_state, "OS-EXT-STS:power_state": power,
        "os-extended-volumes:volumes_attached": volumes,
    }));
    if matches!(status, "ACTIVE" | "BUILD" | "MIGRATING" | "PASSWORD" | "REBOOT" | "REBUILD" | "RESIZE") {
        view.set("progress", 0);
    }
    if status == "ERROR" {
        view.set(
            "fault",
            given(
                "_fault",
                json!({ "code": 500, "created": server.text("updated"), "message": "No valid host was found." }),
            ),
        );
    }
    let groups = security_groups(context, attached.ports(id));
    if !groups.is_empty() {
        view.set("security_groups", groups);
    }
    add_newer(context, server, &mut view);
    view
}

fn security_groups(context: &Context<'_>, ports: &[&Document]) -> Vec<Value> {
    let mut names: Vec<&str> = ports
        .iter()
        .flat_map(|port| port.texts("security_groups"))
        .filter_map(|id| context.state.security_groups.get(id))
        .map(|group| group.text("name"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| json!({ "name": name })).collect()
}

/// What later microversions and administrators see besides.
fn add_newer(context: &Context<'_>, server: &Document, view: &mut Document) {
    let minor = context.minor;
    let given = |name: &str, default: Value| server.get(name).cloned().unwrap_or(default);
    if context.is_admin() {
        view.set("OS-EXT-SRV-ATTR:host", given("_host", json!("compute-1")));
        view.set("OS-EXT-SRV-ATTR:hypervisor_hostname", given("_host", json!("compute-1")));
        view.set(
            "OS-EXT-SRV-ATTR:instance_name",
            format!("instance-{}", &server.text("id").get(..8).unwrap_or_default()),
        );
    }
    if context.is_admin() && minor >= 3 || minor >= 90 {
        view.set("OS-EXT-SRV-ATTR:hostname", server.text("name"));
    }
    let newer: [(u32, &str, Value); 6] = [
        (9, "locked", json!(false)),
        (19, "description", given("description", Value::Null)),
        (26, "tags", given("_tags", json!([]))),
        (63, "trusted_image_certificates", Value::Null),
        (73, "locked_reason", Value::Null),
        (96, "pinned_availability_zone", Value::Null),
    ];
    for (since, name, value) in newer {
        if minor >= since {
            view.set(name, value);
        }
    }
    if minor >= 100 {
        view.set("scheduler_hints", json!({}));
    }
}
