//! What is different in each run: times, places and addresses by chance are left out, IDs get names by what has them.

use serde_json::Value;

/// How IDs of machines and their ports begin, which are the same in each run.
pub(crate) const MACHINES: &str = "c0de";
/// Times, counters of changes, and the order in which things were made.
pub(crate) const CHANCE: [&str; 9] = [
    "created",
    "created_at",
    "updated",
    "updated_at",
    "revision_number",
    "_place",
    "binding:host_id",
    "compute_id",
    "lb_network_ip",
];

/// Takes out what is different in each run.
pub(crate) fn without_chance(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !CHANCE.contains(&key.as_str()));
            fields.values_mut().for_each(without_chance);
        }
        Value::Array(items) => items.iter_mut().for_each(without_chance),
        _ => {}
    }
}

/// Each generated ID or address, and the name to put there. `is_fresh` tells what was there before.
pub(crate) fn of_generated(captured: &Value, is_fresh: impl Fn(&str, &str) -> bool) -> Vec<(String, String)> {
    let table = |kind: &str| {
        let made = |(id, resource): (&String, &Value)| {
            (!is_fresh(kind, id) && resource.is_object()).then(|| (id.clone(), resource.clone()))
        };
        captured[kind].as_object().into_iter().flatten().filter_map(made).collect::<Vec<_>>()
    };
    let mut names: Vec<(String, String)> = Vec::new();
    let balancers = table("loadbalancers");
    let balancer = |id: &str| balancers.iter().find(|(own, _)| own == id).map_or("", |(_, one)| text(one, "name"));
    for (id, one) in &balancers {
        names.push((id.clone(), format!("balancer({})", text(one, "name"))));
    }
    let listeners = table("listeners");
    for (id, one) in &listeners {
        names.push((id.clone(), format!("listener({} {})", of_balancer(one, &balancer), port(one))));
    }
    // By the port of its listener; there is none while the listener is away.
    let of_pool = |id: &str, pool: &Value| {
        let listener = listeners.iter().find(|(_, one)| text(one, "default_pool_id") == id);
        listener.map_or_else(
            || text(pool, "name").to_owned(),
            |(_, one)| format!("{} {}", of_balancer(one, &balancer), port(one)),
        )
    };
    let pools = table("pools");
    let pool =
        |id: &str| pools.iter().find(|(own, _)| own == id).map_or_else(String::new, |(own, one)| of_pool(own, one));
    for (id, one) in &pools {
        names.push((id.clone(), format!("pool({})", of_pool(id, one))));
    }
    for (id, one) in table("members") {
        let place = format!("{} {}:{}", pool(text(&one, "_pool_id")), text(&one, "address"), one["protocol_port"]);
        names.push((id, format!("member({place})")));
    }
    for (id, one) in table("healthmonitors") {
        names.push((id, format!("monitor({})", pool(text(&one, "_pool_id")))));
    }
    for (id, one) in table("floatingips") {
        names.push((id, format!("floating({})", text(&one, "floating_ip_address"))));
    }
    for (id, one) in table("security-groups") {
        names.push((id, format!("group({})", text(&one, "name"))));
    }
    for (id, one) in table("security-group-rules") {
        let fields = ["direction", "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix"];
        let fields: Vec<String> = fields.iter().map(|field| plain(&one[field])).collect();
        names.push((id, format!("rule({} {})", text(&one, "security_group_id"), fields.join(" "))));
    }
    for (id, one) in table("ports").into_iter().filter(|(id, _)| !id.starts_with(MACHINES)) {
        let place = format!("{} {}", text(&one, "device_owner"), text(&one["fixed_ips"][0], "ip_address"));
        names.push((text(&one, "mac_address").to_owned(), format!("mac({place})")));
        names.push((id, format!("port({place})")));
    }
    // A rule's name holds the ID of its group.
    let groups: Vec<_> = names.iter().filter(|(_, name)| name.starts_with("group(")).cloned().collect();
    for (_, name) in names.iter_mut().filter(|(_, name)| name.starts_with("rule(")) {
        for (id, group) in &groups {
            *name = name.replace(id, group);
        }
    }
    names.retain(|(generated, _)| !generated.is_empty());
    names
}

fn of_balancer<'a>(one: &'a Value, balancer: &impl Fn(&str) -> &'a str) -> &'a str {
    balancer(text(one, "_loadbalancer_id"))
}

fn port(listener: &Value) -> String {
    format!("{} {}", text(listener, "protocol"), listener["protocol_port"])
}

fn text<'a>(one: &'a Value, field: &str) -> &'a str {
    one[field].as_str().unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
