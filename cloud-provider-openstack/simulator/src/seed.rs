//! What a cloud starts with.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    PASSWORD,
    document::{Document, Fields as _, object},
    keystone::catalog::{id_of, uuid_of},
    state::State,
    time,
};

/// What a cloud starts with: resources as the services store them, by the names of their collections (`networks`,
/// `ports`, `servers`…), and servers by a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Seed {
    /// Regions, the main one first.
    pub regions: Vec<String>,
    /// Resources.
    pub tables: BTreeMap<String, Vec<Document>>,
    /// So many servers by the template.
    pub nodes: usize,
    /// How servers are made.
    pub template: Option<Template>,
}

/// How servers are made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Names are this and a number, from 1.
    pub prefix: String,
    /// The project that has them.
    pub project: String,
    /// The user that made them.
    pub user: String,
    /// The network of their port.
    pub network: String,
    /// The subnets of their port, one address in each.
    pub subnets: Vec<String>,
    /// The security groups of their port.
    pub security_groups: Vec<String>,
    /// Their flavor.
    pub flavor: String,
    /// Availability zones, taken in turns.
    pub zones: Vec<String>,
}

/// IDs of what [`Seed::cluster`] makes, always the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ids {
    /// The project `demo`.
    pub project: String,
    /// The user `demo`, with the roles `member`, `load-balancer_member` and `creator`.
    pub user: String,
    /// The network `private`.
    pub network: String,
    /// Its IPv4 subnet, 10.20.0.0/16.
    pub subnet: String,
    /// Its IPv6 subnet, if it has one.
    pub subnet_v6: String,
    /// The external network `public`.
    pub public_network: String,
    /// Its subnets: 203.0.113.0/24 and 198.51.100.0/24.
    pub public_subnets: [String; 2],
    /// The router between them.
    pub router: String,
    /// The project's security group `default`.
    pub security_group: String,
    /// The flavor `m1.small`.
    pub flavor: String,
    /// The application credential `controller`; its secret is [`PASSWORD`].
    pub application_credential: String,
    /// The trust by which the user `trustee` acts in `demo`.
    pub trust: String,
    /// The user `trustee`.
    pub trustee: String,
    /// The container `tls`, with the secrets of a certificate and its key.
    pub container: String,
}

impl Default for Ids {
    fn default() -> Self {
        Self {
            project: id_of("project/demo"),
            user: id_of("user/demo"),
            network: uuid_of("network/private"),
            subnet: uuid_of("subnet/private"),
            subnet_v6: uuid_of("subnet/private-v6"),
            public_network: uuid_of("network/public"),
            public_subnets: [uuid_of("subnet/public"), uuid_of("subnet/public-2")],
            router: uuid_of("router/router"),
            security_group: uuid_of("security-group/default"),
            flavor: uuid_of("flavor/m1.small"),
            application_credential: id_of("credential/controller"),
            trust: id_of("trust/demo"),
            trustee: id_of("user/trustee"),
            container: uuid_of("container/tls"),
        }
    }
}

/// When the seed was made.
const MADE: &str = "2026-01-01T00:00:00Z";

impl Seed {
    /// A project `demo` with a network, a router to the external network, and `nodes` servers named `CLUSTER-node-1` and so
    /// on; users `demo`, `admin` and `trustee` with the password [`PASSWORD`]. [`Ids`] has the IDs.
    pub fn cluster(cluster: &str, nodes: usize) -> Self {
        Self::build(cluster, nodes, false)
    }

    /// The same with an IPv6 subnet, `fd20::/64`, in which each server has an address too.
    pub fn dual_stack_cluster(cluster: &str, nodes: usize) -> Self {
        Self::build(cluster, nodes, true)
    }

    fn build(cluster: &str, nodes: usize, dual: bool) -> Self {
        let ids = Ids::default();
        let mut seed = Self { regions: vec!["RegionOne".into()], nodes, ..Self::default() };
        seed.add_identity(&ids);
        seed.add_networks(&ids, dual);
        seed.add_rest(&ids);
        let mut subnets = vec![ids.subnet.clone()];
        if dual {
            subnets.push(ids.subnet_v6.clone());
        }
        seed.template = Some(Template {
            prefix: format!("{cluster}-node-"),
            project: ids.project,
            user: ids.user,
            network: ids.network,
            subnets,
            security_groups: vec![ids.security_group],
            flavor: ids.flavor,
            zones: vec!["nova".into()],
        });
        seed
    }

