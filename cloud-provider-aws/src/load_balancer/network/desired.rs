//! What a service's network load balancer shall be: a pure function of the service and of what its names mean.

use std::collections::{BTreeMap, BTreeSet};

use cloud_provider::{
    Error,
    cluster::objects::{Key, Object, Service},
    error::Result,
    service::source_ranges,
};

use super::{
    addresses::{self, Clients, Families},
    attributes,
    node_rules::NodeRules,
    ports::{self, Port},
};
use crate::{
    client::{
        elbv2::{Attributes, NewLoadBalancer},
        network::Tags,
    },
    cluster_id::ClusterId,
    config::{NlbSecurityGroups, Settings},
    load_balancer::{
        annotations,
        health_check::{self, ProbeMode},
        names,
        security_groups::NamedGroup,
        subnets::Choice,
    },
};

/// The target type of all target groups.
pub(super) const INSTANCE: &str = "instance";

/// What is looked up for a service before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolved {
    /// The cluster ID.
    pub(super) cluster_id: ClusterId,
    /// `--cluster-name`.
    pub(super) cluster_name: String,
    /// The subnets for a load balancer that is made, or moves.
    pub(super) subnets: Choice,
    /// The IDs of the instances that are targets.
    pub(super) instances: BTreeSet<String>,
    /// The security groups of those.
    pub(super) node_groups: BTreeSet<String>,
    /// Tags of the load balancer, its target groups and listeners.
    pub(super) tags: Tags,
    /// Tags of its security group.
    pub(super) group_tags: Tags,
}

/// What shall be.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    /// The service.
    pub(super) key: Key,
    /// The name of the load balancer.
    pub(super) name: String,
    /// The security group that is managed for the service, if one is.
    pub(super) managed_group: NamedGroup,
    /// Groups that are the user's, whatever their tags say.
    pub(super) foreign_groups: BTreeSet<String>,
    /// What is wanted; absent for removal.
    pub(super) wanted: Option<Wanted>,
}

/// The load balancer with all that belongs to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// How it is made; later only the name counts, and the subnets where they are followed.
    pub(super) load_balancer: NewLoadBalancer,
    /// The subnets it is made in.
    pub(super) subnets: Choice,
    /// Whether one that is there moves to those subnets.
    pub(super) moves: bool,
    /// The families of its addresses.
    pub(super) families: Families,
    /// Who may be a client.
    pub(super) clients: Clients,
    /// One for each port of the service.
    pub(super) ports: Vec<Port>,
    /// The instances behind all target groups.
    pub(super) instances: BTreeSet<String>,
    /// Attributes of the load balancer.
    pub(super) attributes: Attributes,
    /// Attributes of the target groups.
    pub(super) group_attributes: Attributes,
    /// Its security groups.
    pub(super) security: Security,
    /// Rules for the nodes, without the ranges of the load balancer's own subnets.
    pub(super) node_rules: Option<NodeRules>,
    /// The security groups that get those rules.
    pub(super) node_groups: BTreeSet<String>,
}

/// The security groups of a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Security {
    /// None are given, and those that are there stay.
    #[default]
    AsIs,
    /// The user's.
    Listed(Vec<String>),
    /// One of ours, with rules for the ports.
    Managed,
}

/// The name and managed security group of a service's load balancer, from which everything that belongs to it is found.
pub(super) fn identity(service: &Service, resolved: &Resolved) -> Desired {
    let (key, uid) = (service.key(), service.uid());
    let managed_group = NamedGroup {
        name: names::managed_group(&resolved.cluster_name, &key.namespace, &key.name, uid),
        description: names::MANAGED_GROUP_DESCRIPTION.to_owned(),
        tags: resolved.group_tags.clone(),
    };
    let listed = [annotations::SECURITY_GROUPS, annotations::EXTRA_SECURITY_GROUPS];
    Desired {
        name: names::load_balancer(uid),
        managed_group,
        foreign_groups: listed.iter().flat_map(|annotation| annotation.list(service)).collect(),
        wanted: None,
        key,
    }
}

/// Everything about a service that is wrong before anything is looked up; the first failure wins, in upstream's order.
pub(super) fn check(service: &Service, settings: &Settings) -> Result<()> {
    let extra = annotations::EXTRA_SECURITY_GROUPS;
    if extra.of(service).is_some() {
        let problem = format!("BYO extra security group annotation {:?} is not supported by NLB", extra.key);
        return Err(Error::invalid(extra.key, problem));
    }
    let extended = settings.nlb_extensions;
    attributes::of_target_groups(service, extended)?;
    let affinity = service.spec.session_affinity.as_deref().unwrap_or("None");
    if affinity != "None" {
        return Err(Error::invalid("spec.sessionAffinity", format!("unsupported load balancer affinity: {affinity}")));
    }
    ports::check(service, extended)?;
    source_ranges::of(service)?;
    ports::check_protocols(service)?;
    health_check::network(service, &ProbeMode::from(&settings.health_probe), extended)?;
    Families::of(service, extended)?;
    if service.spec.load_balancer_ip.as_deref().is_some_and(|address| !address.is_empty()) {
        return Err(Error::invalid("spec.loadBalancerIP", "LoadBalancerIP cannot be specified for AWS ELB"));
    }
    if let Some(problem) = settings.nlb_security_groups.problem() {
        return Err(Error::invalid("NLBSecurityGroupMode", problem));
    }
    Ok(())
}

/// What shall be for a service that is [`check`]ed.
pub(super) fn wanted(service: &Service, settings: &Settings, resolved: &Resolved) -> Result<Wanted> {
    let extended = settings.nlb_extensions;
    let check = health_check::network(service, &ProbeMode::from(&settings.health_probe), extended)?;
    let clients = Clients::of(service)?;
    let ports = ports::of(service, &check, resolved);
    let security = match settings.nlb_security_groups {
        NlbSecurityGroups::Managed => {
            let listed = annotations::SECURITY_GROUPS.list(service);
            if listed.is_empty() { Security::Managed } else { Security::Listed(listed) }
        }
        _ => Security::AsIs,
    };
    let node_rules =
        NodeRules { merged: settings.merge_node_security_group_rules, ..ports::node_rules(&ports, &clients.ranges) };
    Ok(Wanted {
        load_balancer: NewLoadBalancer {
            name: names::load_balancer(service.uid()),
            internal: annotations::is_internal(service),
            subnets: addresses::mappings(service, &resolved.subnets.chosen),
            dual_stack: false,
            tags: resolved.tags.clone(),
        },
        subnets: resolved.subnets.clone(),
        moves: settings.reconcile_load_balancer_subnets,
        families: Families::of(service, extended)?,
        instances: resolved.instances.clone(),
        attributes: attributes::of_load_balancer(service)?,
        group_attributes: attributes::of_target_groups(service, extended)?,
        security,
        node_rules: (!settings.disable_security_group_ingress).then_some(node_rules),
        node_groups: resolved.node_groups.clone(),
        clients,
        ports,
    })
}

impl Wanted {
    /// The target groups wanted, by the port and protocol of their listeners.
    pub(super) fn by_listener(&self) -> BTreeMap<(i32, &str), &Port> {
        self.ports.iter().map(|port| ((port.listener.port, port.listener.protocol.as_str()), port)).collect()
    }
}
