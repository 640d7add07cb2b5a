//! Kubernetes feature gates: what `--feature-gates` may name, with the defaults of Kubernetes 1.37.

use std::{collections::BTreeMap, fmt};

/// The stage of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Off by default, may go away.
    Alpha,
    /// On by default as a rule.
    Beta,
    /// Part of the product; the gate goes away.
    Stable,
    /// Kept for a while for those who need the old behaviour.
    Deprecated,
}

impl Stage {
    /// The stage in `kubernetes_feature_enabled`: empty for what is part of the product.
    pub fn label(self) -> &'static str {
        match self {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
            Stage::Stable => "",
            Stage::Deprecated => "DEPRECATED",
        }
    }
}

/// A gate and its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The name in `--feature-gates`.
    pub name: &'static str,
    /// Whether it is on when nothing is said about it.
    pub default: bool,
    /// Its stage.
    pub stage: Stage,
    /// Whether it can no longer be set to anything but its default.
    pub locked: bool,
}

/// Routes are reconciled when nodes change instead of every `--route-reconciliation-period` (KEP-5237).
pub const WATCH_BASED_ROUTES_RECONCILIATION: Gate =
    gate("CloudControllerManagerWatchBasedRoutesReconciliation", false, Stage::Alpha);
/// The cloud's additional labels are kept up to date on initialised nodes (alpha in Kubernetes 1.38, kubernetes#141631).
pub const ADDITIONAL_LABELS_RECONCILIATION: Gate = gate("CloudNodeAdditionalLabelsReconciliation", false, Stage::Alpha);
/// The webhook server (KEP-2699).
pub const WEBHOOK: Gate = gate("CloudControllerManagerWebhook", false, Stage::Alpha);
/// The options of logging that are alpha: split streams and buffers.
pub const LOGGING_ALPHA_OPTIONS: Gate = gate("LoggingAlphaOptions", false, Stage::Alpha);
/// The options of logging that are beta.
pub const LOGGING_BETA_OPTIONS: Gate = gate("LoggingBetaOptions", true, Stage::Beta);
/// `--requestheader-uid-headers`.
pub const REMOTE_REQUEST_HEADER_UID: Gate = gate("RemoteRequestHeaderUID", true, Stage::Beta);

/// `/flagz`.
pub const COMPONENT_FLAGZ: Gate = gate("ComponentFlagz", true, Stage::Beta);
/// `/statusz`.
pub const COMPONENT_STATUSZ: Gate = gate("ComponentStatusz", true, Stage::Beta);

const ALL_ALPHA: Gate = gate("AllAlpha", false, Stage::Alpha);
const ALL_BETA: Gate = gate("AllBeta", false, Stage::Beta);

/// The gates of the controller manager and its libraries.
const CONTROLLER_MANAGER: &[Gate] = &[
    ALL_ALPHA,
    ALL_BETA,
    WATCH_BASED_ROUTES_RECONCILIATION,
    ADDITIONAL_LABELS_RECONCILIATION,
    WEBHOOK,
    COMPONENT_FLAGZ,
    COMPONENT_STATUSZ,
    // Ours releases its lease on a clean exit in any case.
    gate("ControllerManagerReleaseLeaderElectionLockOnExit", false, Stage::Alpha),
    gate("ContextualLogging", true, Stage::Beta),
    LOGGING_ALPHA_OPTIONS,
    LOGGING_BETA_OPTIONS,
    gate("NativeHistograms", true, Stage::Beta),
    REMOTE_REQUEST_HEADER_UID,
];

