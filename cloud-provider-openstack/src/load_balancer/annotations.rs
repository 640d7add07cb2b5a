//! The annotations of a service that this provider reads, each with what the reference page says about it, and the
//! readers of their values.
//!
//! The readers follow upstream to the letter, since existing manifests rely on them: a string that is present wins even
//! where it is empty, a number that cannot be read is the default, and a boolean is only ever `true` or `false`.

use std::collections::BTreeMap;

use cloud_provider::cluster::objects::{Object, Service};

/// Definition of one annotation, from which the reference page is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotation {
    /// The key.
    pub key: &'static str,
    /// What values it takes.
    pub values: &'static str,
    /// What holds when it is absent.
    pub default: &'static str,
    /// When a change of it reaches an existing load balancer.
    pub changes: Changes,
    /// What it does.
    pub about: &'static str,
}

/// When a change of an annotation reaches an existing load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// With the next round.
    Followed,
    /// Never: it counts when the load balancer is made.
    AtCreation,
    /// It counts when a floating IP is made or looked for.
    AtFloatingIp,
    /// It counts for members that are added.
    NewMembers,
    /// The controller writes it.
    Written,
}

impl Changes {
    /// For the reference page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Followed => "followed",
            Self::AtCreation => "at creation only",
            Self::AtFloatingIp => "when a floating IP is made",
            Self::NewMembers => "new members only",
            Self::Written => "written by the controller",
        }
    }
}

macro_rules! annotations {
    ($($name:ident = $key:literal, $changes:ident, $values:literal, $default:literal, $about:literal;)*) => {
        $(
            #[doc = concat!($about, "\n\nValues: ", $values, ". Default: ", $default, ".")]
            pub const $name: Annotation = Annotation {
                key: $key,
                values: $values,
                default: $default,
                changes: Changes::$changes,
                about: $about,
            };
        )*
        /// All of them, in the order of the reference page.
        pub const ALL: &[Annotation] = &[$($name),*];
    };
}

