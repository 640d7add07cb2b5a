//! The listeners that a service wants, and how those that are there become them.

use std::collections::BTreeMap;

use cloud_provider::{
    cluster::objects::{Service, ServicePort},
    error::Result,
};

use crate::{
    client::elb::Listener,
    load_balancer::annotations::{self, SslPorts},
};

/// One listener for each port of the service that has a node port.
///
/// # Errors
///
/// Where a port with a certificate names a protocol of the back ends that does not exist.
pub(super) fn wanted(service: &Service) -> Result<Vec<Listener>> {
    let ssl_ports = SslPorts::of(service);
    let ports = service.spec.ports.iter().filter(|port| port.node_port != 0);
    ports.map(|port| listener(service, port, &ssl_ports)).collect()
}

fn listener(service: &Service, port: &ServicePort, ssl_ports: &SslPorts) -> Result<Listener> {
    let certificate = annotations::SSL_CERT.filled(service);
    // Upstream compares names in lower case with entries as they stand.
    let certificate = certificate.filter(|_| ssl_ports.contains(port.port, &port.name.to_lowercase()));
    let backend = annotations::BACKEND_PROTOCOL.of(service).unwrap_or_default();
    let (protocol, instance_protocol) = match (certificate, backend) {
        (None, "http") => ("http", "http"),
        (None, _) => ("tcp", "tcp"),
        (Some(_), "") => ("ssl", "tcp"),
        (Some(_), "https" | "http") => ("https", backend),
        (Some(_), "ssl" | "tcp") => ("ssl", backend),
        (Some(arn), other) => {
            let problem = format!("Invalid backend protocol {other} for {arn} in {}", annotations::SSL_CERT.key);
            return Err(annotations::BACKEND_PROTOCOL.error(problem));
        }
    };
    Ok(Listener {
        port: port.port,
        protocol: protocol.to_owned(),
        instance_port: port.node_port,
        instance_protocol: instance_protocol.to_owned(),
        certificate: certificate.map(str::to_owned),
    })
}

/// Whether AWS's listener is the wanted one. AWS tells protocols in upper case; ARNs are compared without case as well.
pub(super) fn same(one: &Listener, other: &Listener) -> bool {
    let certificates = match (&one.certificate, &other.certificate) {
        (None, None) => true,
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => false,
    };
    certificates
        && one.port == other.port
        && one.instance_port == other.instance_port
        && one.protocol.eq_ignore_ascii_case(&other.protocol)
        && one.instance_protocol.eq_ignore_ascii_case(&other.instance_protocol)
}

/// Whether AWS takes TLS policies on the listener.
pub(super) fn is_secure(listener: &Listener) -> bool {
    ["ssl", "https"].iter().any(|protocol| listener.protocol.eq_ignore_ascii_case(protocol))
}

/// What has to go, by port, and what has to come then.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) delete: Vec<i32>,
    pub(super) create: Vec<Listener>,
}

