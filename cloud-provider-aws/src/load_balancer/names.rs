//! Names, descriptions and tag keys of what is made for a service: a wire format shared with upstream, byte for byte.
//!
//! Nothing is remembered between rounds, so these formulas are also how leftovers are found.

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// Tag with `namespace/name` of the service, on load balancers, target groups and listeners.
pub const SERVICE_TAG: &str = "kubernetes.io/service-name";
/// Presence makes a subnet preferred for internet-facing load balancers.
pub const PUBLIC_SUBNET_ROLE: &str = "kubernetes.io/role/elb";
/// Presence makes a subnet preferred for internal load balancers.
pub const INTERNAL_SUBNET_ROLE: &str = "kubernetes.io/role/internal-elb";
/// Description of the security group that is managed for a network load balancer.
pub const MANAGED_GROUP_DESCRIPTION: &str = "[k8s] Managed SecurityGroup for LoadBalancer";
/// The policy that switches proxy protocol on for back ends of a classic load balancer.
pub const PROXY_PROTOCOL_POLICY: &str = "k8s-proxyprotocol-enabled";
/// Description of rules for path MTU discovery; all network load balancers share them.
pub const MTU_RULE: &str = "kubernetes.io/rule/nlb/mtu";

/// Description of merged rules for health checks; all network load balancers share them.
pub const SHARED_HEALTH_RULE: &str = "kubernetes.io/rule/nlb/health";

/// The tag of what the AWS Load Balancer Controller makes. Its names have the same form as some of ours.
pub const LOAD_BALANCER_CONTROLLER_TAG: &str = "elbv2.k8s.aws/cluster";

const CLASSIC_GROUP: &str = "k8s-elb-";
const CLIENT_RULE: &str = "kubernetes.io/rule/nlb/client=";
const HEALTH_RULE: &str = "kubernetes.io/rule/nlb/health=";
const MAX_LOAD_BALANCER_NAME: usize = 32;

/// The name of a service's load balancer, of either kind: `a` and the UID without dashes, at most 32 bytes.
pub fn load_balancer(uid: &str) -> String {
    let mut name = String::from("a");
    name.extend(uid.chars().filter(|c| *c != '-'));
    let mut end = name.len().min(MAX_LOAD_BALANCER_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.truncate(end);
    name
}

/// Whether a load balancer may have been named by [`load_balancer`]: `a` and the first 31 digits of a UID.
pub fn is_load_balancer(name: &str) -> bool {
    name.len() == MAX_LOAD_BALANCER_NAME
        && name.starts_with('a')
        && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The name of the security group that is made for a classic load balancer.
pub fn classic_group(load_balancer: &str) -> String {
    format!("{CLASSIC_GROUP}{load_balancer}")
}

/// Whether a security group may be one of a service: of a classic load balancer, or managed for a network load balancer.
pub fn is_security_group(name: &str) -> bool {
    name.strip_prefix(CLASSIC_GROUP).map_or_else(|| is_of_service(name), is_load_balancer)
}

/// Whether a name may be that of a target group or of a managed security group of some service: [`resource_prefix`] and
/// ten digits of a hash.
pub fn is_of_service(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let is_part = |part: &str| part.len() <= 8 && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let is_hash = |part: &str| part.len() == 10 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(parts.as_slice(), ["k8s", namespace, name, hash] if is_part(namespace) && is_part(name) && is_hash(hash))
}

/// The description of that group.
pub fn classic_group_description(load_balancer: &str, namespace: &str, name: &str) -> String {
    format!("Security group for Kubernetes ELB {load_balancer} ({namespace}/{name})")
}

/// The name of the security group that is managed for a network load balancer. `cluster_name` is `--cluster-name`, not
/// the cluster ID.
pub fn managed_group(cluster_name: &str, namespace: &str, name: &str, uid: &str) -> String {
    let mut hash = Sha256::new();
    for part in [cluster_name, name, namespace, uid] {
        hash.update(part.as_bytes());
    }
    format!("{}{}", resource_prefix(namespace, name), first_ten(&hash.finalize()))
}

/// What the name of a target group is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetGroupName<'a> {
    /// The cluster ID.
    pub cluster_id: &'a str,
    /// The service's namespace.
    pub namespace: &'a str,
    /// The service's name.
    pub name: &'a str,
    /// The port of the service.
    pub service_port: i32,
    /// The port on the nodes.
    pub node_port: i32,
    /// `TCP`, `UDP` or `TLS`.
    pub protocol: &'a str,
    /// `instance`.
    pub target_type: &'a str,
    /// Upper case protocol of the health check.
    pub health_protocol: &'a str,
    /// Seconds between health checks.
    pub health_interval: i32,
}

impl TargetGroupName<'_> {
    /// The name.
    pub fn build(&self) -> String {
        let (service_port, node_port) = (self.service_port.to_string(), self.node_port.to_string());
        let interval = self.health_interval.to_string();
        let parts = [
            self.cluster_id,
            self.namespace,
            self.name,
            &service_port,
            &node_port,
            self.protocol,
            self.target_type,
            self.health_protocol,
            &interval,
        ];
        let mut hash = Sha1::new();
        for part in parts {
            hash.update(part.as_bytes());
        }
        format!("{}{}", resource_prefix(self.namespace, self.name), first_ten(&hash.finalize()))
    }

    /// Whether `name` is this name with any service port. All other parts can be read from a target group itself, so
    /// this tells our leftovers from target groups of other services and clusters without reading tags, for which
    /// upstream's documented policy grants no permission.
    pub fn matches_any_port(self, name: &str) -> bool {
        name.starts_with(&resource_prefix(self.namespace, self.name))
            && (1..=65_535).any(|service_port| Self { service_port, ..self }.build() == name)
    }
}

