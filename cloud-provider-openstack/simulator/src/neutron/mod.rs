//! Neutron: networks, ports, floating IPs, routers, security groups, trunks, tags.

mod addresses;
pub(crate) mod attributes;
mod extensions;
mod floating_ips;
mod networks;
pub(crate) mod ports;
mod reading;
mod resources;
mod routers;
mod security_groups;
mod tags;
mod writing;

use http::Method;
use serde_json::json;

use crate::{
    context::Context,
    error::ApiError,
    policy::Access::{Member, Open, Reader, Token},
    request::{Reply, Request},
    service::Action,
};

pub(crate) fn actions() -> Vec<&'static [Action]> {
    vec![GENERAL, NETWORKS, PORTS, FLOATING_IPS, ROUTERS, SECURITY_GROUPS, TAGS]
}

const GENERAL: &[Action] = &[
    Action::get("ListVersions", "", "", Open, versions),
    Action::get("ShowVersion", "/v2.0", "", Token, resources),
    Action::get("ListExtensions", "/v2.0/extensions", "", Token, extensions::list),
    Action::get("ShowExtension", "/v2.0/extensions/{}", "", Token, extensions::show),
    Action::get("ListTrunks", "/v2.0/trunks", "get_trunk", Reader, |context, request| {
        reading::list(context, request, &resources::TRUNKS)
    }),
    Action::get("ShowTrunk", "/v2.0/trunks/{}", "get_trunk", Reader, |context, request| {
        reading::show(context, request, &resources::TRUNKS)
    }),
];

const NETWORKS: &[Action] = &[
    Action::get("ListNetworks", "/v2.0/networks", "get_network", Reader, |context, request| {
        reading::list(context, request, &resources::NETWORKS)
    }),
    Action::get("ShowNetwork", "/v2.0/networks/{}", "get_network", Reader, |context, request| {
        reading::show(context, request, &resources::NETWORKS)
    }),
    Action::write("CreateNetwork", Method::POST, "/v2.0/networks", "create_network", Member, networks::create),
    Action::write("UpdateNetwork", Method::PUT, "/v2.0/networks/{}", "update_network", Member, networks::update),
    Action::write("DeleteNetwork", Method::DELETE, "/v2.0/networks/{}", "delete_network", Member, networks::delete),
    Action::get("ListSubnets", "/v2.0/subnets", "get_subnet", Reader, |context, request| {
        reading::list(context, request, &resources::SUBNETS)
    }),
    Action::get("ShowSubnet", "/v2.0/subnets/{}", "get_subnet", Reader, |context, request| {
        reading::show(context, request, &resources::SUBNETS)
    }),
    Action::write("CreateSubnet", Method::POST, "/v2.0/subnets", "create_subnet", Member, networks::create_subnet),
    Action::write("DeleteSubnet", Method::DELETE, "/v2.0/subnets/{}", "delete_subnet", Member, networks::delete_subnet),
];

const PORTS: &[Action] = &[
    Action::get("ListPorts", "/v2.0/ports", "get_port", Reader, |context, request| {
        reading::list(context, request, &resources::PORTS)
    }),
    Action::get("ShowPort", "/v2.0/ports/{}", "get_port", Reader, |context, request| {
        reading::show(context, request, &resources::PORTS)
    }),
    Action::write("CreatePort", Method::POST, "/v2.0/ports", "create_port", Member, ports::create),
    Action::write("UpdatePort", Method::PUT, "/v2.0/ports/{}", "update_port", Member, ports::update),
    Action::write("DeletePort", Method::DELETE, "/v2.0/ports/{}", "delete_port", Member, ports::delete),
];

const FLOATING_IPS: &[Action] = &[
    Action::get("ListFloatingIps", "/v2.0/floatingips", "get_floatingip", Reader, |context, request| {
        reading::list(context, request, &resources::FLOATING_IPS)
    }),
    Action::get("ShowFloatingIp", "/v2.0/floatingips/{}", "get_floatingip", Reader, |context, request| {
        reading::show(context, request, &resources::FLOATING_IPS)
    }),
    Action::write(
        "CreateFloatingIp",
        Method::POST,
        "/v2.0/floatingips",
        "create_floatingip",
        Member,
        floating_ips::create,
    ),
    Action::write(
        "UpdateFloatingIp",
        Method::PUT,
        "/v2.0/floatingips/{}",
        "update_floatingip",
        Member,
        floating_ips::update,
    ),
    Action::write(
        "DeleteFloatingIp",
        Method::DELETE,
        "/v2.0/floatingips/{}",
        "delete_floatingip",
        Member,
        floating_ips::delete,
    ),
];

