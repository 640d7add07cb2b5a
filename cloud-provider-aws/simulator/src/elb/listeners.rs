//! Listeners of classic load balancers.

use crate::{
    context::Context,
    elb::{named, policies},
    error::ApiError,
    params::Params,
    state::{
        State,
        balancing::{ClassicListener, ClassicLoadBalancer},
    },
    xml::Xml,
};

/// The layer of a protocol: both ends of a listener must be on the same one.
fn layer(protocol: &str) -> u8 {
    if protocol.starts_with("HTTP") { 7 } else { 4 }
}

fn protocol(params: &Params<'_>, name: &str) -> Result<Option<String>, ApiError> {
    let Some(given) = params.optional(name) else { return Ok(None) };
    let upper = given.to_ascii_uppercase();
    if ["HTTP", "HTTPS", "TCP", "SSL"].contains(&upper.as_str()) {
        return Ok(Some(upper));
    }
    Err(ApiError::new("UnsupportedProtocol", format!("'{given}' is not a supported protocol")))
}

/// The listeners of a request, none of which may use a port twice.
pub(crate) fn read(state: &State, params: &Params<'_>) -> Result<Vec<ClassicListener>, ApiError> {
    let mut listeners: Vec<ClassicListener> = Vec::new();
    for given in params.required_structures("Listeners")? {
        let front = protocol(&given, "Protocol")?.ok_or_else(|| given.missing("Protocol"))?;
        let port = given.required_within("LoadBalancerPort", 1, 65535)?;
        let usual = if layer(&front) == 7 { "HTTP" } else { "TCP" };
        let back = protocol(&given, "InstanceProtocol")?.unwrap_or_else(|| usual.into());
        if layer(&front) != layer(&back) {
            let text = format!("Listener protocol {front} and instance protocol {back} must be at the same layer");
            return Err(ApiError::validation(text));
        }
        let instance_port = given.required_within("InstancePort", 1, 65535)?;
        let certificate = given.optional("SSLCertificateId").filter(|arn| !arn.is_empty()).map(str::to_owned);
        match (&certificate, front.as_str()) {
            (None, "HTTPS" | "SSL") => {
                return Err(ApiError::validation("Secure Listeners need to specify a SSLCertificateId"));
            }
            (Some(arn), "HTTPS" | "SSL") => state.check_certificate(arn)?,
            (Some(_), _) => {
                return Err(ApiError::validation("A certificate can be specified for HTTPS and SSL listeners only"));
            }
            (None, _) => {}
        }
        if listeners.iter().any(|listener| listener.port == port) {
            let text = format!("The request lists port {port} more than once");
            return Err(ApiError::validation(text));
        }
        listeners.push(ClassicListener {
            protocol: front,
            port,
            instance_protocol: back,
            instance_port,
            certificate,
            policies: Vec::new(),
        });
    }
    Ok(listeners)
}

/// Adds listeners. One that is there already with the same settings is no error; secure ones get AWS's default policy.
pub(crate) fn add(
    balancer: &mut ClassicLoadBalancer,
    listeners: Vec<ClassicListener>,
    most: usize,
) -> Result<(), ApiError> {
    for mut listener in listeners {
        if let Some(existing) = balancer.listeners.get(&listener.port) {
            let same = ClassicListener { policies: Vec::new(), ..existing.clone() } == listener;
            if same {
                continue;
            }
            let text = format!(
                "A listener already exists for {} with LoadBalancerPort {}, but with a different InstancePort, Protocol, or SSLCertificateId",
                balancer.name, listener.port
            );
            return Err(ApiError::new("DuplicateListener", text));
        }
        if listener.certificate.is_some() {
            let (name, policy) = policies::default_ssl();
            listener.policies.push(name.clone());
            balancer.policies.entry(name).or_insert(policy);
        }
        balancer.listeners.insert(listener.port, listener);
    }
    if balancer.listeners.len() > most {
        let text = format!("The load balancer '{}' cannot have more than {most} listeners", balancer.name);
        return Err(ApiError::validation(text));
    }
    Ok(())
}

pub(crate) fn create(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    named(context, params)?;
    let listeners = read(context.state, params)?;
    let most = context.knobs.quotas.classic_listeners;
    add(named(context, params)?, listeners, most)?;
    Ok(Xml::new())
}

/// Ports without a listener are no error. Policies of back ends stay.
pub(crate) fn delete(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ports = params.required_numbers("LoadBalancerPorts")?;
    named(context, params)?.listeners.retain(|port, _| !ports.contains(port));
    Ok(Xml::new())
}
