//! Scenarios as data: what is there, and what happens. They know no cloud: what only a cloud understands is passed on.
//!
//! A file is a YAML list of scenarios:
//!
//! ```yaml
//! - name: network-target-group-attributes
//!   steps:
//!   - create: {name: web, annotations: {type: nlb, target-group-attributes: "proxy_protocol_v2.enabled=true"}}
//!   - annotate: {web: {target-group-attributes: "proxy_protocol_v2.enabled=false"}}
//!   - delete: web
//! ```
//!
//! Annotations without a slash get the cloud's prefix ([`Cloud::annotation`](super::Cloud::annotation)).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What happens to a fresh account and an empty cluster. One controller runs from the first step on; after each step the
/// world comes to rest and its state is compared.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// Unique; also the namespace of its services.
    pub name: String,
    /// What it is about, where the name does not say it.
    #[serde(default)]
    pub about: String,
    /// Nodes that are registered, and initialised, before the first step.
    #[serde(default = "two")]
    pub nodes: Vec<Machine>,
    /// Further flags of the controller.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Keys of the cloud configuration, in the cloud's own words.
    #[serde(default)]
    pub config: BTreeMap<String, Value>,
    /// What is different in the account: a merge patch in the cloud's own words.
    #[serde(default)]
    pub account: Value,
    /// Whether a controller reaches what is asked for. False for error paths: a controller that takes over then tries again,
    /// and may write.
    #[serde(default = "yes")]
    pub converges: bool,
    /// What happens.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Of everything above but `about`: what is recorded of a scenario holds as long as this is the same. Set by [`parse`].
    #[serde(skip)]
    pub digest: String,
}

/// A machine and its node. The short form is its name alone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "ShortOrLong")]
pub struct Machine {
    /// The name in the scenario: a letter. It decides where the machine stands and which addresses it has.
    pub name: String,
    /// The zone, counted from zero; by the letter where there is none.
    pub zone: Option<usize>,
    /// Another name of the node than the cloud's usual one; `{id}` is the ID of the machine.
    pub node_name: Option<String>,
    /// Labels that the kubelet brings.
    pub labels: BTreeMap<String, String>,
    /// The provider ID that the kubelet was given; `{id}` is the ID of the machine.
    pub provider_id: Option<String>,
    /// The address that the kubelet was given.
    pub node_ip: Option<String>,
    /// Its pod ranges.
    pub pod_cidrs: Vec<String>,
    /// Whether the kubelet is ready.
    pub ready: bool,
    /// Whether there is a machine in the cloud.
    pub exists: bool,
    /// Whether a kubelet registers a node.
    pub registered: bool,
    /// What is different about the machine: a merge patch in the cloud's own words.
    pub machine: Value,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ShortOrLong {
    Short(String),
    Long(LongMachine),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LongMachine {
    name: String,
    zone: Option<usize>,
    node_name: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    provider_id: Option<String>,
    node_ip: Option<String>,
    #[serde(default)]
    pod_cidrs: Vec<String>,
    #[serde(default = "yes")]
    ready: bool,
    #[serde(default = "yes")]
    exists: bool,
    #[serde(default = "yes")]
    registered: bool,
    #[serde(default)]
    machine: Value,
}

impl From<ShortOrLong> for Machine {
    fn from(either: ShortOrLong) -> Self {
        match either {
            ShortOrLong::Short(name) => Self::new(&name),
            ShortOrLong::Long(long) => Self {
                name: long.name,
                zone: long.zone,
                node_name: long.node_name,
                labels: long.labels,
                provider_id: long.provider_id,
                node_ip: long.node_ip,
                pod_cidrs: long.pod_cidrs,
                ready: long.ready,
                exists: long.exists,
                registered: long.registered,
                machine: long.machine,
            },
        }
    }
}

impl Machine {
    /// A plain one with a fresh, ready node.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            zone: None,
            node_name: None,
            labels: BTreeMap::new(),
            provider_id: None,
            node_ip: None,
            pod_cidrs: Vec::new(),
            ready: true,
            exists: true,
            registered: true,
            machine: Value::Null,
        }
    }

    /// A small number that only this name has: `a` is 0.
    pub fn number(&self) -> usize {
        let first = self.name.bytes().next().unwrap_or(b'a');
        usize::from(first.saturating_sub(b'a'))
    }
}

