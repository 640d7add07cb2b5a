//! The labels a node gets from its instance.

use std::collections::BTreeMap;

use crate::cloud::Metadata;

/// The instance type, older key and current key.
pub const INSTANCE_TYPE: [&str; 2] = ["beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"];
/// The zone, older key and current key.
pub const ZONE: [&str; 2] = ["failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"];
/// The region, older key and current key.
pub const REGION: [&str; 2] = ["failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"];

type Labels = BTreeMap<String, String>;

/// The labels to write on a node that has `current`: type, zone and region under both keys, and the additional ones
/// whose key is not Kubernetes' own and not taken. What already stands there is left out.
pub fn of_instance(metadata: &Metadata, current: Option<&Labels>) -> Labels {
    let known = |key: &str| current.and_then(|labels| labels.get(key));
    let mut labels = topology(metadata, current);
    for (key, value) in &metadata.additional_labels {
        if is_reserved(key) {
            tracing::warn!(label = %key, "left out a label of the cloud: its key belongs to Kubernetes");
        } else if let Some(existing) = known(key) {
            if existing != value {
                tracing::warn!(label = %key, "left out a label of the cloud: the node has another value");
            }
        } else {
            labels.insert(key.clone(), value.clone());
        }
    }
    labels
}

/// Type, zone and region under both keys, where `current` has another value or none.
pub fn topology(metadata: &Metadata, current: Option<&Labels>) -> Labels {
    let pairs = [(INSTANCE_TYPE, &metadata.instance_type), (ZONE, &metadata.zone), (REGION, &metadata.region)];
    let differs = |key: &str, value: &String| current.and_then(|labels| labels.get(key)) != Some(value);
    pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .flat_map(|(keys, value)| keys.map(|key| (key, value)))
        .filter(|(key, value)| differs(key, value))
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
}

/// The additional labels of an initialised node, where `current` has another value or none (kubernetes#141631). Keys
/// under `kubernetes.io` and `k8s.io` are left out; what the cloud no longer names stays on the node.
pub fn additional(metadata: &Metadata, current: Option<&Labels>) -> Labels {
    let differs = |key: &str, value: &String| current.and_then(|labels| labels.get(key)) != Some(value);
    let labels = metadata.additional_labels.iter().filter(|(key, value)| !is_reserved(key) && differs(key, value));
    labels.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Whether a label key lies under `kubernetes.io` or `k8s.io`.
fn is_reserved(key: &str) -> bool {
    ["kubernetes.io", "k8s.io"].iter().any(|domain| {
        let mut rest = key;
        while let Some(at) = rest.find(domain) {
            let starts = at == 0 || rest.as_bytes()[at - 1] == b'.';
            if starts && rest[at + domain.len()..].starts_with('/') {
                return true;
            }
            rest = &rest[at + domain.len()..];
        }
        false
    })
}

/// For a node that is initialised: the current keys follow the older ones, never the other way round.
pub fn follow_older_keys(current: &Labels) -> Labels {
    [ZONE, REGION, INSTANCE_TYPE]
        .into_iter()
        .filter_map(|[older, newer]| {
            let value = current.get(older)?;
            (current.get(newer) != Some(value)).then(|| (newer.to_owned(), value.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// Rows "V2 additional labels" and "V2 discard".
    #[test]
    fn section_12_2_v2_additional_labels_and_v2_discard() {
        let metadata = Metadata {
            zone: "us-west-1a".into(),
            region: "us-west".into(),
            additional_labels: labels(&[
                ("topology.kubernetes.io/region", "us-other-west"),
                ("topology.k8s.io/region", "us-other-west"),
                ("kubernetes.io/region", "us-other-west"),
                ("k8s.io/region", "us-other-west"),
                ("my.custom.label/foo", "bar"),
                ("my.custom.label/bar", "foo"),
                ("app.k8snio/bar", "foo"),
                ("k8snio/bar", "foo"),
                ("topology.k8s.cp/zone-id", "az1"),
            ]),
            ..Metadata::default()
        };
        let current = labels(&[("my.custom.label/foo", "fizz"), ("my.custom.label/bar", "bar")]);
        let expected = labels(&[
            ("failure-domain.beta.kubernetes.io/zone", "us-west-1a"),
            ("topology.kubernetes.io/zone", "us-west-1a"),
            ("failure-domain.beta.kubernetes.io/region", "us-west"),
            ("topology.kubernetes.io/region", "us-west"),
            ("app.k8snio/bar", "foo"),
            ("k8snio/bar", "foo"),
            ("topology.k8s.cp/zone-id", "az1"),
        ]);
        assert_eq!(of_instance(&metadata, Some(&current)), expected);
    }

    #[test]
    fn a_refresh_writes_what_differs_and_takes_nothing_away() {
        let metadata = Metadata {
            instance_type: "large".into(),
            zone: "z2".into(),
            additional_labels: labels(&[("my.label/a", "new"), ("k8s.io/b", "reserved"), ("my.label/c", "same")]),
            ..Metadata::default()
        };
        let current = labels(&[
            (INSTANCE_TYPE[0], "small"),
            (INSTANCE_TYPE[1], "large"),
            (ZONE[0], "z1"),
            (ZONE[1], "z1"),
            (REGION[1], "r"),
            ("my.label/a", "old"),
            ("my.label/c", "same"),
            ("my.label/gone", "x"),
        ]);
        let expected = labels(&[(INSTANCE_TYPE[0], "large"), (ZONE[0], "z2"), (ZONE[1], "z2")]);
        assert_eq!(topology(&metadata, Some(&current)), expected);
        assert_eq!(additional(&metadata, Some(&current)), labels(&[("my.label/a", "new")]));
    }

    #[test]
    fn section_12_3_reconcile_node_labels() {
        let older = [(ZONE[0], "foo"), (REGION[0], "bar"), (INSTANCE_TYPE[0], "the-best-type")];
        let expected = labels(&[(ZONE[1], "foo"), (REGION[1], "bar"), (INSTANCE_TYPE[1], "the-best-type")]);
        let mut current = labels(&older);
        assert_eq!(follow_older_keys(&current), expected);
        current.extend(labels(&[(ZONE[1], "wrongfoo"), (REGION[1], "wrongbar"), (INSTANCE_TYPE[1], "wrong")]));
        assert_eq!(follow_older_keys(&current), expected);
        current.extend(expected);
        assert!(follow_older_keys(&current).is_empty());
        assert!(follow_older_keys(&labels(&[(ZONE[1], "only-current")])).is_empty());
    }
}
