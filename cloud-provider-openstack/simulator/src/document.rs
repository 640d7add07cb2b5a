//! Resources as the services store and answer them: JSON objects. Names that begin with `_` are never answered.

use serde_json::{Map, Value, json};

/// A resource, or a part of one.
pub type Document = Map<String, Value>;

/// Typed access to a document. What is absent or of another type reads as empty.
pub(crate) trait Fields {
    fn text(&self, name: &str) -> &str;
    fn flag(&self, name: &str) -> bool;
    fn number(&self, name: &str) -> Option<i64>;
    fn list(&self, name: &str) -> &[Value];
    fn texts(&self, name: &str) -> Vec<&str>;
    fn set(&mut self, name: &str, value: impl Into<Value>);
    /// Whether the name has a value that is not null.
    fn has(&self, name: &str) -> bool;
}

impl Fields for Document {
    fn text(&self, name: &str) -> &str {
        self.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(Value::as_i64)
    }

    fn list(&self, name: &str) -> &[Value] {
        self.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn texts(&self, name: &str) -> Vec<&str> {
        self.list(name).iter().filter_map(Value::as_str).collect()
    }

    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.insert(name.to_owned(), value.into());
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.is_null())
    }
}

/// The object that `json!` makes of braces.
pub(crate) fn object(value: Value) -> Document {
    match value {
        Value::Object(document) => document,
        _ => Document::new(),
    }
}

/// The members of a list of objects.
pub(crate) fn objects<'a>(document: &'a Document, name: &str) -> impl Iterator<Item = &'a Document> {
    document.list(name).iter().filter_map(Value::as_object)
}

/// `[{"id": …}, …]`
pub(crate) fn ids<'a>(all: impl IntoIterator<Item = &'a str>) -> Value {
    all.into_iter().map(|id| json!({ "id": id })).collect()
}

/// A document without what is only for us.
pub(crate) fn shown(document: &Document) -> Document {
    document
        .iter()
        .filter(|(name, _)| !name.starts_with('_'))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
