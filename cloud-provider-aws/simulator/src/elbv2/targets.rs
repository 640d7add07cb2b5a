//! Targets and their health.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;

use crate::{
    context::Context,
    elbv2::{target_group, users},
    error::ApiError,
    knobs::Quotas,
    model::InstanceState,
    params::Params,
    state::{
        State,
        balancing::{Target, TargetGroup},
    },
    xml::Xml,
};

/// The targets of a request; without a port they have that of the target group.
fn read(params: &Params<'_>, group: &TargetGroup, until: Timestamp) -> Result<Vec<Target>, ApiError> {
    let mut targets = Vec::new();
    for given in params.structures("Targets") {
        targets.push(Target {
            id: given.required("Id")?.into(),
            port: given.within("Port", 1, 65535)?.unwrap_or(group.port),
            zone: given.optional("AvailabilityZone").map(str::to_owned),
            until,
        });
    }
    Ok(targets)
}

pub(crate) fn register(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let arn = params.required("TargetGroupArn")?;
    let mut group = target_group(context, arn)?.clone();
    let targets = read(params, &group, context.later(context.knobs.delays.target_healthy_ms))?;
    if targets.is_empty() {
        return Err(params.missing("Targets"));
    }
    check(context, &group, &targets)?;
    for target in targets {
        group.draining.retain(|draining| !draining.is(&target.id, target.port));
        if !group.targets.iter().any(|existing| existing.is(&target.id, target.port)) {
            group.targets.push(target);
        }
    }
    let most = context.knobs.quotas.targets_per_group;
    if group.targets.len() > most {
        let text = format!("The maximum number of targets per target group is {most}");
        return Err(ApiError::new("TooManyTargets", text));
    }
    group.targets.sort_by(|left, right| (&left.id, left.port).cmp(&(&right.id, right.port)));
    context.state.target_groups.insert(arn.into(), group);
    let balancers: Vec<String> = users(context.state, arn).into_iter().map(str::to_owned).collect();
    for balancer in balancers {
        check_quota(context.state, &context.knobs.quotas, &balancer)?;
    }
    Ok(Xml::new())
}

/// Instances must run in the VPC of the target group; addresses must be in its range, or be said to be outside.
fn check(context: &Context<'_>, group: &TargetGroup, targets: &[Target]) -> Result<(), ApiError> {
    let quoted = |wrong: Vec<&str>| wrong.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
    let refuse = |wrong: Vec<&str>, what: &str| match wrong.is_empty() {
        true => Ok(()),
        false => Err(ApiError::new("InvalidTarget", format!("The following targets {what}: {}", quoted(wrong)))),
    };
    let ids = || targets.iter().map(|target| target.id.as_str());
    if group.target_type == "ip" {
        let outside = |target: &&Target| {
            let range = context.state.vpcs.get(&group.vpc).map(|vpc| vpc.cidr);
            let inside = match target.id.parse() {
                Ok(IpAddr::V4(address)) => range.is_some_and(|range| range.contains(&address)),
                Ok(IpAddr::V6(_)) => group.ip_address_type == "ipv6",
                Err(_) => return true,
            };
            !inside && target.zone.as_deref() != Some("all")
        };
        let wrong = targets.iter().filter(outside).map(|target| target.id.as_str()).collect();
        return refuse(wrong, "are not valid IP addresses of the VPC, or need the Availability Zone 'all'");
    }
    let instance = |id: &str| {
        let found = context.state.instances.get(id)?;
        context.is_visible(found.launched, context.knobs.delays.instance_visible_ms).then_some(found)
    };
    refuse(ids().filter(|id| instance(id).is_none()).collect(), "are not valid instances")?;
    let elsewhere = |id: &&str| {
        instance(id).is_some_and(|found| context.state.vpc_of_subnet(&found.subnet) != Some(group.vpc.as_str()))
    };
    refuse(ids().filter(elsewhere).collect(), &format!("are not in the target group VPC '{}'", group.vpc))?;
    let idle = |id: &&str| instance(id).is_some_and(|found| found.state_at(context.now) != InstanceState::Running);
    refuse(ids().filter(idle).collect(), "are not in a running state and cannot be registered")
}

