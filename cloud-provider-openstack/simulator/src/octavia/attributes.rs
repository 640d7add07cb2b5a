//! What requests to Octavia may hold, since which version of its API.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::{
    context::Context,
    document::{Document, Fields as _},
    error::ApiError,
    neutron::attributes::is_uuid,
};

/// What an attribute holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Text(usize),
    Id,
    Flag,
    Number(i64, i64),
    OneOf(&'static [&'static str]),
    Ip,
    Cidrs,
    Texts,
    Any,
}

/// When it may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Only to create, where it must be.
    Required,
    /// Only to create.
    Create,
    /// To create, where it must be, and to update.
    RequiredAndUpdate,
    Always,
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute {
    name: &'static str,
    form: Form,
    when: When,
    since: u32,
    default: &'static str,
}

const fn a(name: &'static str, form: Form, when: When) -> Attribute {
    Attribute { name, form, when, since: 0, default: "null" }
}

impl Attribute {
    /// The minor version that brought it.
    const fn since(mut self, minor: u32) -> Self {
        self.since = minor;
        self
    }

    /// What it is if nobody says, as JSON.
    const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    fn parse(&self, value: &Value) -> Result<Value, String> {
        let text = value.as_str();
        match (self.form, value) {
            (_, Value::Null) => Ok(Value::Null),
            (Form::Text(most), Value::String(text)) if text.chars().count() <= most => Ok(value.clone()),
            (Form::Text(most), Value::String(_)) => {
                Err(format!("Value should have a maximum character requirement of {most}"))
            }
            (Form::Text(_), _) => Err("Value should be string".to_owned()),
            (Form::Id, _) if text.is_some_and(is_uuid) => Ok(value.clone()),
            (Form::Id, _) => Err("Value should be UUID format".to_owned()),
            (Form::Flag, Value::Bool(_)) => Ok(value.clone()),
            (Form::Flag, _) => match text.map(str::to_ascii_lowercase).as_deref() {
                Some("true") => Ok(json!(true)),
                Some("false") => Ok(json!(false)),
                _ => Err("Value should be a boolean".to_owned()),
            },
            (Form::Number(least, most), _) => {
                let number = value.as_i64().or_else(|| text.and_then(|text| text.parse().ok()));
                match number {
                    Some(number) if number < least => Err(format!("Value should be greater or equal to {least}")),
                    Some(number) if number > most => Err(format!("Value should be lower or equal to {most}")),
                    Some(number) => Ok(json!(number)),
                    None => Err("Value is not an integer".to_owned()),
                }
            }
            (Form::OneOf(known), _) if text.is_some_and(|text| known.contains(&text)) => Ok(value.clone()),
            (Form::OneOf(known), _) => Err(format!("Value should be one of: {}", known.join(", "))),
            (Form::Ip, _) if text.is_some_and(|text| text.parse::<IpAddr>().is_ok()) => Ok(value.clone()),
            (Form::Ip, _) => Err("Value should be IPv4 or IPv6 format".to_owned()),
            (Form::Cidrs, Value::Array(all)) => {
                let good =
                    |one: &Value| one.as_str().is_some_and(|text| text.contains('/') && text.parse::<IpNet>().is_ok());
                if all.iter().all(good) {
                    Ok(value.clone())
                } else {
                    Err("Value should be IPv4 or IPv6 CIDR format".to_owned())
                }
            }
            (Form::Texts, Value::Array(all)) if all.iter().all(Value::is_string) => Ok(value.clone()),
            (Form::Cidrs | Form::Texts, _) => Err("Value should be a list of strings".to_owned()),
            (Form::Any, _) => Ok(value.clone()),
        }
    }
}

use When::{Always, Create, Required, RequiredAndUpdate};

pub(super) const LISTENER_PROTOCOLS: &[&str] =
    &["HTTP", "HTTPS", "SCTP", "PROMETHEUS", "TCP", "TERMINATED_HTTPS", "UDP"];
pub(super) const POOL_PROTOCOLS: &[&str] = &["HTTP", "HTTPS", "PROXY", "PROXYV2", "SCTP", "TCP", "UDP"];
const ALGORITHMS: &[&str] = &["LEAST_CONNECTIONS", "ROUND_ROBIN", "SOURCE_IP", "SOURCE_IP_PORT"];
const MONITOR_TYPES: &[&str] = &["HTTP", "HTTPS", "PING", "TCP", "TLS-HELLO", "UDP-CONNECT", "SCTP"];
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "OPTIONS", "PATCH", "CONNECT"];
const TIMEOUT: Form = Form::Number(0, 365 * 24 * 60 * 60 * 1000);
const PORT: Form = Form::Number(1, 65_535);