/// What names of target groups and managed security groups of a service start with. It is not unique.
pub fn resource_prefix(namespace: &str, name: &str) -> String {
    fn first_eight(text: &str) -> String {
        text.chars().filter(char::is_ascii_alphanumeric).take(8).collect()
    }
    format!("k8s-{}-{}-", first_eight(namespace), first_eight(name))
}

fn first_ten(digest: &[u8]) -> String {
    let mut text = hex::encode(digest);
    text.truncate(10);
    text
}

/// The policy of a classic load balancer that stands for a predefined TLS policy.
pub fn ssl_negotiation_policy(policy: &str) -> String {
    format!("k8s-SSLNegotiationPolicy-{policy}")
}

/// Description of the rules through which clients reach node ports.
pub fn client_rule(load_balancer: &str) -> String {
    format!("{CLIENT_RULE}{load_balancer}")
}

/// Description of the rules through which health checks reach nodes.
pub fn health_rule(load_balancer: &str) -> String {
    format!("{HEALTH_RULE}{load_balancer}")
}

/// Whether a description is that of a client rule of any network load balancer.
pub fn is_client_rule(description: &str) -> bool {
    description.starts_with(CLIENT_RULE)
}

/// The load balancer named in the description of a client rule.
pub fn client_rule_owner(description: &str) -> Option<&str> {
    description.strip_prefix(CLIENT_RULE)
}

