//! The conformance suite on the cloud in memory, with the controllers in this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use cloud_provider::cloud::{Cloud, Gate};
use cloud_provider::controllers::{node_lifecycle, route};
use cloud_provider::error::Kind;
use cloud_provider_testing::cloud::{Backend, Fault, MemoryCloud, NAME, Operation, Power, REGION, Rule};
use cloud_provider_testing::conformance::{
    self, Allocator, Controller, Declared, Disk, Disturbance, Factory, InstanceState, LoadBalancer, Route,
    RouteSupport, Run, ServiceKind, Start, Subject,
};
use cloud_provider_testing::control_plane;
use cloud_provider_testing::in_process::{Controllers, Settings};
use serde_json::json;

/// The memory cloud does not look into destinations.
const ROUTES: RouteSupport = RouteSupport { ipv6: true };

/// Young nodes would otherwise be kept for a minute.
const GRACE: Duration = Duration::from_secs(10);

struct Memory {
    settling: Duration,
    /// When controllers look at routes.
    pacing: route::Pacing,
}

#[async_trait]
impl Factory for Memory {
    async fn subject(&self) -> anyhow::Result<Box<dyn Subject>> {
        let backend = Backend::new();
        backend.set_settling(self.settling);
        Ok(Box::new(OnMemory { backend, names: Mutex::default(), disks: AtomicUsize::default(), pacing: self.pacing }))
    }
}

struct OnMemory {
    backend: Arc<Backend>,
    names: Mutex<usize>,
    pacing: route::Pacing,
    disks: AtomicUsize,
}

#[async_trait]
impl Subject for OnMemory {
    fn declared(&self) -> Declared {
        Declared {
            zones: true,
            instance_types: true,
            stopping: true,
            look_up: Some((Operation::DescribeMachines.to_string(), 100)),
            services: vec![ServiceKind { name: "own".to_owned(), annotations: BTreeMap::new() }],
            volumes: true,
            writes: |call| !call.starts_with("Describe"),
            disturbances: vec![
                Disturbance::Throttling,
                Disturbance::Errors,
                Disturbance::StaleReads,
                Disturbance::Slow,
                Disturbance::LostAnswers,
            ],
            leader_election: false,
            grace: GRACE,
            routes: Some(ROUTES),
            allocators: vec![Allocator::Cluster, Allocator::Cloud],
        }
    }

    async fn start(&self, start: Start<'_>) -> anyhow::Result<Box<dyn Controller>> {
        Ok(Box::new(InProcess::start(&self.backend, start, self.pacing).await?))
    }

    async fn add_instances(&self, count: usize) -> anyhow::Result<Vec<String>> {
        let mut next = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = (*next..*next + count).map(|n| format!("node-{n}")).collect();
        *next += count;
        for name in &names {
            self.backend.start_machine(name);
        }
        Ok(names)
    }

    async fn add_disk(&self) -> anyhow::Result<Disk> {
        // Every other one in two zones.
        let few = self.disks.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let zones: BTreeSet<String> =
            ["memory-1a", "memory-1b"][..if few { 1 } else { 2 }].iter().map(|zone| (*zone).to_owned()).collect();
        let name = self.backend.make_disk(zones.clone());
        Ok(Disk { source: json!({"gcePersistentDisk": {"pdName": name}}), zones, region: REGION.to_owned() })
    }

    async fn set_instance(&self, node: &str, state: InstanceState) -> anyhow::Result<()> {
        match state {
            InstanceState::Running => self.backend.set_power(node, Power::Running),
            InstanceState::Stopped => self.backend.set_power(node, Power::Stopped),
            InstanceState::Terminated => self.backend.terminate(node),
        }
        Ok(())
    }

    async fn load_balancers(&self) -> anyhow::Result<Vec<LoadBalancer>> {
        let name_of = |id: &String| self.backend.machine(id).map_or_else(|| id.clone(), |machine| machine.name);
        let view = |balancer: cloud_provider_testing::cloud::LoadBalancer| LoadBalancer {
            id: balancer.name,
            ingress: balancer.address,
            ports: balancer.listeners.iter().map(|listener| listener.port).collect(),
            backends: balancer.backends.iter().map(name_of).collect(),
        };
        Ok(self.backend.load_balancers().into_iter().map(view).collect())
    }

