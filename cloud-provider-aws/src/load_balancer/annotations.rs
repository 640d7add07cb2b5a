//! The annotations of a service that this provider reads, each with what the reference page says about it, and the
//! readers of their values.
//!
//! The readers follow upstream to the letter, odd spellings included, since existing manifests rely on them.

use std::collections::BTreeMap;

use cloud_provider::{
    Error,
    cluster::objects::{Node, Object, Service},
    error::Result,
};

/// The kinds of load balancer that an annotation concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// Classic load balancers only.
    Classic,
    /// Network load balancers only.
    Network,
    /// Both kinds.
    Both,
}

/// Definition of one annotation, from which the reference page is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotation {
    /// The key.
    pub key: &'static str,
    /// The kinds of load balancer it concerns.
    pub applies: Applies,
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
    /// Refused.
    Refused,
}

macro_rules! annotations {
    ($($name:ident = $key:literal, $applies:ident, $changes:ident, $values:literal, $default:literal, $about:literal;)*) => {
        $(
            #[doc = concat!($about, "\n\nValues: ", $values, ". Default: ", $default, ".")]
            pub const $name: Annotation = Annotation {
                key: concat!("service.beta.kubernetes.io/", $key),
                applies: Applies::$applies,
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
    TYPE = "aws-load-balancer-type", Both, Refused, "`nlb`; `external` and `nlb-ip` leave the service to another controller; anything else is a classic load balancer", "classic",
        "The kind of load balancer. It cannot be changed once there is one, unless the cloud configuration has `AllowLoadBalancerTypeChange`.";
    INTERNAL = "aws-load-balancer-internal", Both, AtCreation, "empty or `false` for internet-facing, anything else for internal", "internet-facing",
        "Makes the load balancer internal: it gets private addresses, and subnets without a route to an internet gateway may serve it.";
    SUBNETS = "aws-load-balancer-subnets", Both, Followed, "comma-separated subnet IDs or values of their `Name` tag", "discovered by tags",
        "The subnets. A classic load balancer follows changes, a network load balancer takes them when it is made, and follows with `ReconcileLoadBalancerSubnets`.";
    SECURITY_GROUPS = "aws-load-balancer-security-groups", Both, Followed, "comma-separated security group IDs", "a group of its own",
        "Security groups that replace the one that is made otherwise; their rules are not managed. On a network load balancer only where the cloud configuration has `NLBSecurityGroupMode = Managed`.";
    EXTRA_SECURITY_GROUPS = "aws-load-balancer-extra-security-groups", Classic, Followed, "comma-separated security group IDs", "none",
        "More security groups, after the others. A network load balancer refuses the annotation.";
    ADDITIONAL_TAGS = "aws-load-balancer-additional-resource-tags", Both, Followed, "`key=value,key=value`", "none",
        "Tags for what is made for the service. A classic load balancer follows changes, a network load balancer takes them when it is made, and follows with `ReconcileLoadBalancerTags`; tags are never taken away.";
    TARGET_NODE_LABELS = "aws-load-balancer-target-node-labels", Both, Followed, "`key=value,key`; a key without value must only exist", "all nodes",
        "Only nodes with all of these labels become targets.";
    SSL_CERT = "aws-load-balancer-ssl-cert", Both, Followed, "the ARN of one certificate in ACM or IAM", "no TLS",
        "The certificate with which the load balancer ends TLS.";
    SSL_PORTS = "aws-load-balancer-ssl-ports", Both, Followed, "empty or `*` for all; comma-separated port numbers or names without blanks", "all",
        "The ports that use the certificate.";
    SSL_NEGOTIATION_POLICY = "aws-load-balancer-ssl-negotiation-policy", Both, Followed, "the name of a predefined TLS policy", "the default of AWS",
        "The TLS protocols and ciphers of listeners.";
    BACKEND_PROTOCOL = "aws-load-balancer-backend-protocol", Both, Followed, "classic: `http`, `https`, `ssl`, `tcp`; network: `ssl` encrypts to the targets", "`tcp`",
        "The protocol that pods speak.";
    PROXY_PROTOCOL = "aws-load-balancer-proxy-protocol", Both, Followed, "`*`", "off",
        "Switches proxy protocol on for all back ends: version 1; on a network load balancer version 2, and only with `NLBExtensions`.";
    CROSS_ZONE = "aws-load-balancer-cross-zone-load-balancing-enabled", Both, Followed, "boolean", "`false`",
        "Spreads traffic over the targets of all zones.";
    ACCESS_LOG_ENABLED = "aws-load-balancer-access-log-enabled", Both, Followed, "boolean", "`false`",
        "Writes access logs to S3.";
    ACCESS_LOG_EMIT_INTERVAL = "aws-load-balancer-access-log-emit-interval", Classic, Followed, "minutes: 5 or 60", "that of AWS, 60",
        "How often access logs are published.";
    ACCESS_LOG_BUCKET = "aws-load-balancer-access-log-s3-bucket-name", Both, Followed, "name of an S3 bucket", "none",
        "Where access logs go.";
    ACCESS_LOG_PREFIX = "aws-load-balancer-access-log-s3-bucket-prefix", Both, Followed, "a prefix of object names", "none",
        "Where in the bucket access logs go.";
    DRAINING_ENABLED = "aws-load-balancer-connection-draining-enabled", Classic, Followed, "boolean", "`false`",
        "Keeps connections to instances that leave open for a while.";
    DRAINING_TIMEOUT = "aws-load-balancer-connection-draining-timeout", Classic, Followed, "seconds: 1 to 3600", "that of AWS, 300",
        "For how long.";
    IDLE_TIMEOUT = "aws-load-balancer-connection-idle-timeout", Classic, Followed, "seconds: 1 to 4000", "60",
        "How long a connection may be silent.";
    HEALTH_CHECK_PROTOCOL = "aws-load-balancer-healthcheck-protocol", Both, Followed, "network: `tcp`, `http`, `https` in any case; classic: `TCP`, `SSL`, `HTTP`, `HTTPS`", "`tcp`, `http` with external traffic policy Local",
        "The protocol of health checks. A change makes new target groups.";
    HEALTH_CHECK_PORT = "aws-load-balancer-healthcheck-port", Both, Followed, "`traffic-port` or a number", "`traffic-port`, the health check node port with external traffic policy Local",
        "The port of health checks.";
    HEALTH_CHECK_PATH = "aws-load-balancer-healthcheck-path", Both, Followed, "a path", "`/`, `/healthz` with external traffic policy Local",
        "The path of health checks over HTTP or HTTPS.";
    HEALTH_CHECK_HEALTHY = "aws-load-balancer-healthcheck-healthy-threshold", Both, Followed, "a number", "classic 2; network 3, or 2 with external traffic policy Local",
        "So many passed checks in a row make a target healthy.";
    HEALTH_CHECK_UNHEALTHY = "aws-load-balancer-healthcheck-unhealthy-threshold", Both, Followed, "a number", "classic 6; network 3, or 2 with external traffic policy Local",
        "So many failed checks in a row make a target unhealthy.";
    HEALTH_CHECK_TIMEOUT = "aws-load-balancer-healthcheck-timeout", Both, Followed, "seconds", "classic 5; network: that of AWS",
        "How long a check may take. A network load balancer ignores it, as upstream does, unless the cloud configuration has `NLBExtensions`.";
    HEALTH_CHECK_INTERVAL = "aws-load-balancer-healthcheck-interval", Both, Followed, "seconds", "classic 10; network 30, or 10 with external traffic policy Local",
        "The time between checks. A change makes new target groups.";
    TARGET_GROUP_ATTRIBUTES = "aws-load-balancer-target-group-attributes", Network, Followed, "`preserve_client_ip.enabled=true|false,proxy_protocol_v2.enabled=true|false`", "those of AWS",
        "Attributes of all target groups. What is taken out keeps its last value; with `NLBExtensions` it goes back to the default, as long as the annotation is there.";
    EIP_ALLOCATIONS = "aws-load-balancer-eip-allocations", Network, AtCreation, "comma-separated allocation IDs without blanks, one for each subnet", "addresses of AWS",
        "Elastic IPs for an internet-facing load balancer, in the order of the subnets. Changes are followed with `ReconcileLoadBalancerSubnets`.";
    PRIVATE_ADDRESSES = "aws-load-balancer-private-ipv4-addresses", Network, AtCreation, "comma-separated addresses without blanks, one for each subnet", "addresses of AWS",
        "Private addresses for an internal load balancer, in the order of the subnets. Changes are followed with `ReconcileLoadBalancerSubnets`.";
    IP_ADDRESS_TYPE = "aws-load-balancer-ip-address-type", Network, Followed, "`ipv4`, `dualstack`", "`dualstack` where the service has two IP families, and subnets, ports and source ranges permit it; a new one `ipv4` otherwise",
        "The families of the load balancer's addresses. Only with `NLBExtensions`; without the annotation a service with one family leaves them as they are. Clients over IPv6 reach nodes from addresses of the load balancer; they can be restricted only where it has security groups. `dualstack` cannot serve UDP.";
}

/// Which controller makes a service's load balancer, and of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A classic load balancer, ours.
    Classic,
    /// A network load balancer, ours.
    Network,
    /// Another controller's.
    External,
}

impl Kind {
    /// Reads [`TYPE`]; case counts.
    pub fn of(service: &Service) -> Self {
        match TYPE.of(service) {
            Some("nlb") => Self::Network,
            Some("external" | "nlb-ip") => Self::External,
            _ => Self::Classic,
        }
    }
}

/// Whether the load balancer is internal.
pub fn is_internal(service: &Service) -> bool {
    !matches!(INTERNAL.of(service), None | Some("" | "false"))
}

impl Annotation {
    /// The raw value.
    pub fn of<'a>(&self, service: &'a Service) -> Option<&'a str> {
        service.annotation(self.key)
    }

    /// The raw value, where it is not empty.
    pub fn filled<'a>(&self, service: &'a Service) -> Option<&'a str> {
        self.of(service).filter(|value| !value.is_empty())
    }

    /// An error about the value: `problem` and what would be right.
    pub fn error(&self, problem: impl Into<String>) -> Error {
        Error::invalid(self.key, format!("{}; expecting {}", problem.into(), self.values))
    }

    /// A boolean in one of Go's spellings; empty is not set.
    pub fn boolean(&self, service: &Service) -> Result<Option<bool>> {
        self.filled(service)
            .map(|value| match value {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
                "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
                _ => Err(self.unreadable(value)),
            })
            .transpose()
    }

    /// Whether the value is `*`, the only one there is; empty is not set.
    pub fn asterisk(&self, service: &Service) -> Result<bool> {
        match self.filled(service) {
            None => Ok(false),
            Some("*") => Ok(true),
            Some(value) => {
                let key = self.key;
                let problem =
                    format!("annotation {key:?}={value:?} detected, but the only value supported currently is '*'");
                Err(Error::invalid(key, problem))
            }
        }
    }

    /// A 32-bit number; empty is not set.
    pub fn number(&self, service: &Service) -> Result<Option<i32>> {
        self.filled(service).map(|value| go_integer(value).map_err(|()| self.unreadable(value))).transpose()
    }

    /// A number of a health check. Upstream reads 64 bits and drops the upper half, which no valid value needs: larger
    /// values are refused. The empty string is refused as upstream does.
    pub fn health_number(&self, service: &Service) -> Result<Option<i32>> {
        self.of(service)
            .map(|value| {
                go_integer(value).map_err(|()| self.error(format!("failed to parse annotation {}={value}", self.key)))
            })
            .transpose()
    }

    fn unreadable(&self, value: &str) -> Error {
        self.error(format!("error parsing service annotation: {}={value}", self.key))
    }

    /// A comma-separated list, entries trimmed, empty ones dropped.
    pub fn list(&self, service: &Service) -> Vec<String> {
        let entries = self.of(service).unwrap_or_default().split(',');
        entries.map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    }

    /// A comma-separated list taken as it is; an empty value is one empty entry.
    pub fn raw_list(&self, service: &Service) -> Option<Vec<String>> {
        Some(self.of(service)?.split(',').map(str::to_owned).collect())
    }

    /// `key=value` pairs.
    pub fn pairs(&self, service: &Service) -> BTreeMap<String, String> {
        self.of(service).map(pairs).unwrap_or_default()
    }
}

