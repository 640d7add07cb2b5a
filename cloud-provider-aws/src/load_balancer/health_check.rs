//! Health checks, as the service and its annotations ask for them.

use cloud_provider::{Error, cluster::objects::Service, error::Result, service::predicates};

use super::annotations::{self, Annotation};
use crate::{
    client::{elb::HealthCheck as ClassicHealthCheck, elbv2::HealthCheck},
    config::{self, HealthProbeMode},
};

/// The port of a health check that is the port of the traffic.
pub const TRAFFIC_PORT: &str = "traffic-port";

/// How services with external traffic policy Cluster are checked, from `ClusterServiceLoadBalancerHealthProbeMode`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProbeMode {
    /// At the service's own node port.
    #[default]
    NodePort,
    /// All services at kube-proxy's health endpoint.
    Shared {
        /// The port; 10256 where the configuration names none.
        port: i32,
        /// The path; `/healthz` where the configuration names none.
        path: String,
    },
    /// An unknown mode, which network load balancers refuse and classic ones take for node port.
    Unknown(String),
}

impl From<&config::HealthProbe> for ProbeMode {
    fn from(probe: &config::HealthProbe) -> Self {
        match &probe.mode {
            HealthProbeMode::ServiceNodePort => Self::NodePort,
            HealthProbeMode::Shared => Self::Shared { port: probe.shared_port, path: probe.shared_path.clone() },
            HealthProbeMode::Unknown(mode) => Self::Unknown(mode.clone()),
        }
    }
}

/// The health check of a network load balancer's target groups.
///
/// External traffic policy Local is checked at its health check node port. Annotations override protocol, path and port,
/// except where probes are shared; intervals and thresholds always follow annotations. Timeouts are sent only `extended`.
pub fn network(service: &Service, probes: &ProbeMode, extended: bool) -> Result<HealthCheck> {
    let local = predicates::only_local_traffic(service);
    let mut check = if local { local_traffic(service) } else { basic() };
    if let Some(protocol) = annotations::HEALTH_CHECK_PROTOCOL.of(service) {
        check.protocol = protocol.to_ascii_uppercase();
        if !matches!(check.protocol.as_str(), "TCP" | "HTTP" | "HTTPS") {
            let problem = format!("Unsupported health check protocol {protocol:?}");
            return Err(annotations::HEALTH_CHECK_PROTOCOL.error(problem));
        }
    }
    if check.protocol == "TCP" {
        check.path = String::new();
    } else if let Some(path) = annotations::HEALTH_CHECK_PATH.of(service) {
        check.path = path.to_owned();
    }
    if let Some(port) = annotations::HEALTH_CHECK_PORT.of(service) {
        check.port = port.to_owned();
    }
    match probes {
        ProbeMode::Shared { port, path } if !local => {
            check.protocol = "HTTP".into();
            check.port = port.to_string();
            check.path = path.clone();
        }
        ProbeMode::Unknown(mode) => {
            let field = "ClusterServiceLoadBalancerHealthProbeMode";
            let problem = format!("Unsupported {field} {mode:?}; expecting Shared or ServiceNodePort");
            return Err(Error::invalid(field, problem));
        }
        ProbeMode::NodePort | ProbeMode::Shared { .. } => {}
    }
    check.timeout = annotations::HEALTH_CHECK_TIMEOUT.health_number(service)?.filter(|_| extended);
    for (annotation, value) in [
        (annotations::HEALTH_CHECK_INTERVAL, &mut check.interval),
        (annotations::HEALTH_CHECK_HEALTHY, &mut check.healthy),
        (annotations::HEALTH_CHECK_UNHEALTHY, &mut check.unhealthy),
    ] {
        if let Some(number) = annotation.health_number(service)? {
            *value = number;
        }
    }
    if check.port != TRAFFIC_PORT && check.port.parse::<i32>().is_err() {
        return Err(annotations::HEALTH_CHECK_PORT.error(format!("Invalid health check port '{}'", check.port)));
    }
    Ok(check)
}

fn basic() -> HealthCheck {
    HealthCheck {
        protocol: "TCP".into(),
        port: TRAFFIC_PORT.into(),
        path: "/".into(),
        interval: 30,
        healthy: 3,
        unhealthy: 3,
        timeout: None,
    }
}

fn local_traffic(service: &Service) -> HealthCheck {
    let (path, port) = match predicates::health_check(service) {
        Some((path, port)) if port != 0 => (path, port),
        _ => ("", 0),
    };
    HealthCheck {
        protocol: "HTTP".into(),
        port: port.to_string(),
        path: path.into(),
        interval: 10,
        healthy: 2,
        unhealthy: 2,
        timeout: None,
    }
}

