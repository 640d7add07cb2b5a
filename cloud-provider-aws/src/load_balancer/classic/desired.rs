//! What a service wants of a classic load balancer: pure functions of the service, the configuration and what names mean.

use std::collections::{BTreeMap, BTreeSet};

use cloud_provider::{
    Error,
    cluster::objects::{Key, Object, Service},
    error::Result,
    service::source_ranges,
};
use ipnet::IpNet;

use super::{attributes, listeners};
use crate::{
    client::{
        elb::{Attributes, HealthCheck, Listener, Policy},
        network::{Rule, Source, Tags},
    },
    cluster_id::ClusterId,
    config::Settings,
    load_balancer::{annotations as a, change_of_type, health_check, names, security_groups::NamedGroup},
};

/// What shall be.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    /// The service.
    pub(super) key: Key,
    /// The name of its load balancer.
    pub(super) name: String,
    /// What it wants.
    pub(super) goal: Goal,
    /// `ElbSecurityGroup`: this group is never changed and never deleted.
    pub(super) global_group: Option<String>,
    /// Whether the groups of the nodes are left alone.
    pub(super) leave_nodes: bool,
    /// Whether attached groups stay, though no annotation names them: the service still wants a load balancer, of the other
    /// type, and its annotations may have changed with the type.
    pub(super) keep_attached: bool,
    /// The order of groups; those that it names are never deleted.
    pub(super) order: GroupOrder,
    /// By its tag we know what is the cluster's.
    pub(super) cluster: ClusterId,
}

/// What a service wants.
#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// Nothing any more.
    Gone,
    /// That the load balancer it has serves these back ends.
    Backends(Backends),
    /// A load balancer.
    Balancer(Box<Balancer>, Backends),
}

/// The nodes behind a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Backends {
    /// Instance IDs.
    pub(super) instances: BTreeSet<String>,
    /// The security groups through which these are reached.
    pub(super) node_groups: BTreeSet<String>,
}

/// A load balancer, as wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Balancer {
    pub(super) internal: bool,
    pub(super) listeners: Vec<Listener>,
    /// Subnets with their zones.
    pub(super) subnets: BTreeMap<String, String>,
    /// A group of its own, where it is to have one.
    pub(super) own_group: Option<OwnGroup>,
    /// Groups that are given, after the own one.
    pub(super) given_groups: Vec<String>,
    /// The tags that it is made with.
    pub(super) tags: Tags,
    /// The tags among them that changes of the service may add later.
    pub(super) additional_tags: Tags,
    pub(super) attributes: Attributes,
    pub(super) health_check: HealthCheck,
    pub(super) proxy_protocol: bool,
    /// The TLS policy of secure listeners.
    pub(super) ssl_policy: Option<Policy>,
}

/// The security group that is made for a load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OwnGroup {
    pub(super) group: NamedGroup,
    /// Exactly these rules.
    pub(super) ingress: Vec<Rule>,
}

/// The order of security groups, by annotations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GroupOrder {
    first: Vec<String>,
    last: Vec<String>,
}

impl GroupOrder {
    pub(super) fn of(service: &Service) -> Self {
        Self { first: a::SECURITY_GROUPS.list(service), last: a::EXTRA_SECURITY_GROUPS.list(service) }
    }

    /// Whether an annotation names this group.
    pub(super) fn names(&self, group: &str) -> bool {
        self.first.iter().chain(&self.last).any(|listed| listed == group)
    }

    /// Those of `security-groups` in its order, then groups that no annotation names, then those of
    /// `extra-security-groups` in its order; where that is equal, groups with the cluster's tag first. The first one is
    /// the source of the rules on the nodes' groups.
    pub(super) fn sort(&self, groups: &mut [String], is_tagged: impl Fn(&str) -> bool) {
        groups.sort_by_key(|group| {
            let place = |list: &[String]| list.iter().position(|listed| listed == group);
            let rank = match (place(&self.first), place(&self.last)) {
                (Some(place), _) => (0, place),
                (None, None) => (1, 0),
                (None, Some(place)) => (2, place),
            };
            (rank, !is_tagged(group))
        });
    }
}