fn go_integer(value: &str) -> Result<i32, ()> {
    value.parse().map_err(|_| ())
}

/// Reads `key=value` pairs: entries are trimmed, keys and values are not; text after a second `=` is lost, a key alone has
/// an empty value, an empty key is dropped, the last of equal keys counts.
pub fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    for entry in text.trim().split(',') {
        let mut parts = entry.trim().split('=');
        let key = parts.next().unwrap_or_default();
        if !key.is_empty() {
            pairs.insert(key.to_owned(), parts.next().unwrap_or_default().to_owned());
        }
    }
    pairs
}

/// The ports that [`SSL_PORTS`] selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SslPorts {
    /// All ports.
    All,
    /// Ports by number or name.
    These(Vec<String>),
}

impl SslPorts {
    /// Reads the annotation.
    pub fn of(service: &Service) -> Self {
        match SSL_PORTS.of(service) {
            None | Some("" | "*") => Self::All,
            Some(list) => Self::These(list.split(',').map(str::to_owned).collect()),
        }
    }

    /// Whether a port is selected, by its number or by `name`.
    pub fn contains(&self, number: i32, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(ports) => ports.iter().any(|port| match go_integer(port) {
                Ok(selected) => selected == number,
                Err(()) => port == name,
            }),
        }
    }
}

