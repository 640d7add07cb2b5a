//! Policies of classic load balancers.

use crate::{
    context::Context,
    elb::{invalid_configuration, named, not_found},
    error::ApiError,
    params::Params,
    state::balancing::ClassicPolicy,
    xml::Xml,
};

const KINDS: &[&str] = &[
    "AppCookieStickinessPolicyType",
    "BackendServerAuthenticationPolicyType",
    "LBCookieStickinessPolicyType",
    "ProxyProtocolPolicyType",
    "PublicKeyPolicyType",
    "SSLNegotiationPolicyType",
];

/// AWS's security policies for classic load balancers.
const SECURITY_POLICIES: &[&str] = &[
    "ELBSecurityPolicy-2011-08",
    "ELBSecurityPolicy-2014-01",
    "ELBSecurityPolicy-2014-10",
    "ELBSecurityPolicy-2015-02",
    "ELBSecurityPolicy-2015-03",
    "ELBSecurityPolicy-2015-05",
    "ELBSecurityPolicy-2016-08",
    "ELBSecurityPolicy-TLS-1-1-2017-01",
    "ELBSecurityPolicy-TLS-1-2-2017-01",
];

/// What a secure listener has until it is told otherwise.
pub(crate) fn default_ssl() -> (String, ClassicPolicy) {
    let name = "ELBSecurityPolicy-2016-08";
    (name.into(), security_policy(name))
}

fn security_policy(name: &str) -> ClassicPolicy {
    ClassicPolicy {
        kind: "SSLNegotiationPolicyType".into(),
        attributes: vec![("Reference-Security-Policy".into(), name.into())],
    }
}

fn missing(policy: &str, balancer: &str) -> ApiError {
    let text = format!("There is no policy with name {policy} for load balancer {balancer}");
    ApiError::new("PolicyNotFound", text)
}

pub(crate) fn create(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let most = context.knobs.quotas.classic_policies;
    let balancer = named(context, params)?;
    let name = params.required("PolicyName")?;
    let kind = params.required("PolicyTypeName")?;
    if !KINDS.contains(&kind) {
        return Err(ApiError::new("PolicyTypeNotFound", format!("Policy type '{kind}' does not exist")));
    }
    let mut attributes = Vec::new();
    for attribute in params.structures("PolicyAttributes") {
        let key = attribute.required("AttributeName")?;
        let value = attribute.optional("AttributeValue").unwrap_or_default();
        let fine = match (kind, key) {
            ("SSLNegotiationPolicyType", "Reference-Security-Policy") => SECURITY_POLICIES.contains(&value),
            ("ProxyProtocolPolicyType", "ProxyProtocol") => matches!(value, "true" | "false"),
            ("ProxyProtocolPolicyType", _) => false,
            _ => true,
        };
        if !fine {
            let text = format!("Policy attribute {key} with value {value} is not valid for policy type {kind}");
            return Err(invalid_configuration(text));
        }
        attributes.push((key.to_owned(), value.to_owned()));
    }
    if kind == "ProxyProtocolPolicyType" && attributes.is_empty() {
        return Err(invalid_configuration("The policy type ProxyProtocolPolicyType needs the attribute ProxyProtocol"));
    }
    let policy = ClassicPolicy { kind: kind.into(), attributes };
    match balancer.policies.get(name) {
        Some(existing) if *existing == policy => return Ok(Xml::new()),
        Some(_) => {
            let text = format!("A policy with name {name} already exists for load balancer {}", balancer.name);
            return Err(ApiError::new("DuplicatePolicyName", text));
        }
        None => {}
    }
    if balancer.policies.len() >= most {
        return Err(ApiError::new("TooManyPolicies", "The quota for the number of policies has been reached"));
    }
    balancer.policies.insert(name.into(), policy);
    Ok(Xml::new())
}

pub(crate) fn delete(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let balancer = named(context, params)?;
    let name = params.required("PolicyName")?;
    let of_listeners = balancer.listeners.values().any(|listener| listener.policies.iter().any(|used| used == name));
    if of_listeners || balancer.backends.values().flatten().any(|used| used == name) {
        return Err(invalid_configuration(format!("The policy {name} is in use")));
    }
    balancer.policies.remove(name);
    Ok(Xml::new())
}

