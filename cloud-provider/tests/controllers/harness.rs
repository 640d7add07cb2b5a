//! One control plane per test, and a cloud whose every answer a test can set.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cloud_provider::{
    Error,
    cloud::{
        Change, Freshness, Instance, Instances, LoadBalancerStatus, LoadBalancers, Location, Metadata, Mode, Note,
        Outcome, Power, Scope, ScopeId, ServiceOutcome, ServiceState, Volumes, Want,
    },
    cluster::{
        events::Sink,
        objects::{AddressKind, Node, NodeAddress, Object, PersistentVolume, Service},
        store::Store,
    },
    controllers::Managed,
    metrics::Metrics,
};
use cloud_provider_testing::{ControlPlane, control_plane::Options};
use k8s_openapi::api::core::v1 as api;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What a test has: a cluster, stores that are fed, and the tasks it started.
pub(crate) struct Harness {
    pub(crate) control_plane: ControlPlane,
    pub(crate) client: Client,
    pub(crate) nodes: Store<Node>,
    pub(crate) services: Store<Service>,
    pub(crate) events: Sink,
    pub(crate) metrics: Metrics,
    pub(crate) token: CancellationToken,
    pub(crate) tasks: JoinSet<()>,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        let control_plane = ControlPlane::start(Options::default()).await.unwrap();
        let client = control_plane.client().await.unwrap();
        let (nodes, services, token) = (Store::default(), Store::default(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(Store::<Node>::run(nodes.clone(), Api::all(client.clone()), token.clone()));
        tasks.spawn(Store::<Service>::run(services.clone(), Api::all(client.clone()), token.clone()));
        let events = Sink::new(client.clone());
        Self { control_plane, client, nodes, services, events, metrics: Metrics::new(), token, tasks }
    }

    /// Runs a controller of `events` until the test ends, and writes its events.
    pub(crate) fn run(&mut self, controller: impl Managed + 'static) {
        self.write_events();
        let token = self.token.clone();
        self.tasks.spawn(async { Box::new(controller).run(token).await.unwrap() });
    }

    /// Events are written from now on.
    pub(crate) fn write_events(&mut self) {
        let events = std::mem::replace(&mut self.events, Sink::new(self.client.clone()));
        self.tasks.spawn(events.run(self.token.clone()));
    }

    pub(crate) fn nodes_api(&self) -> Api<api::Node> {
        Api::all(self.client.clone())
    }

    pub(crate) fn services_api(&self) -> Api<api::Service> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn create_node(&self, name: &str, spec: Value) {
        let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}, "spec": spec});
        self.nodes_api().create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    }

    pub(crate) async fn set_ready(&self, name: &str, status: &str) {
        let patch = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        self.nodes_api().patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    }

    pub(crate) async fn create_service(&self, name: &str, annotations: Value) -> api::Service {
        let service = json!({
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": name}},
        });
        self.services_api().create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap()
    }

    /// A merge patch.
    pub(crate) async fn patch_service(&self, name: &str, change: Value) {
        self.services_api().patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    pub(crate) async fn delete_service(&self, name: &str) {
        self.services_api().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until a service has a load balancer, and returns its host name.
    pub(crate) async fn served(&self, name: &str) -> String {
        eventually(&format!("{name} is served"), || async {
            let service = self.services_api().get(name).await.unwrap();
            service.status?.load_balancer?.ingress?.first()?.hostname.clone()
        })
        .await
    }

    /// Waits until a service is there no more.
    pub(crate) async fn gone(&self, name: &str) {
        let api = self.services_api();
        let gone = || async { api.get_opt(name).await.unwrap().is_none().then_some(()) };
        eventually(&format!("{name} is gone"), gone).await;
    }

    /// The reasons of all events about `name`, sorted, each once.
    pub(crate) async fn event_reasons(&self, name: &str) -> Vec<String> {
        let events: Api<api::Event> = Api::all(self.client.clone());
        let list = events.list(&Default::default()).await.unwrap();
        let mut reasons: Vec<String> = list
            .items
            .into_iter()
            .filter(|event| event.involved_object.name.as_deref() == Some(name))
            .filter_map(|event| event.reason)
            .collect();
        reasons.sort();
        reasons.dedup();
        reasons
    }
}

/// Waits until `check` gives something; panics with `what` after a minute.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    for _ in 0..600 {
        if let Some(value) = check().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within a minute: {what}");
}

/// The API server itself adds taints, so a test looks for one by its key.
pub(crate) fn has_taint(node: &api::Node, key: &str) -> bool {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).any(|taint| taint.key == key)
}

pub(crate) const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";

pub(crate) fn tainted() -> Value {
    json!({"taints": [{"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"}]})
}

pub(crate) fn present(id: &str, power: Power) -> Instance {
    let metadata = Metadata {
        provider_id: format!("fake://{id}"),
        instance_type: "t1.micro".into(),
        addresses: vec![
            NodeAddress::new(AddressKind::InternalIp, "10.0.0.1"),
            NodeAddress::new(AddressKind::ExternalIp, "132.143.154.163"),
        ],
        zone: "us-west-1a".into(),
        region: "us-west".into(),
        additional_labels: BTreeMap::from([("my.label/foo".into(), "bar".into())]),
    };
    Instance::Present { power, metadata: Some(Box::new(metadata)) }
}

