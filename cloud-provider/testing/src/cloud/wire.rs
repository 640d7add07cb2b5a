//! How calls and failures travel between processes.

use std::time::Duration;

use cloud_provider::error::{Error, Kind};
use serde::{Deserialize, Serialize};

/// A failed call.
#[derive(Serialize, Deserialize)]
pub(super) struct Failure {
    kind: FailureKind,
    message: String,
}

/// [`Kind`] with a form in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum FailureKind {
    NotFound,
    Throttled { retry_after: Option<Duration> },
    Conflict,
    Denied { permission: Option<String> },
    Quota,
    Invalid { field: String },
    Unsupported,
    Pending { retry_after: Duration },
    Refused,
    Transient,
}

impl From<&Kind> for FailureKind {
    fn from(kind: &Kind) -> Self {
        match kind.clone() {
            Kind::NotFound => Self::NotFound,
            Kind::Throttled { retry_after } => Self::Throttled { retry_after },
            Kind::Conflict => Self::Conflict,
            Kind::Denied { permission } => Self::Denied { permission },
            Kind::Quota => Self::Quota,
            Kind::Invalid { field } => Self::Invalid { field },
            Kind::Unsupported => Self::Unsupported,
            Kind::Pending { retry_after } => Self::Pending { retry_after },
            Kind::Refused => Self::Refused,
            // A kind that this crate does not know yet may go away by itself, like all that is unknown.
            _ => Self::Transient,
        }
    }
}

impl From<FailureKind> for Kind {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::NotFound => Self::NotFound,
            FailureKind::Throttled { retry_after } => Self::Throttled { retry_after },
            FailureKind::Conflict => Self::Conflict,
            FailureKind::Denied { permission } => Self::Denied { permission },
            FailureKind::Quota => Self::Quota,
            FailureKind::Invalid { field } => Self::Invalid { field },
            FailureKind::Unsupported => Self::Unsupported,
            FailureKind::Pending { retry_after } => Self::Pending { retry_after },
            FailureKind::Refused => Self::Refused,
            FailureKind::Transient => Self::Transient,
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind().into(), message: error.chain() }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind.into(), failure.message)
    }
}

/// A key as its text.
pub(super) mod key {
    use cloud_provider::cluster::objects::Key;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in super::super) fn serialize<S: Serializer>(key: &Key, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(key)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A moment as the time until then: clocks of processes have nothing in common.
pub(super) mod moment {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use tokio::time::Instant;

    pub(in super::super) fn serialize<S: Serializer>(at: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
        at.saturating_duration_since(Instant::now()).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        Ok(Instant::now() + Duration::deserialize(deserializer)?)
    }
}
