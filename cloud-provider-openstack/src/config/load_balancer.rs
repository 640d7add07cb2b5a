//! `[LoadBalancer]` and `[LoadBalancerClass "name"]`.

use std::{collections::BTreeMap, time::Duration};

use cloud_provider::config::{Notes, duration::GoDuration};
use serde::Deserialize;

use super::non_empty;

#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Section {
    enabled: bool,
    lb_version: String,
    subnet_id: String,
    member_subnet_id: String,
    network_id: String,
    floating_network_id: String,
    floating_subnet_id: String,
    floating_subnet: String,
    floating_subnet_tags: String,
    lb_method: String,
    lb_provider: String,
    create_monitor: bool,
    monitor_delay: GoDuration,
    monitor_timeout: GoDuration,
    monitor_max_retries: u64,
    monitor_max_retries_down: u64,
    manage_security_groups: bool,
    internal_lb: bool,
    node_selector: String,
    cascade_delete: bool,
    flavor_id: String,
    availability_zone: String,
    enable_ingress_hostname: bool,
    ingress_hostname_suffix: String,
    max_shared_lb: i64,
    container_store: String,
    provider_requires_serial_api_calls: bool,
    default_tls_container_ref: String,
    update_session_affinity: bool,
    detach_security_groups: bool,
    share_internal_load_balancers: bool,
    dual_stack: bool,
    repair_load_balancers: String,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            enabled: true,
            lb_version: String::new(),
            subnet_id: String::new(),
            member_subnet_id: String::new(),
            network_id: String::new(),
            floating_network_id: String::new(),
            floating_subnet_id: String::new(),
            floating_subnet: String::new(),
            floating_subnet_tags: String::new(),
            lb_method: "ROUND_ROBIN".to_owned(),
            lb_provider: "amphora".to_owned(),
            create_monitor: false,
            monitor_delay: GoDuration::from_secs(5),
            monitor_timeout: GoDuration::from_secs(3),
            monitor_max_retries: 1,
            monitor_max_retries_down: 3,
            manage_security_groups: false,
            internal_lb: false,
            node_selector: String::new(),
            cascade_delete: true,
            flavor_id: String::new(),
            availability_zone: String::new(),
            enable_ingress_hostname: false,
            ingress_hostname_suffix: "nip.io".to_owned(),
            max_shared_lb: 2,
            container_store: "barbican".to_owned(),
            provider_requires_serial_api_calls: false,
            default_tls_container_ref: String::new(),
            update_session_affinity: false,
            detach_security_groups: false,
            share_internal_load_balancers: false,
            dual_stack: false,
            repair_load_balancers: String::new(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct ClassSection {
    floating_network_id: String,
    floating_subnet_id: String,
    floating_subnet: String,
    floating_subnet_tags: String,
    network_id: String,
    subnet_id: String,
    member_subnet_id: String,
}

/// What load balancers are made from where a service says nothing else. Fields are named like their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Whether there are load balancers at all.
    pub enabled: bool,
    /// The subnet of the virtual IP, and of members where nothing else is set.
    pub subnet_id: Option<String>,
    /// The subnet of members.
    pub member_subnet_id: Option<String>,
    /// The network of the virtual IP.
    pub network_id: Option<String>,
    /// The network of floating IPs.
    pub floating_network_id: Option<String>,
    /// The subnet of floating IPs.
    pub floating_subnet_id: Option<String>,
    /// A pattern of names of such subnets.
    pub floating_subnet: Option<String>,
    /// Tags of such subnets.
    pub floating_subnet_tags: Option<String>,
    /// The algorithm of pools.
    pub lb_method: String,
    /// Octavia's provider driver.
    pub lb_provider: String,
    /// Whether pools have health monitors.
    pub create_monitor: bool,
    /// In whole seconds.
    pub monitor_delay: Duration,
    /// In whole seconds.
    pub monitor_timeout: Duration,
    /// Successes until a member is well.
    pub monitor_max_retries: u32,
    /// Failures until a member is ill.
    pub monitor_max_retries_down: u32,
    /// Whether security groups open the nodes to load balancers.
    pub manage_security_groups: bool,
    /// Whether all load balancers are internal.
    pub internal_lb: bool,
    /// Which nodes are members: `k=v,k2`.
    pub node_selector: String,
    /// Whether a load balancer is deleted with all that belongs to it in one call.
    pub cascade_delete: bool,
    /// Octavia's flavor.
    pub flavor_id: Option<String>,
    /// Octavia's availability zone.
    pub availability_zone: Option<String>,
    /// Whether services with proxy protocol get a host name in place of an address.
    pub enable_ingress_hostname: bool,
    /// What such names end in.
    pub ingress_hostname_suffix: String,
    /// How many services may share a load balancer.
    pub max_shared_lb: i64,
    /// Where TLS certificates are.
    pub container_store: ContainerStore,
    /// Whether nothing can be made in bulk.
    pub provider_requires_serial_api_calls: bool,
    /// The TLS certificate of all services.
    pub default_tls_container_ref: Option<String>,
    /// Ours: whether pools follow changes of the session affinity.
    pub update_session_affinity: bool,
    /// Ours: whether nodes that are no members any more lose the security group.
    pub detach_security_groups: bool,
    /// Ours: whether internal services may share a load balancer.
    pub share_internal_load_balancers: bool,
    /// Ours: whether services of two families get an address of each.
    pub dual_stack: bool,
    /// Ours: what is done about a load balancer in ERROR.
    pub repair_load_balancers: Repair,
    /// `[LoadBalancerClass]` by name; the one without a name is `""`.
    pub classes: BTreeMap<String, Class>,
}

