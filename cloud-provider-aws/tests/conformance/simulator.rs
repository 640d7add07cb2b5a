//! On the simulator, with upstream's roles in the cluster and upstream's documented policy in the account.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use cloud_provider_aws_simulator::{ACCESS_KEY, Fault, Knobs, Latency, Options, SECRET_KEY, Seed, Simulator, model};
use cloud_provider_testing::conformance::{
    self, Allocator, Controller, Declared, Disk, Disturbance, Factory, InstanceState, LoadBalancer, Route, Run, Start,
    Subject,
};
use serde_json::Value;

use crate::{
    controller::{self, CLUSTER, Endpoint, REGION, Running},
    roles,
};

/// The seed has two tables with the cluster's tag; this is the one of the subnets of nodes.
const ROUTE_TABLE: &str = "rtb-0a1b2c3d4e5f60002";

struct Accounts;

#[async_trait]
impl Factory for Accounts {
    async fn subject(&self) -> anyhow::Result<Box<dyn Subject>> {
        let seed = Seed::cluster(CLUSTER, 0);
        let (vpc, subnet) = (seed.vpcs[0].id.clone(), seed.subnets[0].id.clone());
        let simulator = Simulator::start(Options { seed, ..Options::default() }).await?;
        let endpoint = Endpoint {
            url: simulator.url(),
            access_key: ACCESS_KEY.into(),
            secret_key: SECRET_KEY.into(),
            vpc,
            subnet,
            route_table: Some(ROUTE_TABLE.into()),
        };
        Ok(Box::new(OnSimulator { simulator, endpoint }))
    }
}

struct OnSimulator {
    simulator: Simulator,
    endpoint: Endpoint,
}

impl OnSimulator {
    fn state(&self, kind: &str) -> BTreeMap<String, Value> {
        let mut state = self.simulator.handle().state();
        serde_json::from_value(state[kind].take()).unwrap_or_default()
    }
}

#[async_trait]
impl Subject for OnSimulator {
    fn declared(&self) -> Declared {
        Declared {
            zones: true,
            instance_types: true,
            stopping: true,
            look_up: Some(("EC2.DescribeInstances".to_owned(), 100)),
            services: controller::services(),
            volumes: true,
            writes: controller::is_write,
            disturbances: vec![
                Disturbance::Throttling,
                Disturbance::Errors,
                Disturbance::StaleReads,
                Disturbance::Slow,
                Disturbance::LostAnswers,
            ],
            leader_election: true,
            grace: Duration::from_secs(60),
            routes: Some(controller::ROUTES),
            allocators: vec![Allocator::Cluster],
        }
    }

    fn roles(&self) -> Vec<Value> {
        roles::base()
    }

    async fn start(&self, start: Start<'_>) -> anyhow::Result<Box<dyn Controller>> {
        Ok(Box::new(Running::start(&self.endpoint, start)?))
    }

    async fn add_instances(&self, count: usize) -> anyhow::Result<Vec<String>> {
        let handle = self.simulator.handle();
        let ids = handle.add_instances(count);
        Ok(ids.iter().filter_map(|id| handle.instance(id)).map(|instance| instance.private_dns_name).collect())
    }

    async fn add_disk(&self) -> anyhow::Result<Disk> {
        let handle = self.simulator.handle();
        let (number, zone) = (self.state("volumes").len(), format!("{REGION}b"));
        let id = format!("vol-{number:017x}");
        handle.add_volume(model::Volume::new(&id, &zone));
        // The form that the in-tree provisioner wrote, and the one that people write.
        let written = if number % 2 == 0 { format!("aws://{zone}/{id}") } else { id };
        Ok(controller::disk(&written, &zone))
    }

    async fn set_instance(&self, node: &str, state: InstanceState) -> anyhow::Result<()> {
        let handle = self.simulator.handle();
        let mut ids = handle.instance_ids().into_iter();
        let id = ids.find(|id| handle.instance(id).is_some_and(|instance| instance.private_dns_name == node));
        let id = id.ok_or_else(|| anyhow::anyhow!("no instance is named {node}"))?;
        let known = match state {
            InstanceState::Running => handle.start(&id),
            InstanceState::Stopped => handle.stop(&id),
            InstanceState::Terminated => handle.terminate(&id),
        };
        anyhow::ensure!(known, "{id} cannot change to {state:?}");
        Ok(())
    }

    async fn load_balancers(&self) -> anyhow::Result<Vec<LoadBalancer>> {
        Ok(view::load_balancers(self))
    }

    async fn remove_load_balancer(&self, id: &str) -> anyhow::Result<()> {
        anyhow::ensure!(self.simulator.handle().remove_load_balancer(id), "there is no load balancer {id}");
        Ok(())
    }

    async fn belongings(&self) -> anyhow::Result<BTreeSet<String>> {
        Ok(view::belongings(self))
    }

