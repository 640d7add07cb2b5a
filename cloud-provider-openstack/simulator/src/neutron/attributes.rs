//! What the attributes of Neutron's resources may be: in requests, and as filters.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::{
    document::{Document, Fields as _},
    error::ApiError,
    knobs::Knobs,
};

/// What an attribute holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// At most so many characters.
    Text(usize),
    Id,
    MaybeId,
    Flag,
    MaybeIp,
    Cidr,
    Number,
    List,
    Any,
}

/// What happens when a request to create lacks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Post {
    /// It may not be given.
    Never,
    Required,
    /// Something else fills it.
    Open,
    Null,
    Empty,
    True,
    False,
    EmptyList,
    EmptyObject,
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) post: Post,
    pub(super) put: bool,
    pub(super) filter: bool,
    /// The extension that brings it.
    pub(super) extension: &'static str,
    /// Only administrators see it and set it.
    pub(super) admin: bool,
}

/// An attribute that is only read, and may be a filter.
pub(super) const fn read(name: &'static str, form: Form) -> Attribute {
    Attribute { name, form, post: Post::Never, put: false, filter: true, extension: "", admin: false }
}

impl Attribute {
    pub(super) const fn post(mut self, post: Post) -> Self {
        self.post = post;
        self
    }

    pub(super) const fn put(mut self) -> Self {
        self.put = true;
        self
    }

    pub(super) const fn unfiltered(mut self) -> Self {
        self.filter = false;
        self
    }

    pub(super) const fn of(mut self, extension: &'static str) -> Self {
        self.extension = extension;
        self
    }

    pub(super) const fn admin(mut self) -> Self {
        self.admin = true;
        self
    }

    /// Whether the cloud has it.
    pub(super) fn is_on(&self, knobs: &Knobs) -> bool {
        self.extension.is_empty() || !knobs.release.neutron_without.contains(self.extension)
    }

    fn default(&self) -> Option<Value> {
        match self.post {
            Post::Never | Post::Required | Post::Open => None,
            Post::Null => Some(Value::Null),
            Post::Empty => Some(json!("")),
            Post::True => Some(json!(true)),
            Post::False => Some(json!(false)),
            Post::EmptyList => Some(json!([])),
            Post::EmptyObject => Some(json!({})),
        }
    }

    /// The value in its form, or why it has none.
    fn parse(&self, value: &Value) -> Result<Value, String> {
        let text = || value.as_str().unwrap_or_default();
        let shown = || value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match self.form {
            Form::Text(most) => match value {
                Value::String(text) if text.chars().count() <= most => Ok(value.clone()),
                Value::String(text) => Err(format!("'{text}' exceeds maximum length of {most}.")),
                _ => Err(format!("'{}' is not a valid string.", shown())),
            },
            Form::MaybeId | Form::MaybeIp if value.is_null() => Ok(Value::Null),
            Form::Id | Form::MaybeId if is_uuid(text()) => Ok(value.clone()),
            Form::Id | Form::MaybeId => Err(format!("'{}' is not a valid UUID.", shown())),
            Form::Flag => match value {
                Value::Bool(_) => Ok(value.clone()),
                Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(json!(true)),
                Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(json!(false)),
                _ => Err(format!("'{}' cannot be converted to boolean.", shown())),
            },
            Form::MaybeIp => match text().parse::<IpAddr>() {
                Ok(_) => Ok(value.clone()),
                Err(_) => Err(format!("'{}' is not a valid IP address.", shown())),
            },
            Form::Cidr if value.is_null() => Ok(Value::Null),
            Form::Cidr => match text().parse::<IpNet>() {
                Ok(_) => Ok(value.clone()),
                Err(_) => Err(format!("'{}' is not a valid IP subnet.", shown())),
            },
            Form::Number => match value {
                Value::Null => Ok(Value::Null),
                Value::Number(_) => Ok(value.clone()),
                Value::String(text) => {
                    text.parse::<i64>().map(Value::from).map_err(|_| format!("'{text}' is not an integer."))
                }
                _ => Err(format!("'{}' is not an integer.", shown())),
            },
            Form::List if value.is_array() => Ok(value.clone()),
            Form::List if value.is_null() => Ok(json!([])),
            Form::List => Err(format!("'{}' is not a list.", shown())),
            Form::Any => Ok(value.clone()),
        }
    }
}

/// Whether a text looks like an ID, dashed or not.
pub(crate) fn is_uuid(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    digits == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

fn find<'a>(attributes: &'a [Attribute], name: &str, knobs: &Knobs) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.name == name && attribute.is_on(knobs))
}

/// What a request to create asks for, with defaults for the rest.
pub(super) fn to_create(attributes: &[Attribute], asked: &Document, knobs: &Knobs) -> Result<Document, ApiError> {
    check_known(attributes, asked, knobs)?;
    let mut made = Document::new();
    for attribute in attributes.iter().filter(|attribute| attribute.is_on(knobs)) {
        match (asked.get(attribute.name), attribute.post) {
            (Some(_), Post::Never) => {
                let text = format!("Attribute '{}' not allowed in POST", attribute.name);
                return Err(ApiError::bad_request(text));
            }
            (Some(value), _) => made.set(attribute.name, valid(attribute, value)?),
            (None, Post::Required) => {
                let text = format!("Failed to parse request. Required attribute '{}' not specified", attribute.name);
                return Err(ApiError::bad_request(text));
            }
            (None, _) => {
                if let Some(default) = attribute.default() {
                    made.set(attribute.name, default);
                }
            }
        }
    }
    Ok(made)
}

/// What a request to update changes.
pub(super) fn to_update(attributes: &[Attribute], asked: &Document, knobs: &Knobs) -> Result<Document, ApiError> {
    check_known(attributes, asked, knobs)?;
    let mut changes = Document::new();
    for (name, value) in asked {
        let Some(attribute) = find(attributes, name, knobs) else { continue };
        if !attribute.put {
            return Err(ApiError::bad_request(format!("Cannot update read-only attribute {name}")));
        }
        changes.set(name, valid(attribute, value)?);
    }
    Ok(changes)
}

fn check_known(attributes: &[Attribute], asked: &Document, knobs: &Knobs) -> Result<(), ApiError> {
    let unknown =
        |name: &&String| find(attributes, name, knobs).is_none() && *name != "tenant_id" && *name != "project_id";
    let unknown: Vec<&str> = asked.keys().filter(unknown).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad_request(format!("Unrecognized attribute(s) '{}'", unknown.join(", "))))
}

fn valid(attribute: &Attribute, value: &Value) -> Result<Value, ApiError> {
    attribute
        .parse(value)
        .map_err(|reason| ApiError::bad_request(format!("Invalid input for {}. Reason: {reason}", attribute.name)))
}