/// One thing that happens.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A service is created.
    Create(NewService),
    /// Annotations of services are set, or removed with null.
    Annotate(BTreeMap<String, BTreeMap<String, Option<String>>>),
    /// Services get other ports.
    Ports(BTreeMap<String, Vec<Port>>),
    /// Services are changed by merge patches.
    Patch(BTreeMap<String, Value>),
    /// A service is deleted.
    Delete(String),
    /// A machine starts and its node registers.
    AddNode(Machine),
    /// Nodes are changed by merge patches.
    PatchNode(BTreeMap<String, Value>),
    /// A node is deleted, as by hand.
    DeleteNode(String),
    /// The kubelet of a node is silent.
    NotReady(String),
    /// It is ready again.
    Ready(String),
    /// A machine is stopped, and its kubelet is silent.
    Stop(String),
    /// It is started again, and its kubelet is ready.
    Start(String),
    /// A machine is terminated, and its kubelet is silent.
    Terminate(String),
    /// A machine that is terminated is not listed any more.
    Forget(String),
    /// Something is changed in the cloud by hand: a merge patch in the cloud's own words.
    Cloud(Value),
    /// Keys of the cloud configuration change, and the controller restarts. Null takes a key away.
    Config(BTreeMap<String, Value>),
    /// The controller ends.
    StopController(Nothing),
    /// The controller starts again.
    StartController(Nothing),
    /// The other controller takes over from here on: what the one left is where the other begins.
    Swap(Nothing),
}

/// `{}`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Step {
    /// Whether a service that has a load balancer loses it here.
    pub(super) fn takes_away(&self) -> bool {
        let goes = |patch: &Value| patch["spec"]["type"].as_str().is_some_and(|kind| kind != "LoadBalancer");
        match self {
            Self::Delete(_) => true,
            Self::Patch(services) => services.values().any(goes),
            _ => false,
        }
    }

    /// A few words, as a part of paths: `create web`.
    pub fn title(&self) -> String {
        let first = |names: &mut dyn Iterator<Item = &String>| names.cloned().collect::<Vec<_>>().join(" ");
        match self {
            Self::Create(service) => format!("create {}", service.name),
            Self::Annotate(services) => format!("annotate {}", first(&mut services.keys())),
            Self::Ports(services) => format!("ports of {}", first(&mut services.keys())),
            Self::Patch(services) => format!("patch {}", first(&mut services.keys())),
            Self::Delete(name) => format!("delete {name}"),
            Self::AddNode(machine) => format!("add node {}", machine.name),
            Self::PatchNode(nodes) => format!("patch node {}", first(&mut nodes.keys())),
            Self::DeleteNode(name) => format!("delete node {name}"),
            Self::NotReady(name) => format!("node {name} not ready"),
            Self::Ready(name) => format!("node {name} ready"),
            Self::Stop(name) => format!("stop {name}"),
            Self::Start(name) => format!("start {name}"),
            Self::Terminate(name) => format!("terminate {name}"),
            Self::Forget(name) => format!("forget {name}"),
            Self::Cloud(_) => "by hand in the cloud".to_owned(),
            Self::Config(keys) => format!("config {}", first(&mut keys.keys())),
            Self::StopController(_) => "stop the controller".to_owned(),
            Self::StartController(_) => "start the controller".to_owned(),
            Self::Swap(_) => "swap".to_owned(),
        }
    }
}

/// A service of type `LoadBalancer`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NewService {
    /// Its name.
    pub name: String,
    /// Its annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Its ports, 80 where none are given.
    #[serde(default = "eighty")]
    pub ports: Vec<Port>,
    /// Further fields: a merge patch of its spec.
    #[serde(default)]
    pub spec: Value,
}

/// A port: a number, or more.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Port {
    /// TCP, without a name where it is the only one.
    Number(u16),
    /// With protocol, name and node port.
    Full {
        /// The port.
        port: u16,
        /// `TCP` or `UDP`.
        #[serde(default = "tcp")]
        protocol: String,
        /// Its name.
        #[serde(default)]
        name: Option<String>,
        /// Its node port; the next free one where none is given.
        #[serde(default, rename = "node-port")]
        node_port: Option<u16>,
    },
}

fn yes() -> bool {
    true
}

