//! Which labels a volume gets, and which nodes it then requires. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    Error,
    cloud::Location,
    cluster::objects::{Object, PersistentVolume, VolumeSource},
    error::Result,
    node::labels::{REGION, ZONE},
    volume::zones,
};

/// Set by the provisioner that made a volume.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Stands for the ID of a disk that is still to be made.
const PLACEHOLDER: &str = "placeholder-for-provisioning";

/// Labels by key.
pub(super) type Labels = BTreeMap<String, String>;

/// Where the labels of a volume come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// It gets none: no cloud's disk stands behind it, or none yet.
    None,
    /// Its own, which its provisioner vouches for.
    Own(Labels),
    /// The cloud's, whatever it carries now.
    Cloud,
}

/// Where the labels of a volume come from. A provisioner is trusted where it wrote zone and region, under the current
/// keys or else under the older ones; users are not.
pub(super) fn origin(volume: &PersistentVolume) -> Origin {
    let Some(source) = &volume.spec.source else { return Origin::None };
    if volume.annotation(PROVISIONED_BY).is_some() {
        let [older, current] = [0, 1].map(|age| {
            let pair = [ZONE[age], REGION[age]].map(|key| Some((key.to_owned(), volume.label(key)?.to_owned())));
            pair.into_iter().collect::<Option<Labels>>()
        });
        if let Some(labels) = current.or(older) {
            return Origin::Own(labels);
        }
    }
    if is_placeholder(source) { Origin::None } else { Origin::Cloud }
}

fn is_placeholder(source: &VolumeSource) -> bool {
    source.id() == PLACEHOLDER
}

/// The labels of a disk that is at `location`.
pub(super) fn of_location(location: &Location) -> Labels {
    let [_, zone] = ZONE;
    let [_, region] = REGION;
    let mut labels = location.additional_labels.clone();
    for (key, value) in [(zone, zones::to_label(&location.zones)), (region, location.region.clone())] {
        if !value.is_empty() {
            labels.insert(key.to_owned(), value);
        }
    }
    labels
}

/// `labels` without what the volume carries already.
pub(super) fn missing(volume: &PersistentVolume, labels: &Labels) -> Labels {
    let differs = |(key, value): &(&String, &String)| volume.label(key) != Some(value.as_str());
    labels.iter().filter(differs).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// A volume's `spec.nodeAffinity` with the parts that are read; all else is kept as it is.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Affinity {
    required: Option<Selector>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    node_selector_terms: Option<Vec<Term>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Term {
    #[serde(skip_serializing_if = "Option::is_none")]
    match_expressions: Option<Vec<Value>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// `affinity`, which may be null, with each label as a requirement in every term: only nodes that carry it can use the
/// volume. `None` where it stays as it is: there are no labels, or a term speaks about one of them already, then its
/// author knew better.
///
/// # Errors
///
/// A zone label that lists an empty zone; what is no affinity.
pub(super) fn require(affinity: &Value, labels: &Labels) -> Result<Option<Value>> {
    if labels.is_empty() {
        return Ok(None);
    }
    let requirements = labels.iter().map(requirement).collect::<Result<Vec<Value>>>()?;
    let unreadable = |error| Error::invalid("spec.nodeAffinity", "read the node affinity").with_source(error);
    let mut affinity: Affinity = Option::deserialize(affinity).map_err(unreadable)?.unwrap_or_default();
    let mut terms = affinity.required.get_or_insert_default().node_selector_terms.take().unwrap_or_default();
    let spoken_of =
        |expression: &Value| expression.get("key").and_then(Value::as_str).is_some_and(|key| labels.contains_key(key));
    if terms.iter().flat_map(|term| term.match_expressions.iter().flatten()).any(spoken_of) {
        return Ok(None);
    }
    if terms.is_empty() {
        terms.push(Term::default());
    }
    for term in &mut terms {
        term.match_expressions.get_or_insert_default().extend(requirements.iter().cloned());
    }
    affinity.required.get_or_insert_default().node_selector_terms = Some(terms);
    serde_json::to_value(affinity).map(Some).map_err(unreadable)
}

/// One of the zones, or the value itself.
fn requirement((key, value): (&String, &String)) -> Result<Value> {
    let values = match ZONE.contains(&key.as_str()) {
        true => zones::parse_label(value).map_err(|error| Error::invalid(key, "read the label").with_source(error))?,
        false => [value.clone()].into(),
    };
    Ok(json!({"key": key, "operator": "In", "values": values}))
}

#[cfg(test)]
mod tests;
