//! The whole account: a plain struct. Actions change it under one lock; nothing in it waits or does I/O.

pub(crate) mod balancing;
mod instances;

use std::{collections::BTreeMap, net::Ipv4Addr};

use cloud_provider_simulation::{Shared, mix};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::balancing::{ClassicLoadBalancer, Listener, LoadBalancer, TargetGroup};
use crate::{
    error::ApiError,
    model::{Instance, NetworkInterface, RouteTable, SecurityGroup, Subnet, Tags, Volume, Vpc, Zone},
    seed::{Seed, Template},
};

/// Everything in the account, by ID or name. Its dump holds all of it, so that it can be loaded again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) zones: BTreeMap<String, Zone>,
    pub(crate) vpcs: BTreeMap<String, Vpc>,
    pub(crate) subnets: BTreeMap<String, Subnet>,
    pub(crate) route_tables: BTreeMap<String, RouteTable>,
    pub(crate) security_groups: BTreeMap<String, SecurityGroup>,
    pub(crate) instances: Shared<BTreeMap<String, Instance>>,
    pub(crate) network_interfaces: BTreeMap<String, NetworkInterface>,
    pub(crate) classic_load_balancers: BTreeMap<String, ClassicLoadBalancer>,
    /// By ARN, as are listeners and target groups.
    pub(crate) load_balancers: BTreeMap<String, LoadBalancer>,
    pub(crate) listeners: BTreeMap<String, Listener>,
    pub(crate) target_groups: Shared<BTreeMap<String, TargetGroup>>,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) certificates: Vec<String>,
    pub(crate) elastic_ips: BTreeMap<String, Ipv4Addr>,
    pub(crate) roles: Vec<String>,
    pub(crate) metadata_instance: Option<String>,
    pub(crate) template: Option<Template>,
    /// Security groups of deleted load balancers, held until then.
    pub(crate) lingering_groups: Vec<(Timestamp, Vec<String>)>,
    made: u64,
    /// How many addresses each subnet of the template has given away, so that looking for the next one is short.
    pub(crate) given: BTreeMap<String, u32>,
}

impl State {
    pub(crate) fn new(seed: &Seed) -> Self {
        fn by<T: Clone>(items: &[T], id: impl Fn(&T) -> &String) -> BTreeMap<String, T> {
            items.iter().map(|item| (id(item).clone(), item.clone())).collect()
        }
        let mut state = Self {
            account: seed.account.clone(),
            region: seed.region.clone(),
            zones: by(&seed.zones, |zone| &zone.name),
            vpcs: by(&seed.vpcs, |vpc| &vpc.id),
            subnets: by(&seed.subnets, |subnet| &subnet.id),
            route_tables: by(&seed.route_tables, |table| &table.id),
            security_groups: by(&seed.security_groups, |group| &group.id),
            instances: by(&seed.instances, |instance| &instance.id).into(),
            network_interfaces: by(&seed.network_interfaces, |interface| &interface.id),
            volumes: by(&seed.volumes, |volume| &volume.id),
            certificates: seed.certificates.clone(),
            elastic_ips: seed.elastic_ips.iter().cloned().collect(),
            roles: seed.roles.clone(),
            metadata_instance: seed.metadata_instance.clone(),
            template: seed.template.clone(),
            ..Self::default()
        };
        state.add_from_template(seed.nodes, None);
        state
    }