    /// Adds resources to a collection, such as `networks`.
    #[must_use]
    pub fn with(mut self, collection: &str, resources: Vec<Value>) -> Self {
        resources.into_iter().for_each(|resource| self.add(collection, resource));
        self
    }

    fn add(&mut self, collection: &str, resource: Value) {
        self.tables.entry(collection.to_owned()).or_default().push(object(resource));
    }

    fn add_identity(&mut self, ids: &Ids) {
        let (admin, service) = (id_of("project/admin"), id_of("project/service"));
        self.add("domains", json!({ "id": "default", "name": "Default" }));
        for (id, name) in [(&ids.project, "demo"), (&admin, "admin"), (&service, "service")] {
            self.add("projects", json!({ "id": id, "name": name, "domain_id": "default" }));
        }
        let roles = ["member", "load-balancer_member", "creator"];
        let mut user = |id: &str, name: &str, roles: Value| {
            self.add(
                "users",
                json!({
                    "id": id, "name": name, "domain_id": "default", "password": PASSWORD, "_roles": roles,
                }),
            );
        };
        user(&ids.user, "demo", json!({ &ids.project: roles }));
        user(&ids.trustee, "trustee", json!({}));
        user(
            &id_of("user/admin"),
            "admin",
            json!({ &admin: ["admin"], &ids.project: ["admin"], "default": ["admin"] }),
        );
        self.add(
            "application_credentials",
            json!({
                "id": ids.application_credential, "name": "controller", "user_id": ids.user, "project_id": ids.project,
                "roles": roles, "description": null, "expires_at": null, "unrestricted": false, "_secret": PASSWORD,
            }),
        );
        self.add(
            "trusts",
            json!({
                "id": ids.trust, "trustor_user_id": ids.user, "trustee_user_id": ids.trustee, "project_id": ids.project,
                "roles": roles, "impersonation": true,
            }),
        );
    }

    fn add_networks(&mut self, ids: &Ids, dual: bool) {
        let admin = id_of("project/admin");
        let (project, public) = (ids.project.as_str(), ids.public_network.as_str());
        for (id, name, owner, external) in
            [(public, "public", admin.as_str(), true), (ids.network.as_str(), "private", project, false)]
        {
            self.add("networks", json!({
                "id": id, "name": name, "project_id": owner, "tenant_id": owner, "admin_state_up": true, "mtu": 1450,
                "status": "ACTIVE", "shared": false, "router:external": external, "port_security_enabled": true,
                "availability_zone_hints": [], "availability_zones": ["nova"], "ipv4_address_scope": null,
                "ipv6_address_scope": null, "l2_adjacency": true, "qos_policy_id": null, "description": "", "tags": [],
                "created_at": MADE, "updated_at": MADE, "revision_number": 1,
            }));
        }
        let mut subnets = vec![
            (
                &ids.public_subnets[0],
                "public-subnet",
                public,
                &admin,
                "203.0.113.0/24",
                "203.0.113.10",
                "203.0.113.250",
            ),
            (
                &ids.public_subnets[1],
                "public-subnet-2",
                public,
                &admin,
                "198.51.100.0/24",
                "198.51.100.10",
                "198.51.100.250",
            ),
            (
                &ids.subnet,
                "private-subnet",
                ids.network.as_str(),
                &ids.project,
                "10.20.0.0/16",
                "10.20.0.2",
                "10.20.255.254",
            ),
        ];
        if dual {
            subnets.push((
                &ids.subnet_v6,
                "private-subnet-v6",
                ids.network.as_str(),
                &ids.project,
                "fd20::/64",
                "fd20::2",
                "fd20::ffff:ffff",
            ));
        }
        for (id, name, network, owner, cidr, first, last) in subnets {
            let version = if cidr.contains(':') { 6 } else { 4 };
            let mode = if version == 6 { json!("dhcpv6-stateful") } else { Value::Null };
            let gateway = cidr.split_once('/').map_or(String::new(), |(net, _)| match net.strip_suffix(".0") {
                Some(net) => format!("{net}.1"),
                None => format!("{net}1"),
            });
            self.add("subnets", json!({
                "id": id, "name": name, "network_id": network, "project_id": owner, "tenant_id": owner, "cidr": cidr,
                "ip_version": version, "gateway_ip": gateway, "enable_dhcp": network != public,
                "allocation_pools": [{ "start": first, "end": last }], "dns_nameservers": [], "host_routes": [],
                "ipv6_address_mode": mode, "ipv6_ra_mode": mode, "subnetpool_id": null, "service_types": [],
                "dns_publish_fixed_ip": false, "router:external": network == public, "description": "", "tags": [],
                "created_at": MADE, "updated_at": MADE, "revision_number": 0,
            }));
        }
        let mut inside = vec![json!({ "subnet_id": ids.subnet, "ip_address": "10.20.0.1" })];
        if dual {
            inside.push(json!({ "subnet_id": ids.subnet_v6, "ip_address": "fd20::1" }));
        }
        let gateway = json!({ "subnet_id": ids.public_subnets[0], "ip_address": "203.0.113.10" });
        self.add("routers", json!({
            "id": ids.router, "name": "router", "project_id": project, "tenant_id": project, "admin_state_up": true,
            "status": "ACTIVE", "external_gateway_info":
                { "network_id": public, "external_fixed_ips": [&gateway], "enable_snat": true },
            "external_gateways": [{ "network_id": public, "external_fixed_ips": [&gateway] }],
            "routes": [], "availability_zone_hints": [], "availability_zones": [], "flavor_id": null, "ha": false,
            "distributed": false, "enable_ndp_proxy": false, "enable_default_route_bfd": false,
            "enable_default_route_ecmp": false, "description": "", "tags": [], "created_at": MADE, "updated_at": MADE,
            "revision_number": 1,
        }));
        let router_port = |name: &str, network: &str, owner: &str, device_owner: &str, fixed: Value| {
            let mut port = port(&uuid_of(name), network, owner, &fixed);
            port.set("device_id", ids.router.as_str());
            port.set("device_owner", device_owner);
            port.set("mac_address", if network == public { "fa:16:3e:ff:00:01" } else { "fa:16:3e:ff:00:02" });
            port.set("port_security_enabled", false);
            Value::Object(port)
        };
        let all = [
            router_port("port/gateway", public, "", "network:router_gateway", json!([gateway])),
            router_port("port/interface", &ids.network, project, "network:router_interface", json!(inside)),
        ];
        all.into_iter().for_each(|port| self.add("ports", port));
    }

