//! A simulator as a process, and what the control endpoints of all simulators understand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cloud::Setup;
use crate::http::Endpoint;
use crate::process::{Process, Program};

/// A token bucket: a pattern of actions, its size, and how many tokens come back per second.
pub(super) type Rate = (&'static str, u32, u32);

/// The process, which ends when this is dropped.
pub(super) struct Simulator {
    process: Process,
    pub(super) control: Endpoint,
}

/// What the lines of all simulators have.
#[derive(Deserialize)]
struct Ready {
    control: String,
}

impl Simulator {
    /// Starts it without nodes and with these flags, and gives what its first line says.
    pub(super) async fn start<T: DeserializeOwned>(
        setup: &Setup,
        dir: &Path,
        flags: &[String],
    ) -> anyhow::Result<(Self, T)> {
        let path = setup.programs.simulator.as_ref().context("--simulator is needed")?;
        let process = Program::new(path)
            .named("simulator")
            .log_dir(dir)
            .arg("--nodes=0")
            .args(flags)
            .arg(format!("--latency={}ms", setup.programs.latency.unwrap_or_default().as_millis()))
            .spawn()?;
        let line = process.first_line(Duration::from_secs(30)).await?;
        let Ready { control } = serde_json::from_str(&line).context("read the simulator's first line")?;
        let ready = serde_json::from_str(&line).context("read the simulator's first line")?;
        Ok((Self { process, control: Endpoint::new(&control)? }, ready))
    }

    pub(super) async fn state(&self) -> anyhow::Result<Value> {
        self.control.get_json("/state").await
    }

    /// How often each action was called.
    pub(super) async fn calls(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let counts = self.control.get_json("/calls/counts").await?;
        let counts = counts.as_object().context("the simulator counts no calls")?;
        ensure!(counts.values().all(|count| count["calls"].is_u64()), "the simulator counts in another form");
        Ok(counts.iter().map(|(action, count)| (action.clone(), count["calls"].as_u64().unwrap_or_default())).collect())
    }

    pub(super) async fn forget_calls(&self) -> anyhow::Result<()> {
        self.control.send(Method::DELETE, "/calls", &[], "").await.map(|_| ())
    }

    /// Each parameter of each call.
    pub(super) async fn named(&self) -> anyhow::Result<BTreeSet<String>> {
        let calls = self.control.get_json("/calls").await?;
        let calls = calls.as_array().context("the simulator lists no calls")?;
        let parameters = calls.iter().filter_map(|call| call["parameters"].as_object()).flat_map(|all| all.values());
        Ok(parameters.filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// Replaces some of the knobs.
    pub(super) async fn set_knobs(&self, knobs: &Value) -> anyhow::Result<()> {
        self.control.send_json(Method::PATCH, "/knobs", knobs).await.map(|_| ())
    }

    pub(super) async fn limit_rates(&self, rates: &[Rate]) -> anyhow::Result<()> {
        let limit =
            |(action, burst, per_second): &Rate| json!({ "action": action, "burst": burst, "per_second": per_second });
        self.set_knobs(&json!({ "rate_limits": rates.iter().map(limit).collect::<Vec<_>>() })).await
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.process.check_running()
    }
}
