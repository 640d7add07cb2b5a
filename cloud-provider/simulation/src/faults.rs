//! How a simulated cloud misbehaves, and how slow it is.
//!
//! Actions are patterns over `SERVICE.Action` or only `Action`: `EC2.DescribeInstances`, `DescribeInstances`, `ELBv2.*`,
//! `*`.

use serde::{Deserialize, Serialize};

use crate::glob;

/// Time before an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Which actions.
    #[serde(default = "every")]
    pub action: String,
    /// Fixed part in milliseconds.
    pub fixed_ms: u64,
    /// Up to so many milliseconds more, evenly distributed.
    #[serde(default)]
    pub jitter_ms: u64,
}

/// A token bucket. A call that finds it empty is refused as the cloud refuses calls that come too fast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Which actions share the bucket.
    #[serde(default = "every")]
    pub action: String,
    /// Size of the bucket, which is full at first.
    pub burst: f64,
    /// Tokens that come back per second.
    pub per_second: f64,
}

/// A failure that strikes calls of an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which actions.
    #[serde(default = "every")]
    pub action: String,
    /// How often it may still strike; none for as long as it is set.
    #[serde(default)]
    pub times: Option<u32>,
    /// Chance to strike, from 0 to 1.
    #[serde(default = "always")]
    pub probability: f64,
    /// Strike only after the action was carried out: its effect stays, its answer is lost.
    #[serde(default)]
    pub after: bool,
    /// What the client gets.
    pub effect: Effect,
}

/// What a struck client gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// An error answer.
    Error {
        /// The cloud's code, such as `InternalError`, or the status where errors have no codes.
        code: String,
        /// The message; one that says it was injected if empty.
        #[serde(default)]
        message: String,
        /// HTTP status; if none, the one that the cloud sends with the code.
        #[serde(default)]
        status: Option<u16>,
    },
    /// A connection that ends without an answer.
    Disconnect,
    /// No answer, ever: the client has to time out.
    Hang,
    /// Status 200 and a document that ends in the middle.
    Truncate,
}

impl Fault {
    /// Always answers `action` with `code`.
    pub fn error(action: &str, code: &str) -> Self {
        let effect = Effect::Error { code: code.into(), message: String::new(), status: None };
        Self { action: action.into(), times: None, probability: 1.0, after: false, effect }
    }

    /// Ends the connection after `action` was carried out.
    pub fn lost_answer(action: &str) -> Self {
        Self { action: action.into(), times: None, probability: 1.0, after: true, effect: Effect::Disconnect }
    }

    /// Only the next `times` calls.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Only this share of calls.
    #[must_use]
    pub fn with_probability(mut self, probability: f64) -> Self {
        self.probability = probability;
        self
    }
}

/// Every action, where a pattern is left out.
pub fn every() -> String {
    "*".into()
}

fn always() -> f64 {
    1.0
}

/// Whether `pattern` means the action of the service.
pub fn means(pattern: &str, service: &str, action: &str) -> bool {
    if pattern.contains('.') {
        glob::matches(pattern, &format!("{service}.{action}"))
    } else {
        glob::matches(pattern, action)
    }
}
