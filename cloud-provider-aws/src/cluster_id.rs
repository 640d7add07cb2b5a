//! The cluster's ID, and the tags that say which resources are its.

use std::collections::BTreeMap;

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// The tag key of a cluster is this and the cluster's ID; the value is `owned` or `shared`.
pub const TAG_PREFIX: &str = "kubernetes.io/cluster/";
/// The older tag, whose value is the cluster's ID.
pub const LEGACY_TAG: &str = "KubernetesCluster";
/// The value of the cluster tag on what we made.
pub const OWNED: &str = "owned";

/// The cluster's ID.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterId {
    id: String,
    /// Whether the older tag is written too.
    legacy: bool,
}

/// Tags or settings that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Contradiction(String);

impl ClusterId {
    /// The ID from `KubernetesClusterTag` and `KubernetesClusterID`, or from the values of both tags; `None` where both
    /// are empty. The older one wins, and turns on the older tag.
    ///
    /// # Errors
    ///
    /// When both are given and differ.
    pub fn new(legacy: &str, id: &str) -> Result<Option<Self>, Contradiction> {
        match (legacy, id) {
            ("", "") => Ok(None),
            ("", id) => Ok(Some(Self { id: id.to_owned(), legacy: false })),
            (legacy, id) if id.is_empty() || id == legacy => Ok(Some(Self { id: legacy.to_owned(), legacy: true })),
            _ => Err(Contradiction(format!("clusterID tags did not match: {id:?} vs {legacy:?}"))),
        }
    }

    /// The ID from the tags of the instance that we run on.
    ///
    /// # Errors
    ///
    /// When the instance carries the tags of several clusters.
    pub fn from_tags(tags: &Tags) -> Result<Option<Self>, Contradiction> {
        let mut ids = tags.keys().filter_map(|key| key.strip_prefix(TAG_PREFIX));
        let id = ids.next().unwrap_or_default();
        if let Some(other) = ids.next() {
            return Err(Contradiction(format!(
                "Found multiple cluster tags with prefix {TAG_PREFIX} ({id:?} and {other:?})"
            )));
        }
        Self::new(tags.get(LEGACY_TAG).map(String::as_str).unwrap_or_default(), id)
    }

    /// The ID's text.
    pub fn as_str(&self) -> &str {
        &self.id
    }

    /// Whether the older tag is written too.
    pub fn uses_legacy_tag(&self) -> bool {
        self.legacy
    }

    /// The key of the cluster's tag.
    pub fn tag_key(&self) -> String {
        format!("{TAG_PREFIX}{}", self.id)
    }

    /// The keys of tags that a resource of the cluster may have; whether it is the cluster's, [`has_tag`](Self::has_tag)
    /// tells.
    pub fn tag_keys(&self) -> Vec<String> {
        vec![self.tag_key(), LEGACY_TAG.to_owned()]
    }

    /// Whether a resource belongs to the cluster, owned or shared.
    pub fn has_tag(&self, tags: &Tags) -> bool {
        self.id.is_empty() || self.has_legacy_tag(tags) || tags.contains_key(&self.tag_key())
    }

    /// Whether the cluster made a resource, so that it may be removed with it.
    ///
    /// # Errors
    ///
    /// When the ID is empty, since nothing could be told apart.
    pub fn owns(&self, tags: &Tags) -> Result<bool, Contradiction> {
        if self.id.is_empty() {
            return Err(Contradiction("cannot check cluster tag owned: clusterID is empty".to_owned()));
        }
        Ok(self.has_legacy_tag(tags) || tags.get(&self.tag_key()).is_some_and(|value| value == OWNED))
    }

    fn has_legacy_tag(&self, tags: &Tags) -> bool {
        tags.get(LEGACY_TAG).is_some_and(|value| *value == self.id)
    }

    /// The tags of what we make: `additional` and the cluster's, which win.
    pub fn owned_tags(&self, additional: &Tags) -> Tags {
        let mut tags = additional.clone();
        if self.id.is_empty() {
            return tags;
        }
        if self.legacy {
            tags.insert(LEGACY_TAG.to_owned(), self.id.clone());
        }
        tags.insert(self.tag_key(), OWNED.to_owned());
        tags
    }