/// Instances by node name; what is not set is a transient error.
#[derive(Default)]
pub(crate) struct ScriptedInstances {
    answers: Mutex<HashMap<String, Instance>>,
    live_answers: Mutex<HashMap<String, Instance>>,
    pub(crate) calls: AtomicUsize,
}

impl ScriptedInstances {
    pub(crate) fn set(&self, name: &str, instance: Instance) {
        self.answers.lock().unwrap().insert(name.into(), instance);
    }

    /// What a live read says, where it differs from a listing.
    pub(crate) fn set_live(&self, name: &str, instance: Instance) {
        self.live_answers.lock().unwrap().insert(name.into(), instance);
    }
}

#[async_trait]
impl Instances for ScriptedInstances {
    async fn look_up(&self, nodes: &[Arc<Node>], _: Want, freshness: Freshness) -> Vec<Result<Instance, Error>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (answers, live) = (self.answers.lock().unwrap(), self.live_answers.lock().unwrap());
        let answer = |name: &str| match freshness {
            Freshness::Live => live.get(name).or_else(|| answers.get(name)).cloned(),
            Freshness::Within(_) => answers.get(name).cloned(),
        };
        nodes.iter().map(|node| answer(node.name()).ok_or_else(|| Error::transient("no answer"))).collect()
    }
}

/// Moves a service to another load balancer.
pub(crate) const SCOPE: &str = "test/scope";

/// Load balancers as a map from scope, which is the service's UID, to backends, with a switch that makes every call fail.
#[derive(Default)]
pub(crate) struct ScriptedLoadBalancers {
    pub(crate) made: Mutex<BTreeMap<String, Vec<String>>>,
    pub(crate) log: Mutex<Vec<String>>,
    error: Mutex<Option<fn() -> Error>>,
    /// How long a round takes, from reading the nodes to its end.
    pub(crate) takes: Mutex<Duration>,
    /// What a round writes on a service, and tells it.
    pub(crate) annotations: Mutex<BTreeMap<String, Option<String>>>,
    pub(crate) notes: Mutex<Vec<Note>>,
}

impl ScriptedLoadBalancers {
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// From now on every call fails.
    pub(crate) fn fail(&self, error: fn() -> Error) {
        *self.error.lock().unwrap() = Some(error);
    }

    pub(crate) fn heal(&self) {
        *self.error.lock().unwrap() = None;
    }

    /// Waits until there is no load balancer.
    pub(crate) async fn emptied(&self) {
        eventually("no load balancer is left", || async { self.made.lock().unwrap().is_empty().then_some(()) }).await;
    }
}

#[async_trait]
impl LoadBalancers for ScriptedLoadBalancers {
    fn scope(&self, service: &Service) -> ScopeId {
        ScopeId(service.annotation(SCOPE).unwrap_or(service.uid()).into())
    }

    fn backend(&self, _: &Service, node: &Node) -> Option<String> {
        node.provider_id().map(ToOwned::to_owned)
    }

    async fn sync(&self, scope: &Scope, mode: Mode) -> Outcome {
        let mut outcome = Outcome::default();
        let failing = *self.error.lock().unwrap();
        for service in scope.wanted.iter().chain(&scope.unwanted) {
            let wanted = scope.wanted.iter().any(|other| Arc::ptr_eq(other, service));
            let key = service.key();
            self.log.lock().unwrap().push(format!("{mode:?} {key}{}", if wanted { "" } else { " away" }));
            if let Some(error) = failing {
                outcome.services.insert(key, ServiceOutcome::failed(error()));
                continue;
            }
            let takes = *self.takes.lock().unwrap();
            tokio::time::sleep(takes).await;
            let mut made = self.made.lock().unwrap();
            let change = Change { service: Some(key.clone()), what: "change".into() };
            let state = if wanted {
                let backends: Vec<String> = scope.nodes.iter().filter_map(|node| self.backend(service, node)).collect();
                if made.insert(scope.id.0.clone(), backends.clone()) != Some(backends) {
                    outcome.changes.push(change);
                }
                ServiceState::Present(LoadBalancerStatus::hostname(format!("{}.example.com", key.name)))
            } else {
                if made.remove(&scope.id.0).is_some() {
                    outcome.changes.push(change);
                }
                ServiceState::Absent
            };
            let annotations = self.annotations.lock().unwrap().clone();
            let notes = self.notes.lock().unwrap().clone();
            outcome.services.insert(key, ServiceOutcome { annotations, notes, ..ServiceOutcome::of(state) });
        }
        outcome
    }
}

/// Disks by ID, whatever their kind; what is not set cannot be found.
#[derive(Default)]
pub(crate) struct ScriptedVolumes {
    answers: Mutex<HashMap<String, Option<Location>>>,
    calls: AtomicUsize,
}

impl ScriptedVolumes {
    pub(crate) fn set(&self, id: &str, location: Location) {
        self.answers.lock().unwrap().insert(id.into(), Some(location));
    }

    pub(crate) fn set_foreign(&self, id: &str) {
        self.answers.lock().unwrap().insert(id.into(), None);
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Volumes for ScriptedVolumes {
    async fn locate(&self, volumes: &[Arc<PersistentVolume>]) -> Vec<Result<Option<Location>, Error>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let answers = self.answers.lock().unwrap();
        let id = |volume: &PersistentVolume| volume.spec.source.as_ref().unwrap().id().to_owned();
        let answer = |id: String| answers.get(&id).cloned().ok_or_else(|| Error::not_found(format!("find {id}")));
        volumes.iter().map(|volume| answer(id(volume))).collect()
    }
}