/// The health check of a classic load balancer whose first listener leads to `instance_port`.
///
/// # Errors
///
/// Values below what AWS takes are refused here, without a call.
pub fn classic(service: &Service, instance_port: i32, probes: &ProbeMode) -> Result<ClassicHealthCheck> {
    let backend = annotations::BACKEND_PROTOCOL.of(service).unwrap_or_default().to_ascii_lowercase();
    let own_protocol = if matches!(backend.as_str(), "https" | "ssl") { "SSL" } else { "TCP" };
    let (mut protocol, mut port, mut path) = match (predicates::health_check(service), probes) {
        (Some((path, port)), _) if port != 0 => ("HTTP", port, path.to_owned()),
        (_, ProbeMode::Shared { port, path }) => ("HTTP", *port, path.clone()),
        _ => (own_protocol, instance_port, String::new()),
    };
    if let Some(value) = annotations::HEALTH_CHECK_PROTOCOL.of(service) {
        protocol = value;
    }
    match annotations::HEALTH_CHECK_PORT.of(service) {
        None => {}
        Some(TRAFFIC_PORT) => port = instance_port,
        Some(_) => port = number(annotations::HEALTH_CHECK_PORT, service, port, i32::MIN)?,
    }
    if matches!(protocol.to_ascii_uppercase().as_str(), "HTTP" | "HTTPS") {
        if path.is_empty() {
            path = "/".into();
        }
        if let Some(value) = annotations::HEALTH_CHECK_PATH.filled(service) {
            path = value.to_owned();
        }
    } else {
        path = String::new();
    }
    Ok(ClassicHealthCheck {
        target: format!("{protocol}:{port}{path}"),
        healthy: number(annotations::HEALTH_CHECK_HEALTHY, service, 2, 2)?,
        unhealthy: number(annotations::HEALTH_CHECK_UNHEALTHY, service, 6, 2)?,
        timeout: number(annotations::HEALTH_CHECK_TIMEOUT, service, 5, 2)?,
        interval: number(annotations::HEALTH_CHECK_INTERVAL, service, 10, 5)?,
    })
}