annotations! {
    INTERNAL = "service.beta.kubernetes.io/openstack-internal-load-balancer", Followed, "`true`, `false`", "`internal-lb`",
        "No floating IP. A switch to internal detaches the floating IP, and deletes it where the controller made it and `keep-floatingip` is not set. `internal-lb = true` cannot be undone here.";
    CLASS = "loadbalancer.openstack.org/class", Followed, "the name of a `[LoadBalancerClass]`", "none",
        "Takes networks and subnets from a section of the cloud config. For floating IPs the class comes before annotations, for subnets, networks and members after them.";
    LOAD_BALANCER_ID = "loadbalancer.openstack.org/load-balancer-id", Written, "ID of a load balancer", "the load balancer of the service's own name",
        "Serves from this load balancer, which several services may share. The controller writes it for load balancers that it made.";
    LOAD_BALANCER_ADDRESS = "loadbalancer.openstack.org/load-balancer-address", Written, "an IP address", "none",
        "The address that the load balancer is reached by.";
    HOSTNAME = "loadbalancer.openstack.org/hostname", Followed, "a host name", "none",
        "The status shows this host name and no address.";
    NETWORK_ID = "loadbalancer.openstack.org/network-id", AtCreation, "ID of a network", "`network-id`",
        "The network of the load balancer's own address.";
    SUBNET_ID = "loadbalancer.openstack.org/subnet-id", AtCreation, "ID of a subnet", "`subnet-id`; without a network either, the subnet of the first node",
        "The subnet of the load balancer's own address.";
    PORT_ID = "loadbalancer.openstack.org/port-id", AtCreation, "ID of a port", "a port of its own",
        "A port that is there already and becomes the load balancer's; network and subnet do not count then.";
    MEMBER_SUBNET_ID = "loadbalancer.openstack.org/member-subnet-id", NewMembers, "ID of a subnet", "`member-subnet-id`, else the subnet of the load balancer",
        "The subnet in which nodes are reached.";
    FLOATING_NETWORK_ID = "loadbalancer.openstack.org/floating-network-id", AtFloatingIp, "ID of an external network", "`floating-network-id`, else the first external network with an IPv4 subnet",
        "Where floating IPs come from. Present and empty, the network is searched for.";
    FLOATING_SUBNET_ID = "loadbalancer.openstack.org/floating-subnet-id", AtFloatingIp, "ID of a subnet of that network", "`floating-subnet-id`",
        "The subnet of the floating IP; comes before a pattern and tags.";
    FLOATING_SUBNET = "loadbalancer.openstack.org/floating-subnet", AtFloatingIp, "a glob, or `~` and a regular expression; a leading `!` negates", "`floating-subnet`",
        "Takes the floating IP from the first subnet with such a name that has one left.";
    FLOATING_SUBNET_TAGS = "loadbalancer.openstack.org/floating-subnet-tags", AtFloatingIp, "tags, separated by commas; `&` first asks for all of them, `!` before that negates", "`floating-subnet-tags`",
        "Takes the floating IP from the first subnet with such tags that has one left.";
    KEEP_FLOATING_IP = "loadbalancer.openstack.org/keep-floatingip", Followed, "`true`, `false`", "`false`",
        "The floating IP outlives the load balancer, and is only detached where the service becomes internal.";
    PROXY_PROTOCOL = "loadbalancer.openstack.org/proxy-protocol", Followed, "`true` or `v1`, `v2`; anything else is off", "off",
        "Pools speak proxy protocol to the nodes, on all ports. Not together with `x-forwarded-for`.";
    X_FORWARDED_FOR = "loadbalancer.openstack.org/x-forwarded-for", Followed, "`true`, `false`", "`false`",
        "Listeners speak HTTP on all ports and add the header `X-Forwarded-For`.";
    TLS_CONTAINER = "loadbalancer.openstack.org/default-tls-container-ref", Followed, "the URL of a container or secret in Barbican", "`default-tls-container-ref`",
        "Listeners end TLS with this certificate, on all ports.";
    LISTENER_PROTOCOLS = "loadbalancer.openstack.org/listener-protocols", Followed, "`port=protocol,…` with ports by number or name, and `TCP`, `UDP`, `SCTP`, `HTTP` or `TERMINATED_HTTPS`", "one protocol for all ports",
        "The protocols of single listeners, before `x-forwarded-for` and `default-tls-container-ref`. Not known to the Go controller.";
    CONNECTION_LIMIT = "loadbalancer.openstack.org/connection-limit", Followed, "a number; -1 is no limit", "-1",
        "Connections that each listener takes.";
    LB_METHOD = "loadbalancer.openstack.org/lb-method", Followed, "`ROUND_ROBIN`, `LEAST_CONNECTIONS`, `SOURCE_IP`, `SOURCE_IP_PORT`", "`lb-method`",
        "How pools choose a member.";
    TIMEOUT_CLIENT_DATA = "loadbalancer.openstack.org/timeout-client-data", Followed, "milliseconds", "50000",
        "How long a client may be silent.";
    TIMEOUT_MEMBER_CONNECT = "loadbalancer.openstack.org/timeout-member-connect", Followed, "milliseconds", "5000",
        "How long connecting to a node may take.";
    TIMEOUT_MEMBER_DATA = "loadbalancer.openstack.org/timeout-member-data", Followed, "milliseconds", "50000",
        "How long a node may be silent.";
    TIMEOUT_TCP_INSPECT = "loadbalancer.openstack.org/timeout-tcp-inspect", Followed, "milliseconds", "0",
        "How long to wait for more of a TCP stream that is looked into.";
    ENABLE_HEALTH_MONITOR = "loadbalancer.openstack.org/enable-health-monitor", Followed, "`true`, `false`", "`create-monitor`",
        "Nodes that do not answer get no traffic. With external traffic policy Local it takes a monitor to leave out the nodes without a pod.";
    HEALTH_MONITOR_DELAY = "loadbalancer.openstack.org/health-monitor-delay", Followed, "seconds", "`monitor-delay`",
        "The time between two checks.";
    HEALTH_MONITOR_TIMEOUT = "loadbalancer.openstack.org/health-monitor-timeout", Followed, "seconds", "`monitor-timeout`",
        "How long a check may take.";
    HEALTH_MONITOR_MAX_RETRIES = "loadbalancer.openstack.org/health-monitor-max-retries", Followed, "1 to 10", "`monitor-max-retries`",
        "So many passed checks in a row bring a node back.";
    HEALTH_MONITOR_MAX_RETRIES_DOWN = "loadbalancer.openstack.org/health-monitor-max-retries-down", Followed, "1 to 10", "`monitor-max-retries-down`",
        "So many failed checks in a row take a node out.";
    FLAVOR_ID = "loadbalancer.openstack.org/flavor-id", AtCreation, "ID of a flavor of load balancers", "`flavor-id`",
        "The size and kind of the load balancer.";
    AVAILABILITY_ZONE = "loadbalancer.openstack.org/availability-zone", AtCreation, "a zone of Octavia", "`availability-zone`",
        "Where the load balancer runs.";
    NODE_SELECTOR = "loadbalancer.openstack.org/node-selector", Followed, "`key=value,key`; a key without value must only exist", "`node-selector`",
        "Only nodes with all of these labels become members.";
}