    fn add_rest(&mut self, ids: &Ids) {
        let project = &ids.project;
        self.add("security-groups", json!({
            "id": ids.security_group, "name": "default", "description": "Default security group", "project_id": project,
            "tenant_id": project, "stateful": true, "shared": false, "tags": [], "created_at": MADE, "updated_at": MADE,
            "revision_number": 1,
        }));
        for (direction, ethertype) in [("egress", "IPv4"), ("egress", "IPv6"), ("ingress", "IPv4"), ("ingress", "IPv6")]
        {
            let id = uuid_of(&format!("rule/{direction}/{ethertype}"));
            let group = (direction == "ingress").then_some(ids.security_group.as_str());
            self.add("security-group-rules", json!({
                "id": id, "security_group_id": ids.security_group, "project_id": project, "tenant_id": project,
                "direction": direction, "ethertype": ethertype, "protocol": null, "port_range_min": null,
                "port_range_max": null, "remote_ip_prefix": null, "normalized_cidr": null, "remote_group_id": group,
                "remote_address_group_id": null, "description": "", "belongs_to_default_sg": true, "created_at": MADE,
                "updated_at": MADE, "revision_number": 0,
            }));
        }
        for (name, vcpus, ram, disk) in [("m1.tiny", 1, 512, 1), ("m1.small", 1, 2048, 20), ("m1.large", 4, 8192, 80)] {
            let id = uuid_of(&format!("flavor/{name}"));
            self.add("flavors", json!({ "id": id, "name": name, "vcpus": vcpus, "ram": ram, "disk": disk }));
        }
        let mut references = Vec::new();
        for (name, kind) in [("certificate", "certificate"), ("private_key", "private")] {
            let id = uuid_of(&format!("secret/{name}"));
            references.push(json!({ "name": name, "secret_ref": id }));
            self.add("secrets", json!({
                "id": id, "name": name, "project_id": project, "status": "ACTIVE", "secret_type": kind, "algorithm": null,
                "bit_length": null, "mode": null, "expiration": null, "creator_id": ids.user,
                "content_types": { "default": "text/plain" }, "created": time::plain(made()), "updated": time::plain(made()),
            }));
        }
        self.add(
            "containers",
            json!({
                "id": ids.container, "name": "tls", "project_id": project, "status": "ACTIVE", "type": "certificate",
                "creator_id": ids.user, "secret_refs": references, "consumers": [], "created": time::plain(made()),
                "updated": time::plain(made()),
            }),
        );
    }
}

