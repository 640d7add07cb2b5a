//! What an account contains when the simulator starts.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::model::{
    Instance, NetworkInterface, Route, RouteTable, RouteTarget, Rule, SecurityGroup, Source, Subnet, Tags, Volume, Vpc,
    Zone, tags,
};

/// The account at the start. `Seed::default()` is a cluster `demo` with three nodes in us-east-1.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// Twelve digits.
    #[serde(default = "Seed::usual_account")]
    pub account: String,
    /// Region; requests must be signed for it.
    #[serde(default = "Seed::usual_region")]
    pub region: String,
    /// Zones.
    #[serde(default)]
    pub zones: Vec<Zone>,
    /// Virtual private clouds.
    #[serde(default)]
    pub vpcs: Vec<Vpc>,
    /// Subnets.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// Route tables.
    #[serde(default)]
    pub route_tables: Vec<RouteTable>,
    /// Security groups.
    #[serde(default)]
    pub security_groups: Vec<SecurityGroup>,
    /// Instances, besides those of `nodes`.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// Network interfaces that belong to no instance of the account, such as those of Fargate pods.
    #[serde(default)]
    pub network_interfaces: Vec<NetworkInterface>,
    /// EBS volumes.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Certificate ARNs that listeners may use.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Elastic IP allocations and their addresses.
    #[serde(default)]
    pub elastic_ips: Vec<(String, Ipv4Addr)>,
    /// Names of roles that may be assumed; the first is the one the metadata service hands out.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The instance that the metadata service speaks for.
    #[serde(default)]
    pub metadata_instance: Option<String>,
    /// How instances are made that are asked for by number only.
    #[serde(default)]
    pub template: Option<Template>,
    /// So many instances are made from `template`.
    #[serde(default)]
    pub nodes: usize,
}

/// How instances are made when only their number is given: spread over the subnets in turn, each with the next free
/// address, named `ip-10-0-x-y` with the region's private domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Subnets in turn.
    pub subnets: Vec<String>,
    /// Security groups of the network interface.
    pub groups: Vec<String>,
    /// Instance type.
    pub instance_type: String,
    /// Tags; `Name` is added.
    pub tags: Tags,
}

impl Default for Seed {
    fn default() -> Self {
        Self::cluster("demo", 3)
    }
}

impl Seed {
    fn usual_account() -> String {
        "123456789012".into()
    }

    fn usual_region() -> String {
        "us-east-1".into()
    }

    /// An account with nothing in it but its region's three availability zones.
    pub fn empty(region: &str) -> Self {
        let code = region_code(region);
        let zone = |letter: char, number: u32| Zone::new(&format!("{region}{letter}"), &format!("{code}-az{number}"));
        Self {
            account: Self::usual_account(),
            region: region.into(),
            zones: vec![zone('a', 1), zone('b', 2), zone('c', 3)],
            vpcs: Vec::new(),
            subnets: Vec::new(),
            route_tables: Vec::new(),
            security_groups: Vec::new(),
            instances: Vec::new(),
            network_interfaces: Vec::new(),
            volumes: Vec::new(),
            certificates: Vec::new(),
            elastic_ips: Vec::new(),
            roles: Vec::new(),
            metadata_instance: None,
            template: None,
            nodes: 0,
        }
    }

    /// A cluster in us-east-1; see [`Seed::cluster_in`].
    pub fn cluster(name: &str, nodes: usize) -> Self {
        Self::cluster_in("us-east-1", name, nodes)
    }