/// The load balancer named in the description of a health rule.
pub fn health_rule_owner(description: &str) -> Option<&str> {
    description.strip_prefix(HEALTH_RULE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: TargetGroupName<'_> = TargetGroupName {
        cluster_id: "cluster-a",
        namespace: "default",
        name: "service-a",
        service_port: 80,
        node_port: 8080,
        protocol: "TCP",
        target_type: "instance",
        health_protocol: "",
        health_interval: 0,
    };

    #[test]
    fn names_of_groups_are_told_from_those_of_others() {
        for (name, ours) in [
            ("k8s-elb-a0123456789abcdef0123456789abcdef", false),
            ("k8s-elb-a0123456789abcdef0123456789abcde", true),
            ("k8s-elb-mine", false),
            ("k8s-shop-search-0123456789", true),
            ("k8s-shop-search-012345678", false),
            ("k8s-verylongs-search-0123456789", false),
            ("default", false),
        ] {
            assert_eq!(is_security_group(name), ours, "{name}");
        }
        assert!(is_security_group(&managed_group("kubernetes", "shop", "web-front", "uid")));
        assert!(is_of_service(&BASE.build()));
    }

    #[test]
    fn load_balancers_are_named_by_uid() {
        assert_eq!(load_balancer("id"), "aid");
        let name = load_balancer("12345678-1234-1234-1234-123456789abc");
        assert_eq!(name, "a1234567812341234123412345678 9ab".replace(' ', ""));
        assert_eq!(name.len(), 32);
        assert!(is_load_balancer(&name));
        for other in ["aid", "k8s-default-web-0123456789", "b1234567812341234123412345678 9ab"] {
            assert!(!is_load_balancer(other), "{other}");
        }
    }

    /// aws.md 12.1, target groups.
    #[test]
    fn target_group_names_as_in_12_1() {
        let with = |change: fn(&mut TargetGroupName<'static>)| {
            let mut name = BASE;
            change(&mut name);
            name.build()
        };
        type Row = (fn(&mut TargetGroupName<'static>), &'static str);
        let rows: [Row; 10] = [
            (|_| {}, "k8s-default-servicea-7fa2e07508"),
            (|n| n.cluster_id = "cluster-b", "k8s-default-servicea-719ee635da"),
            (|n| n.namespace = "another", "k8s-another-servicea-f66e09847d"),
            (|n| n.name = "service-b", "k8s-default-serviceb-196c19c881"),
            (|n| n.service_port = 9090, "k8s-default-servicea-06876706cb"),
            (|n| n.node_port = 9090, "k8s-default-servicea-119f844ec0"),
            (|n| n.protocol = "UDP", "k8s-default-servicea-3868761686"),
            (|n| n.target_type = "ip", "k8s-default-servicea-0fa31f4b0f"),
            (
                |n| {
                    n.target_type = "ip";
                    n.health_protocol = "HTTP";
                    n.health_interval = 10;
                },
                "k8s-default-servicea-4028e49618",
            ),
            (|_| {}, "k8s-default-servicea-7fa2e07508"),
        ];
        for (change, expected) in rows {
            assert_eq!(with(change), expected);
        }
    }

    /// aws.md 12.1, managed security groups.
    #[test]
    fn managed_group_names_as_in_12_1() {
        let long = "very-long-namespace-name-that-also-exceeds";
        let long_name = "very-long-service-name-that-exceeds-limits";
        let rows = [
            (
                "test-cluster",
                "default",
                "my-service",
                "12345678-1234-1234-1234-123456789abc",
                "default-myservic-b7cb8b02f0",
            ),
            (
                "test-cluster",
                "kube-system",
                "my-service-123",
                "87654321-4321-4321-4321-cba987654321",
                "kubesyst-myservic-5aa269aeaf",
            ),
            ("test-cluster", long, long_name, "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "verylong-verylong-24c7f2d8ee"),
            ("", "default", "test-service", "test-uid-123", "default-testserv-4ff26f905f"),
            (
                "prod-cluster-01",
                "prod-ns_01",
                "api-v2.service",
                "special-chars-uid-456",
                "prodns01-apiv2ser-9d72cd8df0",
            ),
            ("c", "b", "a", "x", "b-a-7a83d4e37a"),
            ("test", "___@@@___", "---***---", "special-uid", "--a9ace1b206"),
            ("test-cluster-123", "team-alpha_beta", "app1-web@2023", "mixed-uid-789", "teamalph-app1web2-8cf12707a7"),
            ("consistent-cluster", "hash-ns", "hash-test", "deterministic-uid", "hashns-hashtest-4f98483bd9"),
            ("consistent-cluster", "hash-ns", "hash-test", "different-uid", "hashns-hashtest-7e5f9fc305"),
        ];
        for (cluster, namespace, name, uid, expected) in rows {
            assert_eq!(managed_group(cluster, namespace, name, uid), format!("k8s-{expected}"));
        }
    }

    #[test]
    fn a_leftover_target_group_is_recognised_without_its_service_port() {
        let name = TargetGroupName { service_port: 54_321, ..BASE }.build();
        assert!(BASE.matches_any_port(&name));
        assert!(!TargetGroupName { cluster_id: "cluster-b", ..BASE }.matches_any_port(&name));
        assert!(!TargetGroupName { name: "service-az", ..BASE }.matches_any_port(&name));
        assert!(!BASE.matches_any_port("k8s-default-servicea-0000000000"));
    }

    #[test]
    fn descriptions_are_upstreams() {
        assert_eq!(classic_group("aid"), "k8s-elb-aid");
        assert_eq!(classic_group_description("aid", "ns", "n"), "Security group for Kubernetes ELB aid (ns/n)");
        assert_eq!(client_rule("aid"), "kubernetes.io/rule/nlb/client=aid");
        assert_eq!(health_rule("aid"), "kubernetes.io/rule/nlb/health=aid");
        assert_eq!(health_rule_owner("kubernetes.io/rule/nlb/health=aid"), Some("aid"));
        assert_eq!(ssl_negotiation_policy("p"), "k8s-SSLNegotiationPolicy-p");
    }
}
