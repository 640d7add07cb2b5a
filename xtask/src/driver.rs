//! How runs start: what they are made of is built, and the driver takes over.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::cargo::{self, Executable};
use crate::report::{self, Report, Task};
use crate::tool::{Stream, Tool};
use crate::workspace;

/// The binary that runs demos and measurements, and finds or makes the control plane.
pub(crate) const DRIVER: &str = "cloud-provider-testing";

/// A first build of kube-apiserver takes ten minutes on two cores, more beside another build.
pub(crate) const CONTROL_PLANE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// What a run on a cloud is given.
#[derive(Debug, clap::Args)]
pub(crate) struct Given {
    /// The cloud whose controller runs
    #[arg(long, default_value = "aws")]
    pub(crate) cloud: String,
    /// Flags that are passed on
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) flags: Vec<String>,
}

impl Given {
    /// Takes our own flags out of those that are passed on: they may stand anywhere. `switches` are those without a value
    /// that the command has beside `--cloud`.
    pub(crate) fn separate(mut self, switches: &mut [(&str, &mut bool)]) -> anyhow::Result<Self> {
        let mut passed = Vec::new();
        let mut flags = std::mem::take(&mut self.flags).into_iter();
        while let Some(flag) = flags.next() {
            if let Some((_, switch)) = switches.iter_mut().find(|(name, _)| *name == flag) {
                **switch = true;
            } else if flag == "--cloud" {
                self.cloud = flags.next().context("--cloud needs a value")?;
            } else if let Some(cloud) = flag.strip_prefix("--cloud=") {
                cloud.clone_into(&mut self.cloud);
            } else {
                passed.push(flag);
            }
        }
        self.flags = passed;
        Ok(self)
    }
}

/// Takes `--cloud-api NAME` out of the flags, in both of its forms. Whether it was there.
pub(crate) fn wants_api(flags: &mut Vec<String>, name: &str) -> bool {
    const FLAG: &str = "--cloud-api";
    let before = flags.len();
    flags.retain(|flag| flag.strip_prefix(FLAG).and_then(|rest| rest.strip_prefix('=')) != Some(name));
    if let Some(at) = flags.windows(2).position(|pair| pair == [FLAG, name]) {
        flags.drain(at..at + 2);
    }
    flags.len() < before
}

/// The programs of a cloud.
pub(crate) struct Cloud {
    pub(crate) name: &'static str,
    pub(crate) controller: &'static str,
    pub(crate) simulator: &'static str,
}

const CLOUDS: [Cloud; 2] = [
    Cloud { name: "aws", controller: "aws-cloud-controller-manager", simulator: "aws-simulator" },
    Cloud { name: "openstack", controller: "openstack-cloud-controller-manager", simulator: "openstack-simulator" },
];

pub(crate) fn cloud(name: &str) -> anyhow::Result<&'static Cloud> {
    let known = || CLOUDS.map(|cloud| cloud.name).join(", ");
    CLOUDS
        .iter()
        .find(|cloud| cloud.name == name)
        .with_context(|| format!("no programs for cloud {name:?}; known: {}", known()))
}

/// Builds what a cloud's runs are made of, and lets the driver run one.
pub(crate) fn run(command: &str, given: Given, release: bool) -> anyhow::Result<ExitCode> {
    let cloud = cloud(&given.cloud)?;
    let executables = build(&workspace::root()?, cloud, release)?;
    let programs = [("--controller", cloud.controller), ("--simulator", cloud.simulator)];
    let flags = ["--cloud", cloud.name].map(str::to_owned).into_iter().chain(given.flags);
    hand_over(&executables, command, &programs, flags.collect())
}

/// Executes the driver at the root of the workspace; Ctrl-C and the exit status are its own. `programs` are flags and names of
/// binaries.
pub(crate) fn hand_over(
    executables: &[Executable],
    command: &str,
    programs: &[(&str, &str)],
    flags: Vec<String>,
) -> anyhow::Result<ExitCode> {
    let mut driver = Tool::new(cargo::binary(executables, DRIVER)?).arg(command).dir(&workspace::root()?);
    for (flag, name) in programs {
        driver = driver.arg(flag).arg(cargo::binary(executables, name)?);
    }
    Err(driver.args(flags).exec())
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

/// Builds and says how far it is.
pub(crate) fn compile(report: &Report, root: &Path, command: &[&str], name: &str) -> anyhow::Result<Vec<Executable>> {
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
        #[arg(long)]
        release: bool,
        #[command(flatten)]
        given: Given,
    }

    fn parse(line: &str) -> (bool, Given) {
        let Cli { mut release, given } =
            Cli::try_parse_from(std::iter::once("demo").chain(line.split_whitespace())).unwrap();
        let given = given.separate(&mut [("--release", &mut release)]).unwrap();
        (release, given)
    }

    #[test]
    fn our_flags_may_stand_anywhere_and_the_others_are_passed_on() {
        let (release, given) = parse("--release --nodes 1000 --services 20 --latency 50ms --json");
        assert!(release);
        assert_eq!(given.flags, ["--nodes", "1000", "--services", "20", "--latency", "50ms", "--json"]);

        let (release, given) = parse("--nodes=5 --cloud=aws --json --release");
        assert!(release);
        assert_eq!(given.cloud, "aws");
        assert_eq!(given.flags, ["--nodes=5", "--json"]);
    }

    #[test]
    fn what_an_api_needs_is_started_only_where_it_is_named() {
        let wanted = |line: &str| {
            let mut flags = line.split_whitespace().map(str::to_owned).collect();
            (wants_api(&mut flags, "moto"), flags.join(" "))
        };
        assert_eq!(wanted("--json --cloud-api moto --lanes 2"), (true, "--json --lanes 2".to_owned()));
        assert_eq!(wanted("--cloud-api=moto"), (true, String::new()));
        assert!(!wanted("--cloud-api http://127.0.0.1:1").0);
    }

    #[test]
    fn an_unknown_cloud_is_refused_before_anything_is_built() {
        assert!(cloud("aws").is_ok() && cloud("openstack").is_ok());
        assert_eq!(cloud("tape").err().unwrap().to_string(), "no programs for cloud \"tape\"; known: aws, openstack");
    }
}