impl Annotation {
    /// The value, also where it is empty.
    pub fn of<'a>(&self, service: &'a Service) -> Option<&'a str> {
        service.annotation(self.key)
    }

    /// The value or, where it is absent, `default`.
    pub fn or<'a>(&self, service: &'a Service, default: &'a str) -> &'a str {
        self.of(service).unwrap_or(default)
    }

    /// The value, where it is not empty.
    pub fn filled<'a>(&self, service: &'a Service) -> Option<&'a str> {
        self.of(service).filter(|value| !value.is_empty())
    }

    /// A boolean: exactly `true` or `false`, anything else is `default`.
    pub fn flag(&self, service: &Service, default: bool) -> bool {
        match self.of(service) {
            Some("true") => true,
            Some("false") => false,
            _ => default,
        }
    }

    /// A number; one that cannot be read is `default`, with a warning.
    pub fn number(&self, service: &Service, default: i64) -> i64 {
        let Some(value) = self.of(service) else { return default };
        value.parse().unwrap_or_else(|_| {
            tracing::warn!(service = %service.key(), annotation = self.key, value, default, "not a number, the default counts");
            default
        })
    }
}

/// The proxy protocol of pools that a service asks for, as Octavia calls it.
pub fn proxy_protocol(service: &Service) -> Option<&'static str> {
    match PROXY_PROTOCOL.of(service) {
        Some("true" | "v1") => Some("PROXY"),
        Some("v2") => Some("PROXYV2"),
        _ => None,
    }
}

/// The entries `key=value` of a list, trimmed; values may contain `=`, a key alone has an empty value.
pub fn pairs(text: &str) -> BTreeMap<String, String> {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
            (key.trim().to_owned(), value.trim().to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(annotation: Annotation, value: &str) -> Service {
        serde_json::from_value(json!({ "metadata": { "annotations": { (annotation.key): value } } })).unwrap()
    }

    #[test]
    fn section_12_4_annotation_readers() {
        assert_eq!(CONNECTION_LIMIT.number(&service(CONNECTION_LIMIT, "bar"), -1), -1);
        assert_eq!(CONNECTION_LIMIT.number(&service(CONNECTION_LIMIT, "17"), -1), 17);
        for (value, default, flag) in
            [("true", false, true), ("false", true, false), ("True", false, false), ("yes", true, true)]
        {
            assert_eq!(INTERNAL.flag(&service(INTERNAL, value), default), flag, "{value}");
        }
        assert_eq!(FLAVOR_ID.or(&service(FLAVOR_ID, ""), "default"), "");
        assert_eq!(FLAVOR_ID.or(&Service::default(), "default"), "default");
    }

    #[test]
    fn section_12_4_proxy_protocol() {
        let of = |value| proxy_protocol(&service(PROXY_PROTOCOL, value));
        assert_eq!(proxy_protocol(&Service::default()), None);
        assert_eq!([of("false"), of("unknown"), of("")], [None; 3]);
        assert_eq!([of("true"), of("v1"), of("v2")], [Some("PROXY"), Some("PROXY"), Some("PROXYV2")]);
    }

    #[test]
    fn section_12_4_selector_parse() {
        let pairs_of = |text| pairs(text).into_iter().collect::<Vec<_>>();
        let expected = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect::<Vec<_>>();
        assert_eq!(pairs_of("k3=v3,=emptykey"), expected(&[("", "emptykey"), ("k3", "v3")]));
        assert_eq!(pairs_of(" k1=v1, k2 "), expected(&[("k1", "v1"), ("k2", "")]));
        assert_eq!(pairs_of("k=a=b"), expected(&[("k", "a=b")]));
        assert!(pairs_of("").is_empty());
    }

    #[test]
    fn keys_are_distinct() {
        let keys: std::collections::BTreeSet<_> = ALL.iter().map(|annotation| annotation.key).collect();
        assert_eq!(keys.len(), ALL.len());
    }
}
