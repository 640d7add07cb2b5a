//! On the simulator, with upstream's roles in the cluster and the documented roles in the project.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use cloud_provider_openstack_simulator::{Delays, Fault, Ids, Knobs, Latency, Options, Seed, Simulator};
use cloud_provider_testing::conformance::{
    self, Allocator, Controller, Declared, Disk, Disturbance, Factory, InstanceState, LoadBalancer, Route,
    RouteSupport, Run, Start, Subject,
};
use serde_json::{Value, json};

use crate::{
    controller::{self, CLUSTER, Calls, ZONE},
    roles, view,
};

const ROUTES: RouteSupport = RouteSupport { ipv6: true };

struct Clouds;

#[async_trait]
impl Factory for Clouds {
    async fn subject(&self) -> anyhow::Result<Box<dyn Subject>> {
        let seed = Seed::dual_stack_cluster(CLUSTER, 0);
        let simulator = Simulator::start(Options { seed, knobs: knobs(), ..Options::default() }).await?;
        Ok(Box::new(OnSimulator { simulator, routes: Some(ROUTES) }))
    }
}

/// A healthy cloud, whose load balancers are pending for a moment after each change.
fn knobs() -> Knobs {
    let delays = Delays {
        load_balancer_create_ms: 500,
        load_balancer_update_ms: 100,
        load_balancer_delete_ms: 200,
        ..Delays::default()
    };
    Knobs { delays, ..Knobs::default() }
}

pub(crate) struct OnSimulator {
    pub(crate) simulator: Simulator,
    /// What routes controllers keep.
    pub(crate) routes: Option<RouteSupport>,
}

impl OnSimulator {
    fn server(&self, node: &str) -> anyhow::Result<String> {
        self.simulator.handle().id("servers", node).with_context(|| format!("no server is named {node}"))
    }

    /// The cloud as the simulator itself holds it: looking must not be disturbed, counted or refused.
    fn state(&self) -> Value {
        let handle = self.simulator.handle();
        // What is due by now happens.
        handle.ids("loadbalancers");
        handle.state()
    }

    /// With everything that makes load balancers touch more: monitors, and security groups on the ports of nodes.
    fn cloud_conf(&self) -> String {
        let more = "create-monitor=true\nmanage-security-groups=true\n[Route]";
        self.simulator.cloud_conf().replace("[Route]", more)
    }
}

#[async_trait]
impl Subject for OnSimulator {
    fn declared(&self) -> Declared {
        Declared {
            zones: true,
            instance_types: true,
            stopping: true,
            look_up: Some(("nova.ListServersDetail".to_owned(), 1000)),
            services: controller::services(),
            volumes: true,
            writes: is_write,
            disturbances: vec![
                Disturbance::Throttling,
                Disturbance::Errors,
                Disturbance::StaleReads,
                Disturbance::Slow,
                Disturbance::LostAnswers,
            ],
            leader_election: true,
            grace: Duration::from_secs(60),
            routes: Some(ROUTES),
            allocators: vec![Allocator::Cluster],
        }
    }

    fn roles(&self) -> Vec<Value> {
        roles::upstream()
    }

    async fn start(&self, start: Start<'_>) -> anyhow::Result<Box<dyn Controller>> {
        Ok(Box::new(controller::start(&self.cloud_conf(), self.routes, start)?))
    }

    async fn add_instances(&self, count: usize) -> anyhow::Result<Vec<String>> {
        let handle = self.simulator.handle();
        let ids = handle.add_servers(count);
        let servers = ids.iter().filter_map(|id| handle.get("servers", id));
        Ok(servers.filter_map(|server| server["name"].as_str().map(str::to_owned)).collect())
    }

    async fn add_disk(&self) -> anyhow::Result<Disk> {
        let handle = self.simulator.handle();
        let id = format!("0a1b2c3d-0000-4000-8000-{:012}", handle.ids("volumes").len());
        let volume = json!({
            "id": id, "name": "", "status": "available", "size": 1, "availability_zone": ZONE,
            "os-vol-tenant-attr:tenant_id": Ids::default().project,
        });
        ensure!(handle.insert("volumes", volume), "the simulator has no volumes");
        Ok(controller::disk(&id))
    }

