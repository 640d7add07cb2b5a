//! Health checks of target groups.

use crate::{
    elbv2::invalid_configuration, error::ApiError, params::Params, state::balancing::TargetHealthCheck, xml::Xml,
};

fn is_http(protocol: &str) -> bool {
    protocol.starts_with("HTTP")
}

/// AWS's defaults for target groups of Network Load Balancers.
pub(crate) fn default_for(protocol: &str) -> TargetHealthCheck {
    let http = is_http(protocol);
    TargetHealthCheck {
        enabled: true,
        protocol: protocol.into(),
        port: "traffic-port".into(),
        path: http.then(|| "/".into()),
        matcher: http.then(|| "200-399".into()),
        interval: 30,
        timeout: if http { 6 } else { 10 },
        healthy: 5,
        unhealthy: 2,
    }
}

/// `base` with what the request holds.
pub(crate) fn read(params: &Params<'_>, base: &TargetHealthCheck) -> Result<TargetHealthCheck, ApiError> {
    let protocol = params.one_of("HealthCheckProtocol", &["TCP", "HTTP", "HTTPS"])?;
    let mut check = match protocol {
        // Another kind of check starts from its own defaults for what only one kind has.
        Some(new) if is_http(new) != is_http(&base.protocol) => {
            let fresh = default_for(new);
            TargetHealthCheck { path: fresh.path, matcher: fresh.matcher, timeout: fresh.timeout, ..base.clone() }
        }
        _ => base.clone(),
    };
    if let Some(protocol) = protocol {
        check.protocol = protocol.into();
    }
    if let Some(port) = params.optional("HealthCheckPort") {
        if port != "traffic-port" && !port.parse::<u16>().is_ok_and(|port| port > 0) {
            let text = format!("Health check port '{port}' must be 'traffic-port' or an integer between 1 and 65535");
            return Err(ApiError::validation(text));
        }
        check.port = port.into();
    }
    if params.parsed::<bool>("HealthCheckEnabled")? == Some(false) {
        return Err(invalid_configuration("Health checks must be enabled for target groups of this target type"));
    }
    if let Some(path) = params.optional("HealthCheckPath") {
        if !is_http(&check.protocol) {
            let text = format!("A health check path cannot be specified for the protocol {}", check.protocol);
            return Err(invalid_configuration(text));
        }
        if !path.starts_with('/') || path.len() > 1024 {
            let text =
                format!("Health check path '{path}' must begin with a '/' character and have at most 1024 characters");
            return Err(ApiError::validation(text));
        }
        check.path = Some(path.into());
    }
    if let Some(codes) = params.structure("Matcher").optional("HttpCode") {
        if !is_http(&check.protocol) {
            return Err(invalid_configuration("A matcher can be specified for HTTP and HTTPS health checks only"));
        }
        check_codes(codes)?;
        check.matcher = Some(codes.into());
    }
    check.healthy = params.within("HealthyThresholdCount", 2, 10)?.unwrap_or(check.healthy);
    check.unhealthy = params.within("UnhealthyThresholdCount", 2, 10)?.unwrap_or(check.unhealthy);
    check.interval = params.within("HealthCheckIntervalSeconds", 5, 300)?.unwrap_or(check.interval);
    let timeout = params.within("HealthCheckTimeoutSeconds", 2, 120)?;
    if timeout.is_some_and(|timeout| timeout > check.interval) {
        let text = "Health check timeout must be smaller than or equal to the interval";
        return Err(ApiError::validation(text));
    }
    // A timeout that nobody asked for gives way to the interval.
    check.timeout = timeout.unwrap_or(check.timeout.min(check.interval));
    Ok(check)
}

/// Codes from 200 to 599: `200`, `200,302` or `200-399`.
fn check_codes(codes: &str) -> Result<(), ApiError> {
    let code = |text: &str| text.parse::<u16>().is_ok_and(|code| (200..=599).contains(&code));
    let fine = codes.split(',').all(|part| match part.split_once('-') {
        Some((from, to)) => code(from) && code(to),
        None => code(part),
    });
    if fine { Ok(()) } else { Err(ApiError::validation(format!("'{codes}' are not valid HTTP codes for a matcher"))) }
}

pub(crate) fn items(check: &TargetHealthCheck) -> Xml {
    let described = Xml::new()
        .text("HealthCheckProtocol", &check.protocol)
        .text("HealthCheckPort", &check.port)
        .text("HealthCheckEnabled", check.enabled)
        .text("HealthCheckIntervalSeconds", check.interval)
        .text("HealthCheckTimeoutSeconds", check.timeout)
        .text("HealthyThresholdCount", check.healthy)
        .text("UnhealthyThresholdCount", check.unhealthy)
        .maybe("HealthCheckPath", check.path.as_ref());
    match &check.matcher {
        Some(codes) => described.node("Matcher", Xml::new().text("HttpCode", codes)),
        None => described,
    }
}
