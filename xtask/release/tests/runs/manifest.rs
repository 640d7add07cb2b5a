//! The containers of upstream's manifests, from upstream's own Go modules.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use cloud_provider_testing::upstream::{self, Upstream};
use serde::Deserialize;
use serde_json::Value;

/// Where operators put the cloud config whose manifest mounts none.
pub(crate) const CLOUD_CONFIG: &str = "/etc/config/cloud.conf";

/// What a manifest says of a container, as far as it is about the program.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Container {
    command: Vec<String>,
    args: Vec<String>,
    env: Vec<Variable>,
    /// Whom the pod runs as, if the manifest says so.
    #[serde(skip)]
    pub(crate) user: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Variable {
    name: String,
    value: String,
}

impl Container {
    /// That of the manifest for a cloud. The cloud in memory has no upstream; it is started as its image's form asks.
    pub(crate) fn of_cloud(cloud: &str) -> anyhow::Result<Self> {
        match cloud {
            "memory" => Ok(Self::of_memory()),
            "aws" => {
                let path = "examples/existing-cluster/base/aws-cloud-controller-manager-daemonset.yaml";
                Self::of_module(upstream::AWS, path)
            }
            "openstack" => {
                let path = "manifests/controller-manager/openstack-cloud-controller-manager-ds.yaml";
                Self::of_module(upstream::OPENSTACK, path)
            }
            other => bail!("no manifest is known for the cloud {other:?}"),
        }
    }

    fn of_memory() -> Self {
        let args = ["/bin/memory-cloud-controller-manager", "--v=2", "--cloud-provider=memory"];
        Self { args: args.map(str::to_owned).into(), ..Self::default() }
    }

    /// That of the DaemonSet in a file of upstream's module.
    fn of_module(upstream: Upstream, path: &str) -> anyhow::Result<Self> {
        let path = module(&format!("{}@{}", upstream.module, upstream.version))?.join(path);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Self::read(&text).with_context(|| format!("read {}", path.display()))
    }

    fn read(text: &str) -> anyhow::Result<Self> {
        let documents = text.split("\n---\n").map(serde_saphyr::from_str).collect::<Result<Vec<Value>, _>>()?;
        let workload = documents.iter().find(|one| one["kind"] == "DaemonSet").context("there is no DaemonSet")?;
        let pod = &workload["spec"]["template"]["spec"];
        let containers = pod["containers"].as_array().map_or(&[][..], Vec::as_slice);
        ensure!(containers.len() == 1, "its pods have {} containers", containers.len());
        let user = pod["securityContext"]["runAsUser"].as_u64().map(|user| user.to_string());
        let container: Self = serde_json::from_value(containers[0].clone())?;
        Ok(Self { user, ..container })
    }

    /// The command line in an image with this entry point and command, as kubelets make it: a manifest's command stands for
    /// both, its arguments for the command alone, and `$(NAME)` is a variable of the container.
    pub(crate) fn command_line(&self, entry_point: &[String], command: &[String]) -> Vec<String> {
        let first = if self.command.is_empty() { entry_point } else { &self.command };
        let rest = if self.args.is_empty() && self.command.is_empty() { command } else { &self.args };
        first.iter().chain(rest).map(|word| self.expanded(word)).collect()
    }

    fn expanded(&self, word: &str) -> String {
        self.env.iter().fold(word.to_owned(), |word, one| word.replace(&format!("$({})", one.name), &one.value))
    }

    /// Its variables.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        self.env.iter().map(|one| (one.name.clone(), one.value.clone())).collect()
    }
}

/// The folder of a Go module, downloaded where it is not there.
fn module(name: &str) -> anyhow::Result<PathBuf> {
    // Outside of any module.
    let work = tempfile::tempdir()?;
    let output = Command::new("go").args(["mod", "download", "-json", name]).current_dir(work.path()).output();
    let output = output.context("start go")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let told: Value = serde_json::from_slice(&output.stdout).context("read what go mod download printed")?;
    Ok(PathBuf::from(told["Dir"].as_str().with_context(|| format!("{name} has no folder"))?))
}

#[test]
fn arguments_of_a_manifest_replace_the_command_and_follow_the_entry_point() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (entry, none) = (words(&["/bin/ccm"]), Vec::new());
    let aws = Container::of_cloud("aws").unwrap();
    let line = aws.command_line(&entry, &none);
    assert_eq!(line[..2], ["/bin/ccm", "--v=2"], "{line:?}");
    let openstack = Container::of_cloud("openstack").unwrap();
    let line = openstack.command_line(&none, &entry);
    assert_eq!(line[..2], ["/bin/openstack-cloud-controller-manager", "--v=1"], "{line:?}");
    assert!(line.contains(&format!("--cloud-config={CLOUD_CONFIG}")), "{line:?}");
    assert_eq!(openstack.user.as_deref(), Some("1001"));
    assert_eq!(Container::default().command_line(&none, &entry), ["/bin/ccm"]);
}
