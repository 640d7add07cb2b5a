//! What a service wants, and whether a change of it matters.

use std::collections::BTreeMap;

use crate::cluster::objects::{Object, Service};

/// The finalizer that holds a service until its load balancer is gone.
pub const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
/// `spec.type` of a service with a load balancer.
pub const LOAD_BALANCER: &str = "LoadBalancer";

/// Whether this controller shall give the service a load balancer. A service with a class is somebody else's.
pub fn wants_load_balancer(service: &Service) -> bool {
    service.spec.kind == LOAD_BALANCER && service.spec.load_balancer_class.is_none()
}

/// Whether the service carries our finalizer.
pub fn has_finalizer(service: &Service) -> bool {
    service.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// Whether a load balancer that we made has to go: the service is being deleted or changed its type.
pub fn needs_cleanup(service: &Service) -> bool {
    has_finalizer(service) && (service.is_terminating() || service.spec.kind != LOAD_BALANCER)
}

/// Whether only local endpoints of a node receive the traffic that it gets from outside.
pub fn only_local_traffic(service: &Service) -> bool {
    matches!(service.spec.kind.as_str(), LOAD_BALANCER | "NodePort")
        && service.spec.external_traffic_policy.as_deref() == Some("Local")
}

/// Path and port under which a node says whether it has endpoints; only for load balancers with local traffic.
pub fn health_check(service: &Service) -> Option<(&'static str, i32)> {
    let needed = service.spec.kind == LOAD_BALANCER && only_local_traffic(service);
    needed.then_some(("/healthz", service.spec.health_check_node_port))
}

/// Whether a change of the service has to reach the load balancer. Labels, selector, cluster IPs and status do not.
pub fn needs_update(old: &Service, new: &Service) -> bool {
    if !wants_load_balancer(old) && !wants_load_balancer(new) {
        return false;
    }
    let (a, b) = (&old.spec, &new.spec);
    wants_load_balancer(old) != wants_load_balancer(new)
        || a.load_balancer_source_ranges != b.load_balancer_source_ranges
        || a.ports != b.ports
        || a.session_affinity != b.session_affinity
        || a.session_affinity_config != b.session_affinity_config
        || a.load_balancer_ip != b.load_balancer_ip
        || a.external_ips != b.external_ips
        || annotations_differ(old, new)
        || old.uid() != new.uid()
        || a.external_traffic_policy != b.external_traffic_policy
        || a.health_check_node_port != b.health_check_node_port
        || a.ip_families.len() != b.ip_families.len()
}

fn annotations_differ(old: &Service, new: &Service) -> bool {
    let none = BTreeMap::new();
    let [old, new] = [old, new].map(|service| service.metadata.annotations.as_ref().unwrap_or(&none));
    old != new
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(change: impl FnOnce(&mut Value)) -> Service {
        let mut value = json!({
            "metadata": {"name": "s", "namespace": "default", "uid": "u"},
            "spec": {"type": "LoadBalancer", "ipFamilies": ["IPv4"], "externalTrafficPolicy": "Cluster",
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP", "targetPort": 20}]},
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn section_12_5_needs_cleanup() {
        assert!(!needs_cleanup(&service(|_| {})));
        let finalizers = json!([FINALIZER]);
        assert!(!needs_cleanup(&service(|s| s["metadata"]["finalizers"] = finalizers.clone())));
        assert!(needs_cleanup(&service(|s| {
            s["metadata"]["finalizers"] = finalizers.clone();
            s["spec"]["type"] = json!("NodePort");
        })));
        assert!(needs_cleanup(&service(|s| {
            s["metadata"]["finalizers"] = finalizers.clone();
            s["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        })));
    }

    #[test]
    fn section_12_5_needs_update() {
        type Edit = fn(&mut Value);
        let base = service(|_| {});
        let rows: [(&str, Edit); 11] = [
            ("type", |s| s["spec"]["type"] = json!("ClusterIP")),
            ("port", |s| s["spec"]["ports"][0]["port"] = json!(81)),
            ("externalIPs", |s| s["spec"]["externalIPs"] = json!(["1.2.3.4"])),
            ("UID", |s| s["metadata"]["uid"] = json!("other")),
            ("externalTrafficPolicy", |s| s["spec"]["externalTrafficPolicy"] = json!("Local")),
            ("healthCheckNodePort", |s| s["spec"]["healthCheckNodePort"] = json!(30123)),
            ("targetPort number", |s| s["spec"]["ports"][0]["targetPort"] = json!(21)),
            ("targetPort name", |s| s["spec"]["ports"][0]["targetPort"] = json!("dns")),
            ("ipFamilies", |s| s["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"])),
            ("appProtocol", |s| s["spec"]["ports"][0]["appProtocol"] = json!("http")),
            ("annotation", |s| s["metadata"]["annotations"] = json!({"a": "b"})),
        ];
        for (name, edit) in rows {
            assert!(needs_update(&base, &service(edit)), "{name}");
            assert!(needs_update(&service(edit), &base), "{name}, back");
        }
        assert!(!needs_update(&base, &service(|_| {})));
        assert!(!needs_update(&base, &service(|s| s["metadata"]["annotations"] = json!({}))));
        assert!(!needs_update(&base, &service(|s| s["metadata"]["labels"] = json!({"a": "b"}))));
    }

    #[test]
    fn section_12_6_has_finalizer() {
        for (finalizers, has) in [
            (json!(null), false),
            (json!(["unrelated"]), false),
            (json!([FINALIZER]), true),
            (json!([FINALIZER, "unrelated"]), true),
        ] {
            assert_eq!(
                has_finalizer(&service(|s| s["metadata"]["finalizers"] = finalizers.clone())),
                has,
                "{finalizers}"
            );
        }
    }

    #[test]
    fn section_12_6_only_local_and_needs_health_check() {
        let of = |kind: &str, policy: &str| {
            service(|s| {
                s["spec"]["type"] = json!(kind);
                s["spec"]["externalTrafficPolicy"] = json!(policy);
            })
        };
        let rows = [
            ("ClusterIP", "", false, false),
            ("NodePort", "Cluster", false, false),
            ("NodePort", "Local", true, false),
            ("LoadBalancer", "Cluster", false, false),
            ("LoadBalancer", "Local", true, true),
        ];
        for (kind, policy, local, check) in rows {
            assert_eq!(only_local_traffic(&of(kind, policy)), local, "{kind} {policy}");
            assert_eq!(health_check(&of(kind, policy)).is_some(), check, "{kind} {policy}");
        }
    }
}
