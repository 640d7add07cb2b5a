//! Helm, and what it renders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context as _, anyhow, ensure};
use cloud_provider_testing::progress::Progress;
use cloud_provider_testing::upstream::Upstream;
use serde_json::Value;
use xtask_release::project::Controller;

const HELM: Upstream = Upstream { program: "helm", module: "helm.sh/helm/v3", version: "v3.22.0", package: "cmd/helm" };

/// The release of Kubernetes that templates are told of.
const KUBERNETES: &str = "1.37.2";

/// Values for a chart, and what it renders as with them.
pub(crate) struct Case {
    /// Also the name of the installation.
    chart: String,
    folder: PathBuf,
    values: Option<PathBuf>,
    pub(crate) snapshot: PathBuf,
}

impl Case {
    /// The defaults, which are the manifests for those who do not use Helm, and every file in `deploy/values`.
    pub(crate) fn all(controller: &Controller, folder: &Path) -> anyhow::Result<Vec<Self>> {
        let deploy = controller.folder.join("deploy");
        let case = |values: Option<PathBuf>, snapshot: PathBuf| -> anyhow::Result<Self> {
            Ok(Self { chart: xtask_release::chart::name(folder)?, folder: folder.to_owned(), values, snapshot })
        };
        let mut cases = vec![case(None, deploy.join("manifests.yaml"))?];
        let values = deploy.join("values");
        let further = if values.exists() { Some(fs::read_dir(&values)?) } else { None };
        for entry in further.into_iter().flatten() {
            let path = entry.with_context(|| format!("read {}", values.display()))?.path();
            let snapshot = deploy.join("snapshots").join(path.file_name().context("a file without a name")?);
            cases.push(case(Some(path), snapshot)?);
        }
        cases.sort_by(|a, b| a.snapshot.cmp(&b.snapshot));
        Ok(cases)
    }

    pub(crate) fn name(&self) -> String {
        self.snapshot.display().to_string()
    }

    fn flags(&self) -> Vec<String> {
        self.values.iter().flat_map(|path| ["--values".to_owned(), path.display().to_string()]).collect()
    }
}

pub(crate) struct Helm(PathBuf);

impl Helm {
    pub(crate) fn find() -> anyhow::Result<Self> {
        // Tests run at the same time; one of them builds it.
        static PROGRAM: LazyLock<anyhow::Result<PathBuf>> = LazyLock::new(|| HELM.find_or_build(&Progress::stderr()));
        PROGRAM.as_ref().map(|program| Self(program.clone())).map_err(|error| anyhow!("{error:#}"))
    }

    pub(crate) fn lint(&self, case: &Case) -> anyhow::Result<()> {
        let told = self.run(&["lint", "--strict", "--kube-version", KUBERNETES], &case.folder, &case.flags())?;
        ensure!(!told.contains("[WARNING]") && !told.contains("[ERROR]"), "{told}");
        Ok(())
    }

    pub(crate) fn render(&self, case: &Case) -> anyhow::Result<String> {
        self.template(&case.folder, &case.chart, &case.flags())
    }

    /// The objects of a chart in a folder or an archive.
    pub(crate) fn template(&self, chart: &Path, name: &str, flags: &[String]) -> anyhow::Result<String> {
        let first = ["template", name, "--namespace", "kube-system", "--kube-version", KUBERNETES];
        self.run(&first, chart, flags)
    }

    fn run(&self, first: &[&str], chart: &Path, flags: &[String]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.0);
        // Nobody's own settings.
        let home = tempfile::tempdir()?;
        command.env("HOME", home.path()).args(first).arg(chart).args(flags);
        output(&mut command)
    }
}

/// The objects in a text of YAML documents.
pub(crate) fn objects(text: &str) -> anyhow::Result<Vec<Value>> {
    let documents = text.split("\n---\n").map(|document| document.trim_start_matches("---\n"));
    let has_object = |document: &&str| document.lines().any(|line| !line.is_empty() && !line.starts_with('#'));
    documents.filter(has_object).map(|document| serde_saphyr::from_str(document).context("read an object")).collect()
}

pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    Ok(out.into_owned())
}