const ROUTERS: &[Action] = &[
    Action::get("ListRouters", "/v2.0/routers", "get_router", Reader, |context, request| {
        reading::list(context, request, &resources::ROUTERS)
    }),
    Action::get("ShowRouter", "/v2.0/routers/{}", "get_router", Reader, |context, request| {
        reading::show(context, request, &resources::ROUTERS)
    }),
    Action::write("UpdateRouter", Method::PUT, "/v2.0/routers/{}", "update_router", Member, routers::update),
    Action::write(
        "AddExtraRoutes",
        Method::PUT,
        "/v2.0/routers/{}/add_extraroutes",
        "add_extraroutes",
        Member,
        routers::add_routes,
    ),
    Action::write(
        "RemoveExtraRoutes",
        Method::PUT,
        "/v2.0/routers/{}/remove_extraroutes",
        "remove_extraroutes",
        Member,
        routers::remove_routes,
    ),
    Action::write(
        "AddRouterInterface",
        Method::PUT,
        "/v2.0/routers/{}/add_router_interface",
        "add_router_interface",
        Member,
        routers::add_interface,
    ),
];

const SECURITY_GROUPS: &[Action] = &[
    Action::get("ListSecurityGroups", "/v2.0/security-groups", "get_security_group", Reader, |context, request| {
        reading::list(context, request, &resources::SECURITY_GROUPS)
    }),
    Action::get("ShowSecurityGroup", "/v2.0/security-groups/{}", "get_security_group", Reader, |context, request| {
        reading::show(context, request, &resources::SECURITY_GROUPS)
    }),
    Action::write(
        "CreateSecurityGroup",
        Method::POST,
        "/v2.0/security-groups",
        "create_security_group",
        Member,
        security_groups::create,
    ),
    Action::write(
        "UpdateSecurityGroup",
        Method::PUT,
        "/v2.0/security-groups/{}",
        "update_security_group",
        Member,
        security_groups::update,
    ),
    Action::write(
        "DeleteSecurityGroup",
        Method::DELETE,
        "/v2.0/security-groups/{}",
        "delete_security_group",
        Member,
        security_groups::delete,
    ),
    Action::get(
        "ListSecurityGroupRules",
        "/v2.0/security-group-rules",
        "get_security_group_rule",
        Reader,
        |context, request| reading::list(context, request, &resources::SECURITY_GROUP_RULES),
    ),
    Action::get(
        "ShowSecurityGroupRule",
        "/v2.0/security-group-rules/{}",
        "get_security_group_rule",
        Reader,
        |context, request| reading::show(context, request, &resources::SECURITY_GROUP_RULES),
    ),
    Action::write(
        "CreateSecurityGroupRule",
        Method::POST,
        "/v2.0/security-group-rules",
        "create_security_group_rule",
        Member,
        security_groups::create_rule,
    ),
    Action::write(
        "DeleteSecurityGroupRule",
        Method::DELETE,
        "/v2.0/security-group-rules/{}",
        "delete_security_group_rule",
        Member,
        security_groups::delete_rule,
    ),
];

const TAGS: &[Action] = &[
    Action::get("ListTags", "/v2.0/{}/{}/tags", "get_tags", Reader, tags::list),
    Action::write("ReplaceTags", Method::PUT, "/v2.0/{}/{}/tags", "update_tags", Member, tags::replace),
    Action::write("DeleteTags", Method::DELETE, "/v2.0/{}/{}/tags", "delete_tags", Member, tags::delete_all),
    Action::get("ShowTag", "/v2.0/{}/{}/tags/{}", "get_tags", Reader, tags::show),
    Action::write("AddTag", Method::PUT, "/v2.0/{}/{}/tags/{}", "update_tags", Member, tags::add),
    Action::write("DeleteTag", Method::DELETE, "/v2.0/{}/{}/tags/{}", "delete_tags", Member, tags::delete),
];

fn versions(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    let link = json!({ "rel": "self", "href": format!("{}/networking/v2.0/", context.root) });
    Ok(Reply::ok(json!({ "versions": [{ "id": "v2.0", "status": "CURRENT", "links": [link] }] })))
}

fn resources(context: &mut Context<'_>, _: &Request) -> Result<Reply, ApiError> {
    let one = |name: &str| {
        let href = format!("{}/networking/v2.0/{name}s", context.root);
        json!({ "name": name, "collection": format!("{name}s"), "links": [{ "rel": "self", "href": href }] })
    };
    Ok(Reply::ok(json!({ "resources": [one("network"), one("subnet"), one("subnetpool"), one("port")] })))
}
