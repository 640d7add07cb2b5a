//! Listeners of Network Load Balancers.

use crate::{
    context::Context,
    elb,
    elbv2::{check_arn, invalid_configuration, load_balancer, target_group, targets, users},
    error::ApiError,
    params::Params,
    state::balancing::Listener,
    xml::Xml,
};

/// AWS's security policies for TLS listeners.
const SSL_POLICIES: &[&str] = &[
    "ELBSecurityPolicy-2015-05",
    "ELBSecurityPolicy-2016-08",
    "ELBSecurityPolicy-FS-1-1-2019-08",
    "ELBSecurityPolicy-FS-1-2-2019-08",
    "ELBSecurityPolicy-FS-1-2-Res-2019-08",
    "ELBSecurityPolicy-FS-1-2-Res-2020-10",
    "ELBSecurityPolicy-FS-2018-06",
    "ELBSecurityPolicy-TLS-1-0-2015-04",
    "ELBSecurityPolicy-TLS-1-1-2017-01",
    "ELBSecurityPolicy-TLS-1-2-2017-01",
    "ELBSecurityPolicy-TLS-1-2-Ext-2018-06",
    "ELBSecurityPolicy-TLS13-1-0-2021-06",
    "ELBSecurityPolicy-TLS13-1-1-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06",
    "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
    "ELBSecurityPolicy-TLS13-1-3-2021-06",
];

const DEFAULT_SSL_POLICY: &str = "ELBSecurityPolicy-2016-08";

const PROTOCOLS: &[&str] = &["TCP", "TLS", "UDP", "TCP_UDP"];

fn missing(arn: &str) -> ApiError {
    ApiError::new("ListenerNotFound", format!("Listener '{arn}' not found"))
}

pub(crate) fn describe(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let balancer = params.optional("LoadBalancerArn");
    let arns = params.list("ListenerArns");
    match (balancer, arns.is_empty()) {
        (None, true) => {
            return Err(ApiError::validation("You must specify either listener ARNs or a load balancer ARN"));
        }
        (Some(_), false) => {
            return Err(ApiError::validation("You cannot specify both listener ARNs and a load balancer ARN"));
        }
        (Some(arn), true) => {
            load_balancer(context, arn)?;
        }
        (None, false) => {}
    }
    let all = &context.state.listeners;
    if let Some(arn) = arns.iter().find(|arn| !all.contains_key(**arn)) {
        return Err(missing(arn));
    }
    let found = all.values().filter(|listener| match balancer {
        Some(balancer) => listener.load_balancer == balancer,
        None => arns.contains(&listener.arn.as_str()),
    });
    let (found, next) = elb::page(params, found.collect(), |listener: &Listener| &listener.arn)?;
    Ok(Xml::new().list("Listeners", "member", found.into_iter().map(item)).maybe("NextMarker", next))
}

fn item(listener: &Listener) -> Xml {
    let target = Xml::new().text("TargetGroupArn", &listener.target_group);
    let forward = Xml::new()
        .list("TargetGroups", "member", [target])
        .node("TargetGroupStickinessConfig", Xml::new().text("Enabled", false));
    let action = Xml::new()
        .text("Type", "forward")
        .text("TargetGroupArn", &listener.target_group)
        .node("ForwardConfig", forward);
    let described = Xml::new()
        .text("ListenerArn", &listener.arn)
        .text("LoadBalancerArn", &listener.load_balancer)
        .text("Port", listener.port)
        .text("Protocol", &listener.protocol)
        .maybe("SslPolicy", listener.ssl_policy.as_ref())
        .list("DefaultActions", "member", [action]);
    match &listener.certificate {
        Some(arn) => described.list("Certificates", "member", [Xml::new().text("CertificateArn", arn)]).texts(
            "AlpnPolicy",
            "member",
            &listener.alpn_policy,
        ),
        None => described,
    }
}