    async fn set_instance(&self, node: &str, state: InstanceState) -> anyhow::Result<()> {
        let (handle, id) = (self.simulator.handle(), self.server(node)?);
        let known = match state {
            InstanceState::Running => handle.set_server_status(&id, "ACTIVE"),
            InstanceState::Stopped => handle.set_server_status(&id, "SHUTOFF"),
            InstanceState::Terminated => handle.delete_server(&id),
        };
        ensure!(known, "{id} cannot change to {state:?}");
        Ok(())
    }

    async fn load_balancers(&self) -> anyhow::Result<Vec<LoadBalancer>> {
        Ok(view::load_balancers(&self.state()))
    }

    async fn remove_load_balancer(&self, id: &str) -> anyhow::Result<()> {
        ensure!(self.simulator.handle().remove_load_balancer(id), "there is no load balancer {id}");
        Ok(())
    }

    async fn belongings(&self) -> anyhow::Result<BTreeSet<String>> {
        Ok(view::belongings(&self.state()))
    }

    async fn disturb(&self, disturbance: Disturbance) -> anyhow::Result<()> {
        let handle = self.simulator.handle();
        match disturbance {
            // Not Keystone: a controller that cannot log in at its start ends, as upstream's does, to be started again.
            Disturbance::Throttling => {
                for service in ["nova.*", "neutron.*", "octavia.*", "cinder.*"] {
                    handle.fault(Fault::error(service, "429"));
                }
            }
            Disturbance::Errors => handle.fault(Fault::error("*", "500")),
            Disturbance::StaleReads => handle.stale_reads("*", 600_000),
            Disturbance::Slow => {
                let latency = Latency { action: "*".into(), fixed_ms: 2000, jitter_ms: 0 };
                handle.adjust(|knobs| knobs.latency = vec![latency]);
            }
            Disturbance::LostAnswers => handle.fault(Fault::lost_answer("*").with_probability(0.5)),
        }
        Ok(())
    }

    async fn heal(&self) -> anyhow::Result<()> {
        let handle = self.simulator.handle();
        handle.set_knobs(knobs());
        handle.stale_reads("*", 0);
        Ok(())
    }

    async fn routes(&self) -> anyhow::Result<BTreeSet<Route>> {
        Ok(view::routes(&self.state(), &Ids::default().router))
    }

    async fn add_foreign_route(&self, destination: &str, node: &str) -> anyhow::Result<()> {
        let nexthop = view::address(&self.state(), node)?;
        let known = self.simulator.handle().change("routers", &Ids::default().router, |router| {
            if let Some(routes) = router.entry("routes").or_insert_with(|| json!([])).as_array_mut() {
                routes.push(json!({ "destination": destination, "nexthop": nexthop }));
            }
        });
        ensure!(known, "there is no router");
        Ok(())
    }

    async fn calls(&self) -> anyhow::Result<Calls> {
        let counts = self.simulator.handle().counts();
        Ok(counts.into_iter().map(|(action, count)| (action, count.calls)).collect())
    }

    /// The documented roles suffice.
    fn conclude(&self) -> anyhow::Result<()> {
        let counts = self.simulator.handle().counts();
        let denied: Vec<_> = counts.iter().filter(|(_, count)| count.failures.contains_key("403")).collect();
        ensure!(denied.is_empty(), "calls that the documented roles do not permit: {denied:?}");
        Ok(())
    }
}

pub(crate) fn is_write(call: &str) -> bool {
    let (service, action) = call.split_once('.').unwrap_or_default();
    service != "keystone" && !["List", "Show"].iter().any(|read| action.starts_with(read))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_conforms_on_the_simulator() {
    conformance::run(&Clouds, Run::default()).await.unwrap();
}
