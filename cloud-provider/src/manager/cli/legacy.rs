//! Flags of other versions: removed ones that manifests still carry, deprecated ones, and those whose feature this
//! version does not have.

use super::Flag;
use crate::{
    config::feature_gates::{Gate, WEBHOOK},
    manager::options::values::Switches,
};

/// A flag that upstream no longer has.
pub(super) struct Removed {
    name: &'static str,
    /// Whether it takes the next argument as its value.
    pub(super) takes_value: bool,
    advice: &'static str,
}

const fn removed_value(name: &'static str, advice: &'static str) -> Removed {
    Removed { name, takes_value: true, advice }
}

const fn removed_bool(name: &'static str, advice: &'static str) -> Removed {
    Removed { name, takes_value: false, advice }
}

const LOGS: &str = "logs go to standard error, where the container runtime collects them";
const HEADERS: &str = "every message has its header; --logging-format=json has none";

const REMOVED: &[Removed] = &[
    removed_value("port", "there is no insecure port; use --secure-port"),
    removed_value("address", "there is no insecure port; use --bind-address"),
    removed_bool("alsologtostderr", LOGS),
    removed_bool("logtostderr", LOGS),
    removed_value("log-dir", LOGS),
    removed_value("log-file", LOGS),
    removed_value("log-file-max-size", LOGS),
    removed_value("stderrthreshold", LOGS),
    removed_bool("one-output", LOGS),
    removed_bool("skip-headers", HEADERS),
    removed_bool("skip-log-headers", HEADERS),
    removed_bool("add-dir-header", HEADERS),
    removed_value("log-backtrace-at", "there are no stack traces; use --vmodule to see more of one source file"),
    removed_value("service-sync-period", "services are synced when they change"),
    removed_value("register-retry-count", "nodes register themselves"),
    removed_value("deleting-pods-qps", "pods of deleted nodes are collected by kube-controller-manager"),
];

/// Flags that still exist, hidden, with pflag's notice.
const DEPRECATED: &[(&str, &str)] = &[
    (
        "allow-untagged-cloud",
        "This flag is deprecated and will be removed in a future release. A cluster-id will be required on cloud \
         instances.",
    ),
    ("node-sync-period", "This flag is currently no-op and will be deleted."),
];

/// Flags whose feature this version does not have, and what that means. An entry goes when its feature comes.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("kube-api-content-type", "requests to the API server are always JSON"),
    ("contention-profiling", "blocking is not profiled"),
    ("webhooks", "webhooks are not served yet"),
];

/// Feature gates of the same kind.
const GATES_WITHOUT_EFFECT: &[(Gate, &str)] = &[(WEBHOOK, "webhooks are not served yet")];

/// The removed flag of a name.
pub(super) fn removed(name: &str) -> Option<&'static Removed> {
    REMOVED.iter().find(|removed| removed.name == name)
}

/// What to say about a flag that is removed or deprecated.
pub(super) fn notice(name: &str) -> Option<String> {
    if let Some(removed) = removed(name) {
        return Some(format!("Flag --{name} has been removed and has no effect: {}", removed.advice));
    }
    let (_, text) = DEPRECATED.iter().find(|(deprecated, _)| *deprecated == name)?;
    Some(format!("Flag --{name} has been deprecated, {text}"))
}

/// What to say about flags that are set to something that this version cannot do.
pub(super) fn without_effect(flags: &[Flag]) -> Vec<String> {
    let is_used = |flag: &&Flag| flag.set && flag.value != flag.default;
    let notice = |flag: &Flag| {
        let (name, text) = WITHOUT_EFFECT.iter().find(|(name, _)| *name == flag.name)?;
        Some(format!("Flag --{name}={} is not in effect: {text}", flag.value))
    };
    let gates = flags.iter().filter(|flag| flag.name == "feature-gates").flat_map(|flag| {
        let Switches(switches) = flag.value.parse().unwrap_or_default();
        let is_on = move |(gate, _): &&(Gate, &str)| switches.get(gate.name) == Some(&true);
        GATES_WITHOUT_EFFECT.iter().filter(is_on)
    });
    let gate_notice = |(gate, text): &(Gate, &str)| format!("Feature gate {} is not in effect: {text}", gate.name);
    flags.iter().filter(is_used).filter_map(notice).chain(gates.map(gate_notice)).collect()
}
