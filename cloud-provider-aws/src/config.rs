//! The cloud config file: parsed, validated, and turned into typed settings, with all problems reported together.

use std::collections::BTreeMap;

use cloud_provider::config::Notes;
use regex::Regex;
use serde::Deserialize;

use crate::{
    client::{Endpoint, Endpoints, Role},
    cluster_id::ClusterId,
};

pub mod keys;
mod overrides;

pub use cloud_provider::config::Problems;
pub use overrides::ServiceOverride;

/// Instance types whose topology must be known before their node may be used.
const TOPOLOGY_TYPES: &str = r"^(hpc|trn|p)[0-9]+[a-z]*(-[a-z0-9]+)?(\.[0-9a-z]*)$";
/// kube-proxy's health port and path.
const PROBE_PORT: i32 = 10256;
const PROBE_PATH: &str = "/healthz";

/// The file as it is written. Upstream ignores unknown sections and keys; here they are warnings.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct File {
    global: Global,
    service_override: BTreeMap<String, overrides::Section>,
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, rename_all = "PascalCase")]
struct Global {
    zone: String,
    region: String,
    #[serde(rename = "VPC")]
    vpc: String,
    #[serde(rename = "SubnetID")]
    subnet_id: String,
    #[serde(rename = "RouteTableID")]
    route_table_id: String,
    #[serde(rename = "RoleARN")]
    role_arn: String,
    #[serde(rename = "SourceARN")]
    source_arn: String,
    kubernetes_cluster_tag: String,
    #[serde(rename = "KubernetesClusterID")]
    kubernetes_cluster_id: String,
    disable_security_group_ingress: bool,
    elb_security_group: String,
    #[serde(rename = "NodeIPFamilies")]
    node_ip_families: Vec<String>,
    cluster_service_load_balancer_health_probe_mode: String,
    cluster_service_shared_load_balancer_health_probe_port: i32,
    cluster_service_shared_load_balancer_health_probe_path: String,
    supported_topology_instance_type_pattern: String,
    #[serde(rename = "NLBSecurityGroupMode")]
    nlb_security_group_mode: String,
    #[serde(rename = "KeepNodesWithoutProviderID")]
    keep_nodes_without_provider_id: bool,
    reconcile_load_balancer_tags: bool,
    reconcile_load_balancer_subnets: bool,
    allow_load_balancer_type_change: bool,
    #[serde(rename = "NLBExtensions")]
    nlb_extensions: bool,
    merge_node_security_group_rules: bool,
    ignore_topology_failures: bool,
}

/// What the cloud config says, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// From `Zone` or `Region`; absent means the region of the machine we run on.
    pub region: Option<String>,
    /// `VPC`, for a control plane outside of it.
    pub vpc: Option<String>,
    /// `SubnetID`, the last resort for load balancers of such a control plane.
    pub subnet: Option<String>,
    /// `RouteTableID`.
    pub route_table: Option<String>,
    /// `RoleARN` and `SourceARN`.
    pub role: Option<Role>,
    /// `KubernetesClusterTag` or `KubernetesClusterID`; absent means the tags of the machine we run on.
    pub cluster_id: Option<ClusterId>,
    /// `DisableSecurityGroupIngress`: the security groups of nodes are never touched.
    pub disable_security_group_ingress: bool,
    /// `ElbSecurityGroup`: classic load balancers use this group instead of one of their own.
    pub elb_security_group: Option<String>,
    /// `NodeIPFamilies`, in order, without repetition.
    pub ip_families: Vec<IpFamily>,
    /// The health probe of services with external traffic policy `Cluster`.
    pub health_probe: HealthProbe,
    /// Instance types whose topology must be known before their node may be used.
    pub topology_types: Regex,
    /// `NLBSecurityGroupMode`.
    pub nlb_security_groups: NlbSecurityGroups,
    /// `KeepNodesWithoutProviderID`, a key of ours: a node that has no provider ID, and whose name no instance has, is
    /// never told to be gone. The default is upstream's since v1.37: such a node is removed once it is not ready.
    pub keep_nodes_without_provider_id: bool,
    /// `ReconcileLoadBalancerTags`, a key of ours: the tags of load balancers are read and compared in every round. That
    /// takes a permission which upstream's documented policy does not grant, `elasticloadbalancing:DescribeTags`.
    pub reconcile_load_balancer_tags: bool,
    /// `ReconcileLoadBalancerSubnets`, a key of ours: network load balancers move when their subnets or addresses change.
    /// That takes the permission `elasticloadbalancing:SetSubnets`, which upstream's documented policy does not grant.
    pub reconcile_load_balancer_subnets: bool,
    /// `AllowLoadBalancerTypeChange`, a key of ours: a service whose load balancer is of the other kind gets a new one, and
    /// then loses the old one. Without it such a change is refused, as upstream does.
    pub allow_load_balancer_type_change: bool,
    /// `NLBExtensions`, a key of ours: network load balancers honour what upstream ignores or refuses on them.
    pub nlb_extensions: bool,
    /// `MergeNodeSecurityGroupRules`, a key of ours: fewer rules for network load balancers in the nodes' groups.
    pub merge_node_security_group_rules: bool,
    /// `IgnoreTopologyFailures`, a key of ours: no node waits for its network topology.
    pub ignore_topology_failures: bool,
    overrides: Vec<ServiceOverride>,
}

