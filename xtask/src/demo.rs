//! `cargo xtask demo`: builds what the demo is made of and hands over to it.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::cargo::{self, Executable};
use crate::report::{self, Report, Task};
use crate::tool::{Stream, Tool};
use crate::workspace;

/// The binary that runs demos, and finds or makes the control plane.
pub(crate) const DRIVER: &str = "cloud-provider-testing";

/// A first build of kube-apiserver takes ten minutes on two cores, more beside another build.
pub(crate) const CONTROL_PLANE_LIMIT: Duration = Duration::from_secs(60 * 60);

const AFTER_HELP: &str = "\
Passed on to the demo:
      --nodes N            Nodes to register over ten seconds [default: 100]
      --services N         Services of type LoadBalancer, half classic ELB, half NLB [default: 4]
      --latency DURATION   Latency of the simulated cloud's answers, such as 50ms
      --keep               Stay up, print KUBECONFIG and what to try, end on Ctrl-C
      --json               A summary as the last line of standard output
      --cloud-api URL      Another endpoint instead of the simulator (moto, LocalStack)
      --kubernetes MINOR   The Kubernetes minor release, such as 1.34
      --timeout DURATION   Give up after this time [default: 10m]

It exits with 0 only when everything converged.";

/// What to show.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, override_usage = "cargo xtask demo [--cloud CLOUD] [--release] [FLAGS]...")]
pub(crate) struct Args {
    /// The cloud whose controller runs
    #[arg(long, default_value = "aws")]
    cloud: String,
    /// Build with optimisations, for figures
    #[arg(long)]
    release: bool,
    /// Flags of the demo
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    flags: Vec<String>,
}

impl Args {
    /// Takes our own flags out of those that are passed on: they may stand anywhere.
    fn separate(mut self) -> anyhow::Result<Self> {
        let mut passed = Vec::new();
        let mut flags = std::mem::take(&mut self.flags).into_iter();
        while let Some(flag) = flags.next() {
            match flag.as_str() {
                "--release" => self.release = true,
                "--cloud" => self.cloud = flags.next().context("--cloud needs a value")?,
                other => match other.strip_prefix("--cloud=") {
                    Some(cloud) => cloud.clone_into(&mut self.cloud),
                    None => passed.push(flag),
                },
            }
        }
        self.flags = passed;
        Ok(self)
    }
}

/// The programs of a cloud.
pub(crate) struct Cloud {
    pub(crate) name: &'static str,
    pub(crate) controller: &'static str,
    pub(crate) simulator: &'static str,
}

const CLOUDS: [Cloud; 1] =
    [Cloud { name: "aws", controller: "aws-cloud-controller-manager", simulator: "aws-simulator" }];

pub(crate) fn cloud(name: &str) -> anyhow::Result<&'static Cloud> {
    let known = || CLOUDS.map(|cloud| cloud.name).join(", ");
    CLOUDS
        .iter()
        .find(|cloud| cloud.name == name)
        .with_context(|| format!("no programs for cloud {name:?}; known: {}", known()))
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let args = args.separate()?;
    let cloud = cloud(&args.cloud)?;
    let executables = build(&workspace::root()?, cloud, args.release)?;
    let demo = Tool::new(cargo::binary(&executables, DRIVER)?)
        .args(["demo", "--cloud", cloud.name])
        .arg("--controller")
        .arg(cargo::binary(&executables, cloud.controller)?)
        .arg("--simulator")
        .arg(cargo::binary(&executables, cloud.simulator)?)
        .args(args.flags);
    // Ctrl-C and the exit status are the demo's.
    Err(demo.exec())
}

/// Builds the three programs, and gets those of the control plane as soon as the driver is there: the longest part
/// of the Rust build keeps one core busy, and the Go build, where there is one, takes the other.
pub(crate) fn build(root: &Path, cloud: &Cloud, release: bool) -> anyhow::Result<Vec<Executable>> {
    let report = Report::default();
    let begun = Instant::now();
    // Always the whole workspace with some of its binaries: features, and so artifacts, stay the same.
    let mut command = vec!["build", "--workspace", "--bin", DRIVER];
    if release {
        command.push("--release");
    }
    let driver = compile(&report, root, &command, "build the driver")?;
    command.extend(["--bin", cloud.controller, "--bin", cloud.simulator]);
    let (built, control_plane) = std::thread::scope(|scope| {
        let control_plane = scope.spawn(|| fetch(&report, cargo::binary(&driver, DRIVER)?, &[]));
        let built = compile(&report, root, &command, "build the controller and the simulator");
        (built, control_plane.join())
    });
    let built = built?;
    match control_plane {
        Ok(outcome) => outcome.map(|_| ())?,
        Err(_) => bail!("getting the control plane ended in a panic"),
    }
    report.line(&format!("ready to run after {}", report::duration(begun.elapsed())));
    Ok(built)
}

fn compile(report: &Report, root: &Path, command: &[&str], name: &str) -> anyhow::Result<Vec<Executable>> {
    let task = report.task(name);
    let built = cargo::build(root, command, &task);
    task.end(outcome(&built));
    built
}

fn outcome<T>(result: &anyhow::Result<T>) -> &'static str {
    if result.is_ok() { "done" } else { "failed" }
}

/// Finds, downloads or builds the programs of the control plane; returns their paths.
pub(crate) fn fetch(report: &Report, driver: &Path, args: &[String]) -> anyhow::Result<Vec<String>> {
    let task = report.task("get the control plane");
    let fetched = fetch_paths(report, &task, driver, args);
    task.end(outcome(&fetched));
    fetched
}

fn fetch_paths(report: &Report, task: &Task<'_>, driver: &Path, args: &[String]) -> anyhow::Result<Vec<String>> {
    let mut paths = Vec::new();
    let tool = Tool::new(driver).args(["control-plane", "fetch"]).args(args);
    tool.lines(CONTROL_PLANE_LIMIT, |stream, line| match stream {
        Stream::Out => paths.push(line.to_owned()),
        // What has ended stays on the screen, what begins is only shown.
        Stream::Err if line.ends_with("...") => task.at(line),
        Stream::Err => report.line(&format!("  {line}")),
    })?;
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Args {
        Cli::try_parse_from(std::iter::once("demo").chain(line.split_whitespace())).unwrap().args.separate().unwrap()
    }

    #[test]
    fn our_flags_may_stand_anywhere_and_the_others_are_passed_on() {
        let args = parse("--release --nodes 1000 --services 20 --latency 50ms --json");
        assert!(args.release);
        assert_eq!(args.flags, ["--nodes", "1000", "--services", "20", "--latency", "50ms", "--json"]);

        let args = parse("--nodes=5 --cloud=aws --json --release");
        assert!(args.release);
        assert_eq!(args.cloud, "aws");
        assert_eq!(args.flags, ["--nodes=5", "--json"]);
    }

    #[test]
    fn an_unknown_cloud_is_refused_before_anything_is_built() {
        assert!(cloud("aws").is_ok());
        assert_eq!(cloud("tape").err().unwrap().to_string(), "no programs for cloud \"tape\"; known: aws");
    }
}
