//! Lists: filters, tags, order, pages with links, and selected fields.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::{
    document::{Document, Fields as _},
    error::ApiError,
    request::Request,
};

/// Query parameters that are no filters.
pub(crate) const NO_FILTERS: &[&str] = &[
    "limit",
    "marker",
    "page_reverse",
    "fields",
    "sort_key",
    "sort_dir",
    "sort",
    "tags",
    "tags-any",
    "not-tags",
    "not-tags-any",
];

/// Whether a document has what the four tag parameters ask for. `not-tags` leaves out what has all of them,
/// `not-tags-any` what has any.
pub(crate) fn tags_match(document: &Document, request: &Request) -> bool {
    let own = document.texts("tags");
    let wanted = |name: &'static str| -> Vec<&str> { request.all(name).flat_map(|all| all.split(',')).collect() };
    let asked = |name: &str| request.query(name).is_some();
    let has = |tag: &&str| own.contains(tag);
    (!asked("tags") || wanted("tags").iter().all(has))
        && (!asked("tags-any") || wanted("tags-any").iter().any(has))
        && (!asked("not-tags") || !wanted("not-tags").iter().all(has))
        && (!asked("not-tags-any") || !wanted("not-tags-any").iter().any(has))
}

/// Whether a value is what a filter says; text is compared as the databases do, without case.
pub(crate) fn equals(value: Option<&Value>, wanted: &str) -> bool {
    match value {
        None | Some(Value::Null) => wanted.is_empty(),
        Some(Value::String(text)) => text.eq_ignore_ascii_case(wanted),
        Some(Value::Bool(flag)) => matches!(
            (flag, wanted.to_ascii_lowercase().as_str()),
            (true, "true" | "1" | "yes" | "t") | (false, "false" | "0" | "no" | "f")
        ),
        Some(Value::Number(number)) => number.to_string() == wanted,
        Some(Value::Array(all)) => all.iter().any(|value| equals(Some(value), wanted)),
        Some(Value::Object(_)) => false,
    }
}

/// Puts documents into the order that `sort_key`, `sort_dir` and `sort` ask for; what is equal keeps its order.
pub(crate) fn sort(documents: &mut [Document], request: &Request) {
    let mut keys: Vec<(String, bool)> = Vec::new();
    for part in request.all("sort").flat_map(|all| all.split(',')) {
        let (key, direction) = part.split_once(':').unwrap_or((part, "asc"));
        keys.push((key.to_owned(), direction.eq_ignore_ascii_case("desc")));
    }
    let directions: Vec<&str> = request.all("sort_dir").flat_map(|all| all.split(',')).collect();
    for (place, key) in request.all("sort_key").flat_map(|all| all.split(',')).enumerate() {
        keys.push((key.to_owned(), directions.get(place).is_some_and(|way| way.eq_ignore_ascii_case("desc"))));
    }
    documents.sort_by(|a, b| {
        let by_key = |(key, descending): &(String, bool)| {
            let order = compare(a.get(key), b.get(key));
            if *descending { order.reverse() } else { order }
        };
        keys.iter().map(by_key).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (a, b) => a.is_some_and(|value| !value.is_null()).cmp(&b.is_some_and(|value| !value.is_null())),
    }
}

/// Only the fields that `fields` names, if any.
pub(crate) fn select(document: Document, request: &Request) -> Document {
    let fields: Vec<&str> = request.all("fields").filter(|field| !field.is_empty()).collect();
    if fields.is_empty() {
        return document;
    }
    document.into_iter().filter(|(name, _)| fields.contains(&name.as_str())).collect()
}

/// How a service cuts pages.
pub(crate) struct Paging {
    /// The largest page, which is also the one without `limit`.
    pub(crate) largest: Option<usize>,
    /// Whether links are told only if the client gave a limit.
    pub(crate) links_need_limit: bool,
    /// Whether links have the filters and fields of the request.
    pub(crate) links_keep_query: bool,
    /// Whether the first page has a link to the one before.
    pub(crate) previous: Previous,
    /// The refusal of an unknown marker.
    pub(crate) unknown_marker: fn(&str) -> ApiError,
    /// The refusal of a bad limit.
    pub(crate) bad_limit: fn(&str) -> ApiError,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Previous {
    Never,
    AfterMarker,
    Always,
}

/// One page and its links.
pub(crate) fn page(
    documents: Vec<Document>,
    request: &Request,
    paging: &Paging,
) -> Result<(Vec<Document>, Vec<Value>), ApiError> {
    let asked = match request.query("limit").filter(|limit| !limit.is_empty()) {
        None => None,
        Some(text) => Some(text.parse::<usize>().map_err(|_| (paging.bad_limit)(text))?),
    };
    // Zero means as many as there may be.
    let asked = asked.filter(|limit| *limit > 0);
    let limit = match (asked, paging.largest) {
        (Some(asked), Some(largest)) => Some(asked.min(largest)),
        (asked, largest) => asked.or(largest),
    };
    let marker = request.query("marker").filter(|marker| !marker.is_empty());
    let backwards = request.query("page_reverse").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let at = match marker {
        None => None,
        Some(marker) => {
            let found = documents.iter().position(|document| document.text("id") == marker);
            Some(found.ok_or_else(|| (paging.unknown_marker)(marker))?)
        }
    };
    let most = limit.unwrap_or(documents.len());
    let (start, end) = if backwards {
        let end = at.unwrap_or(documents.len());
        (end.saturating_sub(most), end)
    } else {
        let start = at.map_or(0, |at| at + 1);
        (start, documents.len().min(start + most))
    };
    let items: Vec<Document> = documents.into_iter().take(end).skip(start).collect();
    let mut links = Vec::new();
    if let (Some(limit), false) = (limit, paging.links_need_limit && asked.is_none()) {
        let link = |rel: &str, marker: &str, reverse: bool| {
            let kept = |name: &str| match name {
                "marker" | "page_reverse" => false,
                "sort" | "sort_key" => true,
                _ => paging.links_keep_query,
            };
            let all = request.query.iter().filter(|(name, _)| kept(name));
            let mut query: Vec<String> =
                all.map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
            if !paging.links_keep_query {
                query.push(format!("limit={limit}"));
            }
            query.push(format!("marker={marker}"));
            if reverse {
                query.push("page_reverse=True".to_owned());
            }
            json!({ "rel": rel, "href": format!("{}{}?{}", request.base, request.path, query.join("&")) })
        };
        if let (Some(first), Some(last)) = (items.first(), items.last()) {
            if items.len() >= limit || backwards {
                links.push(link("next", last.text("id"), false));
            }
            let before = match paging.previous {
                Previous::Never => false,
                Previous::AfterMarker => marker.is_some(),
                Previous::Always => true,
            };
            if before && (items.len() >= limit || !backwards) {
                links.push(link("previous", first.text("id"), true));
            }
        }
    }
    Ok((items, links))
}

/// A query's name or value for a link.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// `{"ports": […], "ports_links": […]}`; links only if there are some.
pub(crate) fn body(collection: &str, items: Vec<Document>, links: Vec<Value>) -> Value {
    let mut body = Document::new();
    body.set(collection, items.into_iter().map(Value::Object).collect::<Vec<_>>());
    if !links.is_empty() {
        body.set(&format!("{collection}_links"), links);
    }
    Value::Object(body)
}