/// Gates of the generic API server. The Go programs link that library, so manifests may name these; they have no
/// effect on a controller manager.
const API_SERVER: &[Gate] = &[
    gate("APIResponseCompression", true, Stage::Beta),
    gate("APIServerIdentity", true, Stage::Beta),
    gate("APIServerWebhookAuthenticationToken", false, Stage::Alpha),
    gate("APIServingWithRoutine", false, Stage::Alpha),
    locked("AggregatedDiscoveryRemoveBetaType", true, Stage::Deprecated),
    gate("AllowParsingUserUIDFromCertAuth", true, Stage::Beta),
    gate("AllowUnsafeMalformedObjectDeletion", true, Stage::Beta),
    gate("CBORServingAndStorage", false, Stage::Alpha),
    gate("ConcurrentWatchObjectDecode", true, Stage::Beta),
    gate("ConsistentListFromCacheSkipTimeoutFallback", false, Stage::Alpha),
    gate("ConstrainedImpersonation", true, Stage::Beta),
    gate("CoordinatedLeaderElection", false, Stage::Beta),
    locked("DeclarativeValidation", true, Stage::Stable),
    gate("DeclarativeValidationBeta", true, Stage::Beta),
    locked("DeclarativeValidationTakeover", false, Stage::Deprecated),
    gate("DetectCacheInconsistency", true, Stage::Beta),
    gate("EtcdRangeStream", true, Stage::Beta),
    gate("ExcludeAdmissionWebhookVirtualResources", true, Stage::Beta),
    gate("KMSv1", false, Stage::Deprecated),
    gate("ListFromCacheSnapshot", true, Stage::Beta),
    gate("ManifestBasedAdmissionControlConfig", true, Stage::Beta),
    gate("MutatingAdmissionPolicy", true, Stage::Stable),
    gate("OpenAPIEnums", true, Stage::Beta),
    locked("SeparateCacheWatchRPC", false, Stage::Deprecated),
    gate("ShardedListAndWatch", false, Stage::Alpha),
    gate("SizeBasedListCostEstimate", true, Stage::Beta),
    gate("StorageVersionAPI", false, Stage::Alpha),
    gate("StorageVersionHash", true, Stage::Beta),
    gate("StructuredAuthenticationConfigurationEgressSelector", true, Stage::Beta),
    gate("StructuredAuthenticationConfigurationJWKSMetrics", true, Stage::Beta),
    gate("TokenRequestServiceAccountUIDValidation", true, Stage::Beta),
    gate("UnauthenticatedHTTP2DOSMitigation", true, Stage::Beta),
    gate("UnknownVersionInteroperabilityProxy", true, Stage::Beta),
    locked("WatchCacheInitializationPostStartHook", true, Stage::Stable),
    gate("WatchList", true, Stage::Beta),
    gate("WatchListCompression", true, Stage::Beta),
    gate("WebhookRoundTripLoadBalancing", true, Stage::Beta),
];

const fn gate(name: &'static str, default: bool, stage: Stage) -> Gate {
    Gate { name, default, stage, locked: false }
}

const fn locked(name: &'static str, default: bool, stage: Stage) -> Gate {
    Gate { locked: true, ..gate(name, default, stage) }
}

/// The state of all gates of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    known: Vec<Gate>,
    set: BTreeMap<String, bool>,
}

/// A setting that is refused; the texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A gate that does not exist.
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
    /// A gate that can no longer be changed.
    #[error("cannot set feature gate {0} to {1}, feature is locked to {2}")]
    Locked(String, bool, bool),
}

impl Default for FeatureGates {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl FeatureGates {
    /// The gates of the controller manager, of the libraries that Go links, and a provider's own, all at their defaults.
    pub fn new(provider: &[Gate]) -> Self {
        Self { known: [CONTROLLER_MANAGER, provider, API_SERVER].concat(), set: BTreeMap::new() }
    }

