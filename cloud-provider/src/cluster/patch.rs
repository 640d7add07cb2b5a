//! The few shapes in which this system writes nodes and services.
//!
//! All are strategic merge patches. Lists that Kubernetes replaces whole (taints) carry the resource version they were
//! computed from, so that a concurrent change is a conflict and never lost.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::objects::{NodeAddress, Taint};
use crate::cloud::LoadBalancerStatus;

/// For `nodes/status`: the address list becomes exactly `addresses`, in that order.
///
/// The API merges this list by type; the `$patch` entry makes it a replacement, which is needed only where there is
/// something to replace.
pub fn node_addresses(addresses: &[NodeAddress], had_any: bool) -> Value {
    let mut list: Vec<Value> = addresses.iter().map(|address| json!(address)).collect();
    if had_any {
        list.push(json!({"$patch": "replace"}));
    }
    json!({"status": {"addresses": list}})
}

/// For `nodes`: what makes a node schedulable, in one write. `provider_id` only where the node has none.
pub fn node_initialized(
    resource_version: &str,
    provider_id: Option<&str>,
    labels: &BTreeMap<String, String>,
    taints: &[Taint],
) -> Value {
    let mut patch = node_taints(resource_version, taints);
    if let Some(id) = provider_id {
        patch["spec"]["providerID"] = json!(id);
    }
    if !labels.is_empty() {
        patch["metadata"]["labels"] = json!(labels);
    }
    patch
}

/// For `nodes`: the taints become exactly `taints`, unless the node changed since `resource_version`.
pub fn node_taints(resource_version: &str, taints: &[Taint]) -> Value {
    json!({"metadata": {"resourceVersion": resource_version}, "spec": {"taints": taints}})
}

/// For `nodes`: labels are added or overwritten; others stay.
pub fn labels(labels: &BTreeMap<String, String>) -> Value {
    json!({"metadata": {"labels": labels}})
}

/// For `nodes`: the ranges of a node's pods, the primary one first. Refused by the API server where the node has others, or
/// where another node goes by its name now.
pub fn pod_ranges(uid: &str, cidrs: &[String]) -> Value {
    json!({"metadata": {"uid": uid}, "spec": {"podCIDR": cidrs.first(), "podCIDRs": cidrs}})
}

/// For `nodes/status`: one condition as of `now`; the others stay.
pub fn node_condition(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let now = format!("{now:.0}");
    let condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    });
    json!({"status": {"conditions": [condition]}})
}

/// What to change on a service, through `services/status`; the roles of existing clusters grant nothing else.
#[derive(Debug, Clone, Default)]
pub struct ServicePatch<'a> {
    /// Add or remove this finalizer.
    pub finalizer: Option<FinalizerChange<'a>>,
    /// Write this load balancer status.
    pub status: Option<&'a LoadBalancerStatus>,
    /// Set (`Some`) or remove (`None`) these annotations.
    pub annotations: BTreeMap<&'a str, Option<&'a str>>,
}

/// A change to the list of finalizers.
#[derive(Debug, Clone, Copy)]
pub enum FinalizerChange<'a> {
    /// Append it.
    Add(&'a str),
    /// Take it out.
    Remove(&'a str),
}

impl ServicePatch<'_> {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.finalizer.is_none() && self.status.is_none() && self.annotations.is_empty()
    }

    /// The patch, given the finalizers that the service has now. The API server refuses it with a conflict for a service of
    /// another UID.
    pub fn to_value(&self, uid: &str, finalizers: &[String]) -> Value {
        let mut metadata = json!({"uid": uid});
        match self.finalizer {
            Some(FinalizerChange::Add(finalizer)) => {
                metadata["finalizers"] = json!([finalizer]);
                metadata["$setElementOrder/finalizers"] =
                    finalizers.iter().map(String::as_str).chain([finalizer]).collect();
            }
            Some(FinalizerChange::Remove(finalizer)) => {
                metadata["$deleteFromPrimitiveList/finalizers"] = json!([finalizer]);
                metadata["$setElementOrder/finalizers"] =
                    finalizers.iter().filter(|other| *other != finalizer).map(String::as_str).collect();
            }
            None => {}
        }
        let mut patch = json!({"metadata": metadata});
        if !self.annotations.is_empty() {
            patch["metadata"]["annotations"] = json!(self.annotations);
        }
        if let Some(status) = self.status {
            let ingress = if status.ingress.is_empty() { Value::Null } else { json!(status.ingress) };
            patch["status"] = json!({"loadBalancer": {"ingress": ingress}});
        }
        patch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::objects::AddressKind;

    #[test]
    fn adding_a_finalizer_gives_upstreams_bytes_and_the_uid() {
        let patch = ServicePatch { finalizer: Some(FinalizerChange::Add("bar")), ..ServicePatch::default() };
        let expected = r#"{"metadata":{"$setElementOrder/finalizers":["foo","bar"],"finalizers":["bar"],"uid":"u-1"}}"#;
        assert_eq!(patch.to_value("u-1", &["foo".into()]).to_string(), expected);
    }

    #[test]
    fn an_address_list_is_replaced_only_where_there_was_one() {
        let addresses = [NodeAddress::new(AddressKind::InternalIp, "10.0.0.1")];
        let plain = node_addresses(&addresses, false);
        assert_eq!(plain["status"]["addresses"].as_array().unwrap().len(), 1);
        let replacing = node_addresses(&addresses, true);
        assert_eq!(replacing["status"]["addresses"][1], json!({"$patch": "replace"}));
    }

    #[test]
    fn pod_ranges_are_written_in_both_fields_for_one_object_only() {
        let patch = pod_ranges("u-1", &["10.0.0.0/24".into(), "fd00::/64".into()]);
        let expected =
            r#"{"metadata":{"uid":"u-1"},"spec":{"podCIDR":"10.0.0.0/24","podCIDRs":["10.0.0.0/24","fd00::/64"]}}"#;
        assert_eq!(patch.to_string(), expected);
    }

    #[test]
    fn a_condition_has_times_in_whole_seconds() {
        let now = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let patch = node_condition("NetworkUnavailable", "False", "RouteCreated", "done", now);
        let condition = &patch["status"]["conditions"][0];
        assert_eq!(condition["lastHeartbeatTime"], "2026-01-02T03:04:05Z");
        assert_eq!(condition["lastTransitionTime"], "2026-01-02T03:04:05Z");
    }

    #[test]
    fn an_empty_status_is_written_as_null_ingress() {
        let status = LoadBalancerStatus::default();
        let patch = ServicePatch { status: Some(&status), ..ServicePatch::default() };
        let expected = r#"{"metadata":{"uid":"u-1"},"status":{"loadBalancer":{"ingress":null}}}"#;
        assert_eq!(patch.to_value("u-1", &[]).to_string(), expected);
    }
}
