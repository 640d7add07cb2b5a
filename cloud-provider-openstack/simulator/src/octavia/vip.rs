//! The address of a load balancer: from a port, a subnet or a network.

use serde_json::{Value, json};

use super::writing::invalid;
use crate::{
    context::Context,
    document::{Document, Fields as _, object, objects},
    error::ApiError,
    seed::{self, mac},
};

fn missing(kind: &str, id: &str) -> ApiError {
    ApiError::bad_request(format!("{kind} {id} not found."))
}

/// Fills the attributes `vip_*` of a new load balancer, whose ID is `balancer`, and makes its ports.
pub(super) fn allocate(context: &mut Context<'_>, balancer: &str, made: &mut Document) -> Result<(), ApiError> {
    for group in made.texts("vip_sg_ids") {
        if !context.state.security_groups.contains(group) {
            return Err(missing("Security Group", group));
        }
    }
    if made.has("vip_port_id") {
        return use_port(context, balancer, made);
    }
    let network = if made.has("vip_network_id") {
        let id = made.text("vip_network_id").to_owned();
        if !context.state.networks.contains(&id) {
            return Err(missing("Network", &id));
        }
        choose_subnet(context, &id, made)?;
        id
    } else if made.has("vip_subnet_id") {
        let subnet = context.state.subnets.get(made.text("vip_subnet_id"));
        subnet.ok_or_else(|| missing("Subnet", made.text("vip_subnet_id")))?.text("network_id").to_owned()
    } else {
        let objects = "vip_port_id, vip_network_id, vip_subnet_id";
        return Err(invalid(format!("VIP must contain one of: {objects}.")));
    };
    let project = made.text("project_id").to_owned();
    let subnet = made.text("vip_subnet_id").to_owned();
    let (port, address) =
        make_port(context, balancer, &network, &subnet, made.text("vip_address"), &project, "octavia-lb")?;
    let mut more = Vec::new();
    for vip in objects(made, "additional_vips") {
        let (subnet, wanted) = (vip.text("subnet_id"), vip.text("ip_address"));
        let found = context.state.subnets.get(subnet).ok_or_else(|| missing("Subnet", subnet))?;
        if found.text("network_id") != network {
            return Err(invalid("All VIP subnets must belong to the same network."));
        }
        if subnet == made.text("vip_subnet_id") {
            return Err(invalid("Duplicate VIP subnet(s) specified. Only one IP can be bound per subnet."));
        }
        let (subnet, wanted) = (subnet.to_owned(), wanted.to_owned());
        let (port, address) = make_port(context, balancer, &network, &subnet, &wanted, &project, "octavia-lb-extra")?;
        more.push(json!({ "subnet_id": subnet, "ip_address": address, "port_id": port }));
    }
    made.extend(object(json!({
        "vip_network_id": network, "vip_port_id": port, "vip_address": address, "additional_vips": more,
    })));
    Ok(())
}

/// The subnet of a network: the one that holds the address, else the first IPv4 one with free addresses, else any.
fn choose_subnet(context: &Context<'_>, network: &str, made: &mut Document) -> Result<(), ApiError> {
    if made.has("vip_subnet_id") {
        let subnet = context.state.subnets.get(made.text("vip_subnet_id"));
        let subnet = subnet.ok_or_else(|| missing("Subnet", made.text("vip_subnet_id")))?;
        if subnet.text("network_id") != network {
            return Err(missing("Subnet", made.text("vip_subnet_id")));
        }
        return Ok(());
    }
    let all: Vec<&Document> = context.state.subnets.with("network_id", network).collect();
    if all.is_empty() {
        return Err(invalid("Supplied network does not contain a subnet."));
    }
    let found = if made.has("vip_address") {
        context.state.subnet_with_address(network, made.text("vip_address"))
    } else {
        let free = |subnet: &&&Document| context.state.free_addresses(subnet.text("id")).nth(1).is_some();
        let first = all.iter().filter(free).find(|subnet| subnet.number("ip_version") == Some(4));
        first.or_else(|| all.iter().find(free)).copied()
    };
    let text = if made.has("vip_address") {
        "Supplied network does not contain a subnet for VIP address specified."
    } else {
        "Subnet(s) in the supplied network do not contain enough available IPs."
    };
    let id = found.ok_or_else(|| invalid(text))?.text("id").to_owned();
    made.set("vip_subnet_id", id);
    Ok(())
}

fn make_port(
    context: &mut Context<'_>,
    balancer: &str,
    network: &str,
    subnet: &str,
    address: &str,
    project: &str,
    prefix: &str,
) -> Result<(String, String), ApiError> {
    let mut asked = object(json!({ "subnet_id": subnet }));
    if !address.is_empty() {
        asked.set("ip_address", address);
    }
    let fixed = context.state.fixed_ips(network, Some(&[Value::Object(asked)]), &[])?;
    let address = fixed.first().and_then(|fixed| fixed["ip_address"].as_str()).unwrap_or_default().to_owned();
    let (id, place) = (context.state.next_id(), context.state.next_place());
    let mut port = seed::port(&id, network, project, &json!(fixed));
    port.extend(object(json!({
        "name": format!("{prefix}-{balancer}"), "mac_address": mac(place), "admin_state_up": false, "status": "DOWN",
        "device_id": format!("lb-{balancer}"), "device_owner": "Octavia", "_of_octavia": true,
    })));
    context.state.ports.insert(port);
    Ok((id, address))
}

fn use_port(context: &mut Context<'_>, balancer: &str, made: &mut Document) -> Result<(), ApiError> {
    let id = made.text("vip_port_id").to_owned();
    let port = context.state.ports.get(&id).ok_or_else(|| missing("Port", &id))?.clone();
    if !port.text("device_id").is_empty() {
        return Err(invalid(format!("Port {id} is already used by device {} ", port.text("device_id"))));
    }
    let mut fixed = objects(&port, "fixed_ips");
    let found = if made.has("vip_subnet_id") {
        let text = "No VIP address found on the specified VIP port within the specified subnet.";
        fixed.find(|fixed| fixed.text("subnet_id") == made.text("vip_subnet_id")).ok_or_else(|| invalid(text))?
    } else if made.has("vip_address") {
        let text = "Specified VIP address not found on the specified VIP port.";
        fixed.find(|fixed| fixed.text("ip_address") == made.text("vip_address")).ok_or_else(|| invalid(text))?
    } else {
        let text = "VIP port's subnet could not be determined. Please specify either a VIP subnet or address.";
        let only = fixed.next().ok_or_else(|| invalid(text))?;
        if fixed.next().is_some() {
            return Err(invalid(text));
        }
        only
    };
    made.extend(object(json!({
        "vip_network_id": port.text("network_id"), "vip_subnet_id": found.text("subnet_id"),
        "vip_address": found.text("ip_address"),
    })));
    if let Some(port) = context.state.ports.get_mut(&id) {
        port.set("device_id", format!("lb-{balancer}"));
        port.set("device_owner", "Octavia");
    }
    Ok(())
}
