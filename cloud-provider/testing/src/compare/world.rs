//! A scenario as it happens: one cluster, one account, one controller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::cloud::{Cloud, Controller, Move};
use super::cluster::Cluster;
use super::document::merge;
use super::recording::{Checkpoint, Left};
use super::rest::Rest;
use super::scenario::{Machine, NewService, Port, Scenario, Step};
use crate::objects::{KubeletNode, set_ready};

/// What a scenario happens to.
#[derive(Clone)]
pub struct World<'a> {
    pub(super) cluster: &'a Cluster<'a>,
    pub(super) cloud: Arc<dyn Cloud>,
    pub(super) scenario: &'a Scenario,
    config: BTreeMap<String, Value>,
    /// By name: the ID and the name of the node.
    machines: BTreeMap<String, (String, String)>,
    /// How often a service of a name was created.
    created: BTreeMap<String, usize>,
    node_ports: BTreeMap<(String, u16, String), u16>,
    pub(super) running: bool,
    /// The calls in the account when the controller was started last.
    calls_before: u64,
}

/// A world, played to its end.
#[derive(Debug)]
pub struct Played {
    /// What was left at each checkpoint.
    pub checkpoints: Vec<Checkpoint>,
    /// What was left at each swap, before each step that takes a load balancer away, and at the end.
    pub left: Vec<Left>,
}

impl<'a> World<'a> {
    /// The cluster is cleared; the account has to be fresh.
    ///
    /// # Errors
    /// When the cluster cannot be cleared.
    pub async fn new(cluster: &'a Cluster<'a>, cloud: Arc<dyn Cloud>, scenario: &'a Scenario) -> anyhow::Result<Self> {
        cluster.clear().await?;
        Ok(Self {
            cluster,
            cloud,
            scenario,
            config: scenario.config.clone(),
            machines: BTreeMap::new(),
            created: BTreeMap::new(),
            node_ports: BTreeMap::new(),
            running: false,
            calls_before: 0,
        })
    }

    /// The text of the cloud configuration as it is at this moment of the scenario.
    pub fn config(&self) -> String {
        self.cloud.config(&self.config)
    }

    /// A world that is only looked at before the step of this number, counted from 1: with the cloud configuration of that
    /// moment.
    pub(super) fn before(mut self, at: usize) -> Self {
        for step in self.scenario.steps.iter().take(at.saturating_sub(1)) {
            if let Step::Config(keys) = step {
                self.configure(keys);
            }
        }
        self
    }

    fn configure(&mut self, keys: &BTreeMap<String, Value>) {
        for (key, value) in keys {
            match value {
                Value::Null => self.config.remove(key),
                value => self.config.insert(key.clone(), value.clone()),
            };
        }
    }

    /// Lets everything happen under one controller, which is started with the first node and still runs at the end. At a
    /// [`Step::Swap`] the controller is restarted; where `theirs` has what another controller left there, that takes the place of
    /// what this one did.
    ///
    /// # Errors
    /// When a step cannot be done, or the world does not come to rest.
    pub async fn play(
        &mut self,
        controller: &dyn Controller,
        rest: &Rest<'_>,
        theirs: &[Left],
    ) -> anyhow::Result<Played> {
        let titles = self.scenario.checkpoints();
        let mut played = Played { checkpoints: Vec::new(), left: Vec::new() };
        for machine in &self.scenario.nodes {
            self.add_machine(machine).await?;
        }
        self.start(controller).await?;
        for (nth, title) in titles.into_iter().enumerate() {
            if nth > 0 {
                let step = &self.scenario.steps[nth - 1];
                if let Step::Swap(_) = step {
                    played.left.push(self.swap(controller, nth, theirs).await?);
                } else {
                    // What somebody changed by hand is not what the controller left.
                    let by_hand = nth > 1 && matches!(self.scenario.steps[nth - 2], Step::Cloud(_));
                    if step.takes_away() && self.running && !by_hand {
                        played.left.push(self.left(nth).await?);
                    }
                    self.step(controller, step).await.with_context(|| title.clone())?;
                }
            }
            let state = rest.wait(self, controller, self.running, nth).await.with_context(|| title.clone())?;
            played.checkpoints.push(Checkpoint { title, state });
        }
        played.left.push(self.left(self.scenario.steps.len() + 1).await?);
        Ok(played)
    }