    async fn disturb(&self, disturbance: Disturbance) -> anyhow::Result<()> {
        let handle = self.simulator.handle();
        match disturbance {
            Disturbance::Throttling => {
                handle.fault(Fault::error("EC2.*", "RequestLimitExceeded"));
                handle.fault(Fault::error("ELB*", "Throttling"));
            }
            Disturbance::Errors => handle.fault(Fault::error("*", "InternalError")),
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
        handle.set_knobs(Knobs::default());
        handle.stale_reads("*", 0);
        Ok(())
    }

    async fn routes(&self) -> anyhow::Result<BTreeSet<Route>> {
        Ok(view::routes(self))
    }

    async fn add_foreign_route(&self, destination: &str, node: &str) -> anyhow::Result<()> {
        let handle = self.simulator.handle();
        let mut ids = handle.instance_ids().into_iter();
        let id = ids.find(|id| handle.instance(id).is_some_and(|instance| instance.private_dns_name == node));
        let id = id.ok_or_else(|| anyhow::anyhow!("no instance is named {node}"))?;
        anyhow::ensure!(handle.add_route(ROUTE_TABLE, destination, &id), "{ROUTE_TABLE} does not take the route");
        Ok(())
    }

    async fn calls(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let counts = self.simulator.handle().counts();
        Ok(counts.into_iter().map(|(action, count)| (action, count.calls)).collect())
    }

    /// Upstream's documented policy is enforced and suffices.
    fn conclude(&self) -> anyhow::Result<()> {
        let counts = self.simulator.handle().counts();
        let is_denial = |code: &&String| ["AccessDenied", "UnauthorizedOperation"].contains(&code.as_str());
        let denied: Vec<_> =
            counts.iter().filter(|(_, count)| count.failures.keys().any(|code| is_denial(&code))).collect();
        anyhow::ensure!(denied.is_empty(), "calls that upstream's documented policy does not permit: {denied:?}");
        Ok(())
    }
}

/// The account as the simulator itself holds it: looking must not be disturbed, counted or refused.
mod view {
    use super::*;

    fn text(value: &Value) -> String {
        value.as_str().unwrap_or_default().to_owned()
    }

    fn port(value: &Value) -> i32 {
        value.as_i64().and_then(|port| i32::try_from(port).ok()).unwrap_or_default()
    }

    pub(super) fn load_balancers(subject: &OnSimulator) -> Vec<LoadBalancer> {
        let handle = subject.simulator.handle();
        let name_of =
            |id: &String| handle.instance(id).map_or_else(|| id.clone(), |instance| instance.private_dns_name);
        let mut all = Vec::new();
        for (name, balancer) in subject.state("classic_load_balancers") {
            let listeners = balancer["listeners"].as_object().into_iter().flat_map(|listeners| listeners.values());
            let instances = balancer["instances"].as_array().into_iter().flatten();
            all.push(LoadBalancer {
                id: name,
                ingress: text(&balancer["dns_name"]),
                ports: listeners.map(|listener| port(&listener["port"])).collect(),
                backends: instances.map(|instance| name_of(&text(instance))).collect(),
            });
        }
        let (listeners, groups) = (subject.state("listeners"), subject.state("target_groups"));
        for (arn, balancer) in subject.state("load_balancers") {
            let own: Vec<&Value> =
                listeners.values().filter(|listener| text(&listener["load_balancer"]) == arn).collect();
            let mut backends: Option<BTreeSet<String>> = None;
            for listener in &own {
                let targets = groups.get(&text(&listener["target_group"])).map(targets).unwrap_or_default();
                backends = Some(match backends {
                    None => targets,
                    Some(before) => before.intersection(&targets).cloned().collect(),
                });
            }
            all.push(LoadBalancer {
                id: text(&balancer["name"]),
                ingress: text(&balancer["dns_name"]),
                ports: own.iter().map(|listener| port(&listener["port"])).collect(),
                backends: backends.unwrap_or_default().iter().map(name_of).collect(),
            });
        }
        all
    }

    fn targets(group: &Value) -> BTreeSet<String> {
        let targets = group["targets"].as_array().into_iter().flatten();
        targets.map(|target| text(&target["id"])).collect()
    }

    /// Routes to instances; those to gateways are the account's own.
    pub(super) fn routes(subject: &OnSimulator) -> BTreeSet<Route> {
        let handle = subject.simulator.handle();
        let mut tables = subject.state("route_tables");
        let routes = tables.remove(ROUTE_TABLE).map(|mut table| table["routes"].take());
        let routes = routes.as_ref().and_then(Value::as_array).into_iter().flatten();
        let route = |route: &Value| {
            let id = route["target"]["instance"].as_str()?;
            let instance = handle.instance(id).filter(|instance| instance.state != model::InstanceState::Terminated);
            let node = instance.map(|instance| instance.private_dns_name);
            Some(Route { destination: text(&route["destination"]), node })
        };
        routes.filter_map(route).collect()
    }

    pub(super) fn belongings(subject: &OnSimulator) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for kind in ["classic_load_balancers", "load_balancers", "listeners", "target_groups"] {
            all.extend(subject.state(kind).into_keys().map(|id| format!("{kind} {id}")));
        }
        for (id, group) in subject.state("security_groups") {
            all.insert(format!("security_groups {id} tagged {}", group["tags"]));
            let rules = group["ingress"].as_array().into_iter().flatten();
            all.extend(rules.map(|rule| format!("rule of {id}: {rule}")));
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_conforms_on_the_simulator() {
    conformance::run(&Accounts, Run::default()).await.unwrap();
}