fn two() -> Vec<Machine> {
    vec![Machine::new("a"), Machine::new("b")]
}

fn eighty() -> Vec<Port> {
    vec![Port::Number(80)]
}

fn tcp() -> String {
    "TCP".to_owned()
}

impl Scenario {
    /// The titles of its checkpoints: the start, then each step by its number.
    pub fn checkpoints(&self) -> Vec<String> {
        let steps = self.steps.iter().enumerate().map(|(nth, step)| format!("{} {}", nth + 1, step.title()));
        std::iter::once("0 start".to_owned()).chain(steps).collect()
    }

    fn check(&self) -> anyhow::Result<()> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(!self.name.is_empty() && self.name.chars().all(plain), "{:?} is no name of a namespace", self.name);
        ensure!(self.name.len() <= 63, "{:?} is too long for a namespace", self.name);
        Ok(())
    }
}

/// Reads the scenarios of all `*.yaml` files of a folder, in the order of file names.
///
/// # Errors
/// When a file cannot be read, is of another form, or two scenarios have one name.
pub fn load(folder: &Path) -> anyhow::Result<Vec<Scenario>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut all = Vec::new();
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let scenarios = parse(&text).with_context(|| format!("read {}", file.display()))?;
        for scenario in &scenarios {
            if !names.insert(scenario.name.clone()) {
                bail!("{}: there are two scenarios {}", file.display(), scenario.name);
            }
        }
        all.extend(scenarios);
    }
    Ok(all)
}

/// Reads the scenarios of one file.
///
/// # Errors
/// When the text is of another form.
pub fn parse(text: &str) -> anyhow::Result<Vec<Scenario>> {
    let list: Vec<Value> = serde_saphyr::from_str(text).context("no list")?;
    let mut scenarios = Vec::new();
    for one in list {
        let name = one["name"].as_str().unwrap_or("without a name").to_owned();
        let digest = digest(&one);
        let mut scenario: Scenario = serde_json::from_value(one).with_context(|| format!("scenario {name}"))?;
        scenario.digest = digest;
        scenario.check()?;
        scenarios.push(scenario);
    }
    Ok(scenarios)
}

/// Of the scenario as it stands in its file, its remarks left out; keys are sorted.
fn digest(scenario: &Value) -> String {
    let mut scenario = scenario.clone();
    if let Some(fields) = scenario.as_object_mut() {
        fields.remove("about");
    }
    hex::encode(&Sha256::digest(scenario.to_string())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_a_few_lines() {
        let text = r#"
- name: one
  nodes: [a, {name: b, zone: 2, provider-id: "aws:///x/{id}", ready: false}]
  config: {Key: value}
  steps:
  - create: {name: web, annotations: {type: nlb}, ports: [80, {port: 53, protocol: UDP, name: dns}]}
  - annotate: {web: {type: null, "other.io/key": "1"}}
  - ports: {web: [81]}
  - stop: a
  - swap: {}
"#;
        let [scenario] = parse(text).unwrap().try_into().unwrap();
        assert_eq!(scenario.nodes[0], Machine::new("a"));
        assert_eq!((scenario.nodes[1].zone, scenario.nodes[1].ready, scenario.nodes[1].number()), (Some(2), false, 1));
        assert_eq!(
            scenario.checkpoints(),
            ["0 start", "1 create web", "2 annotate web", "3 ports of web", "4 stop a", "5 swap"]
        );
        assert!(scenario.converges);
    }

    #[test]
    fn the_digest_tells_changed_scenarios_and_not_changed_remarks() {
        let digest = |text: &str| parse(text).unwrap()[0].digest.clone();
        let one = digest("- {name: one, steps: [{create: {name: web}}]}");
        assert_eq!(one, digest("- {about: more, steps: [{create: {name: web}}], name: one}"));
        assert_ne!(one, digest("- {name: one, steps: [{create: {name: web, ports: [81]}}]}"));
        assert_ne!(one, digest("- {name: one, steps: [{create: {name: web}}], flags: [--v=3]}"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = parse("- {name: one, steps: [{explode: web}]}").unwrap_err();
        assert!(format!("{error:#}").contains("scenario one") && format!("{error:#}").contains("explode"), "{error:#}");
        assert!(parse("- {name: One}").is_err());
        assert!(parse("- {name: one, stepps: []}").is_err());
    }
}