/// `[LoadBalancerClass "name"]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the fields of LoadBalancer")]
pub struct Class {
    pub floating_network_id: Option<String>,
    pub floating_subnet_id: Option<String>,
    pub floating_subnet: Option<String>,
    pub floating_subnet_tags: Option<String>,
    pub network_id: Option<String>,
    pub subnet_id: Option<String>,
    pub member_subnet_id: Option<String>,
}

/// `container-store`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerStore {
    /// References are looked up before they are used.
    Barbican,
    /// They are used as they are.
    External,
}

/// `repair-load-balancers`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repair {
    /// Nothing, as upstream.
    #[default]
    Off,
    /// It is failed over.
    Failover,
    /// It is failed over, and made anew where that does not help.
    Recreate,
}

pub(super) fn validate(
    section: Section,
    classes: BTreeMap<String, ClassSection>,
    notes: &mut Notes,
) -> Option<LoadBalancer> {
    if !matches!(section.lb_version.as_str(), "" | "v2") {
        notes
            .problems
            .push(format!("[LoadBalancer] lb-version {:?}: only v2 is known; leave it out", section.lb_version));
    }
    if !matches!(section.lb_provider.as_str(), "amphora" | "octavia" | "ovn" | "f5" | "amphorav2") {
        notes.warnings.push(format!(
            "[LoadBalancer] lb-provider {:?} is none of amphora, octavia, ovn, f5, amphorav2; it is used as it is",
            section.lb_provider
        ));
    }
    let container_store = match section.container_store.as_str() {
        "barbican" => ContainerStore::Barbican,
        "external" => ContainerStore::External,
        other => {
            notes.warnings.push(format!(
                "[LoadBalancer] container-store {other:?} is neither barbican nor external; references are not checked"
            ));
            ContainerStore::External
        }
    };
    let repair = match section.repair_load_balancers.as_str() {
        "" => Some(Repair::Off),
        "failover" => Some(Repair::Failover),
        "recreate" => Some(Repair::Recreate),
        other => {
            notes
                .problems
                .push(format!("[LoadBalancer] repair-load-balancers {other:?}: failover, recreate, or nothing"));
            None
        }
    };
    let monitor_delay = seconds("monitor-delay", section.monitor_delay, notes);
    let monitor_timeout = seconds("monitor-timeout", section.monitor_timeout, notes);
    let monitor_max_retries = count("monitor-max-retries", section.monitor_max_retries, notes);
    let monitor_max_retries_down = count("monitor-max-retries-down", section.monitor_max_retries_down, notes);
    Some(LoadBalancer {
        enabled: section.enabled,
        subnet_id: non_empty(section.subnet_id),
        member_subnet_id: non_empty(section.member_subnet_id),
        network_id: non_empty(section.network_id),
        floating_network_id: non_empty(section.floating_network_id),
        floating_subnet_id: non_empty(section.floating_subnet_id),
        floating_subnet: non_empty(section.floating_subnet),
        floating_subnet_tags: non_empty(section.floating_subnet_tags),
        lb_method: section.lb_method,
        lb_provider: section.lb_provider,
        create_monitor: section.create_monitor,
        monitor_delay: monitor_delay?,
        monitor_timeout: monitor_timeout?,
        monitor_max_retries: monitor_max_retries?,
        monitor_max_retries_down: monitor_max_retries_down?,
        manage_security_groups: section.manage_security_groups,
        internal_lb: section.internal_lb,
        node_selector: section.node_selector,
        cascade_delete: section.cascade_delete,
        flavor_id: non_empty(section.flavor_id),
        availability_zone: non_empty(section.availability_zone),
        enable_ingress_hostname: section.enable_ingress_hostname,
        ingress_hostname_suffix: section.ingress_hostname_suffix,
        max_shared_lb: section.max_shared_lb,
        container_store,
        provider_requires_serial_api_calls: section.provider_requires_serial_api_calls,
        default_tls_container_ref: non_empty(section.default_tls_container_ref),
        update_session_affinity: section.update_session_affinity,
        detach_security_groups: section.detach_security_groups,
        share_internal_load_balancers: section.share_internal_load_balancers,
        dual_stack: section.dual_stack,
        repair_load_balancers: repair?,
        classes: classes.into_iter().map(|(name, class)| (name, class.into())).collect(),
    })
}

/// Octavia counts in whole seconds; what is beyond them is cut, as upstream does.
fn seconds(key: &str, time: GoDuration, notes: &mut Notes) -> Option<Duration> {
    if time < GoDuration::ZERO {
        notes.problems.push(format!("[LoadBalancer] {key} {time}: a time cannot be negative"));
        return None;
    }
    Some(Duration::from_secs(time.to_std().as_secs()))
}

fn count(key: &str, number: u64, notes: &mut Notes) -> Option<u32> {
    let result = u32::try_from(number).map_err(|_| format!("[LoadBalancer] {key} {number}: at most {}", u32::MAX));
    notes.check(result)
}

impl From<ClassSection> for Class {
    fn from(section: ClassSection) -> Self {
        Self {
            floating_network_id: non_empty(section.floating_network_id),
            floating_subnet_id: non_empty(section.floating_subnet_id),
            floating_subnet: non_empty(section.floating_subnet),
            floating_subnet_tags: non_empty(section.floating_subnet_tags),
            network_id: non_empty(section.network_id),
            subnet_id: non_empty(section.subnet_id),
            member_subnet_id: non_empty(section.member_subnet_id),
        }
    }
}