/// The target group of the only action, which forwards.
fn target(params: &Params<'_>) -> Result<Option<String>, ApiError> {
    let actions = params.structures("DefaultActions");
    let action = match actions.as_slice() {
        [] => return Ok(None),
        [action] => action,
        _ => return Err(ApiError::validation("A listener can have exactly one default action")),
    };
    match action.required("Type")? {
        "forward" => {}
        other => {
            let text = format!("Action type '{other}' is not valid for listeners of Network Load Balancers");
            return Err(ApiError::new("InvalidLoadBalancerAction", text));
        }
    }
    action.within("Order", 1, 50_000)?;
    let plain = action.optional("TargetGroupArn");
    let config = action.structure("ForwardConfig");
    let weighted = config.structures("TargetGroups");
    if weighted.len() > 1 {
        return Err(ApiError::validation("A listener of a Network Load Balancer forwards to exactly one target group"));
    }
    let mut from_config = None;
    if let [only] = weighted.as_slice() {
        from_config = Some(only.required("TargetGroupArn")?);
        only.within("Weight", 0, 999)?;
    }
    let stickiness = config.structure("TargetGroupStickinessConfig");
    stickiness.parsed::<bool>("Enabled")?;
    stickiness.parsed::<i64>("DurationSeconds")?;
    match (plain, from_config) {
        (Some(one), Some(other)) if one != other => {
            Err(ApiError::validation("The target group ARN and the forward configuration name different target groups"))
        }
        (Some(arn), _) | (None, Some(arn)) => Ok(Some(arn.to_owned())),
        (None, None) => Err(ApiError::validation("A target group ARN must be specified")),
    }
}

/// Applies what the request holds about TLS to `listener`, and checks that it fits the protocol.
fn apply_tls(context: &Context<'_>, params: &Params<'_>, listener: &mut Listener) -> Result<(), ApiError> {
    let certificates = params.structures("Certificates");
    let policy = params.optional("SslPolicy").filter(|policy| !policy.is_empty());
    let alpn = params.list("AlpnPolicy");
    if listener.protocol != "TLS" {
        if !certificates.is_empty() {
            return Err(invalid_configuration(format!(
                "A certificate cannot be specified for {} listeners",
                listener.protocol
            )));
        }
        if policy.is_some() {
            return Err(invalid_configuration(format!(
                "An SSL policy cannot be specified for {} listeners",
                listener.protocol
            )));
        }
        listener.ssl_policy = None;
        listener.certificate = None;
        listener.alpn_policy.clear();
        return Ok(());
    }
    match certificates.as_slice() {
        [] => {}
        [only] => {
            let arn = only.required("CertificateArn")?;
            context.state.check_certificate(arn)?;
            listener.certificate = Some(arn.into());
        }
        _ => return Err(ApiError::validation("Exactly one certificate must be specified")),
    }
    if listener.certificate.is_none() {
        return Err(ApiError::validation("A certificate must be specified for TLS listeners"));
    }
    if let Some(policy) = policy {
        if !SSL_POLICIES.contains(&policy) {
            return Err(ApiError::new("SSLPolicyNotFound", format!("SSL policy '{policy}' not found")));
        }
        listener.ssl_policy = Some(policy.into());
    }
    listener.ssl_policy.get_or_insert_with(|| DEFAULT_SSL_POLICY.into());
    if params.has_list("AlpnPolicy") {
        let known = ["HTTP1Only", "HTTP2Only", "HTTP2Optional", "HTTP2Preferred", "None"];
        if alpn.len() > 1 || alpn.iter().any(|policy| !known.contains(policy)) {
            return Err(ApiError::new("ALPNPolicyNotFound", "The specified ALPN policy is not supported."));
        }
        listener.alpn_policy = alpn.into_iter().map(str::to_owned).collect();
    }
    Ok(())
}

/// Checks that the target group of `listener` fits it.
fn check_target(context: &mut Context<'_>, listener: &Listener) -> Result<(), ApiError> {
    let vpc = load_balancer(context, &listener.load_balancer)?.vpc.clone();
    let group = target_group(context, &listener.target_group)?.clone();
    if group.vpc != vpc {
        return Err(invalid_configuration("The target group is not in the VPC of the load balancer"));
    }
    let fits = match listener.protocol.as_str() {
        "TCP" => ["TCP", "TCP_UDP"].contains(&group.protocol.as_str()),
        "TLS" => ["TCP", "TLS"].contains(&group.protocol.as_str()),
        "UDP" => ["UDP", "TCP_UDP"].contains(&group.protocol.as_str()),
        _ => group.protocol == "TCP_UDP",
    };
    if !fits {
        let text = format!(
            "The protocol {} of the target group '{}' is incompatible with listener protocol {}",
            group.protocol, group.arn, listener.protocol
        );
        return Err(ApiError::new("IncompatibleProtocols", text));
    }
    if users(context.state, &group.arn).iter().any(|user| *user != listener.load_balancer) {
        let text =
            format!("The following target groups cannot be associated with more than one load balancer: {}", group.arn);
        return Err(ApiError::new("TargetGroupAssociationLimit", text));
    }
    Ok(())
}

