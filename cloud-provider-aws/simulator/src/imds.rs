//! The instance metadata service, version 2 only.

use cloud_provider_simulation::{Call, Effect, later, mix};
use http::{Method, request::Parts};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    context::time,
    core::{Answer, Core},
    sts,
};

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

fn plain(status: u16, body: impl Into<String>) -> Answer {
    Answer::Document { status, body: body.into(), request_id: String::new() }
}

fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}

/// What a fault makes of an answer; here the status is all that an error has.
fn struck(effect: &Effect) -> Answer {
    match effect {
        Effect::Error { status, message, .. } => plain(status.unwrap_or(500), message.clone()),
        Effect::Disconnect => Answer::Disconnect,
        Effect::Hang => Answer::Hang,
        Effect::Truncate => plain(200, ""),
    }
}

/// Whether a path is one of the metadata service.
pub(crate) fn serves(path: &str) -> bool {
    path.starts_with("/latest/")
}

impl Core {
    /// Answers a request to the metadata service and logs it as `IMDS`, with method and path for the action.
    pub(crate) fn answer_metadata(&mut self, parts: &Parts, now: Timestamp) -> Answer {
        let action = format!("{} {}", parts.method, parts.uri.path());
        let answer = match self.frame.strike("IMDS", &action, false) {
            Some(effect) => struck(&effect),
            None => self.decide_metadata(parts, now),
        };
        let outcome = match &answer {
            Answer::Document { status: 200, .. } => "ok".to_owned(),
            Answer::Document { status, .. } => status.to_string(),
            other => format!("{other:?}"),
        };
        self.frame.calls.add(Call {
            number: 0,
            at: now,
            service: "IMDS".into(),
            action,
            parameters: std::collections::BTreeMap::new(),
            access_key: None,
            executed: outcome == "ok",
            outcome,
        });
        answer
    }

    fn decide_metadata(&mut self, parts: &Parts, now: Timestamp) -> Answer {
        match (&parts.method, parts.uri.path()) {
            (&Method::PUT, "/latest/api/token") => self.metadata_token(parts, now),
            (&Method::GET, path) => match header(parts, TOKEN).and_then(|token| self.metadata_tokens.get(token)) {
                Some(until) if now < *until => self.metadata(path, now),
                _ => plain(401, "Unauthorized"),
            },
            _ => plain(405, "Method Not Allowed"),
        }
    }

    fn metadata_token(&mut self, parts: &Parts, now: Timestamp) -> Answer {
        let seconds = header(parts, TTL).and_then(|text| text.parse::<u64>().ok());
        let Some(seconds) = seconds.filter(|seconds| (1..=21_600).contains(seconds)) else {
            return plain(400, "Bad Request");
        };
        if parts.headers.contains_key("x-forwarded-for") {
            return plain(403, "Forbidden");
        }
        self.metadata_tokens.retain(|_, until| now < *until);
        let number = self.frame.state.next_number();
        let token = format!("{number:016x}{:016x}==", mix(number));
        self.metadata_tokens.insert(token.clone(), later(now, seconds * 1000));
        plain(200, token)
    }

    fn metadata(&mut self, path: &str, now: Timestamp) -> Answer {
        let id = self.frame.state.metadata_instance.clone();
        let Some(instance) = id.and_then(|id| self.frame.state.instances.get(&id).cloned()) else {
            return plain(404, "Not Found");
        };
        let zone = self.frame.state.zone_of_subnet(&instance.subnet).unwrap_or_default().to_owned();
        let zone_id = self.frame.state.zones.get(&zone).map(|zone| zone.id.clone()).unwrap_or_default();
        let address = instance.primary().and_then(|interface| interface.private_ips.first()).map(ToString::to_string);
        let role = self.frame.state.roles.first().cloned();
        let meta = path.strip_prefix("/latest/meta-data/").map(|rest| rest.trim_end_matches('/'));
        match (meta, path) {
            (Some("instance-id"), _) => plain(200, instance.id),
            (Some("instance-type"), _) => plain(200, instance.instance_type),
            (Some("local-hostname" | "hostname"), _) => plain(200, instance.private_dns_name),
            (Some("local-ipv4"), _) => plain(200, address.unwrap_or_default()),
            (Some("placement/region"), _) => plain(200, self.frame.state.region.clone()),
            (Some("placement/availability-zone"), _) => plain(200, zone),
            (Some("placement/availability-zone-id"), _) => plain(200, zone_id),
            (Some("iam/security-credentials"), _) => match role {
                Some(role) => plain(200, role),
                None => plain(404, "Not Found"),
            },
            (Some(rest), _) if rest.strip_prefix("iam/security-credentials/") == role.as_deref() && role.is_some() => {
                self.role_credentials(&instance.id, &role.unwrap_or_default(), now)
            }
            (None, "/latest/dynamic/instance-identity/document") => {
                let document = json!({
                    "accountId": self.frame.state.account, "architecture": "x86_64", "availabilityZone": zone,
                    "imageId": "ami-0a1b2c3d4e5f60001", "instanceId": instance.id, "instanceType": instance.instance_type,
                    "pendingTime": instance.launched.map(time), "privateIp": address, "region": self.frame.state.region,
                    "version": "2017-09-30",
                });
                plain(200, format!("{document:#}"))
            }
            _ => plain(404, "Not Found"),
        }
    }

    /// Credentials of the instance's role, good for six hours as AWS's are.
    fn role_credentials(&mut self, instance: &str, role: &str, now: Timestamp) -> Answer {
        let credential = sts::issue(&mut self.frame.state, role, instance, now, 6 * 3600);
        let document = json!({
            "Code": "Success", "LastUpdated": time(now), "Type": "AWS-HMAC",
            "AccessKeyId": credential.access_key, "SecretAccessKey": credential.secret_key,
            "Token": credential.session_token, "Expiration": credential.expires.map(time),
        });
        self.credentials.push(credential);
        plain(200, format!("{document:#}"))
    }
}