/// A Network Load Balancer has so many targets in each zone, or in all of them if it balances across zones.
pub(crate) fn check_quota(state: &State, quotas: &Quotas, balancer: &str) -> Result<(), ApiError> {
    let cross_zone = state
        .load_balancers
        .get(balancer)
        .and_then(|balancer| balancer.attributes.get("load_balancing.cross_zone.enabled"))
        .is_some_and(|value| value == "true");
    let mut by_zone: BTreeMap<&str, usize> = BTreeMap::new();
    let groups = state.target_groups.values().filter(|group| users(state, &group.arn).contains(&balancer));
    for target in groups.flat_map(|group| &group.targets) {
        let zone = match state.instances.get(&target.id) {
            _ if cross_zone => "all zones",
            Some(instance) => state.zone_of_subnet(&instance.subnet).unwrap_or_default(),
            None => target.zone.as_deref().unwrap_or_default(),
        };
        *by_zone.entry(zone).or_default() += 1;
    }
    let most = quotas.targets_per_zone;
    match by_zone.iter().find(|(_, count)| **count > most) {
        None => Ok(()),
        Some((zone, _)) => {
            let text = format!("The maximum number of targets in {zone} for load balancer '{balancer}' is {most}");
            Err(ApiError::new("TooManyTargets", text))
        }
    }
}

/// Targets that are not registered are no error. Registered ones drain if the target group is in use.
pub(crate) fn deregister(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let arn = params.required("TargetGroupArn")?;
    let in_use = !users(context.state, arn).is_empty();
    let (now, settled) = (context.now, context.knobs.delays.draining_ms);
    let group = target_group(context, arn)?.clone();
    let own = group.attributes.get("deregistration_delay.timeout_seconds").and_then(|value| value.parse::<u64>().ok());
    let until = context.later(settled.unwrap_or(own.unwrap_or(300) * 1000));
    let gone = read(params, &group, until)?;
    if gone.is_empty() {
        return Err(params.missing("Targets"));
    }
    let group = target_group(context, arn)?;
    group.draining.retain(|target| now < target.until);
    for target in gone {
        let before = group.targets.len();
        group.targets.retain(|registered| !registered.is(&target.id, target.port));
        if in_use && until > now && group.targets.len() < before {
            group.draining.push(target);
        }
    }
    Ok(Xml::new())
}

pub(crate) fn describe_health(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let arn = params.required("TargetGroupArn")?;
    params.list("Include");
    let group = target_group(context, arn)?.clone();
    let wanted = read(params, &group, context.now)?;
    let draining: Vec<&Target> = group.draining.iter().filter(|target| context.now < target.until).collect();
    let listed: Vec<&Target> = match wanted.is_empty() {
        true => group.targets.iter().chain(draining.iter().copied()).collect(),
        false => wanted.iter().collect(),
    };
    let enabled: Vec<&str> = users(context.state, arn)
        .iter()
        .filter_map(|balancer| context.state.load_balancers.get(*balancer))
        .flat_map(|balancer| &balancer.subnets)
        .filter_map(|mapping| context.state.zone_of_subnet(&mapping.subnet))
        .collect();
    let items = listed.into_iter().map(|target| {
        let (state, reason) = if draining.iter().any(|other| other.is(&target.id, target.port)) {
            ("draining", Some(("Target.DeregistrationInProgress", "Target deregistration is in progress")))
        } else {
            health(context, &group, target, &enabled)
        };
        let health = Xml::new()
            .text("State", state)
            .maybe("Reason", reason.map(|(code, _)| code))
            .maybe("Description", reason.map(|(_, text)| text));
        let port = match group.health_check.port.as_str() {
            "traffic-port" => target.port.to_string(),
            fixed => fixed.to_owned(),
        };
        let id =
            Xml::new().text("Id", &target.id).text("Port", target.port).maybe("AvailabilityZone", target.zone.as_ref());
        Xml::new().node("Target", id).text("HealthCheckPort", port).node("TargetHealth", health)
    });
    Ok(Xml::new().list("TargetHealthDescriptions", "member", items))
}

type Health = (&'static str, Option<(&'static str, &'static str)>);

fn health(context: &Context<'_>, group: &TargetGroup, target: &Target, enabled: &[&str]) -> Health {
    let Some(registered) = group.targets.iter().find(|other| other.is(&target.id, target.port)) else {
        return ("unused", Some(("Target.NotRegistered", "Target is not registered to the target group")));
    };
    if enabled.is_empty() {
        return (
            "unused",
            Some(("Target.NotInUse", "Target group is not configured to receive traffic from the load balancer")),
        );
    }
    if let Some(instance) = context.state.instances.get(&target.id) {
        if instance.state_at(context.now) != InstanceState::Running {
            return ("unused", Some(("Target.InvalidState", "Target is in the stopped state")));
        }
        if !context.state.zone_of_subnet(&instance.subnet).is_some_and(|zone| enabled.contains(&zone)) {
            let text = "Target is in an Availability Zone that is not enabled for the load balancer";
            return ("unused", Some(("Target.NotInUse", text)));
        }
    }
    if context.now < registered.until {
        return ("initial", Some(("Elb.InitialHealthChecking", "Initial health checks in progress")));
    }
    ("healthy", None)
}