/// A listener cannot be changed: one that differs goes and comes again.
pub(super) fn difference(wanted: &[Listener], actual: &[Listener]) -> Difference {
    let wanted: BTreeMap<i32, &Listener> = wanted.iter().map(|listener| (listener.port, listener)).collect();
    let stays = |actual: &Listener| wanted.get(&actual.port).is_some_and(|wanted| same(wanted, actual));
    let (kept, gone): (Vec<&Listener>, Vec<&Listener>) = actual.iter().partition(|listener| stays(listener));
    let missing = wanted.values().filter(|wanted| !kept.iter().any(|kept| kept.port == wanted.port));
    Difference {
        delete: gone.iter().map(|listener| listener.port).collect(),
        create: missing.map(|listener| (*listener).clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(ports: &[(&str, i32, i32)], annotations: &[(&str, &str)]) -> Service {
        let annotations: serde_json::Map<String, serde_json::Value> = annotations
            .iter()
            .map(|(key, value)| (format!("service.beta.kubernetes.io/aws-load-balancer-{key}"), json!(value)))
            .collect();
        let ports: Vec<_> =
            ports.iter().map(|(name, port, node)| json!({"name": name, "port": port, "nodePort": node})).collect();
        serde_json::from_value(json!({"metadata": {"annotations": annotations}, "spec": {"ports": ports}})).unwrap()
    }

    fn built(port: i32, instance_port: i32, protocol: &str, back: &str, certificate: Option<&str>) -> Listener {
        Listener {
            port,
            protocol: protocol.into(),
            instance_port,
            instance_protocol: back.into(),
            certificate: certificate.map(str::to_owned),
        }
    }

    /// aws.md 12.6, "Listener table".
    #[test]
    fn listeners_as_in_12_6() {
        type Row =
            (&'static str, i32, &'static str, &'static str, &'static str, Option<(&'static str, &'static str, bool)>);
        let rows: [Row; 16] = [
            ("", 80, "", "", "", Some(("tcp", "tcp", false))),
            ("", 80, "cert", "", "", Some(("ssl", "tcp", true))),
            ("", 80, "cert", "ssl", "", Some(("ssl", "ssl", true))),
            ("", 80, "cert", "tcp", "", Some(("ssl", "tcp", true))),
            ("", 80, "cert", "http", "", Some(("https", "http", true))),
            ("", 80, "cert", "https", "", Some(("https", "https", true))),
            ("", 80, "=", "http=", "", None),
            ("", 80, "cert", "HTTP", "", None),
            ("", 80, "", "http", "", Some(("http", "http", false))),
            ("", 80, "", "https", "", Some(("tcp", "tcp", false))),
            ("", 1234, "cert", "", "*", Some(("ssl", "tcp", true))),
            ("", 1234, "cert", "", "1234,5678", Some(("ssl", "tcp", true))),
            ("", 443, "cert", "", "1234,5678", Some(("tcp", "tcp", false))),
            ("bar", 443, "cert", "", "foo,bar", Some(("ssl", "tcp", true))),
            ("BAR", 443, "cert", "", "foo,bar", Some(("ssl", "tcp", true))),
            ("baz", 443, "cert", "http", "foo,bar", Some(("http", "http", false))),
        ];
        for (name, port, certificate, backend, ports, expected) in rows {
            let annotations = [("ssl-cert", certificate), ("backend-protocol", backend), ("ssl-ports", ports)];
            let result = wanted(&service(&[(name, port, 31_000)], &annotations));
            match expected {
                None => {
                    assert!(result.unwrap_err().to_string().starts_with("Invalid backend protocol"), "{annotations:?}")
                }
                Some((protocol, back, secure)) => {
                    let expected = built(port, 31_000, protocol, back, secure.then_some(certificate));
                    assert_eq!(result.unwrap(), [expected], "{name} {annotations:?}");
                }
            }
        }
    }

    #[test]
    fn ports_without_node_port_get_no_listener() {
        let listeners = wanted(&service(&[("a", 80, 0), ("b", 81, 31_000)], &[])).unwrap();
        assert_eq!(listeners, [built(81, 31_000, "tcp", "tcp", None)]);
    }

    /// aws.md 12.6, "syncListeners".
    #[test]
    fn differences_as_in_12_6() {
        let wanted = [
            built(443, 8443, "HTTP", "", Some("abc-123")),
            built(80, 8080, "TCP", "TCP", Some("def-456")),
            built(8443, 8443, "TCP", "TCP", Some("def-456")),
        ];
        let actual = [built(80, 8080, "TCP", "TCP", None), built(8443, 8443, "tcp", "tcp", Some("DEF-456"))];
        let difference = difference(&wanted, &actual);
        assert_eq!(difference.delete, [80]);
        assert_eq!(difference.create, [wanted[1].clone(), wanted[0].clone()]);
    }

    #[test]
    fn what_is_there_already_needs_nothing() {
        let wanted = [built(80, 8080, "tcp", "tcp", None)];
        let actual = [built(80, 8080, "TCP", "TCP", None)];
        assert_eq!(difference(&wanted, &actual), Difference::default());
        let other_node_port = [built(80, 8081, "TCP", "TCP", None)];
        let changed = difference(&wanted, &other_node_port);
        assert_eq!((changed.delete, changed.create.len()), (vec![80], 1));
    }
}
