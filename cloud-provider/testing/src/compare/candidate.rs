//! Controllers as processes.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use serde_json::Value;

use super::cloud::Controller;
use super::world::World;
use crate::control_plane::ControlPlane;
use crate::process::{Process, Program};

const GRACE: Duration = Duration::from_secs(20);

/// A controller manager that can be run.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// `upstream` or `ours`: the name under which it is known in cluster and cloud.
    pub name: &'static str,
    /// The program.
    pub program: PathBuf,
    /// Flags that the others do not know.
    pub flags: Vec<String>,
}

impl Candidate {
    /// Our program.
    pub fn ours(program: impl Into<PathBuf>) -> Self {
        // Upstream's has no such grace.
        let flags =
            ["--node-deletion-grace-period=0s", "--new-node-deletion-grace-period=0s"].map(str::to_owned).into();
        Self { name: "ours", program: program.into(), flags }
    }
}

/// A candidate in a world.
pub(super) struct Running<'a> {
    candidate: &'a Candidate,
    plane: &'a ControlPlane,
    /// Its user in the cluster.
    pub(super) user: String,
    base: Program,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    process: Option<Process>,
    starts: u32,
}

impl<'a> Running<'a> {
    /// `provider` is the value of `--cloud-provider`. Nothing is started yet.
    pub(super) fn new(candidate: &'a Candidate, provider: &str, world: &World<'a>) -> anyhow::Result<Self> {
        let plane = world.cluster.plane();
        let user = crate::control_plane::unique(candidate.name);
        let kubeconfig = plane.write_kubeconfig(&user, &plane.kubeconfig_for_user(&user, &["system:masters"])?)?;
        let base = Program::new(&candidate.program)
            .log_dir(plane.dir())
            .arg(format!("--cloud-provider={provider}"))
            .arg(format!("--cloud-config={}", plane.dir().join(format!("{user}.cloud-config")).display()))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(["--leader-elect=false", "--secure-port=0", "--v=2", "--node-monitor-period=1s"])
            .arg("--configure-cloud-routes=false")
            .args(&candidate.flags)
            .args(&world.scenario.flags);
        let variables = world.cloud.environment(candidate.name);
        let base = variables.into_iter().fold(base, |base, (name, value)| base.env(name, value));
        Ok(Self { candidate, plane, user, base, state: Mutex::default() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn program(&self, config: &str) -> anyhow::Result<Program> {
        let file = self.plane.dir().join(format!("{}.cloud-config", self.user));
        std::fs::write(&file, config).context("write the cloud configuration")?;
        let mut state = self.lock();
        state.starts += 1;
        Ok(self.base.clone().named(format!("{}-{}", self.user, state.starts)))
    }

    /// What `plan` would change, in words; empty where nothing.
    pub(super) async fn plan(&self, config: &str) -> anyhow::Result<Vec<String>> {
        let process = self.program(config)?.first_arg("plan").arg("--output=json").spawn()?;
        let status = process.wait(Duration::from_secs(60)).await?;
        let report: Value = serde_json::from_str(&process.out())
            .with_context(|| format!("plan ended with {status}: {}", process.log_tail(15)))?;
        let mut found = Vec::new();
        for object in report["objects"].as_array().into_iter().flatten() {
            for change in object["changes"].as_array().into_iter().flatten() {
                found.push(format!("plan: {}: {}: {}", object["object"], change["target"], change["what"]));
            }
            for error in object["errors"].as_array().into_iter().flatten() {
                found.push(format!("plan: {}: {}", object["object"], error["message"]));
            }
        }
        if found.is_empty() && !status.success() {
            bail!("plan ended with {status} and told nothing: {}", process.log_tail(15));
        }
        Ok(found)
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let state = self.lock();
        let tail = state.process.as_ref().map(|process| process.log_tail(12)).unwrap_or_default();
        format!("last words of {}:\n{tail}", self.candidate.name)
    }
}

#[async_trait]
impl Controller for Running<'_> {
    async fn start(&self, config: &str) -> anyhow::Result<()> {
        let process = self.program(config)?.spawn()?;
        self.lock().process = Some(process);
        Ok(())
    }

    async fn stop(&self) -> anyhow::Result<()> {
        let process = self.lock().process.take();
        match process {
            Some(process) => process.terminate(GRACE).await.map(|_| ()),
            None => Ok(()),
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        self.lock().process.as_ref().map_or(Ok(()), Process::check_running)
    }
}
