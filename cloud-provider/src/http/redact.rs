//! What logs and errors do not show.
//!
//! Names decide: a header, a parameter or a field whose name is that of a secret loses its value, whatever it holds. And the
//! values of known secrets are taken out of texts in which a server may have repeated them.

use std::fmt::Write as _;

use reqwest::Url;
use serde_json::Value;

use super::HeaderMap;
use crate::config::secret::is_secret;

/// Stands in place of a secret.
pub const MASK: &str = "***";
/// More of a text is not shown.
const LONGEST: usize = 2_000;
/// A secret that is shorter may be a part of any word.
const SHORTEST: usize = 4;

/// Names that hold secrets in what clouds send, beyond those of configurations.
fn hides(name: &str) -> bool {
    const MORE: &[&str] = &["pass", "signature", "sig", "assertion", "userdata", "payload", "sessionid"];
    let plain = name.to_lowercase().replace(['-', '.', '_'], "");
    is_secret(name) || MORE.iter().any(|ending| plain.ends_with(ending))
}

/// A URL without user, password and the values of secret parameters.
pub fn url(url: &Url) -> String {
    let mut shown = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        let _ = shown.set_username(MASK);
        let _ = shown.set_password(None);
    }
    if url.query_pairs().any(|(name, _)| hides(&name)) {
        let pairs = url.query_pairs().map(|(name, value)| {
            let value = if hides(&name) { MASK.into() } else { value };
            (name, value)
        });
        shown.query_pairs_mut().clear().extend_pairs(pairs);
    }
    shown.set_fragment(None);
    cut(shown.as_str())
}

/// Headers in one line, without the values of secret ones.
pub fn headers(headers: &HeaderMap) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        let value = match value.to_str() {
            Ok(shown) if !value.is_sensitive() && !hides(name.as_str()) => shown,
            _ => MASK,
        };
        let _ = write!(text, "{}{name}: {value}", if text.is_empty() { "" } else { ", " });
    }
    cut(&text)
}

/// A body as it may be shown: JSON without the values of secret fields, of anything else only the size.
pub fn body(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        _ if body.is_empty() => String::new(),
        Ok(mut value) => {
            json(&mut value);
            cut(&value.to_string())
        }
        Err(_) => format!("({} bytes)", body.len()),
    }
}

/// Takes the values of secret fields out of JSON.
pub fn json(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if hides(name) && !value.is_null() {
                    *value = MASK.into();
                } else {
                    json(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(json),
        _ => {}
    }
}

/// A text without these values, cut to a length that a log bears.
pub fn text<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut shown = text.to_owned();
    for secret in secrets.into_iter().filter(|secret| secret.len() >= SHORTEST) {
        if shown.contains(secret) {
            shown = shown.replace(secret, MASK);
        }
    }
    cut(&shown)
}

/// One line, not too long.
fn cut(text: &str) -> String {
    let line = text.trim();
    let mut shown: String = line.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.len() < line.len() && line.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
