//! `[ServiceOverride "…"]`: other endpoints for single services.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::Notes;
use crate::client::{Endpoint, Endpoints};

/// One section as it is written.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Section {
    service: String,
    region: String,
    #[serde(rename = "URL")]
    url: String,
    signing_region: String,
    /// Upstream reads it and never uses it.
    #[serde(rename = "SigningMethod")]
    _signing_method: String,
    signing_name: String,
}

/// One validated override.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceOverride {
    target: Option<Target>,
    region: String,
    endpoint: Endpoint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Ec2,
    Elb,
    ElbV2,
    /// The name that both kinds of load balancers had in version 1 of the SDK.
    BothElb,
    Imds,
}

/// The service that a name means: the names of SDK version 2, as upstream has now, and of version 1, as it had; upstream
/// compares case too, and so ignores a good part of the existing files in silence.
fn target(service: &str) -> Option<Target> {
    match service.to_lowercase().as_str() {
        "ec2" => Some(Target::Ec2),
        "elastic load balancing" => Some(Target::Elb),
        "elastic load balancing v2" => Some(Target::ElbV2),
        "elasticloadbalancing" => Some(Target::BothElb),
        "ec2imds" | "ec2metadata" => Some(Target::Imds),
        _ => None,
    }
}

pub(super) fn validate(sections: BTreeMap<String, Section>, notes: &mut Notes) -> Vec<ServiceOverride> {
    let mut seen = HashSet::new();
    let mut overrides = Vec::new();
    for (name, section) in sections {
        let [service, region, url, signing_region] =
            [&section.service, &section.region, &section.url, &section.signing_region].map(|value| value.trim());
        let required = [
            (service, "service name is missing [Service is \"\"]"),
            (region, "service region is missing [Region is \"\"]"),
            (url, "url is missing [URL is \"\"]"),
            (signing_region, "signingRegion is missing [SigningRegion is \"\"]"),
        ];
        let missing: Vec<_> = required.iter().filter(|(value, _)| value.is_empty()).collect();
        notes.problems.extend(missing.iter().map(|(_, problem)| format!("{problem} in override {name}")));
        if !missing.is_empty() {
            continue;
        }
        if !seen.insert((service.to_owned(), region.to_owned())) {
            notes.problems.push(format!("duplicate entry found for service override [{name}] ({service} in {region})"));
        }
        let target = target(service);
        let is_url = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).is_some_and(is_host);
        if target.is_some() && !is_url {
            notes.problems.push(format!("URL {url:?} in override {name} is not an http or https URL"));
        }
        if target.is_none() && !matches!(service.to_lowercase().as_str(), "kms") {
            notes.warnings.push(format!("override {name} is for service {service:?}, which is not called"));
        }
        let endpoint = Endpoint {
            url: url.to_owned(),
            signing_region: signing_region.to_owned(),
            signing_name: section.signing_name.trim().to_owned(),
        };
        overrides.push(ServiceOverride { target, region: region.to_owned(), endpoint });
    }
    overrides
}

/// Whether what follows `http://` can be the rest of a URL.
fn is_host(rest: &str) -> bool {
    !rest.is_empty()
        && !rest.starts_with(['/', ':', '?', '#'])
        && rest.bytes().all(|byte| {
            byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
        })
}

/// The overrides for `region`; the one of the metadata service holds in every region.
pub(super) fn endpoints(overrides: &[ServiceOverride], region: &str) -> Endpoints {
    let find = |wanted: Target, any_region: bool| {
        overrides
            .iter()
            .find(|entry| entry.target == Some(wanted) && (any_region || entry.region == region))
            .map(|entry| entry.endpoint.clone())
    };
    let both = find(Target::BothElb, false);
    Endpoints {
        ec2: find(Target::Ec2, false),
        elb: find(Target::Elb, false).or_else(|| both.clone()),
        elbv2: find(Target::ElbV2, false).or(both),
        sts: None,
        imds: find(Target::Imds, true),
    }
}