/// Whether a node may be a target of the service, by [`TARGET_NODE_LABELS`].
pub fn selects(service: &Service, node: &Node) -> bool {
    TARGET_NODE_LABELS
        .pairs(service)
        .iter()
        .all(|(key, value)| node.label(key).is_some_and(|label| value.is_empty() || label == value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(annotation: &Annotation, value: &str) -> Service {
        serde_json::from_value(json!({"metadata": {"name": "s", "annotations": {annotation.key: value}}})).unwrap()
    }

    /// aws.md 12.7, the parser of pairs.
    #[test]
    fn pairs_as_in_12_7() {
        let read = pairs("K=V K1=V2,Key1========, =====, ======Val, =Val, , 234,");
        let expected = [("K", "V K1"), ("Key1", ""), ("234", "")];
        assert_eq!(read, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(pairs("a=1,a=2")["a"], "2");
    }

    #[test]
    fn kinds_are_compared_exactly() {
        for (value, kind) in [
            ("nlb", Kind::Network),
            ("NLB", Kind::Classic),
            ("", Kind::Classic),
            ("external", Kind::External),
            ("nlb-ip", Kind::External),
        ] {
            assert_eq!(Kind::of(&service(&TYPE, value)), kind, "{value:?}");
        }
    }

    #[test]
    fn everything_but_empty_and_false_is_internal() {
        for (value, internal) in [("", false), ("false", false), ("true", true), ("0.0.0.0/0", true), ("False", true)] {
            assert_eq!(is_internal(&service(&INTERNAL, value)), internal, "{value:?}");
        }
        assert!(!is_internal(&Service::default()));
    }

    #[test]
    fn booleans_and_numbers_are_gos() {
        for value in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(CROSS_ZONE.boolean(&service(&CROSS_ZONE, value)).unwrap(), Some(true));
        }
        assert_eq!(CROSS_ZONE.boolean(&service(&CROSS_ZONE, "")).unwrap(), None);
        let error = CROSS_ZONE.boolean(&service(&CROSS_ZONE, "yes")).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("error parsing service annotation: {}=yes", CROSS_ZONE.key)), "{text}");
        assert_eq!(IDLE_TIMEOUT.number(&service(&IDLE_TIMEOUT, "+7")).unwrap(), Some(7));
        assert!(IDLE_TIMEOUT.number(&service(&IDLE_TIMEOUT, "2147483648")).is_err());
        for bad in ["", "3.3", "non-numeric", " 3"] {
            assert!(HEALTH_CHECK_TIMEOUT.health_number(&service(&HEALTH_CHECK_TIMEOUT, bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ssl_ports_select_by_number_and_name() {
        let ports = SslPorts::of(&service(&SSL_PORTS, "1234,5678"));
        assert!(ports.contains(1234, "") && !ports.contains(443, ""));
        assert!(SslPorts::of(&service(&SSL_PORTS, "foo,bar")).contains(443, "bar"));
        assert!(!SslPorts::of(&service(&SSL_PORTS, "foo, bar")).contains(443, "bar"));
        for all in ["", "*"] {
            assert!(SslPorts::of(&service(&SSL_PORTS, all)).contains(1, ""));
        }
    }

    #[test]
    fn target_node_labels_must_all_match() {
        let node = |labels: serde_json::Value| -> Node {
            serde_json::from_value(json!({"metadata": {"name": "n", "labels": labels}})).unwrap()
        };
        let service = service(&TARGET_NODE_LABELS, "k1=v1,k2");
        assert!(selects(&service, &node(json!({"k1": "v1", "k2": "x"}))));
        assert!(!selects(&service, &node(json!({"k1": "v1"}))));
        assert!(!selects(&service, &node(json!({"k1": "v2", "k2": ""}))));
        assert!(!selects(&service, &node(json!(null))));
        assert!(selects(&Service::default(), &node(json!(null))));
    }

    #[test]
    fn lists_drop_empty_entries() {
        assert_eq!(EXTRA_SECURITY_GROUPS.list(&service(&EXTRA_SECURITY_GROUPS, ", ,,")), Vec::<String>::new());
        assert_eq!(SECURITY_GROUPS.list(&service(&SECURITY_GROUPS, " sg-1 ,sg-2")), ["sg-1", "sg-2"]);
        assert_eq!(EIP_ALLOCATIONS.raw_list(&service(&EIP_ALLOCATIONS, "")), Some(vec![String::new()]));
    }

    #[test]
    fn keys_are_unique() {
        let keys: std::collections::BTreeSet<_> = ALL.iter().map(|annotation| annotation.key).collect();
        assert_eq!(keys.len(), ALL.len());
        assert!(keys.iter().all(|key| key.starts_with("service.beta.kubernetes.io/aws-load-balancer-")));
    }
}
