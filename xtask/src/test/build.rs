//! Building programs and tests, with the control plane made beside it.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};

use super::{Activity, Run};
use crate::cargo::{self, Kind};
use crate::driver::{self, DRIVER};
use crate::report::Report;

/// The test whose build gives the driver with the features that all tests are built with; `cargo build` would
/// make everything once more, since dependencies of tests turn on features.
const TEST_OF_DRIVER: &str = "control_plane";

/// The control plane's programs, on their way.
#[derive(Debug, Default)]
pub(super) struct ControlPlane(Option<JoinHandle<anyhow::Result<Vec<String>>>>);

/// Builds everything. The control plane is got from the moment that the driver is there.
pub(super) fn build(run: &mut Run, at: &Activity<'_>) -> anyhow::Result<String> {
    let root = &run.workspace.root;
    let first = ["test", "--workspace", "--no-run", "--test", TEST_OF_DRIVER];
    let driver = cargo::build(root, &first, at.task)?;
    if run.wants_control_plane {
        run.control_plane = start(cargo::binary(&driver, DRIVER)?, run.kubernetes.as_deref());
    }
    // Not the documentation tests: those are built when they run.
    let all = ["test", "--workspace", "--no-run", "--lib", "--bins", "--tests", "--examples"];
    run.executables = cargo::build(root, &all, at.task)?;
    let tests = run.executables.iter().filter(|one| one.kind != Kind::Binary).count();
    Ok(format!("{tests} test programs"))
}

fn start(driver: &Path, kubernetes: Option<&str>) -> ControlPlane {
    let driver = driver.to_owned();
    let args: Vec<String> = kubernetes.map(|minor| format!("--kubernetes={minor}")).into_iter().collect();
    ControlPlane(Some(std::thread::spawn(move || driver::fetch(&Report::default(), &driver, &args))))
}

/// Waits for the control plane.
pub(super) fn control_plane(run: &mut Run) -> anyhow::Result<String> {
    let handle = run.control_plane.0.take().context("nobody asked for the control plane")?;
    let Ok(paths) = handle.join() else { bail!("getting the control plane ended in a panic") };
    let paths = paths?;
    if run.kubernetes.is_some() {
        run.assets = Some(common_folder(&paths)?);
    }
    Ok(paths.join(", "))
}

/// The folder to name in `KUBEBUILDER_ASSETS`.
fn common_folder(paths: &[String]) -> anyhow::Result<PathBuf> {
    let mut folders: Vec<Option<&Path>> = paths.iter().map(|path| Path::new(path).parent()).collect();
    folders.dedup();
    match folders.as_slice() {
        [Some(folder)] => Ok(folder.to_path_buf()),
        _ => bail!("the programs are in different folders: {}", paths.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_a_release_are_in_one_folder() {
        let paths = ["/c/1.34.4/etcd".to_owned(), "/c/1.34.4/kube-apiserver".to_owned()];
        assert_eq!(common_folder(&paths).unwrap(), Path::new("/c/1.34.4"));
        let paths = ["/a/etcd".to_owned(), "/b/kube-apiserver".to_owned()];
        assert!(common_folder(&paths).is_err());
    }
}
