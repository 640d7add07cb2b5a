//! One JSON document of a world at rest.

use serde_json::{Map, Value, json};

use super::cloud::Cloud;
use super::cluster::Objects;

/// Puts both sides together with stable names in place of what was generated.
pub(super) fn document(cloud: &dyn Cloud, captured: &Value, objects: &Objects) -> Value {
    normalised(cloud, captured, objects.document())
}

/// The same from its parts.
pub(super) fn normalised(cloud: &dyn Cloud, captured: &Value, mut objects: Value) -> Value {
    let mut captured = captured.clone();
    let mut names = cloud.normalise(&mut captured);
    // What contains another comes first.
    names.sort_by_key(|(generated, _)| std::cmp::Reverse(generated.len()));
    let document = json!({
        "cloud": sorted(renamed(captured, &names), cloud.sets()),
        "events": objects["events"].take(),
        "nodes": objects["nodes"].take(),
        "services": objects["services"].take(),
    });
    without_nulls(renamed(document, &names))
}

/// A field that is null says as much as one that is not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(key, value)| (key, without_nulls(value))).collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// What a cloud captured, with stable names in place of what was generated.
pub fn normalise(cloud: &dyn Cloud, captured: &Value) -> Value {
    normalised(cloud, captured, json!({}))["cloud"].take()
}

/// Sorts the lists of fields of these names, and leaves the others as they are.
fn sorted(value: Value, sets: &[&str]) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(|item| sorted(item, sets)).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| {
                let mut value = sorted(value, sets);
                if let Some(list) = value.as_array_mut()
                    && sets.contains(&key.as_str())
                {
                    list.sort_by_key(ToString::to_string);
                }
                (key, value)
            });
            Value::Object(fields.collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// `value` with all names of pairs replaced, in keys too; the pairs in turn.
pub fn renamed(value: Value, names: &[(String, String)]) -> Value {
    let text = |text: String| {
        names.iter().fold(text, |text, (from, to)| if text.contains(from) { text.replace(from, to) } else { text })
    };
    match value {
        Value::String(value) => Value::String(text(value)),
        Value::Array(items) => items.into_iter().map(|item| renamed(item, names)).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(key, value)| (text(key), renamed(value, names)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        other => other,
    }
}

/// The merge patch that makes `to` of `from`. Neither may hold nulls.
pub(super) fn patch(from: &Value, to: &Value) -> Value {
    let (Some(before), Some(after)) = (from.as_object(), to.as_object()) else { return to.clone() };
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in after {
        match before.get(key) {
            Some(same) if same == value => {}
            Some(other) if other.is_object() => {
                patch.insert(key.clone(), self::patch(other, value));
            }
            _ => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}

/// Applies a merge patch (RFC 7386).
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(object) = target.as_object_mut() else { return };
    for (key, value) in fields {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_replaced_in_keys_and_values() {
        let names = [("sg-12".to_owned(), "sg(web)".to_owned()), ("sg-1".to_owned(), "sg(nodes)".to_owned())];
        let value = json!({"sg-12": {"rules": ["from sg-1", 5]}});
        assert_eq!(renamed(value, &names), json!({"sg(web)": {"rules": ["from sg(nodes)", 5]}}));
    }

    #[test]
    fn a_patch_leads_from_one_document_to_the_other() {
        let documents = [
            json!({"a": {"b": 1, "c": [2]}, "d": {}}),
            json!({"a": {"c": [2, 3], "e": {"f": true}}, "d": "text"}),
            json!({"a": {}, "d": {"g": {"h": 1}}}),
        ];
        for from in &documents {
            for to in &documents {
                let mut patched = from.clone();
                merge(&mut patched, &patch(from, to));
                assert_eq!(patched, *to, "from {from}");
            }
        }
        assert_eq!(patch(&documents[0], &documents[0]), json!({}));
    }

    #[test]
    fn merging_removes_what_is_null() {
        let mut target = json!({"a": {"b": 1, "c": 2}, "d": 3});
        merge(&mut target, &json!({"a": {"b": null, "e": {"f": 4}}}));
        assert_eq!(target, json!({"a": {"c": 2, "e": {"f": 4}}, "d": 3}));
    }
}
