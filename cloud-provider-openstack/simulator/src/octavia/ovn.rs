//! What the provider `ovn` cannot do.

use crate::{
    document::{Document, Fields as _},
    error::ApiError,
};

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

fn unsupported(what: impl std::fmt::Display) -> ApiError {
    let text = format!("Provider 'ovn' does not support a requested option: OVN provider does not support {what}");
    ApiError::new(501, text)
}

/// The refusal of a whole function.
pub(super) fn not_implemented(what: &str) -> ApiError {
    ApiError::new(
        501,
        format!("Provider 'ovn' does not support a requested action: This provider does not support {what}."),
    )
}

pub(super) fn check_listener(provider: &str, listener: &Document) -> Result<(), ApiError> {
    if provider != "ovn" {
        return Ok(());
    }
    let protocol = listener.text("protocol");
    if !protocol.is_empty() && !PROTOCOLS.contains(&protocol) {
        return Err(unsupported(format!("{protocol} protocol")));
    }
    if !listener.list("allowed_cidrs").is_empty() {
        return Err(unsupported("VIP ACL"));
    }
    Ok(())
}

pub(super) fn check_pool(provider: &str, pool: &Document) -> Result<(), ApiError> {
    if provider != "ovn" {
        return Ok(());
    }
    let (protocol, algorithm) = (pool.text("protocol"), pool.text("lb_algorithm"));
    if !protocol.is_empty() && !PROTOCOLS.contains(&protocol) {
        return Err(unsupported(format!("{protocol} pool protocol")));
    }
    if !algorithm.is_empty() && algorithm != "SOURCE_IP_PORT" {
        return Err(unsupported(format!("{algorithm} algorithm")));
    }
    Ok(())
}

pub(super) fn check_monitor(provider: &str, monitor: &Document) -> Result<(), ApiError> {
    let kind = monitor.text("type");
    if provider == "ovn" && !matches!(kind, "TCP" | "UDP-CONNECT" | "SCTP") {
        return Err(unsupported(format!("{kind} health monitor")));
    }
    Ok(())
}