    async fn remove_load_balancer(&self, id: &str) -> anyhow::Result<()> {
        anyhow::ensure!(self.backend.remove_load_balancer(id), "there is no load balancer {id}");
        Ok(())
    }

    async fn routes(&self) -> anyhow::Result<BTreeSet<Route>> {
        let view = |entry: cloud_provider_testing::cloud::RouteEntry| Route {
            destination: entry.destination,
            node: self.backend.machine(&entry.target).map(|machine| machine.name),
        };
        Ok(self.backend.routes().into_iter().map(view).collect())
    }

    async fn add_foreign_route(&self, destination: &str, node: &str) -> anyhow::Result<()> {
        let machine = self.backend.machine_of(node).context("there is no such machine")?;
        self.backend.put_route(destination, machine.id);
        Ok(())
    }

    async fn pod_range(&self, node: &str) -> anyhow::Result<String> {
        let machine = self.backend.machine_of(node).context("there is no such machine")?;
        machine.pod_ranges.into_iter().flatten().next().context("it has no range")
    }

    async fn belongings(&self) -> anyhow::Result<BTreeSet<String>> {
        Ok(self.backend.made_by_controllers())
    }

    async fn disturb(&self, disturbance: Disturbance) -> anyhow::Result<()> {
        let fault = match disturbance {
            Disturbance::Throttling => Fault::Throttle { retry_after: Some(Duration::from_secs(1)) },
            Disturbance::Errors => Fault::Error(Kind::Transient),
            Disturbance::Slow => Fault::Delay(Duration::from_secs(2)),
            Disturbance::LostAnswers => Fault::LostAnswer,
            Disturbance::StaleReads => {
                self.backend.freeze_reads(Duration::from_secs(600));
                return Ok(());
            }
        };
        self.backend.inject(Rule::always(fault));
        Ok(())
    }

    async fn heal(&self) -> anyhow::Result<()> {
        self.backend.heal();
        Ok(())
    }

    async fn calls(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        Ok(self.backend.counts().into_iter().map(|(operation, count)| (operation.to_string(), count)).collect())
    }
}

struct InProcess {
    controllers: Mutex<Option<Controllers>>,
}

impl InProcess {
    async fn start(backend: &Arc<Backend>, start: Start<'_>, pacing: route::Pacing) -> anyhow::Result<Self> {
        let client = control_plane::client(&std::fs::read_to_string(start.kubeconfig)?).await?;
        let cloud: Arc<dyn Cloud> = Arc::new(MemoryCloud::new(backend, Gate::open()).with_routes());
        assert_eq!(cloud.name(), NAME);
        let lifecycle = node_lifecycle::Settings {
            monitor_period: Duration::from_secs(2),
            grace_young: GRACE,
            ..node_lifecycle::Settings::default()
        };
        let ranges: Vec<String> = ROUTES.cluster_cidr().split(',').map(str::to_owned).collect();
        let route = route::Settings { cluster_cidrs: route::ClusterCidrs::parse(&ranges)?, pacing };
        let node_ipam = start.allocator.map(Allocator::settings).transpose()?;
        let settings = Settings { node_lifecycle: lifecycle, route: Some(route), node_ipam, ..Settings::default() };
        Ok(Self { controllers: Mutex::new(Some(Controllers::start(&client, &cloud, settings))) })
    }

    fn take(&self) -> Option<Controllers> {
        self.controllers.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl Controller for InProcess {
    async fn kill(&self) -> anyhow::Result<()> {
        drop(self.take());
        Ok(())
    }

    async fn terminate(&self) -> anyhow::Result<()> {
        self.take().context("it has ended")?.stop().await
    }

    fn check(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_answers_at_once_conforms() {
    let pacing = route::Pacing::Timer(Duration::from_secs(2));
    conformance::run(&Memory { settling: Duration::ZERO, pacing }, Run::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_whose_changes_take_their_time_conforms() {
    let pacing = route::Pacing::Watch(Duration::from_secs(12 * 3600));
    conformance::run(&Memory { settling: Duration::from_millis(700), pacing }, Run::default()).await.unwrap();
}
