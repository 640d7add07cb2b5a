//! `cargo xtask cloud`: the services of a cloud itself on this machine, started and ended by a driver of its crate.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Subcommand;

use crate::python;
use crate::report::Report;
use crate::tool::Tool;
use crate::workspace;

/// In the folder of a cloud's crate: the driver, what it needs of Python, and what it starts.
const DRIVER: &str = "lab/lab.py";
const REQUIREMENTS: &str = "lab/requirements.txt";

/// Programs of Debian that a driver starts, with a folder that is not in every user's PATH. `ci/setup.sh` and the name of
/// the cloud install them.
const SERVERS: [(&str, &str); 2] = [("mariadbd", "/usr/sbin"), ("rabbitmq-server", "/usr/lib/rabbitmq/bin")];

/// Installing Debian's packages downloads a hundred megabytes.
const SETUP_LIMIT: Duration = Duration::from_secs(15 * 60);
/// The first start makes ten databases; two minutes on two idle cores, many more on busy ones.
pub(crate) const UP_LIMIT: Duration = Duration::from_secs(30 * 60);

const AFTER_HELP: &str = "\
Passed on to the driver:
      --dir FOLDER   Where state is [default: target/CLOUD]
      --reset        Go back to the state after the first start
      --fresh        Forget all state
      --check        Use each service once, as a controller would
      --json         The answer as the last line of standard output

It is safe to repeat: what runs is left alone. The first start installs what is missing, which takes minutes.";

/// What to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the cloud's services on loopback
    #[command(after_help = AFTER_HELP, override_usage = "cargo xtask cloud up <CLOUD> [FLAGS]...")]
    Up(Which),
    /// End them; their state stays
    #[command(
        after_help = "Passed on to the driver: --dir FOLDER, --json",
        override_usage = "cargo xtask cloud down <CLOUD> [FLAGS]..."
    )]
    Down(Which),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The cloud: openstack
    cloud: String,
    /// Flags of the driver
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    flags: Vec<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let driver = match args.command {
        Command::Up(which) => {
            let python = install_and_tell(&Report::default(), &root, &which.cloud)?;
            driver(&python, &root, &which.cloud, "up").args(which.flags)
        }
        // It needs no packages.
        Command::Down(which) => driver(Path::new("python3"), &root, &which.cloud, "down").args(which.flags),
    };
    // Ctrl-C and the exit status are the driver's.
    Err(driver.exec())
}

/// Starts the services of a cloud where they do not run; gives the folder of their state.
pub(crate) fn start(root: &Path, cloud: &str) -> anyhow::Result<PathBuf> {
    let report = Report::default();
    let python = install_and_tell(&report, root, cloud)?;
    let task = report.task(&format!("start the services of {cloud}"));
    let up = driver(&python, root, cloud, "up").lines(UP_LIMIT, |_, line| task.at(line));
    task.end(if up.is_ok() { "done" } else { "failed" });
    up?;
    report.line(&format!("they stay; `cargo xtask cloud down {cloud}` ends them"));
    Ok(state(root, cloud))
}

fn install_and_tell(report: &Report, root: &Path, cloud: &str) -> anyhow::Result<PathBuf> {
    let task = report.task("install what is missing");
    let python = install(root, cloud, |tool, limit| tool.lines(limit, |_, line| task.at(line)));
    task.end(if python.is_ok() { "done" } else { "failed" });
    python
}

/// What the services of a cloud need: Debian's servers, and a Python with the packages of its requirements file.
pub(crate) fn install(
    root: &Path,
    cloud: &str,
    run: impl Fn(Tool, Duration) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let folder = folder(root, cloud);
    if !folder.join(DRIVER).is_file() {
        bail!("the services of {cloud:?} cannot be started; those of openstack can");
    }
    if !SERVERS.iter().all(|(program, folder)| is_installed(program, folder)) {
        run(Tool::new(root.join("ci").join("setup.sh")).arg(cloud), SETUP_LIMIT)?;
    }
    // Everything is listed, and nothing else comes with it.
    python::environment(cloud, &folder.join(REQUIREMENTS), &["--no-deps", "--require-hashes"], run)
}

/// A command of a cloud's driver, with its state in the usual folder unless a later flag says otherwise.
pub(crate) fn driver(python: &Path, root: &Path, cloud: &str, command: &str) -> Tool {
    // Nothing is written beside the driver.
    let tool = Tool::new(python).arg("-B").arg(folder(root, cloud).join(DRIVER)).arg(command);
    tool.arg("--dir").arg(state(root, cloud))
}

/// Where a driver keeps the state of its services, unless a flag says otherwise.
fn state(root: &Path, cloud: &str) -> PathBuf {
    root.join("target").join(cloud)
}

/// The folder of a cloud's crate.
pub(crate) fn folder(root: &Path, cloud: &str) -> PathBuf {
    root.join(format!("cloud-provider-{cloud}"))
}

fn is_installed(program: &str, folder: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([PathBuf::from(folder)]).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_without_a_driver_is_refused_before_anything_is_installed() {
        let error = install(Path::new("/nowhere"), "tape", |tool, _| panic!("ran {tool}")).unwrap_err();
        assert_eq!(error.to_string(), "the services of \"tape\" cannot be started; those of openstack can");
    }

    #[test]
    fn flags_come_after_the_usual_folder() {
        let tool = driver(Path::new("python3"), Path::new("/w"), "openstack", "up").args(["--dir", "/s", "--json"]);
        let line = "python3 -B /w/cloud-provider-openstack/lab/lab.py up --dir /w/target/openstack --dir /s --json";
        assert_eq!(tool.to_string(), line);
    }

    #[test]
    fn programs_are_found_beside_the_path() {
        assert!(is_installed("sh", "/nowhere"));
        assert!(is_installed("sh", "/bin"));
        assert!(!is_installed("no-such-program", "/bin"));
    }
}