/// An IP family of node addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpFamily {
    /// `ipv4`
    V4,
    /// `ipv6`
    V6,
}

/// How load balancers probe nodes for services with external traffic policy `Cluster`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthProbe {
    /// `ClusterServiceLoadBalancerHealthProbeMode`.
    pub mode: HealthProbeMode,
    /// The port of mode `Shared`.
    pub shared_port: i32,
    /// The path of mode `Shared`.
    pub shared_path: String,
}

/// `ClusterServiceLoadBalancerHealthProbeMode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthProbeMode {
    /// Each service's own node port.
    ServiceNodePort,
    /// kube-proxy's health port.
    Shared,
    /// A value that is neither. Classic load balancers take it for `ServiceNodePort`, network load balancers fail.
    Unknown(String),
}

/// `NLBSecurityGroupMode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NlbSecurityGroups {
    /// Network load balancers get no group of ours.
    Off,
    /// `Managed`: each gets one.
    Managed,
    /// A value that is neither: each network load balancer fails with [`NlbSecurityGroups::problem`].
    Unknown(String),
}

impl NlbSecurityGroups {
    /// What is wrong with the value, in upstream's words.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Off | Self::Managed => None,
            Self::Unknown(value) => Some(format!("invalid NLB security group mode: {value:?}. Expected: \"Managed\"")),
        }
    }
}

/// Reads a cloud config; none at all means all defaults. The second value says what has no effect.
///
/// # Errors
///
/// The first syntax or type error, or else everything that is wrong with the values, and what would have had no effect.
pub fn parse(text: Option<&str>) -> Result<(Settings, Vec<String>), Problems> {
    let (file, mut notes) = text.map_or_else(|| Ok(Default::default()), Notes::read::<File>)?;
    let settings = validate(file, &mut notes);
    notes.conclude(settings)
}