    /// Starts a controller with the configuration of this moment.
    pub(super) async fn start(&mut self, controller: &dyn Controller) -> anyhow::Result<()> {
        self.calls_before = self.cloud.activity().await?.calls;
        self.running = true;
        controller.start(&self.config()).await
    }

    /// Whether the controller, started last when there were fewer calls, has begun to look around.
    pub(super) fn is_started(&self, calls: u64) -> bool {
        calls > self.calls_before
    }

    /// What there is now, to be put back elsewhere.
    pub(super) async fn left(&self, at: usize) -> anyhow::Result<Left> {
        let objects = self.cluster.objects().await?.keep()?;
        Ok(Left { at, cloud: self.cloud.capture().await?, objects })
    }

    /// Puts back what was left.
    pub(super) async fn restore(&self, left: &Left) -> anyhow::Result<()> {
        self.cluster.clear().await?;
        self.cloud.restore(&left.cloud).await?;
        self.cluster.restore(&left.objects).await
    }

    async fn swap(&mut self, controller: &dyn Controller, at: usize, theirs: &[Left]) -> anyhow::Result<Left> {
        controller.stop().await?;
        let mut left = self.left(at).await?;
        if let Some(other) = theirs.iter().find(|other| other.at == at) {
            left = other.clone();
        }
        // Also where nothing is exchanged: events are gone on both sides.
        self.restore(&left).await?;
        self.start(controller).await?;
        Ok(left)
    }