pub(crate) fn create(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let balancer = params.required("LoadBalancerArn")?.to_owned();
    let dual_stack = load_balancer(context, &balancer)?.ip_address_type == "dualstack";
    let port = params.within("Port", 1, 65535)?;
    let port = port.ok_or_else(|| ApiError::validation("A port must be specified"))?;
    let protocol = params.one_of("Protocol", PROTOCOLS)?;
    let protocol = protocol.ok_or_else(|| ApiError::validation("A protocol must be specified"))?;
    if dual_stack && protocol.contains("UDP") {
        return Err(invalid_configuration("UDP listeners of a dualstack load balancer are not simulated"));
    }
    let target_group = target(params)?.ok_or_else(|| params.missing("DefaultActions"))?;
    let mut listener = Listener {
        arn: String::new(),
        load_balancer: balancer.clone(),
        port,
        protocol: protocol.into(),
        ssl_policy: None,
        certificate: None,
        alpn_policy: Vec::new(),
        target_group,
        tags: elb::read_tags(params, context.knobs.quotas.tags)?,
    };
    apply_tls(context, params, &mut listener)?;
    check_target(context, &listener)?;
    let of_balancer = || context.state.listeners.values().filter(|other| other.load_balancer == balancer);
    if let Some(existing) = of_balancer().find(|other| other.port == port) {
        listener.arn.clone_from(&existing.arn);
        if *existing == listener {
            return Ok(Xml::new().list("Listeners", "member", [item(existing)]));
        }
        let text = "A listener already exists on this port for this load balancer";
        return Err(ApiError::new("DuplicateListener", format!("{text} '{balancer}'")));
    }
    let most = context.knobs.quotas.listeners;
    if of_balancer().count() >= most {
        let text = format!("The maximum number of listeners has been reached on load balancer '{balancer}'");
        return Err(ApiError::new("TooManyListeners", text));
    }
    let number = context.state.next_number();
    listener.arn = format!("{}/{number:016x}", balancer.replacen(":loadbalancer/", ":listener/", 1));
    let answer = Xml::new().list("Listeners", "member", [item(&listener)]);
    context.state.listeners.insert(listener.arn.clone(), listener);
    targets::check_quota(context.state, &context.knobs.quotas, &balancer)?;
    Ok(answer)
}

pub(crate) fn modify(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let arn = params.required("ListenerArn")?;
    check_arn(context.state, arn, "listener")?;
    let mut listener = context.state.listeners.get(arn).cloned().ok_or_else(|| missing(arn))?;
    if let Some(port) = params.within("Port", 1, 65535)? {
        let mut others = context.state.listeners.values().filter(|other| other.arn != arn);
        if others.any(|other| other.load_balancer == listener.load_balancer && other.port == port) {
            let text = "A listener already exists on this port for this load balancer";
            return Err(ApiError::new("DuplicateListener", format!("{text} '{}'", listener.load_balancer)));
        }
        listener.port = port;
    }
    if let Some(protocol) = params.one_of("Protocol", PROTOCOLS)? {
        listener.protocol = protocol.into();
    }
    if let Some(group) = target(params)? {
        listener.target_group = group;
    }
    apply_tls(context, params, &mut listener)?;
    check_target(context, &listener)?;
    let answer = Xml::new().list("Listeners", "member", [item(&listener)]);
    let balancer = listener.load_balancer.clone();
    context.state.listeners.insert(arn.into(), listener);
    targets::check_quota(context.state, &context.knobs.quotas, &balancer)?;
    Ok(answer)
}

pub(crate) fn delete(context: &mut Context<'_>, params: &Params<'_>) -> Result<Xml, ApiError> {
    let arn = params.required("ListenerArn")?;
    check_arn(context.state, arn, "listener")?;
    context.state.listeners.remove(arn).map(|_| Xml::new()).ok_or_else(|| missing(arn))
}