fn number(annotation: Annotation, service: &Service, default: i32, least: i32) -> Result<i32> {
    let number = annotation
        .health_number(service)
        .map_err(|error| annotation.error(format!("failed parsing health check annotation value: {error}")))?;
    match number {
        Some(number) if number < least => {
            Err(annotation.error(format!("{}={number} is too small, the least is {least}", annotation.key)))
        }
        number => Ok(number.unwrap_or(default)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: Value, annotations: &[(&str, &str)]) -> Service {
        let annotations: serde_json::Map<String, Value> = annotations
            .iter()
            .map(|(key, value)| (format!("service.beta.kubernetes.io/aws-load-balancer-{key}"), json!(value)))
            .collect();
        serde_json::from_value(json!({"metadata": {"name": "s", "annotations": annotations}, "spec": spec})).unwrap()
    }

    fn cluster() -> Value {
        json!({"type": "LoadBalancer"})
    }

    fn local() -> Value {
        json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32213})
    }

    fn shared(port: i32, path: &str) -> ProbeMode {
        ProbeMode::Shared { port, path: path.into() }
    }

    fn check(protocol: &str, port: &str, path: &str, interval: i32, healthy: i32, unhealthy: i32) -> HealthCheck {
        let (protocol, port, path) = (protocol.into(), port.into(), path.into());
        HealthCheck { protocol, port, path, interval, healthy, unhealthy, timeout: None }
    }

    /// aws.md 12.7.
    #[test]
    fn network_checks_as_in_12_7() {
        let own = ProbeMode::NodePort;
        let rows = [
            (cluster(), &own, vec![], check("TCP", "traffic-port", "", 30, 3, 3)),
            (cluster(), &shared(10_256, "/healthz"), vec![], check("HTTP", "10256", "/healthz", 30, 3, 3)),
            (cluster(), &shared(8080, "/healthz"), vec![], check("HTTP", "8080", "/healthz", 30, 3, 3)),
            (
                cluster(),
                &shared(10_256, "/custom-healthz"),
                vec![],
                check("HTTP", "10256", "/custom-healthz", 30, 3, 3),
            ),
            (local(), &own, vec![], check("HTTP", "32213", "/healthz", 10, 2, 2)),
            (local(), &shared(10_256, "/healthz"), vec![], check("HTTP", "32213", "/healthz", 10, 2, 2)),
            (
                local(),
                &own,
                vec![
                    ("healthcheck-protocol", "TCP"),
                    ("healthcheck-port", "8001"),
                    ("healthcheck-path", "/x"),
                    ("healthcheck-healthy-threshold", "4"),
                    ("healthcheck-unhealthy-threshold", "4"),
                    ("healthcheck-interval", "10"),
                    ("healthcheck-timeout", "5"),
                ],
                check("TCP", "8001", "", 10, 4, 4),
            ),
            (
                cluster(),
                &own,
                vec![
                    ("healthcheck-protocol", "HTTP"),
                    ("healthcheck-port", "41233"),
                    ("healthcheck-path", "/x"),
                    ("healthcheck-healthy-threshold", "5"),
                    ("healthcheck-unhealthy-threshold", "5"),
                    ("healthcheck-interval", "30"),
                    ("healthcheck-timeout", "6"),
                ],
                check("HTTP", "41233", "/x", 30, 5, 5),
            ),
            (cluster(), &own, vec![("healthcheck-protocol", "Http")], check("HTTP", "traffic-port", "/", 30, 3, 3)),
            (cluster(), &own, vec![("healthcheck-interval", "23")], check("TCP", "traffic-port", "", 23, 3, 3)),
            (
                cluster(),
                &own,
                vec![("healthcheck-healthy-threshold", "7"), ("healthcheck-unhealthy-threshold", "5")],
                check("TCP", "traffic-port", "", 30, 7, 5),
            ),
            // Shared probes win over the annotations of protocol, port and path.
            (
                cluster(),
                &shared(10_256, "/healthz"),
                vec![("healthcheck-protocol", "tcp"), ("healthcheck-port", "1")],
                check("HTTP", "10256", "/healthz", 30, 3, 3),
            ),
        ];
        for (spec, probes, annotations, expected) in rows {
            let service = service(spec, &annotations);
            assert_eq!(network(&service, probes, false).unwrap(), expected, "{annotations:?}");
            let timeout = annotations.iter().find(|(key, _)| *key == "healthcheck-timeout");
            let timeout = timeout.map(|(_, value)| value.parse().unwrap());
            assert_eq!(network(&service, probes, true).unwrap(), HealthCheck { timeout, ..expected });
        }
        for (key, value, text) in [
            ("healthcheck-timeout", "non-numeric", "failed to parse annotation"),
            ("healthcheck-port", "x", "Invalid health check port 'x'"),
            ("healthcheck-protocol", "udp", "Unsupported health check protocol"),
        ] {
            let error = network(&service(cluster(), &[(key, value)]), &own, false).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("expecting"), "{error}");
        }
        let error =
            network(&service(cluster(), &[]), &ProbeMode::Unknown("Odd".into()), false).unwrap_err().to_string();
        assert!(error.starts_with("Unsupported ClusterServiceLoadBalancerHealthProbeMode"), "{error}");
    }

    /// aws.md 12.6.
    #[test]
    fn classic_checks_as_in_12_6() {
        let own = ProbeMode::NodePort;
        let target = |spec: Value, annotations: &[(&str, &str)], port: i32, probes: &ProbeMode| {
            classic(&service(spec, annotations), port, probes).map(|check| check.target).map_err(|e| e.to_string())
        };
        let default = classic(&service(cluster(), &[]), 8080, &own).unwrap();
        let numbers = [default.healthy, default.unhealthy, default.timeout, default.interval];
        assert_eq!((default.target.as_str(), numbers), ("TCP:8080", [2, 6, 5, 10]));
        type Row = (Value, &'static [(&'static str, &'static str)], i32, &'static str);
        let rows: [Row; 10] = [
            (cluster(), &[("healthcheck-port", "2122")], 8080, "TCP:2122"),
            (cluster(), &[("healthcheck-protocol", "HTTP")], 8080, "HTTP:8080/"),
            (
                cluster(),
                &[("healthcheck-protocol", "HTTPS"), ("healthcheck-path", "/healthz"), ("healthcheck-port", "31224")],
                8080,
                "HTTPS:31224/healthz",
            ),
            (cluster(), &[("healthcheck-protocol", "SSL"), ("healthcheck-path", "/x")], 3124, "SSL:3124"),
            (cluster(), &[("healthcheck-port", "traffic-port")], 8080, "TCP:8080"),
            (cluster(), &[("backend-protocol", "HTTPS")], 8080, "SSL:8080"),
            (cluster(), &[("backend-protocol", "ssl")], 8080, "SSL:8080"),
            (cluster(), &[("backend-protocol", "http")], 8080, "TCP:8080"),
            (local(), &[], 8080, "HTTP:32213/healthz"),
            (local(), &[("healthcheck-port", "traffic-port")], 8080, "HTTP:8080/healthz"),
        ];
        for (spec, annotations, port, expected) in rows {
            assert_eq!(target(spec, annotations, port, &own).unwrap(), expected, "{annotations:?}");
        }
        assert_eq!(target(cluster(), &[], 8080, &shared(10_256, "/healthz")).unwrap(), "HTTP:10256/healthz");
        assert_eq!(target(cluster(), &[], 31173, &ProbeMode::Unknown("x".into())).unwrap(), "TCP:31173");
        for (key, value) in [
            ("healthcheck-timeout", "1"),
            ("healthcheck-timeout", "3.3"),
            ("healthcheck-interval", "4"),
            ("healthcheck-healthy-threshold", "1"),
            ("healthcheck-unhealthy-threshold", "1"),
            ("healthcheck-port", "https"),
        ] {
            let error = target(cluster(), &[(key, value)], 8080, &own).unwrap_err();
            assert!(error.contains(key) && error.contains(value), "{error}");
        }
        let seven = [
            ("healthcheck-healthy-threshold", "7"),
            ("healthcheck-unhealthy-threshold", "7"),
            ("healthcheck-timeout", "7"),
            ("healthcheck-interval", "7"),
        ];
        let check = classic(&service(cluster(), &seven), 8080, &own).unwrap();
        assert_eq!([check.healthy, check.unhealthy, check.timeout, check.interval], [7; 4]);
    }
}