    pub(super) async fn step(&mut self, controller: &dyn Controller, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Create(service) => self.create(service).await,
            Step::Annotate(services) => {
                for (name, annotations) in services {
                    let annotations: BTreeMap<_, _> =
                        annotations.iter().map(|(key, value)| (self.annotation(key), value)).collect();
                    self.patch(name, &json!({ "metadata": { "annotations": annotations } })).await?;
                }
                Ok(())
            }
            Step::Ports(services) => {
                for (name, ports) in services {
                    let ports = self.ports(name, ports);
                    self.patch(name, &json!({ "spec": { "ports": ports } })).await?;
                }
                Ok(())
            }
            Step::Patch(services) => {
                for (name, patch) in services {
                    self.patch(name, patch).await?;
                }
                Ok(())
            }
            Step::Delete(name) => self
                .cluster
                .services()
                .delete(name, &Default::default())
                .await
                .context("delete the service")
                .map(|_| ()),
            Step::AddNode(machine) => self.add_machine(machine).await,
            Step::PatchNode(nodes) => {
                for (name, patch) in nodes {
                    let patch = Patch::Merge(patch);
                    let node = self.node(name)?;
                    self.cluster.nodes().patch(node, &PatchParams::default(), &patch).await.context("patch a node")?;
                }
                Ok(())
            }
            Step::DeleteNode(name) => {
                let node = self.node(name)?;
                self.cluster.nodes().delete(node, &Default::default()).await.context("delete a node").map(|_| ())
            }
            Step::NotReady(name) => self.set_ready(name, false).await,
            Step::Ready(name) => self.set_ready(name, true).await,
            Step::Stop(name) => self.move_machine(name, Move::Stop).await,
            Step::Start(name) => self.move_machine(name, Move::Start).await,
            Step::Terminate(name) => self.move_machine(name, Move::Terminate).await,
            Step::Forget(name) => self.move_machine(name, Move::Forget).await,
            Step::Cloud(change) => {
                let uid = |name: &str| self.cluster.uid(name, self.created.get(name).map_or(0, |count| count - 1));
                self.cloud.change(change, &uid).await
            }
            Step::Config(keys) => {
                controller.stop().await?;
                self.configure(keys);
                self.start(controller).await
            }
            Step::StopController(_) => {
                self.running = false;
                controller.stop().await
            }
            Step::StartController(_) | Step::Swap(_) => self.start(controller).await,
        }
    }

    fn annotation(&self, key: &str) -> String {
        if key.contains('/') { key.to_owned() } else { self.cloud.annotation(key) }
    }

    fn node(&self, machine: &str) -> anyhow::Result<&str> {
        let (_, node) = self.machines.get(machine).with_context(|| format!("there is no machine {machine}"))?;
        Ok(node)
    }

    async fn create(&mut self, service: &NewService) -> anyhow::Result<()> {
        let NewService { name, annotations, ports, spec } = service;
        let annotations: BTreeMap<_, _> =
            annotations.iter().map(|(key, value)| (self.annotation(key), value)).collect();
        let ports = self.ports(name, ports);
        let mut object = json!({
            "metadata": { "name": name, "annotations": annotations },
            "spec": { "type": "LoadBalancer", "selector": { "app": name }, "ports": ports },
        });
        if !spec.is_null() {
            merge(&mut object["spec"], spec);
        }
        let fields = &mut object["spec"];
        if fields["externalTrafficPolicy"] == "Local" && fields["healthCheckNodePort"].is_null() {
            fields["healthCheckNodePort"] = json!(32_000 + self.created.len());
        }
        let nth = self.created.entry(name.clone()).or_default();
        let uid = self.cluster.uid(name, *nth);
        *nth += 1;
        self.cluster.create_service(object, &uid).await
    }

    /// Ports with node ports that are the same in each run.
    fn ports(&mut self, service: &str, ports: &[Port]) -> Vec<Value> {
        let many = ports.len() > 1;
        let mut list = Vec::new();
        for port in ports {
            let (port, protocol, name, wanted) = match port {
                Port::Number(port) => (*port, "TCP".to_owned(), None, None),
                Port::Full { port, protocol, name, node_port } => (*port, protocol.clone(), name.clone(), *node_port),
            };
            let next = 30_100 + u16::try_from(self.node_ports.len()).unwrap_or_default();
            let given = self.node_ports.entry((service.to_owned(), port, protocol.clone())).or_insert(next);
            let name = name.or_else(|| many.then(|| format!("{}-{port}", protocol.to_lowercase())));
            list.push(json!({
                "name": name, "port": port, "protocol": protocol, "targetPort": 8080, "nodePort": wanted.unwrap_or(*given),
            }));
        }
        list
    }

    async fn patch(&self, service: &str, patch: &Value) -> anyhow::Result<()> {
        let patched = self.cluster.services().patch(service, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.with_context(|| format!("patch service {service}")).map(|_| ())
    }

    pub(super) async fn add_machine(&mut self, machine: &Machine) -> anyhow::Result<()> {
        let (id, usual) = self.cloud.add_machine(machine).await?;
        let expand = |text: &String| text.replace("{id}", &id);
        let name = machine.node_name.as_ref().map_or(usual, expand);
        if machine.registered {
            let mut node = KubeletNode::new(&name);
            node = machine.labels.iter().fold(node, |node, (key, value)| node.label(key, value));
            if let Some(id) = &machine.provider_id {
                node = node.provider_id(expand(id));
            }
            if let Some(address) = &machine.node_ip {
                node = node.provided_ip(address);
            }
            if !machine.ready {
                node = node.not_ready();
            }
            let mut node: Node = node.build()?;
            if let Some(first) = machine.pod_cidrs.first() {
                let spec = node.spec.get_or_insert_default();
                spec.pod_cidr = Some(first.clone());
                spec.pod_cidrs = Some(machine.pod_cidrs.clone());
            }
            self.cluster
                .nodes()
                .create(&PostParams::default(), &node)
                .await
                .with_context(|| format!("register {name}"))?;
        }
        self.machines.insert(machine.name.clone(), (id, name));
        Ok(())
    }

    async fn set_ready(&self, machine: &str, ready: bool) -> anyhow::Result<()> {
        set_ready(self.cluster.client(), self.node(machine)?, ready).await
    }

    async fn move_machine(&self, machine: &str, to: Move) -> anyhow::Result<()> {
        let (id, node) = self.machines.get(machine).with_context(|| format!("there is no machine {machine}"))?;
        self.cloud.move_machine(id, to).await?;
        let known = self.cluster.nodes().get_opt(node).await.context("look for the node")?.is_some();
        ensure!(known || to == Move::Forget, "machine {machine} has no node any more");
        match to {
            _ if !known => Ok(()),
            Move::Start => self.set_ready(machine, true).await,
            Move::Stop | Move::Terminate | Move::Forget => self.set_ready(machine, false).await,
        }
    }
}

/// Where nothing happens for so long, a world is at rest.
pub(super) const QUIET: Duration = Duration::from_millis(2500);