    /// Sets what `--feature-gates` names. Stops at the first unknown gate, as upstream does.
    pub fn set(&mut self, gates: &BTreeMap<String, bool>) -> Result<(), Vec<Error>> {
        let mut errors = Vec::new();
        for (name, value) in gates {
            match self.known.iter().find(|gate| gate.name == name) {
                None => {
                    errors.push(Error::Unknown(name.clone()));
                    break;
                }
                Some(gate) if gate.locked && gate.default != *value => {
                    errors.push(Error::Locked(name.clone(), *value, gate.default));
                }
                Some(_) => {}
            }
        }
        if errors.is_empty() {
            self.set.extend(gates.iter().map(|(name, value)| (name.clone(), *value)));
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Whether the feature is on: what was said about it, else what was said about all gates of its stage, else its
    /// default.
    pub fn enabled(&self, gate: Gate) -> bool {
        let all = match gate.stage {
            _ if gate.locked => None,
            Stage::Alpha => self.set.get(ALL_ALPHA.name),
            Stage::Beta => self.set.get(ALL_BETA.name),
            Stage::Stable | Stage::Deprecated => None,
        };
        *self.set.get(gate.name).or(all).unwrap_or(&gate.default)
    }

    /// Gates that were set although they are about to go away.
    pub fn ending(&self) -> impl Iterator<Item = Gate> + '_ {
        let ending = |gate: &&Gate| matches!(gate.stage, Stage::Stable | Stage::Deprecated);
        self.known.iter().filter(ending).filter(|gate| self.set.contains_key(gate.name)).copied()
    }

    /// All gates that may be named.
    pub fn known(&self) -> &[Gate] {
        &self.known
    }

    /// The gates that help shows: those of the controller manager and of the provider that can be changed.
    pub fn listed(&self) -> impl Iterator<Item = Gate> + '_ {
        let inert = |gate: &&Gate| !API_SERVER.iter().any(|other| other.name == gate.name);
        self.known.iter().filter(inert).filter(|gate| !gate.locked).copied()
    }
}

impl fmt::Display for FeatureGates {
    /// `A=true,B=false` of what was set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<_> = self.set.iter().map(|(name, value)| format!("{name}={value}")).collect();
        f.write_str(&pairs.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(gates: &[(&str, bool)]) -> Result<FeatureGates, Vec<Error>> {
        let mut features = FeatureGates::default();
        features.set(&gates.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect())?;
        Ok(features)
    }

    #[test]
    fn defaults_hold_until_set() {
        assert!(!FeatureGates::default().enabled(WEBHOOK));
        assert!(FeatureGates::default().enabled(LOGGING_BETA_OPTIONS));
        assert!(set(&[("CloudControllerManagerWebhook", true)]).unwrap().enabled(WEBHOOK));
    }

    #[test]
    fn stage_gates_set_what_is_not_set_itself() {
        let features = set(&[("AllAlpha", true), ("AllBeta", false), ("LoggingAlphaOptions", false)]).unwrap();
        assert!(features.enabled(WEBHOOK));
        assert!(!features.enabled(LOGGING_ALPHA_OPTIONS));
        assert!(!features.enabled(LOGGING_BETA_OPTIONS));
    }

    #[test]
    fn unknown_gate_is_refused() {
        let errors = set(&[("NoSuchGate", true)]).unwrap_err();
        assert_eq!(errors[0].to_string(), "unrecognized feature gate: NoSuchGate");
    }

    #[test]
    fn locked_gate_takes_only_its_default() {
        let errors = set(&[("DeclarativeValidation", false)]).unwrap_err();
        assert_eq!(
            errors[0].to_string(),
            "cannot set feature gate DeclarativeValidation to false, feature is locked to true"
        );
        let features = set(&[("DeclarativeValidation", true)]).unwrap();
        assert_eq!(features.ending().map(|gate| gate.name).collect::<Vec<_>>(), ["DeclarativeValidation"]);
    }

    #[test]
    fn gates_of_the_api_server_are_accepted() {
        assert_eq!(set(&[("WatchList", true), ("StorageVersionAPI", true)]).unwrap().ending().count(), 0);
    }

    #[test]
    fn prints_what_was_set() {
        let features = set(&[("WatchList", false), ("AllAlpha", true)]).unwrap();
        assert_eq!(features.to_string(), "AllAlpha=true,WatchList=false");
    }
}
