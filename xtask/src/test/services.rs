//! OpenStack's own services start here and do what a controller asks of them.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::{Activity, Run, suites};
use crate::cloud;

const CLOUD: &str = "openstack";
/// Tells the conformance suite where their state is.
const SERVICES: &str = "OPENSTACK_SERVICES";
/// In the names of conformance tests that need them; without that they say so and do nothing.
pub(super) const REAL: &str = "real";

/// How many seconds the suite waits for a state: one POST of Octavia took 44 on a loaded machine.
const PATIENCE: (&str, &str) = ("CONFORMANCE_PATIENCE", "240");

const DOWN_LIMIT: Duration = Duration::from_secs(2 * 60);

pub(super) fn openstack(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    summary(&with_services(run, at, &["--check"], |_| Ok(()))?.1)
}

/// The conformance suite on them.
pub(super) fn conformance(run: &Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let (name, usual) = PATIENCE;
    let patience = std::env::var_os(name).unwrap_or_else(|| usual.into());
    let suite = |folder: &Path| {
        let env = [(SERVICES, folder.as_os_str()), (name, &patience)];
        suites::conformance_on(run, at, cloud::folder(&run.workspace.root, CLOUD), REAL, &env)
    };
    with_services(run, at, &[], suite).map(|(tests, _)| tests)
}

/// Starts the services, does something with the folder of their state, and ends them. Gives the driver's answer too.
fn with_services<T>(
    run: &Run,
    at: &Activity<'_>,
    flags: &[&str],
    what: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<(T, String)> {
    let root = &run.workspace.root;
    let python = cloud::install(root, CLOUD, |tool, limit| at.run(tool, limit))?;
    // Not where `cargo xtask cloud` keeps its state, which stays as it is.
    let state = root.join("target").join("openstack-services");
    let mut last = String::new();
    let up = cloud::driver(&python, root, CLOUD, "up").arg("--dir").arg(&state).arg("--json").args(flags);
    let up = at.run_lines(up, cloud::UP_LIMIT, |line| line.clone_into(&mut last));
    let done = up.and_then(|()| what(&state));
    // Also after a failure: nothing stays behind but logs.
    at.run(cloud::driver(Path::new("python3"), root, CLOUD, "down").arg("--dir").arg(&state), DOWN_LIMIT)?;
    Ok((done?, last))
}

/// Of the driver's answer.
fn summary(answer: &str) -> anyhow::Result<String> {
    let answer: Value = serde_json::from_str(answer).context("read the answer of the driver")?;
    let checks = answer["checks"].as_object().context("the driver checked nothing")?;
    Ok(format!("up after {} s, {} checks", answer["seconds"], checks.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_the_driver_is_summed_up() {
        let answer = r#"{"folder":"/s","seconds":61.5,"checks":{"token":0.6,"server":10.8}}"#;
        assert_eq!(summary(answer).unwrap(), "up after 61.5 s, 2 checks");
        assert!(summary(r#"{"seconds":61.5}"#).is_err());
        assert!(summary("[  1 s] up").is_err());
    }
}