    /// The usual network of a cluster: a VPC 10.0.0.0/16, in each of three zones a public subnet (role/elb) and a
    /// private one (role/internal-elb), the groups `default` and `<name>-nodes`, a control plane instance for which
    /// the metadata service speaks, a certificate, three Elastic IPs, and `nodes` instances in the public subnets.
    pub fn cluster_in(region: &str, name: &str, nodes: usize) -> Self {
        let mut seed = Self::empty(region);
        let owned = |label: &str| {
            tags([("Name", &format!("{name}-{label}")), (&format!("kubernetes.io/cluster/{name}"), "owned")])
        };
        let vpc = "vpc-0a1b2c3d4e5f60001";
        seed.vpcs.push(Vpc { id: vpc.into(), cidr: net([10, 0, 0, 0], 16), tags: owned("vpc") });
        for (number, zone) in (0_u8..).zip(seed.zones.clone()) {
            for (id, third, bits, role, public) in [
                ("subnet-0a1b2c3d4e5f6100", number * 32, 19, "elb", true),
                ("subnet-0a1b2c3d4e5f6200", 128 + number * 16, 20, "internal-elb", false),
            ] {
                let mut tags = owned(&format!("{}-{}", if public { "public" } else { "private" }, zone.name));
                tags.insert(format!("kubernetes.io/role/{role}"), "1".into());
                seed.subnets.push(Subnet {
                    id: format!("{id}{}", number + 1),
                    vpc: vpc.into(),
                    zone: zone.name.clone(),
                    cidr: net([10, 0, third, 0], bits),
                    ipv6_cidr: None,
                    public_addresses: public,
                    tags,
                });
            }
        }
        let ids = |public: bool| {
            seed.subnets.iter().filter(move |subnet| subnet.public_addresses == public).map(|subnet| subnet.id.clone())
        };
        let table = |id: &str, main, subnets, routes, label| RouteTable {
            id: id.into(),
            vpc: vpc.into(),
            main,
            subnets,
            routes,
            tags: owned(label),
        };
        let default_route =
            Route { destination: "0.0.0.0/0".into(), target: RouteTarget::Gateway("igw-0a1b2c3d4e5f60001".into()) };
        let public_table = table("rtb-0a1b2c3d4e5f60002", false, ids(true).collect(), vec![default_route], "public");
        let main_table = table("rtb-0a1b2c3d4e5f60001", true, ids(false).collect(), Vec::new(), "private");
        let template = Template {
            subnets: ids(true).collect(),
            groups: vec!["sg-0a1b2c3d4e5f60002".into()],
            instance_type: "m5.large".into(),
            tags: tags([(&format!("kubernetes.io/cluster/{name}"), "owned")]),
        };
        seed.route_tables = vec![main_table, public_table];
        seed.security_groups = groups(vpc, name, owned("nodes"));
        seed.template = Some(template);
        seed.add_control_plane(name);
        let account = &seed.account;
        seed.certificates =
            vec![format!("arn:aws:acm:{region}:{account}:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9")];
        seed.elastic_ips =
            (1..=3).map(|n| (format!("eipalloc-0a1b2c3d4e5f6000{n}"), Ipv4Addr::new(198, 51, 100, n))).collect();
        seed.nodes = nodes;
        seed
    }

    fn add_control_plane(&mut self, name: &str) {
        let Some(subnet) = self.subnets.iter().find(|subnet| !subnet.public_addresses) else { return };
        let address = Ipv4Addr::from(u32::from(subnet.cidr.network()) + 10);
        let dns = private_dns_name(&self.region, address);
        let groups = ["sg-0a1b2c3d4e5f60002".to_owned()];
        let mut instance = Instance::new("i-0a1b2c3d4e5f60001", &subnet.id, address, &dns, &groups);
        instance.tags =
            tags([("Name", &format!("{name}-control-plane")), (&format!("kubernetes.io/cluster/{name}"), "owned")]);
        self.metadata_instance = Some(instance.id.clone());
        self.instances.push(instance);
        self.roles.push(format!("{name}-control-plane"));
    }
}

fn groups(vpc: &str, name: &str, owned: Tags) -> Vec<SecurityGroup> {
    let group = |id: &str, name: &str, description: &str, tags| SecurityGroup {
        id: id.into(),
        name: name.into(),
        description: description.into(),
        vpc: vpc.into(),
        ingress: vec![Rule {
            protocol: "-1".into(),
            from_port: None,
            to_port: None,
            source: Source::Group(id.into()),
            description: None,
        }],
        tags,
        created: None,
    };
    vec![
        group("sg-0a1b2c3d4e5f60001", "default", "default VPC security group", Tags::new()),
        group("sg-0a1b2c3d4e5f60002", &format!("{name}-nodes"), "Nodes of the cluster", owned),
    ]
}

fn net(address: [u8; 4], bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::from(address), bits)
}

/// The name that EC2 gives an instance by its address.
pub fn private_dns_name(region: &str, address: Ipv4Addr) -> String {
    let host = address.to_string().replace('.', "-");
    match region {
        "us-east-1" => format!("ip-{host}.ec2.internal"),
        _ => format!("ip-{host}.{region}.compute.internal"),
    }
}

/// The name that EC2 gives an instance by its public address.
pub(crate) fn public_dns_name(region: &str, address: Ipv4Addr) -> String {
    let host = address.to_string().replace('.', "-");
    match region {
        "us-east-1" => format!("ec2-{host}.compute-1.amazonaws.com"),
        _ => format!("ec2-{host}.{region}.compute.amazonaws.com"),
    }
}

/// The short form of a region in zone IDs: `us-east-1` is `use1`, `ap-northeast-2` is `apne2`.
fn region_code(region: &str) -> String {
    let short = |part: &str| match part {
        "northeast" => "ne".to_owned(),
        "northwest" => "nw".into(),
        "southeast" => "se".into(),
        "southwest" => "sw".into(),
        other => other.chars().take(1).collect(),
    };
    let mut parts = region.split('-');
    let area = parts.next().unwrap_or_default().to_owned();
    parts.fold(area, |code, part| code + &short(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_use_the_short_region() {
        assert_eq!(region_code("us-east-1"), "use1");
        assert_eq!(region_code("us-west-2"), "usw2");
        assert_eq!(region_code("ap-northeast-2"), "apne2");
    }

    #[test]
    fn seed_survives_json() {
        let text = serde_json::to_string(&Seed::default()).unwrap();
        let again: Seed = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}