/// Without a load balancer AWS tells its own policies.
pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let wanted = params.list("PolicyNames");
    let (owner, policies): (&str, Vec<(String, ClassicPolicy)>) = match params.optional("LoadBalancerName") {
        None => ("", SECURITY_POLICIES.iter().map(|&name| (name.to_owned(), security_policy(name))).collect()),
        Some(name) => {
            let balancer = context.state.classic_load_balancers.get(name).ok_or_else(|| not_found(name))?;
            (name, balancer.policies.iter().map(|(name, policy)| (name.clone(), policy.clone())).collect())
        }
    };
    if let Some(name) = wanted.iter().find(|wanted| !policies.iter().any(|(name, _)| name == *wanted)) {
        return Err(missing(name, owner));
    }
    let found = policies.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(&name.as_str()));
    let items = found.map(|(name, policy)| {
        let attribute =
            |(key, value): &(String, String)| Xml::new().text("AttributeName", key).text("AttributeValue", value);
        Xml::new().text("PolicyName", name).text("PolicyTypeName", &policy.kind).list(
            "PolicyAttributeDescriptions",
            "member",
            policy.attributes.iter().map(attribute),
        )
    });
    Ok(Xml::new().list("PolicyDescriptions", "member", items))
}

/// The policies that a request names, which may be none but all have to be there.
fn wanted(context: &mut Context<'_>, params: &Params<'_>) -> Result<Vec<(String, String)>, ApiError> {
    if !params.has_list("PolicyNames") {
        return Err(params.missing("PolicyNames"));
    }
    let names = params.list("PolicyNames");
    let balancer = named(context, params)?;
    let policy = |name: &str| {
        let policy = balancer.policies.get(name).ok_or_else(|| missing(name, &balancer.name))?;
        Ok((name.to_owned(), policy.kind.clone()))
    };
    names.into_iter().map(policy).collect()
}

pub(crate) fn set_of_listener(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let port = params.required_within("LoadBalancerPort", 1, 65535)?;
    let policies = wanted(context, params)?;
    let balancer = named(context, params)?;
    let name = balancer.name.clone();
    let Some(listener) = balancer.listeners.get_mut(&port) else {
        let text = format!("The load balancer {name} has no listener on port {port}");
        return Err(ApiError::new("ListenerNotFound", text));
    };
    let secure = listener.certificate.is_some();
    for (policy, kind) in &policies {
        let fits = match kind.as_str() {
            "SSLNegotiationPolicyType" => secure,
            "AppCookieStickinessPolicyType" | "LBCookieStickinessPolicyType" => listener.protocol.starts_with("HTTP"),
            _ => false,
        };
        if !fits {
            let text = format!(
                "The policy {policy} of type {kind} does not fit a listener with protocol {}",
                listener.protocol
            );
            return Err(invalid_configuration(text));
        }
    }
    listener.policies = policies.into_iter().map(|(name, _)| name).collect();
    Ok(Xml::new())
}

pub(crate) fn set_for_backend(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let port = params.required_within("InstancePort", 1, 65535)?;
    let policies = wanted(context, params)?;
    let balancer = named(context, params)?;
    let known = balancer.backends.contains_key(&port)
        || balancer.listeners.values().any(|listener| listener.instance_port == port);
    if !known {
        let text = format!("The load balancer {} has no listener with instance port {port}", balancer.name);
        return Err(invalid_configuration(text));
    }
    for (policy, kind) in &policies {
        if !["BackendServerAuthenticationPolicyType", "ProxyProtocolPolicyType"].contains(&kind.as_str()) {
            let text = format!("The policy {policy} of type {kind} does not fit a back end");
            return Err(invalid_configuration(text));
        }
    }
    if policies.is_empty() {
        balancer.backends.remove(&port);
    } else {
        balancer.backends.insert(port, policies.into_iter().map(|(name, _)| name).collect());
    }
    Ok(Xml::new())
}
