//! Health checks and instances of classic load balancers.

use crate::{
    context::Context,
    elb::{load_balancers, named, not_found},
    error::ApiError,
    model::InstanceState,
    params::Params,
    state::balancing::HealthCheck,
    xml::Xml,
};

/// `TCP:port`, `SSL:port`, `HTTP:port/path` or `HTTPS:port/path`.
fn check_target(target: &str) -> Result<(), ApiError> {
    let invalid = |what: &str| ApiError::validation(format!("HealthCheck HTTP Target {what}: {target}"));
    let (protocol, rest) = target.split_once(':').ok_or_else(|| invalid("must specify a port"))?;
    let (port, path) = match rest.find('/') {
        Some(slash) => (&rest[..slash], &rest[slash..]),
        None => (rest, ""),
    };
    match port.parse::<u16>() {
        Ok(port) if port > 0 => {}
        _ => return Err(invalid("must specify a port between 1 and 65535")),
    }
    match protocol {
        "TCP" | "SSL" if path.is_empty() => Ok(()),
        "TCP" | "SSL" => Err(invalid("must not specify a path for TCP and SSL")),
        "HTTP" | "HTTPS" if path.is_empty() || path.len() > 1024 => {
            Err(invalid("must specify a path of at most 1024 characters that begins with a / character"))
        }
        "HTTP" | "HTTPS" => Ok(()),
        _ => Err(invalid("must begin with one of HTTP, TCP, HTTPS, SSL")),
    }
}

pub(crate) fn configure_health_check(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let given = params.structure("HealthCheck");
    let check = HealthCheck {
        target: given.required("Target")?.into(),
        interval: given.required_within("Interval", 5, 300)?,
        timeout: given.required_within("Timeout", 2, 60)?,
        unhealthy: given.required_within("UnhealthyThreshold", 2, 10)?,
        healthy: given.required_within("HealthyThreshold", 2, 10)?,
    };
    check_target(&check.target)?;
    if check.interval <= check.timeout {
        return Err(ApiError::validation("HealthCheck timeout must be less than interval"));
    }
    let balancer = named(context, params)?;
    balancer.health_check = check;
    Ok(Xml::new().node("HealthCheck", load_balancers::health_check(&balancer.health_check)))
}

fn listed(params: &Params<'_>) -> Result<Vec<String>, ApiError> {
    let instances = params.required_structures("Instances")?;
    instances.iter().map(|instance| instance.required("InstanceId").map(str::to_owned)).collect()
}

/// Instances must be in the VPC of the load balancer and not at their end; stopped ones are taken.
pub(crate) fn register(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ids = listed(params)?;
    let vpc = named(context, params)?.vpc.clone();
    for id in &ids {
        let known = context
            .state
            .instances
            .get(id)
            .filter(|instance| context.is_visible(instance.launched, context.knobs.delays.instance_visible_ms));
        let Some(instance) = known.filter(|instance| instance.state != InstanceState::Terminated) else {
            return Err(ApiError::new("InvalidInstance", format!("Could not find EC2 instance {id}.")));
        };
        if context.state.vpc_of_subnet(&instance.subnet) != Some(vpc.as_str()) {
            let text = format!("EC2 instance {id} is not in the same VPC as the load balancer");
            return Err(ApiError::new("InvalidInstance", text));
        }
    }
    let balancer = named(context, params)?;
    balancer.instances.extend(ids);
    Ok(instances(balancer.instances.iter()))
}

pub(crate) fn deregister(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let ids = listed(params)?;
    let balancer = named(context, params)?;
    balancer.instances.retain(|id| !ids.contains(id));
    Ok(instances(balancer.instances.iter()))
}

fn instances<'a>(ids: impl Iterator<Item = &'a String>) -> Xml {
    Xml::new().list("Instances", "member", ids.map(|id| Xml::new().text("InstanceId", id)))
}

pub(crate) fn describe_health(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let name = params.required("LoadBalancerName")?;
    let wanted: Vec<&str> =
        params.structures("Instances").iter().map(|one| one.required("InstanceId")).collect::<Result<_, _>>()?;
    let balancer = context.state.classic_load_balancers.get(name).ok_or_else(|| not_found(name))?;
    if let Some(id) = wanted.iter().find(|id| !balancer.instances.contains(**id)) {
        return Err(ApiError::new("InvalidInstance", format!("Could not find EC2 instance {id}.")));
    }
    let found = balancer.instances.iter().filter(|id| wanted.is_empty() || wanted.contains(&id.as_str()));
    let items = found.map(|id| {
        let state = context.state.instances.get(id).map(|instance| instance.state_at(context.now));
        let (state, reason, text) = match state {
            Some(InstanceState::Running) => ("InService", "N/A", "N/A"),
            _ => ("OutOfService", "Instance", "Instance is in stopped state."),
        };
        Xml::new().text("InstanceId", id).text("State", state).text("ReasonCode", reason).text("Description", text)
    });
    Ok(Xml::new().list("InstanceStates", "member", items))
}