/// Everything that can be wrong with a service before anything is read, in upstream's order and words.
///
/// # Errors
///
/// The first thing that is wrong.
pub(super) fn check(service: &Service, settings: &Settings) -> Result<()> {
    if !settings.allow_load_balancer_type_change {
        refuse_other_kind(service)?;
    }
    if a::TARGET_GROUP_ATTRIBUTES.of(service).is_some() {
        let problem = "target group attributes annotation is only supported for NLB";
        return Err(Error::invalid(a::TARGET_GROUP_ATTRIBUTES.key, problem));
    }
    match service.spec.session_affinity.as_deref().unwrap_or("None") {
        "None" => {}
        other => {
            return Err(Error::invalid("spec.sessionAffinity", format!("unsupported load balancer affinity: {other}")));
        }
    }
    let ports = &service.spec.ports;
    let first = ports.first().ok_or_else(|| Error::invalid("spec.ports", "requested load balancer with no ports"))?;
    if ports.iter().any(|port| port.protocol != first.protocol) {
        return Err(Error::invalid("spec.ports", "mixed protocol is not supported for LoadBalancer"));
    }
    source_ranges::of(service)?;
    if let Some(port) = ports.iter().find(|port| !matches!(port.protocol.as_str(), "" | "TCP")) {
        let problem = format!("Protocol {} not supported by LoadBalancer", port.protocol);
        return Err(Error::invalid("spec.ports", problem));
    }
    if service.spec.load_balancer_ip.as_ref().is_some_and(|ip| !ip.is_empty()) {
        return Err(Error::invalid("spec.loadBalancerIP", "LoadBalancerIP cannot be specified for AWS ELB"));
    }
    Balancer::of(service, settings, &ClusterId::default(), "", BTreeMap::new(), Tags::new()).map(drop)
}

/// A service that has a network load balancer keeps it: the annotation must not change.
///
/// A host name tells the kinds apart by the place of `elb`: `name-hash.elb.region.…` is a network load balancer,
/// `name-number.region.elb.…` a classic one, in every partition. Other names say nothing. (Upstream takes everything for
/// a network load balancer that does not end in `.elb.amazonaws.com`, and so fails in other partitions.)
fn refuse_other_kind(service: &Service) -> Result<()> {
    let host = service.status.load_balancer.ingress.first().and_then(|ingress| ingress.hostname.as_deref());
    let labels = || host.unwrap_or_default().split('.');
    if labels().nth(1) == Some("elb") && labels().nth(2) != Some("amazonaws") {
        return Err(change_of_type("Classic Load Balancer"));
    }
    Ok(())
}

/// The policy that switches proxy protocol on.
pub(super) fn proxy_policy() -> Policy {
    Policy {
        name: names::PROXY_PROTOCOL_POLICY.to_owned(),
        kind: "ProxyProtocolPolicyType",
        attribute: "ProxyProtocol",
        value: "true".to_owned(),
    }
}

fn ssl_policy(service: &Service) -> Option<Policy> {
    let policy = a::SSL_NEGOTIATION_POLICY.filled(service)?;
    Some(Policy {
        name: names::ssl_negotiation_policy(policy),
        kind: "SSLNegotiationPolicyType",
        attribute: "Reference-Security-Policy",
        value: policy.to_owned(),
    })
}

impl Balancer {
    /// What `service` wants. `subnets` are what its load balancer gets, `tags` those of what is made for it.
    pub(super) fn of(
        service: &Service,
        settings: &Settings,
        cluster: &ClusterId,
        name: &str,
        subnets: BTreeMap<String, String>,
        tags: Tags,
    ) -> Result<Self> {
        let listeners = listeners::wanted(service)?;
        let Some(first) = listeners.first() else {
            let problem = "no port of the service has a node port, and a classic load balancer needs a listener";
            return Err(Error::invalid("spec.ports", problem));
        };
        let health_check = health_check::classic(service, first.instance_port, &(&settings.health_probe).into())?;
        let GroupOrder { first: instead, last: extra } = GroupOrder::of(service);
        let given = if instead.is_empty() { settings.elb_security_group.iter().cloned().collect() } else { instead };
        let own_group = match given.is_empty() {
            true => Some(OwnGroup::of(service, cluster, name)?),
            false => None,
        };
        let mut given_groups: Vec<String> = Vec::new();
        for group in given.into_iter().chain(extra) {
            if !given_groups.contains(&group) {
                given_groups.push(group);
            }
        }
        Ok(Self {
            internal: a::is_internal(service),
            listeners,
            subnets,
            own_group,
            given_groups,
            tags,
            additional_tags: a::ADDITIONAL_TAGS.pairs(service),
            attributes: attributes::wanted(service)?,
            health_check,
            proxy_protocol: a::PROXY_PROTOCOL.asterisk(service)?,
            ssl_policy: ssl_policy(service),
        })
    }
}