fn validate(file: File, notes: &mut Notes) -> Option<Settings> {
    let File { global, service_override } = file;
    let overrides = overrides::validate(service_override, notes);
    let region = match global.zone.as_str() {
        "" => Some(non_empty(global.region)),
        zone => notes
            .check(region_of_zone(zone).ok_or_else(|| format!("invalid AZ: {zone}")))
            .map(|region| Some(region.to_owned())),
    };
    let role = match global.role_arn.as_str() {
        "" => Some(None),
        arn => notes.check(role(arn, non_empty(global.source_arn))).map(Some),
    };
    let cluster_id = notes.check(ClusterId::new(&global.kubernetes_cluster_tag, &global.kubernetes_cluster_id));
    let ip_families = ip_families(&global.node_ip_families, notes);
    let pattern = match global.supported_topology_instance_type_pattern.as_str() {
        "" => TOPOLOGY_TYPES,
        pattern => pattern,
    };
    let topology_types = notes.check(
        Regex::new(pattern).map_err(|error| format!("SupportedTopologyInstanceTypePattern {pattern:?}: {error}")),
    );
    let health_probe = HealthProbe {
        mode: match global.cluster_service_load_balancer_health_probe_mode.as_str() {
            "" | "ServiceNodePort" => HealthProbeMode::ServiceNodePort,
            "Shared" => HealthProbeMode::Shared,
            other => {
                notes.warnings.push(format!(
                    "ClusterServiceLoadBalancerHealthProbeMode {other:?} is neither \"Shared\" nor \"ServiceNodePort\": no network load balancer will be provisioned"
                ));
                HealthProbeMode::Unknown(other.to_owned())
            }
        },
        shared_port: match global.cluster_service_shared_load_balancer_health_probe_port {
            0 => PROBE_PORT,
            port => port,
        },
        shared_path: non_empty(global.cluster_service_shared_load_balancer_health_probe_path)
            .unwrap_or_else(|| PROBE_PATH.to_owned()),
    };
    if !(1..=65535).contains(&health_probe.shared_port) {
        let port = health_probe.shared_port;
        notes.problems.push(format!("ClusterServiceSharedLoadBalancerHealthProbePort {port} is not a port"));
    }
    let nlb_security_groups = match global.nlb_security_group_mode.as_str() {
        "" => NlbSecurityGroups::Off,
        "Managed" => NlbSecurityGroups::Managed,
        other => NlbSecurityGroups::Unknown(other.to_owned()),
    };
    notes.warnings.extend(nlb_security_groups.problem());
    Some(Settings {
        region: region?,
        vpc: non_empty(global.vpc),
        subnet: non_empty(global.subnet_id),
        route_table: non_empty(global.route_table_id),
        role: role?,
        cluster_id: cluster_id?,
        disable_security_group_ingress: global.disable_security_group_ingress,
        elb_security_group: non_empty(global.elb_security_group),
        ip_families,
        health_probe,
        topology_types: topology_types?,
        nlb_security_groups,
        keep_nodes_without_provider_id: global.keep_nodes_without_provider_id,
        reconcile_load_balancer_tags: global.reconcile_load_balancer_tags,
        reconcile_load_balancer_subnets: global.reconcile_load_balancer_subnets,
        allow_load_balancer_type_change: global.allow_load_balancer_type_change,
        nlb_extensions: global.nlb_extensions,
        merge_node_security_group_rules: global.merge_node_security_group_rules,
        ignore_topology_failures: global.ignore_topology_failures,
        overrides,
    })
}

fn non_empty(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}

/// The region at the start of a zone's name: words that end in `-`, and a number. `us-west-2-lax-1a` is in `us-west-2`.
fn region_of_zone(zone: &str) -> Option<&str> {
    let mut end = 0;
    loop {
        let rest = &zone[end..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        if letters > 0 && rest[letters..].starts_with('-') {
            end += letters + 1;
            continue;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        return (end > 0 && digits > 0).then(|| &zone[..end + digits]);
    }
}

fn role(arn: &str, source_arn: Option<String>) -> Result<Role, String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, _, _, account, _] => Ok(Role { arn: arn.to_owned(), account: account.to_owned(), source_arn }),
        ["arn", ..] => Err(format!("RoleARN {arn:?}: arn: not enough sections")),
        _ => Err(format!("RoleARN {arn:?}: arn: invalid prefix")),
    }
}

fn ip_families(names: &[String], notes: &mut Notes) -> Vec<IpFamily> {
    let mut families = Vec::new();
    for name in names {
        let family = match name.as_str() {
            "ipv4" => IpFamily::V4,
            "ipv6" => IpFamily::V6,
            other => {
                notes.warnings.push(format!("NodeIPFamilies {other:?} is neither \"ipv4\" nor \"ipv6\", ignored"));
                continue;
            }
        };
        if !families.contains(&family) {
            families.push(family);
        }
    }
    if families.is_empty() && !names.is_empty() {
        notes
            .problems
            .push("NodeIPFamilies names neither \"ipv4\" nor \"ipv6\": nodes would have no address".to_owned());
    }
    if names.is_empty() {
        families.push(IpFamily::V4);
    }
    families
}

impl Settings {
    /// Whether the control plane runs outside of the cluster's account or VPC, so that nothing is asked of the machine
    /// we run on.
    pub fn is_off_cluster(&self) -> bool {
        self.vpc.is_some() && (self.subnet.is_some() || self.role.is_some()) && self.cluster_id.is_some()
    }

    /// The overrides that apply in `region`.
    pub fn endpoints(&self, region: &str) -> Endpoints {
        overrides::endpoints(&self.overrides, region)
    }

    /// The override of the instance metadata service, which holds in every region.
    pub fn imds_endpoint(&self) -> Option<Endpoint> {
        overrides::endpoints(&self.overrides, "").imds
    }
}

impl Default for Settings {
    /// What an empty file says.
    #[expect(clippy::expect_used, reason = "a test reads the empty file")]
    fn default() -> Self {
        parse(None).expect("an empty file has no problem: its only regex is a literal").0
    }
}

#[cfg(test)]
mod tests;
