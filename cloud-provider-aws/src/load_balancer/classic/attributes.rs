//! The attributes of a classic load balancer.

use cloud_provider::{cluster::objects::Service, error::Result};

use crate::{
    client::elb::{AccessLog, Attributes, Draining},
    load_balancer::annotations as a,
};

const DEFAULT_IDLE_TIMEOUT: i32 = 60;

/// What a service wants: access logs, draining and balancing across zones are off and connections end after 60 idle
/// seconds, unless annotations say otherwise.
///
/// # Errors
///
/// Where an annotation is no number or boolean.
pub(super) fn wanted(service: &Service) -> Result<Attributes> {
    let text = |annotation: a::Annotation| annotation.filled(service).map(str::to_owned);
    Ok(Attributes {
        access_log: Some(AccessLog {
            enabled: a::ACCESS_LOG_ENABLED.boolean(service)?.unwrap_or_default(),
            emit_interval: a::ACCESS_LOG_EMIT_INTERVAL.number(service)?,
            bucket: text(a::ACCESS_LOG_BUCKET),
            prefix: text(a::ACCESS_LOG_PREFIX),
        }),
        draining: Some(Draining {
            enabled: a::DRAINING_ENABLED.boolean(service)?.unwrap_or_default(),
            timeout: a::DRAINING_TIMEOUT.number(service)?,
        }),
        idle_timeout: Some(a::IDLE_TIMEOUT.number(service)?.unwrap_or(DEFAULT_IDLE_TIMEOUT)),
        cross_zone: Some(a::CROSS_ZONE.boolean(service)?.unwrap_or_default()),
    })
}

/// What a new load balancer has.
pub(super) fn of_a_new_load_balancer() -> Attributes {
    Attributes {
        access_log: Some(AccessLog::default()),
        draining: Some(Draining::default()),
        idle_timeout: Some(DEFAULT_IDLE_TIMEOUT),
        cross_zone: Some(false),
    }
}

/// The attributes to send so that `actual` becomes `wanted`: those that differ in what a service governs.
///
/// AWS answers with more than was set, such as the timeout of draining that is off; upstream compares the whole and writes
/// with each sync. What is off has no settings worth comparing. What the answer leaves out is at its default.
pub(super) fn difference(wanted: &Attributes, actual: &Attributes) -> Option<Attributes> {
    let default = of_a_new_load_balancer();
    let log = actual.access_log.as_ref().or(default.access_log.as_ref());
    let draining = actual.draining.as_ref().or(default.draining.as_ref());
    let idle_timeout = actual.idle_timeout.or(default.idle_timeout);
    let cross_zone = actual.cross_zone.or(default.cross_zone);
    let changes = Attributes {
        access_log: wanted.access_log.clone().filter(|wanted| !log.is_some_and(|log| logs_alike(wanted, log))),
        draining: wanted.draining.clone().filter(|wanted| !draining.is_some_and(|actual| drain_alike(wanted, actual))),
        idle_timeout: wanted.idle_timeout.filter(|wanted| Some(*wanted) != idle_timeout),
        cross_zone: wanted.cross_zone.filter(|wanted| Some(*wanted) != cross_zone),
    };
    (changes != Attributes::default()).then_some(changes)
}

fn logs_alike(wanted: &AccessLog, actual: &AccessLog) -> bool {
    let settings = wanted.emit_interval.is_none_or(|wanted| actual.emit_interval == Some(wanted))
        && wanted.bucket.as_ref().is_none_or(|wanted| actual.bucket.as_ref() == Some(wanted))
        && wanted.prefix.as_ref().is_none_or(|wanted| actual.prefix.as_ref() == Some(wanted));
    wanted.enabled == actual.enabled && (!wanted.enabled || settings)
}

fn drain_alike(wanted: &Draining, actual: &Draining) -> bool {
    let timeout = wanted.timeout.is_none_or(|wanted| actual.timeout == Some(wanted));
    wanted.enabled == actual.enabled && (!wanted.enabled || timeout)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(annotations: &[(&str, &str)]) -> Service {
        let annotations: serde_json::Map<String, serde_json::Value> = annotations
            .iter()
            .map(|(key, value)| (format!("service.beta.kubernetes.io/aws-load-balancer-{key}"), json!(value)))
            .collect();
        serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap()
    }

    /// As AWS answers for a load balancer to which nothing was ever done.
    fn answered() -> Attributes {
        Attributes { draining: Some(Draining { enabled: false, timeout: Some(300) }), ..of_a_new_load_balancer() }
    }

    #[test]
    fn defaults_need_no_write() {
        let wanted = wanted(&service(&[])).unwrap();
        assert_eq!(difference(&wanted, &answered()), None);
        assert_eq!(difference(&wanted, &Attributes::default()), None);
    }

    #[test]
    fn only_what_differs_is_sent() {
        let wanted = wanted(&service(&[("connection-idle-timeout", "90"), ("connection-draining-timeout", "9")]));
        let expected = Attributes { idle_timeout: Some(90), ..Attributes::default() };
        assert_eq!(difference(&wanted.unwrap(), &answered()), Some(expected));
    }

    #[test]
    fn settings_that_the_service_leaves_open_do_not_differ() {
        let wanted = wanted(&service(&[("access-log-enabled", "true"), ("access-log-s3-bucket-name", "b")])).unwrap();
        let log = |bucket: &str| AccessLog {
            enabled: true,
            emit_interval: Some(60),
            bucket: Some(bucket.to_owned()),
            prefix: None,
        };
        let actual = |bucket| Attributes { access_log: Some(log(bucket)), ..answered() };
        assert_eq!(difference(&wanted, &actual("b")), None);
        let change = difference(&wanted, &actual("other")).unwrap();
        assert_eq!(change.access_log.unwrap().bucket.as_deref(), Some("b"));
        assert_eq!(change.draining, None);
    }

    #[test]
    fn removing_an_annotation_restores_the_default() {
        let wanted = wanted(&service(&[("cross-zone-load-balancing-enabled", "")])).unwrap();
        let actual = Attributes { cross_zone: Some(true), idle_timeout: Some(90), ..answered() };
        let expected = Attributes { cross_zone: Some(false), idle_timeout: Some(60), ..Attributes::default() };
        assert_eq!(difference(&wanted, &actual), Some(expected));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (key, value) in [
            ("connection-idle-timeout", "2147483648"),
            ("access-log-enabled", "yes"),
            ("connection-draining-timeout", "x"),
        ] {
            let error = wanted(&service(&[(key, value)])).unwrap_err().to_string();
            assert!(error.contains("error parsing service annotation") && error.contains(key), "{error}");
        }
    }
}
