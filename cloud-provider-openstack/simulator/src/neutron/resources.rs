//! Neutron's resources: their attributes, and how each is refused.

use super::attributes::{Attribute, Form, Post, read};
use crate::{error::ApiError, state::Kind};

/// A kind of resource.
pub(super) struct Resource {
    pub(super) kind: Kind,
    /// `port`
    pub(super) singular: &'static str,
    /// `ports`
    pub(super) plural: &'static str,
    pub(super) attributes: &'static [Attribute],
    /// The type of the error that tells of an unknown ID, and its text around the ID.
    not_found: (&'static str, &'static str, &'static str),
}

impl Resource {
    pub(super) fn missing(&self, id: &str) -> ApiError {
        let (kind, before, after) = self.not_found;
        ApiError::of(404, kind, format!("{before} {id} {after}"))
    }
}

const NAME: Attribute = read("name", Form::Text(255)).post(Post::Empty).put();
const DESCRIPTION: Attribute = read("description", Form::Text(255)).post(Post::Empty).put();
const UP: Attribute = read("admin_state_up", Form::Flag).post(Post::True).put();
const ID: Attribute = read("id", Form::Id);
const STATUS: Attribute = read("status", Form::Text(16));
const PROJECT: Attribute = read("project_id", Form::Text(255)).post(Post::Open);
const TENANT: Attribute = read("tenant_id", Form::Text(255)).post(Post::Open);
const TAGS: Attribute = read("tags", Form::List).post(Post::EmptyList).unfiltered();
const CREATED: Attribute = read("created_at", Form::Any).unfiltered();
const UPDATED: Attribute = read("updated_at", Form::Any).unfiltered();
const REVISION: Attribute = read("revision_number", Form::Number);
const QOS: Attribute = read("qos_policy_id", Form::MaybeId).post(Post::Null).put();

pub(super) static NETWORKS: Resource = Resource {
    kind: Kind::Networks,
    singular: "network",
    plural: "networks",
    not_found: ("NetworkNotFound", "Network", "could not be found."),
    attributes: &[
        ID,
        NAME,
        DESCRIPTION,
        UP,
        STATUS,
        PROJECT,
        TENANT,
        TAGS,
        CREATED,
        UPDATED,
        REVISION,
        QOS,
        read("shared", Form::Flag).post(Post::False).put(),
        read("router:external", Form::Flag).post(Post::False).put().of("external-net"),
        read("mtu", Form::Number).post(Post::Open).put(),
        read("port_security_enabled", Form::Flag).post(Post::True).put().of("port-security"),
        read("subnets", Form::List).unfiltered(),
        read("availability_zone_hints", Form::List).post(Post::EmptyList).unfiltered(),
        read("availability_zones", Form::List).unfiltered(),
        read("ipv4_address_scope", Form::MaybeId),
        read("ipv6_address_scope", Form::MaybeId),
        read("l2_adjacency", Form::Flag).unfiltered(),
        read("provider:network_type", Form::Text(32)).post(Post::Open).admin(),
        read("provider:physical_network", Form::Any).post(Post::Open).admin(),
        read("provider:segmentation_id", Form::Number).post(Post::Open).admin(),
    ],
};

pub(super) static SUBNETS: Resource = Resource {
    kind: Kind::Subnets,
    singular: "subnet",
    plural: "subnets",
    not_found: ("SubnetNotFound", "Subnet", "could not be found."),
    attributes: &[
        ID,
        NAME,
        DESCRIPTION,
        PROJECT,
        TENANT,
        TAGS,
        CREATED,
        UPDATED,
        REVISION,
        read("network_id", Form::Id).post(Post::Required),
        read("ip_version", Form::Number).post(Post::Required),
        read("cidr", Form::Cidr).post(Post::Required),
        read("gateway_ip", Form::MaybeIp).post(Post::Open).put(),
        read("enable_dhcp", Form::Flag).post(Post::True).put(),
        read("allocation_pools", Form::List).post(Post::Open).put().unfiltered(),
        read("dns_nameservers", Form::List).post(Post::EmptyList).put().unfiltered(),
        read("host_routes", Form::List).post(Post::EmptyList).put().unfiltered(),
        read("ipv6_ra_mode", Form::Any).post(Post::Null),
        read("ipv6_address_mode", Form::Any).post(Post::Null),
        read("subnetpool_id", Form::MaybeId).post(Post::Null),
        read("service_types", Form::List).post(Post::EmptyList).put().unfiltered(),
        read("dns_publish_fixed_ip", Form::Flag).post(Post::False).put(),
        read("router:external", Form::Flag),
        read("segment_id", Form::MaybeId).admin(),
    ],
};

pub(super) static PORTS: Resource = Resource {
    kind: Kind::Ports,
    singular: "port",
    plural: "ports",
    not_found: ("PortNotFound", "Port", "could not be found."),
    attributes: &[
        ID,
        NAME,
        DESCRIPTION,
        UP,
        STATUS,
        PROJECT,
        TENANT,
        TAGS,
        CREATED,
        UPDATED,
        REVISION,
        QOS,
        read("network_id", Form::Id).post(Post::Required),
        read("mac_address", Form::Text(32)).post(Post::Open).put(),
        read("fixed_ips", Form::List).post(Post::Open).put(),
        read("device_id", Form::Text(255)).post(Post::Empty).put(),
        read("device_owner", Form::Text(255)).post(Post::Empty).put(),
        read("security_groups", Form::List).post(Post::Open).put().of("security-group"),
        read("allowed_address_pairs", Form::List).post(Post::EmptyList).put().unfiltered().of("allowed-address-pairs"),
        read("port_security_enabled", Form::Flag).post(Post::Open).put().of("port-security"),
        read("extra_dhcp_opts", Form::List).post(Post::EmptyList).put().unfiltered(),
        read("binding:vnic_type", Form::Text(32)).post(Post::Open).put(),
        read("binding:host_id", Form::Text(255)).post(Post::Open).put().admin(),
        read("binding:profile", Form::Any).post(Post::EmptyObject).put().unfiltered().admin(),
        read("binding:vif_type", Form::Text(64)).unfiltered().admin(),
        read("binding:vif_details", Form::Any).unfiltered().admin(),
        read("resource_request", Form::Any).unfiltered().admin(),
        read("qos_network_policy_id", Form::MaybeId),
        read("propagate_uplink_status", Form::Flag).post(Post::True).put().unfiltered(),
        read("numa_affinity_policy", Form::Any).post(Post::Null).put().unfiltered().admin(),
        read("hardware_offload_type", Form::Any).post(Post::Null).unfiltered(),
        read("trusted", Form::Any).post(Post::Null).put().unfiltered().admin(),
        read("device_profile", Form::Any).post(Post::Null).unfiltered().admin(),
        read("hints", Form::Any).post(Post::Null).put().unfiltered().admin(),
        read("ip_allocation", Form::Text(16)).unfiltered(),
        read("trunk_details", Form::Any).unfiltered().of("trunk-details"),
    ],
};

pub(super) static FLOATING_IPS: Resource = Resource {
    kind: Kind::FloatingIps,
    singular: "floatingip",
    plural: "floatingips",
    not_found: ("FloatingIPNotFound", "Floating IP", "could not be found"),
    attributes: &[
        ID,
        DESCRIPTION,
        STATUS,
        PROJECT,
        TENANT,
        TAGS,
        CREATED,
        UPDATED,
        REVISION,
        QOS,
        read("floating_network_id", Form::Id).post(Post::Required),
        read("floating_ip_address", Form::MaybeIp).post(Post::Null),
        read("fixed_ip_address", Form::MaybeIp).post(Post::Null).put(),
        read("port_id", Form::MaybeId).post(Post::Null).put(),
        read("subnet_id", Form::MaybeId).post(Post::Null).unfiltered(),
        read("router_id", Form::MaybeId),
        read("port_details", Form::Any).unfiltered(),
        read("port_forwardings", Form::List).unfiltered(),
        read("qos_network_policy_id", Form::MaybeId).unfiltered(),
        read("dns_name", Form::Text(255)).post(Post::Empty),
        read("dns_domain", Form::Text(255)).post(Post::Empty),
    ],
};

pub(super) static ROUTERS: Resource = Resource {
    kind: Kind::Routers,
    singular: "router",
    plural: "routers",
    not_found: ("RouterNotFound", "Router", "could not be found"),
    attributes: &[
        ID,
        NAME,
        DESCRIPTION,
        UP,
        STATUS,
        PROJECT,
        TENANT,
        TAGS,
        CREATED,
        UPDATED,
        REVISION,
        read("external_gateway_info", Form::Any).post(Post::Null).put().unfiltered(),
        read("external_gateways", Form::List).unfiltered(),
        read("routes", Form::List).post(Post::EmptyList).put().unfiltered().of("extraroute"),
        read("ha", Form::Flag).admin(),
        read("distributed", Form::Flag).admin(),
        read("availability_zone_hints", Form::List).post(Post::EmptyList).unfiltered(),
        read("availability_zones", Form::List).unfiltered(),
        read("flavor_id", Form::MaybeId).post(Post::Null),
        read("enable_ndp_proxy", Form::Flag).post(Post::False).put(),
        read("enable_default_route_bfd", Form::Flag).admin(),
        read("enable_default_route_ecmp", Form::Flag).admin(),
    ],
};

pub(super) static SECURITY_GROUPS: Resource = Resource {
    kind: Kind::SecurityGroups,
    singular: "security_group",
    plural: "security_groups",
    not_found: ("SecurityGroupNotFound", "Security group", "does not exist"),
    attributes: &[
        ID,
        NAME,
        DESCRIPTION,
        PROJECT,
        TENANT,
        TAGS,
        CREATED,
        UPDATED,
        REVISION,
        read("stateful", Form::Flag).post(Post::True).put(),
        read("shared", Form::Flag),
        read("security_group_rules", Form::List).unfiltered(),
    ],
};

pub(super) static SECURITY_GROUP_RULES: Resource = Resource {
    kind: Kind::SecurityGroupRules,
    singular: "security_group_rule",
    plural: "security_group_rules",
    not_found: ("SecurityGroupRuleNotFound", "Security group rule", "does not exist"),
    attributes: &[
        ID,
        DESCRIPTION,
        PROJECT,
        TENANT,
        CREATED,
        UPDATED,
        REVISION,
        read("security_group_id", Form::Id).post(Post::Required),
        read("direction", Form::Text(16)).post(Post::Required),
        read("ethertype", Form::Any).post(Post::Open),
        read("protocol", Form::Any).post(Post::Null),
        read("port_range_min", Form::Number).post(Post::Null),
        read("port_range_max", Form::Number).post(Post::Null),
        read("remote_ip_prefix", Form::Any).post(Post::Null),
        read("remote_group_id", Form::MaybeId).post(Post::Null),
        read("remote_address_group_id", Form::MaybeId).post(Post::Null),
        read("normalized_cidr", Form::Any).unfiltered(),
        read("belongs_to_default_sg", Form::Flag),
    ],
};

pub(super) static TRUNKS: Resource = Resource {
    kind: Kind::Trunks,
    singular: "trunk",
    plural: "trunks",
    not_found: ("TrunkNotFound", "Trunk", "could not be found."),
    attributes: &[
        ID,
        NAME,
        DESCRIPTION,
        UP,
        STATUS,
        PROJECT,
        TENANT,
        TAGS,
        CREATED,
        UPDATED,
        REVISION,
        read("port_id", Form::Id).post(Post::Required),
        read("sub_ports", Form::List).post(Post::EmptyList).unfiltered(),
    ],
};

/// All that have tags, by the collection in the path.
pub(super) fn of_path(collection: &str) -> Option<&'static Resource> {
    [&NETWORKS, &SUBNETS, &PORTS, &FLOATING_IPS, &ROUTERS, &SECURITY_GROUPS, &TRUNKS]
        .into_iter()
        .find(|resource| resource.plural.replace('_', "-") == collection)
}