const NAME: Attribute = a("name", Form::Text(255), Always).or("\"\"");
const DESCRIPTION: Attribute = a("description", Form::Text(255), Always).or("\"\"");
const UP: Attribute = a("admin_state_up", Form::Flag, Always).or("true");
const PROJECT: Attribute = a("project_id", Form::Text(36), Create);
const TENANT: Attribute = a("tenant_id", Form::Text(36), Create);
const TAGS: Attribute = a("tags", Form::Texts, Always).since(5).or("[]");

pub(super) const LOAD_BALANCER: &[Attribute] = &[
    NAME,
    DESCRIPTION,
    UP,
    PROJECT,
    TENANT,
    TAGS,
    a("vip_address", Form::Ip, Create),
    a("vip_port_id", Form::Id, Create),
    a("vip_subnet_id", Form::Id, Create),
    a("vip_network_id", Form::Id, Create),
    a("vip_qos_policy_id", Form::Id, Always),
    a("vip_sg_ids", Form::Any, Always).since(29).or("[]"),
    a("additional_vips", Form::Any, Create).since(26).or("[]"),
    a("provider", Form::Text(64), Create),
    a("flavor_id", Form::Id, Create).since(6),
    a("availability_zone", Form::Text(255), Create).since(14),
    a("listeners", Form::Any, Create).or("[]"),
    a("pools", Form::Any, Create).or("[]"),
];

pub(super) const LISTENER: &[Attribute] = &[
    NAME,
    DESCRIPTION,
    UP,
    PROJECT,
    TENANT,
    TAGS,
    a("loadbalancer_id", Form::Id, Create),
    a("protocol", Form::OneOf(LISTENER_PROTOCOLS), Required),
    a("protocol_port", PORT, Required),
    a("connection_limit", Form::Number(-1, i64::MAX), Always).or("-1"),
    a("default_tls_container_ref", Form::Text(255), Always),
    a("sni_container_refs", Form::Texts, Always).or("[]"),
    a("default_pool_id", Form::Id, Always),
    a("default_pool", Form::Any, Create),
    a("l7policies", Form::Any, Create).or("[]"),
    a("insert_headers", Form::Any, Always).or("{}"),
    a("timeout_client_data", TIMEOUT, Always).since(1).or("50000"),
    a("timeout_member_connect", TIMEOUT, Always).since(1).or("5000"),
    a("timeout_member_data", TIMEOUT, Always).since(1).or("50000"),
    a("timeout_tcp_inspect", TIMEOUT, Always).since(1).or("0"),
    a("client_ca_tls_container_ref", Form::Text(255), Always).since(8),
    a("client_authentication", Form::OneOf(&["NONE", "OPTIONAL", "MANDATORY"]), Always).since(8).or("\"NONE\""),
    a("client_crl_container_ref", Form::Text(255), Always).since(8),
    a("allowed_cidrs", Form::Cidrs, Always).since(12),
    a("tls_ciphers", Form::Text(2048), Always).since(15),
    a("tls_versions", Form::Texts, Always).since(17),
    a("alpn_protocols", Form::Texts, Always).since(20),
    a("hsts_max_age", Form::Number(0, i64::MAX), Always).since(27),
    a("hsts_include_subdomains", Form::Flag, Always).since(27).or("false"),
    a("hsts_preload", Form::Flag, Always).since(27).or("false"),
];

pub(super) const POOL: &[Attribute] = &[
    NAME,
    DESCRIPTION,
    UP,
    PROJECT,
    TENANT,
    TAGS,
    a("loadbalancer_id", Form::Id, Create),
    a("listener_id", Form::Id, Create),
    a("protocol", Form::OneOf(POOL_PROTOCOLS), Required),
    a("lb_algorithm", Form::OneOf(ALGORITHMS), RequiredAndUpdate),
    a("session_persistence", Form::Any, Always),
    a("members", Form::Any, Create).or("[]"),
    a("healthmonitor", Form::Any, Create),
    a("tls_container_ref", Form::Text(255), Always).since(8),
    a("ca_tls_container_ref", Form::Text(255), Always).since(8),
    a("crl_container_ref", Form::Text(255), Always).since(8),
    a("tls_enabled", Form::Flag, Always).since(8).or("false"),
    a("tls_ciphers", Form::Text(2048), Always).since(15),
    a("tls_versions", Form::Texts, Always).since(18),
    a("alpn_protocols", Form::Texts, Always).since(24),
];