/// When the seed's resources were made.
pub(crate) fn made() -> Timestamp {
    MADE.parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A port as Neutron stores it.
pub(crate) fn port(id: &str, network: &str, project: &str, fixed_ips: &Value) -> Document {
    object(json!({
        "id": id, "name": "", "network_id": network, "project_id": project, "tenant_id": project,
        "mac_address": "", "admin_state_up": true, "status": "ACTIVE", "device_id": "", "device_owner": "",
        "fixed_ips": fixed_ips, "allowed_address_pairs": [], "extra_dhcp_opts": [], "security_groups": [],
        "description": "", "binding:vnic_type": "normal", "binding:host_id": "", "binding:profile": {},
        "binding:vif_type": "unbound", "binding:vif_details": {}, "port_security_enabled": true,
        "propagate_uplink_status": true, "qos_policy_id": null, "qos_network_policy_id": null,
        "numa_affinity_policy": null, "hardware_offload_type": null, "trusted": null, "device_profile": null, "hints": null,
        "ip_allocation": "immediate", "resource_request": null, "tags": [], "created_at": MADE, "updated_at": MADE,
        "revision_number": 1,
    }))
}

/// The address `number` places after `first`.
pub(crate) fn address_after(first: IpAddr, number: u128) -> IpAddr {
    match first {
        IpAddr::V4(first) => {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            IpAddr::V4(Ipv4Addr::from(u32::from(first).saturating_add(number)))
        }
        IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from(u128::from(first).saturating_add(number))),
    }
}

impl State {
    /// Makes servers, each with a port that has an address in every subnet of the template. Returns their IDs.
    pub(crate) fn add_from_template(&mut self, count: usize) -> Vec<String> {
        let Some(template) = self.template.clone() else { return Vec::new() };
        let mut free: Vec<_> = template.subnets.iter().map(|subnet| self.free_addresses(subnet)).collect();
        let before = self.numbered;
        self.numbered += count;
        (before + 1..=before + count)
            .map(|number| {
                let fixed: Vec<Value> = template
                    .subnets
                    .iter()
                    .zip(&mut free)
                    .filter_map(|(subnet, free)| {
                        free.next().map(|address| json!({ "subnet_id": subnet, "ip_address": address.to_string() }))
                    })
                    .collect();
                self.add_server(&template, number, &json!(fixed))
            })
            .collect()
    }

    fn add_server(&mut self, template: &Template, number: usize, fixed_ips: &Value) -> String {
        let (id, port_id, place) = (self.next_id(), self.next_id(), self.next_place());
        let made = time::seconds(made());
        let zone =
            template.zones.get(number.wrapping_sub(1) % template.zones.len().max(1)).cloned().unwrap_or_default();
        self.servers.insert(object(json!({
            "id": id, "name": format!("{}{number}", template.prefix), "status": "ACTIVE", "tenant_id": template.project,
            "user_id": template.user, "metadata": {}, "created": made, "updated": made, "accessIPv4": "", "accessIPv6": "",
            "OS-EXT-AZ:availability_zone": zone, "OS-SRV-USG:launched_at": format!("{}.000000", time::plain(self::made())),
            "_flavor": template.flavor, "_place": place,
        })));
        let mut port = port(&port_id, &template.network, &template.project, fixed_ips);
        port.set("mac_address", mac(place));
        port.set("device_id", id.as_str());
        port.set("device_owner", format!("compute:{zone}"));
        port.set("security_groups", template.security_groups.clone());
        port.set("binding:host_id", "compute-1");
        port.set("binding:vif_type", "ovs");
        self.ports.insert(port);
        id
    }
}

/// A MAC address of its own for each number.
pub(crate) fn mac(number: u64) -> String {
    let bytes = number.to_be_bytes();
    format!("fa:16:3e:{:02x}:{:02x}:{:02x}", bytes[5], bytes[6], bytes[7])
}