    /// A number that no other resource of this run has, spread over all bits.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.made += 1;
        mix(self.made)
    }

    /// A new ID such as `sg-0…` with 17 hexadecimal digits.
    pub(crate) fn next_id(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{:016x}", self.next_number())
    }

    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub(crate) fn partition(&self) -> &'static str {
        if self.region.starts_with("cn-") {
            "aws-cn"
        } else if self.region.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        }
    }

    /// The suffix of host names in the partition.
    pub(crate) fn dns_suffix(&self) -> &'static str {
        if self.partition() == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" }
    }

    /// An ARN in the account and region.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{}:{}:{resource}", self.partition(), self.region, self.account)
    }

    /// The ARN of a global resource.
    pub(crate) fn global_arn(&self, service: &str, resource: &str) -> String {
        format!("arn:{}:{service}::{}:{resource}", self.partition(), self.account)
    }

    pub(crate) fn vpc_of_subnet(&self, subnet: &str) -> Option<&str> {
        self.subnets.get(subnet).map(|subnet| subnet.vpc.as_str())
    }

    pub(crate) fn zone_of_subnet(&self, subnet: &str) -> Option<&str> {
        self.subnets.get(subnet).map(|subnet| subnet.zone.as_str())
    }

    /// Every network interface with the instance it is attached to.
    pub(crate) fn all_interfaces(&self) -> impl Iterator<Item = (&NetworkInterface, Option<&Instance>)> {
        let attached = self
            .instances
            .values()
            .flat_map(|instance| instance.interfaces.iter().map(move |interface| (interface, Some(instance))));
        attached.chain(self.network_interfaces.values().map(|interface| (interface, None)))
    }

    /// Subnets by ID that all exist, in one VPC and in distinct zones, with that VPC.
    pub(crate) fn distinct_zones(&self, ids: &[&str]) -> Result<String, ApiError> {
        let missing: Vec<_> = ids.iter().copied().filter(|id| !self.subnets.contains_key(*id)).collect();
        if !missing.is_empty() {
            let text = format!("The subnet ID '{}' does not exist", missing.join(", "));
            return Err(ApiError::new("SubnetNotFound", text));
        }
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        let mut vpc: Option<&str> = None;
        for subnet in ids.iter().filter_map(|id| self.subnets.get(*id)) {
            if vpc.is_some_and(|vpc| vpc != subnet.vpc) {
                return Err(ApiError::new("InvalidSubnet", "All subnets must belong to the same VPC"));
            }
            vpc = Some(&subnet.vpc);
            if seen.insert(&subnet.zone, &subnet.id).is_some() {
                let text = "A load balancer cannot be attached to multiple subnets in the same Availability Zone";
                return Err(ApiError::new("InvalidConfigurationRequest", text));
            }
        }
        vpc.map(str::to_owned).ok_or_else(|| ApiError::validation("At least one subnet must be specified"))
    }

    /// Whether any route of the VPC leads to an internet gateway.
    pub(crate) fn has_internet_gateway(&self, vpc: &str) -> bool {
        use crate::model::RouteTarget::Gateway;
        self.route_tables.values().filter(|table| table.vpc == vpc).any(|table| {
            table.routes.iter().any(|route| matches!(&route.target, Gateway(gateway) if gateway.starts_with("igw-")))
        })
    }

    /// Security groups that must exist in the VPC.
    pub(crate) fn check_groups(&self, groups: &[&str], vpc: &str, most: usize) -> Result<(), ApiError> {
        for id in groups {
            let known = self.security_groups.get(*id).filter(|group| group.vpc == vpc);
            if known.is_none() {
                let text = format!("One or more security groups are invalid: '{id}'");
                return Err(ApiError::new("InvalidSecurityGroup", text));
            }
        }
        if groups.len() > most {
            let text = format!("A load balancer can have at most {most} security groups");
            return Err(ApiError::new("InvalidConfigurationRequest", text));
        }
        Ok(())
    }

    /// A certificate that listeners may use.
    pub(crate) fn check_certificate(&self, arn: &str) -> Result<(), ApiError> {
        if self.certificates.iter().any(|known| known.eq_ignore_ascii_case(arn)) {
            return Ok(());
        }
        Err(ApiError::new("CertificateNotFound", format!("Certificate '{arn}' not found")))
    }
}

/// Adds `new` to `tags` within the quota.
pub(crate) fn put_tags(tags: &mut Tags, new: &Tags, most: usize, code: &str) -> Result<(), ApiError> {
    let mut merged = tags.clone();
    merged.extend(new.clone());
    if merged.len() > most {
        return Err(ApiError::new(code, format!("The maximum number of tags for a resource is {most}")));
    }
    *tags = merged;
    Ok(())
}
