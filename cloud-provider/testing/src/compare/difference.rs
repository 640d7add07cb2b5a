//! Two documents, field by field.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A field that differs. A field that one side does not have is null there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The names of the fields from the top, with ` / ` between them; places in lists are numbers.
    pub path: String,
    /// What upstream's controller left.
    pub upstream: Value,
    /// What ours left.
    pub ours: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    upstream: {}\n    ours:     {}", self.path, self.upstream, self.ours)
    }
}

/// All differences, in the order of paths. Objects are compared by key; lists by place where they are of one length, else as a
/// whole.
pub fn differences(upstream: &Value, ours: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut Vec::new(), upstream, ours, &mut found);
    found
}

fn compare(path: &mut Vec<String>, upstream: &Value, ours: &Value, found: &mut Vec<Difference>) {
    match (upstream, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                path.push(key.clone());
                // A field of null and none at all differ, though both are told as null. Documents of worlds have no nulls.
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => compare(path, a, b, found),
                    (a, b) => found.push(difference(path, a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null))),
                }
                path.pop();
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (nth, (a, b)) in a.iter().zip(b).enumerate() {
                path.push(nth.to_string());
                compare(path, a, b, found);
                path.pop();
            }
        }
        (a, b) if a != b => found.push(difference(path, a, b)),
        _ => {}
    }
}

fn difference(path: &[String], upstream: &Value, ours: &Value) -> Difference {
    Difference { path: path.join(" / "), upstream: upstream.clone(), ours: ours.clone() }
}

/// Documents that differ from `document` in one leaf each, with the path of the leaf: for tests that every field is compared.
pub fn mutants(document: &Value) -> Vec<(String, Value)> {
    leaves(document).into_iter().map(|leaf| (leaf.clone(), mutant(document, &leaf))).collect()
}

/// The paths of all leaves. Empty objects and lists count as leaves.
pub(super) fn leaves(document: &Value) -> Vec<String> {
    let mut leaves = Vec::new();
    pointers(document, &mut String::new(), &mut leaves);
    leaves
}

/// The document with another value at this leaf.
pub(super) fn mutant(document: &Value, leaf: &str) -> Value {
    let mut mutant = document.clone();
    if let Some(leaf) = mutant.pointer_mut(leaf) {
        *leaf = match &*leaf {
            Value::Bool(value) => Value::Bool(!value),
            Value::Number(number) => Value::from(number.as_i64().unwrap_or_default() + 1),
            Value::String(text) => Value::String(format!("{text}!")),
            Value::Null => Value::Bool(true),
            Value::Array(_) | Value::Object(_) => Value::Null,
        };
    }
    mutant
}

fn pointers(value: &Value, at: &mut String, leaves: &mut Vec<String>) {
    let length = at.len();
    let mut go = |step: &str, value: &Value, leaves: &mut Vec<String>| {
        at.push('/');
        at.push_str(&step.replace('~', "~0").replace('/', "~1"));
        pointers(value, at, leaves);
        at.truncate(length);
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => fields.iter().for_each(|(key, value)| go(key, value, leaves)),
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(nth, value)| go(&nth.to_string(), value, leaves));
        }
        _ => leaves.push(at.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_named_by_their_path() {
        let upstream = json!({"nodes": {"a/b": {"taints": [1, 2], "labels": {"x": "1"}}}, "gone": null});
        let ours = json!({"nodes": {"a/b": {"taints": [1, 3], "labels": {"x": "1", "y": {}}}}});
        let found = differences(&upstream, &ours);
        let paths: Vec<_> = found.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(paths, ["gone", "nodes / a/b / labels / y", "nodes / a/b / taints / 1"]);
        assert_eq!((&found[2].upstream, &found[2].ours), (&json!(2), &json!(3)));
        assert!(differences(&upstream, &upstream).is_empty());
    }

    #[test]
    fn lists_of_different_length_differ_as_a_whole() {
        let found = differences(&json!({"l": [1]}), &json!({"l": [1, 2]}));
        assert_eq!(found, [Difference { path: "l".to_owned(), upstream: json!([1]), ours: json!([1, 2]) }]);
    }

    #[test]
    fn every_mutant_is_found_at_its_place() {
        let document = json!({"a": {"b~/": [true, {"c": null}], "d": {}}, "e": "text", "f": 4, "g": []});
        let mutants = mutants(&document);
        assert_eq!(mutants.len(), 6);
        for (path, mutant) in mutants {
            let found = differences(&document, &mutant);
            assert_eq!(found.len(), 1, "{path}: {found:?}");
        }
    }
}