pub(super) const MEMBER: &[Attribute] = &[
    NAME,
    UP,
    PROJECT,
    TENANT,
    TAGS,
    a("address", Form::Ip, Required),
    a("protocol_port", PORT, Required),
    a("weight", Form::Number(0, 256), Always).or("1"),
    a("backup", Form::Flag, Always).or("false"),
    a("subnet_id", Form::Id, Create),
    a("monitor_port", PORT, Always),
    a("monitor_address", Form::Ip, Always),
    a("request_sriov", Form::Flag, Create).since(30).or("false"),
];

pub(super) const MONITOR: &[Attribute] = &[
    NAME,
    UP,
    PROJECT,
    TENANT,
    TAGS,
    a("pool_id", Form::Id, Create),
    a("type", Form::OneOf(MONITOR_TYPES), Required),
    a("delay", Form::Number(0, i64::MAX), RequiredAndUpdate),
    a("timeout", Form::Number(0, i64::MAX), RequiredAndUpdate),
    a("max_retries", Form::Number(1, 10), RequiredAndUpdate),
    a("max_retries_down", Form::Number(1, 10), Always).or("3"),
    a("http_method", Form::OneOf(METHODS), Always),
    a("url_path", Form::Text(255), Always),
    a("expected_codes", Form::Text(255), Always),
    a("http_version", Form::Any, Always).since(10),
    a("domain_name", Form::Text(255), Always).since(10),
];

fn invalid(name: &str, value: &str, reason: &str) -> ApiError {
    ApiError::bad_request(format!("Invalid input for field/attribute {name}. Value: '{value}'. {reason}"))
}

fn check_known(attributes: &[Attribute], asked: &Document, minor: u32) -> Result<(), ApiError> {
    let known = |name: &str| attributes.iter().any(|attribute| attribute.name == name && attribute.since <= minor);
    match asked.keys().find(|name| !known(name)) {
        Some(unknown) => Err(ApiError::bad_request(format!("Unknown attribute: {unknown}"))),
        None => Ok(()),
    }
}

fn valid(attribute: &Attribute, value: &Value) -> Result<Value, ApiError> {
    let shown = || value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    attribute.parse(value).map_err(|reason| invalid(attribute.name, &shown(), &reason))
}

/// What a request to create asks for, with defaults for the rest. Attributes of later versions are left out.
pub(super) fn to_create(
    context: &Context<'_>,
    attributes: &[Attribute],
    asked: &Document,
) -> Result<Document, ApiError> {
    let minor = context.knobs.release.octavia_minor;
    check_known(attributes, asked, minor)?;
    let mut made = Document::new();
    for attribute in attributes.iter().filter(|attribute| attribute.since <= minor) {
        match asked.get(attribute.name).filter(|value| !value.is_null()) {
            Some(value) => made.set(attribute.name, valid(attribute, value)?),
            None if matches!(attribute.when, Required | RequiredAndUpdate) => {
                return Err(invalid(attribute.name, "Unset", "Mandatory field missing."));
            }
            None => made.set(attribute.name, serde_json::from_str::<Value>(attribute.default).unwrap_or_default()),
        }
    }
    Ok(made)
}

/// What a request to update changes; null sets an attribute back to its default.
pub(super) fn to_update(
    context: &Context<'_>,
    attributes: &[Attribute],
    asked: &Document,
) -> Result<Document, ApiError> {
    let minor = context.knobs.release.octavia_minor;
    check_known(attributes, asked, minor)?;
    let mut changes = Document::new();
    for (name, value) in asked {
        let Some(attribute) = attributes.iter().find(|attribute| attribute.name == name) else { continue };
        if matches!(attribute.when, Required | Create) {
            return Err(ApiError::bad_request(format!("Unknown attribute: {name}")));
        }
        let value = match value {
            Value::Null if attribute.when == RequiredAndUpdate => {
                return Err(ApiError::bad_request(format!("None is not a valid option for {name}")));
            }
            Value::Null => serde_json::from_str(attribute.default).unwrap_or_default(),
            value => valid(attribute, value)?,
        };
        changes.set(name, value);
    }
    Ok(changes)
}

/// Names of attributes that the version of the API does not have yet, so that answers leave them out.
pub(super) fn is_later(attributes: &[Attribute], name: &str, minor: u32) -> bool {
    attributes.iter().any(|attribute| attribute.name == name && attribute.since > minor)
}