impl OwnGroup {
    fn of(service: &Service, cluster: &ClusterId, name: &str) -> Result<Self> {
        let Key { namespace, name: service_name } = service.key();
        let group = NamedGroup {
            name: names::classic_group(name),
            description: names::classic_group_description(name, &namespace, &service_name),
            tags: cluster.owned_tags(&a::ADDITIONAL_TAGS.pairs(service)),
        };
        Ok(Self { group, ingress: ingress(service)? })
    }
}

/// Every port for every source range, and what path MTU discovery needs of IPv4.
fn ingress(service: &Service) -> Result<Vec<Rule>> {
    let ranges = source_ranges::of(service)?;
    let ports: BTreeSet<i32> = service.spec.ports.iter().map(|port| port.port).collect();
    let clients = ports
        .iter()
        .flat_map(|port| ranges.iter().map(move |range| Rule::new("tcp", Some((*port, *port)), Source::range(range))));
    let unreachable = ranges
        .iter()
        .filter(|range| matches!(range, IpNet::V4(_)))
        .map(|range| Rule::new("icmp", Some((3, 4)), Source::range(range)));
    Ok(clients.chain(unreachable).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(change: impl FnOnce(&mut Value)) -> Service {
        let mut service = json!({
            "metadata": {"namespace": "ns", "name": "web", "uid": "id", "annotations": {}},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80, "nodePort": 31000, "protocol": "TCP"}]},
        });
        change(&mut service);
        serde_json::from_value(service).unwrap()
    }

    fn annotated(pairs: &[(&str, &str)]) -> Service {
        service(|service| {
            for (key, value) in pairs {
                service["metadata"]["annotations"][format!("service.beta.kubernetes.io/aws-load-balancer-{key}")] =
                    json!(value);
            }
        })
    }

    fn balancer(service: &Service, settings: &Settings) -> Balancer {
        let cluster = ClusterId::new("", "c").unwrap().unwrap();
        Balancer::of(service, settings, &cluster, "aid", BTreeMap::new(), Tags::new()).unwrap()
    }

    #[test]
    fn what_is_wrong_is_said_in_upstreams_words() {
        let rows: [(Service, &str); 11] = [
            (
                service(|s| s["spec"]["sessionAffinity"] = json!("ClientIP")),
                "unsupported load balancer affinity: ClientIP",
            ),
            (service(|s| s["spec"]["ports"] = json!([])), "requested load balancer with no ports"),
            (
                service(|s| {
                    s["spec"]["ports"] = json!([{"port": 1, "protocol": "TCP"}, {"port": 1, "protocol": "UDP"}])
                }),
                "mixed protocol is not supported for LoadBalancer",
            ),
            (
                service(|s| s["spec"]["ports"] = json!([{"port": 1, "nodePort": 2, "protocol": "UDP"}])),
                "Protocol UDP not supported by LoadBalancer",
            ),
            (
                service(|s| s["spec"]["loadBalancerIP"] = json!("192.0.2.1")),
                "LoadBalancerIP cannot be specified for AWS ELB",
            ),
            (service(|s| s["spec"]["loadBalancerSourceRanges"] = json!(["x"])), "is not a network"),
            (
                annotated(&[("target-group-attributes", "")]),
                "target group attributes annotation is only supported for NLB",
            ),
            (annotated(&[("proxy-protocol", "true")]), "the only value supported currently is '*'"),
            (annotated(&[("healthcheck-timeout", "1")]), "too small"),
            (
                service(|s| s["spec"]["ports"] = json!([{"port": 1, "protocol": "TCP"}])),
                "no port of the service has a node port",
            ),
            (
                service(|s| {
                    let host = json!([{"hostname": "my-nlb-1234567890.elb.us-east-1.amazonaws.com"}]);
                    s["status"] = json!({"loadBalancer": {"ingress": host}});
                }),
                "after creation for Classic Load Balancer",
            ),
        ];
        for (service, text) in rows {
            let error = check(&service, &Settings::default()).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        assert!(check(&service(|_| {}), &Settings::default()).is_ok());
    }

    #[test]
    fn a_classic_host_name_is_known_in_every_partition() {
        for host in [
            "my-classic-lb-1234567890.us-east-1.elb.amazonaws.com",
            "internal-a1-1.cn-north-1.elb.amazonaws.com.cn",
            "a1-1.us-east-1.elb.amazonaws.com",
            "elb.example.com",
            "a1.elb.amazonaws.com",
        ] {
            let status = json!({"loadBalancer": {"ingress": [{"hostname": host}]}});
            assert!(check(&service(|s| s["status"] = status), &Settings::default()).is_ok(), "{host}");
        }
    }

    /// aws.md 12.6, "SG sort".
    #[test]
    fn groups_are_sorted_as_in_12_6() {
        let sorted = |groups: &str, first: &str, last: &str, tagged: &str| {
            let order = annotated(&[("security-groups", first), ("extra-security-groups", last)]);
            let mut groups: Vec<String> = groups.split(',').map(str::to_owned).collect();
            GroupOrder::of(&order).sort(&mut groups, |group| tagged.split(',').any(|tagged| tagged == group));
            groups.join(",")
        };
        assert_eq!(sorted("2,1,3", "3,2,1", "", ""), "3,2,1");
        assert_eq!(sorted("2,1,3,4", "", "3,2,1", ""), "4,3,2,1");
        assert_eq!(sorted("1,2,3,4,5,6", "3,2,1", "6,5", ""), "3,2,1,4,6,5");
        assert_eq!(sorted("2,1", "", "", "1"), "1,2");
        assert_eq!(sorted("2,1", "2,1", "", "1"), "2,1");
        assert_eq!(sorted("2,1", "", ", ,,", ""), "2,1");
    }

    #[test]
    fn the_own_group_lets_clients_in_and_nothing_else() {
        let service = service(|s| {
            s["spec"]["ports"] = json!([{"port": 80, "nodePort": 31000}, {"port": 443}]);
            s["spec"]["loadBalancerSourceRanges"] = json!(["10.0.0.0/8", "2001:db8::/32"]);
        });
        let OwnGroup { group, ingress } = balancer(&service, &Settings::default()).own_group.unwrap();
        let rules: Vec<String> = ingress.iter().map(|rule| rule.traffic.to_string()).collect();
        assert_eq!(
            rules,
            [
                "tcp 80 from 10.0.0.0/8",
                "tcp 80 from 2001:db8::/32",
                "tcp 443 from 10.0.0.0/8",
                "tcp 443 from 2001:db8::/32",
                "icmp 3-4 from 10.0.0.0/8"
            ]
        );
        assert_eq!((group.name.as_str(), group.tags["kubernetes.io/cluster/c"].as_str()), ("k8s-elb-aid", "owned"));
    }

    #[test]
    fn groups_of_annotations_and_configuration_replace_the_own_one() {
        let mut settings = Settings::default();
        settings.elb_security_group = Some("sg-global".into());
        let groups = |pairs: &[(&str, &str)], settings: &Settings| {
            let balancer = balancer(&annotated(pairs), settings);
            (balancer.own_group.is_some(), balancer.given_groups.join(","))
        };
        assert_eq!(groups(&[], &Settings::default()), (true, String::new()));
        assert_eq!(groups(&[("extra-security-groups", "sg-9")], &Settings::default()), (true, "sg-9".into()));
        assert_eq!(groups(&[("extra-security-groups", "sg-9")], &settings), (false, "sg-global,sg-9".into()));
        assert_eq!(groups(&[("security-groups", " sg-1 ,sg-2")], &settings), (false, "sg-1,sg-2".into()));
    }

    #[test]
    fn the_tls_policy_is_named_after_what_it_refers_to() {
        let balancer = balancer(&annotated(&[("ssl-negotiation-policy", "P-1")]), &Settings::default());
        let policy = balancer.ssl_policy.unwrap();
        assert_eq!((policy.name.as_str(), policy.value.as_str()), ("k8s-SSLNegotiationPolicy-P-1", "P-1"));
    }
}