    /// The cluster's tags that a resource found by its name still lacks.
    ///
    /// # Errors
    ///
    /// When such a tag has another value: then the resource is not ours to repair.
    pub fn missing_tags(&self, resource: &str, tags: &Tags) -> Result<Tags, Contradiction> {
        let mut missing = Tags::new();
        for (key, expected) in self.owned_tags(&Tags::new()) {
            match tags.get(&key).map(String::as_str).unwrap_or_default() {
                "" => drop(missing.insert(key, expected)),
                value if value == expected => {}
                value => {
                    return Err(Contradiction(format!(
                        "resource {resource:?} has tag belonging to another cluster: {key:?}={value:?} (expected {expected:?})"
                    )));
                }
            }
        }
        Ok(missing)
    }
}

/// Whether a resource belongs to no cluster at all.
pub fn has_no_cluster_tag(tags: &Tags) -> bool {
    !tags.keys().any(|key| key.starts_with(TAG_PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// aws.md 12.8, "Tags: cluster ids from tags".
    #[test]
    fn ids_from_tags_as_in_12_8() {
        let id = |pairs: &[(&str, &str)]| ClusterId::from_tags(&tags(pairs));
        assert_eq!(id(&[]), Ok(None));
        assert_eq!(id(&[(LEGACY_TAG, "a")]), Ok(Some(ClusterId { id: "a".into(), legacy: true })));
        for value in ["owned", "shared", ""] {
            let expected = ClusterId { id: "a".into(), legacy: false };
            assert_eq!(id(&[("kubernetes.io/cluster/a", value)]), Ok(Some(expected)));
        }
        let both = id(&[(LEGACY_TAG, "a"), ("kubernetes.io/cluster/a", "")]);
        assert_eq!(both, Ok(Some(ClusterId { id: "a".into(), legacy: true })));
        let two = id(&[("kubernetes.io/cluster/a", ""), ("kubernetes.io/cluster/b", "")]).unwrap_err();
        assert_eq!(two.to_string(), "Found multiple cluster tags with prefix kubernetes.io/cluster/ (\"a\" and \"b\")");
        let differ = id(&[(LEGACY_TAG, "b"), ("kubernetes.io/cluster/a", "")]).unwrap_err();
        assert!(differ.to_string().starts_with("clusterID tags did not match: "));
    }

    /// aws.md 12.8, "Owned".
    #[test]
    fn owned_as_in_12_8() {
        let id = ClusterId { id: "c".into(), legacy: false };
        let owns = |pairs: &[(&str, &str)]| id.owns(&tags(pairs)).unwrap();
        assert!(owns(&[(LEGACY_TAG, "c"), ("kubernetes.io/cluster/c", "shared")]));
        assert!(owns(&[(LEGACY_TAG, "x"), ("kubernetes.io/cluster/c", "owned")]));
        for pairs in [&[("kubernetes.io/cluster/c", "shared")][..], &[("kubernetes.io/cluster/x", "owned")], &[]] {
            assert!(!owns(pairs), "{pairs:?}");
        }
        let error = ClusterId::default().owns(&Tags::new()).unwrap_err();
        assert_eq!(error.to_string(), "cannot check cluster tag owned: clusterID is empty");
        assert!(ClusterId::default().has_tag(&Tags::new()));
    }

    #[test]
    fn repair_adds_what_is_missing_and_refuses_what_is_somebody_elses() {
        let id = ClusterId { id: "c".into(), legacy: true };
        let missing = id.missing_tags("sg-1", &tags(&[("kubernetes.io/cluster/c", "")])).unwrap();
        assert_eq!(missing, tags(&[(LEGACY_TAG, "c"), ("kubernetes.io/cluster/c", "owned")]));
        let error = id.missing_tags("sg-1", &tags(&[("kubernetes.io/cluster/c", "shared")])).unwrap_err();
        assert!(error.to_string().starts_with("resource \"sg-1\" has tag belonging to another cluster: "));
        assert!(id.missing_tags("sg-1", &id.owned_tags(&Tags::new())).unwrap().is_empty());
    }
}
