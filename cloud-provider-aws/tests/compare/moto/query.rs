//! Moto's query APIs by plain forms: answers come whole, with every field, which no SDK's types give.

use std::fmt::Write as _;

use anyhow::Context as _;
use cloud_provider_testing::http::Endpoint;
use http::Method;
use serde_json::{Map, Value};

use crate::account::REGION;

/// The APIs: how requests are signed for them, and their versions.
#[derive(Clone, Copy)]
pub(super) enum Api {
    Ec2,
    Classic,
    Network,
}

impl Api {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Ec2 => ("ec2", "2016-11-15"),
            Self::Classic => ("elasticloadbalancing", "2012-06-01"),
            Self::Network => ("elasticloadbalancing", "2015-12-01"),
        }
    }
}

/// An account of moto. There is one for each number.
pub(super) struct Query {
    pub(super) endpoint: Endpoint,
    pub(super) account: String,
}

impl Query {
    /// Calls an action; returns its answer, or its result where the API wraps one.
    pub(super) async fn call(&self, api: Api, action: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Value> {
        let (service, version) = api.names();
        let mut body = format!("Action={action}&Version={version}");
        for (name, value) in parameters {
            let _ = write!(body, "&{name}={}", encode(value));
        }
        let scope = format!("AWS4-HMAC-SHA256 Credential=OWNER/20260101/{REGION}/{service}/aws4_request");
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("authorization", scope.as_str()),
            ("x-moto-account-id", self.account.as_str()),
        ];
        let text = self.endpoint.send(Method::POST, "/", &headers, body).await.with_context(|| action.to_owned())?;
        let mut answer = parse(&text).with_context(|| format!("read the answer of {action}"))?;
        match answer.get_mut(format!("{action}Result")) {
            Some(result) => Ok(result.take()),
            None => Ok(answer),
        }
    }

    /// The first text with this name in the answer.
    pub(super) async fn make(&self, action: &str, parameters: &[(&str, &str)], path: &str) -> anyhow::Result<String> {
        let answer = self.call(Api::Ec2, action, parameters).await?;
        let made = answer.pointer(path).and_then(Value::as_str);
        made.map(str::to_owned).with_context(|| format!("{action} answers no {path}: {answer}"))
    }
}

/// Percent-encodes a value of a form.
fn encode(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(encoded).collect()
}

/// The content of a document's root: fields by name, lists where all children are `item` or `member`, and texts. Attributes are
/// left out.
fn parse(text: &str) -> anyhow::Result<Value> {
    let mut rest = text.trim_start();
    if let Some(declared) = rest.strip_prefix("<?") {
        rest = declared.split_once("?>").context("a declaration without an end")?.1;
    }
    let (_, value, _) = element(rest.trim_start())?;
    Ok(value)
}

/// The name of the element at the start of `text`, what it holds, and what follows it.
fn element(text: &str) -> anyhow::Result<(&str, Value, &str)> {
    let (tag, mut rest) = text.strip_prefix('<').and_then(|text| text.split_once('>')).context("no element")?;
    let name = tag.split([' ', '\n', '/']).next().unwrap_or_default();
    if tag.ends_with('/') {
        return Ok((name, Value::Null, rest));
    }
    let mut children = Vec::new();
    loop {
        let (before, _) = rest.split_once('<').with_context(|| format!("{name} has no end"))?;
        let next = &rest[before.len()..];
        if next.starts_with("</") {
            let (_, after) = next.split_once('>').with_context(|| format!("{name} has no end"))?;
            return Ok((name, content(before.trim(), children), after));
        }
        let (child, value, after) = element(next)?;
        children.push((child.to_owned(), value));
        rest = after;
    }
}

fn content(text: &str, children: Vec<(String, Value)>) -> Value {
    if children.is_empty() {
        return if text.is_empty() { Value::Null } else { Value::String(unescaped(text)) };
    }
    if children.iter().all(|(name, _)| name == "item" || name == "member") {
        return children.into_iter().map(|(_, value)| value).collect();
    }
    Value::Object(children.into_iter().collect::<Map<_, _>>())
}

fn unescaped(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#34;", "\""), ("&#39;", "'")];
    let text = pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    text.replace("&amp;", "&")
}
