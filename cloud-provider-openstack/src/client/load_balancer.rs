//! Load balancers and what they are made of, in Octavia.

use std::collections::BTreeMap;

use cloud_provider::error::Result;
use serde::{Deserialize, de::IgnoredAny};

pub use self::types::*;
use super::{Client, Service};

mod types;

const LOAD_BALANCERS: &str = "loadbalancers";
const LISTENERS: &str = "listeners";
const POOLS: &str = "pools";
const MONITORS: &str = "healthmonitors";

/// The envelope of requests and answers about one thing.
#[derive(Deserialize)]
struct One<T> {
    #[serde(alias = "loadbalancer", alias = "listener", alias = "pool", alias = "healthmonitor")]
    it: T,
}

macro_rules! envelope {
    ($name:literal, $value:expr) => {
        &BTreeMap::from([($name, $value)])
    };
}

impl Client {
    /// A load balancer by ID.
    pub async fn load_balancer(&self, id: &str) -> Result<LoadBalancer> {
        let path = ["lbaas", LOAD_BALANCERS, id];
        Ok(self.get::<One<LoadBalancer>>(Service::LoadBalancer, "loadbalancer_get", &path, &[]).await?.it)
    }

    /// The load balancers of that name. The filter is applied here too: what it lets through may be deleted.
    pub async fn load_balancers_named(&self, name: &str) -> Result<Vec<LoadBalancer>> {
        let mut found = self.load_balancers_by(("name", name)).await?;
        found.retain(|it| it.name == name);
        Ok(found)
    }

    /// The load balancers with that tag. The filter is applied here too: what it lets through may be deleted.
    pub async fn load_balancers_tagged(&self, tag: &str) -> Result<Vec<LoadBalancer>> {
        let mut found = self.load_balancers_by(("tags", tag)).await?;
        found.retain(|it| it.tags.iter().any(|it| it == tag));
        Ok(found)
    }

    async fn load_balancers_by(&self, filter: (&str, &str)) -> Result<Vec<LoadBalancer>> {
        let path = ["lbaas", LOAD_BALANCERS];
        self.list(Service::LoadBalancer, "loadbalancer_list", &path, LOAD_BALANCERS, &[filter]).await
    }

    /// The load balancers of our project, with the attributes that we read and no others.
    pub async fn load_balancers_of_project(&self) -> Result<Vec<LoadBalancer>> {
        let session = self.session().await?;
        let project = session.project.iter().map(|project| ("project_id", project.as_str()));
        let query: Vec<_> = ATTRIBUTES.map(|name| ("fields", name)).into_iter().chain(project).collect();
        let path = ["lbaas", LOAD_BALANCERS];
        self.list(Service::LoadBalancer, "loadbalancer_list", &path, LOAD_BALANCERS, &query).await
    }

    /// All load balancers that there are.
    pub async fn all_load_balancers(&self) -> Result<Vec<LoadBalancer>> {
        let path = ["lbaas", LOAD_BALANCERS];
        self.list(Service::LoadBalancer, "loadbalancer_list", &path, LOAD_BALANCERS, &[]).await
    }

    /// Begins to make a load balancer.
    pub async fn create_load_balancer(&self, new: &NewLoadBalancer) -> Result<LoadBalancer> {
        let (path, body) = (["lbaas", LOAD_BALANCERS], envelope!("loadbalancer", new));
        Ok(self.post::<One<LoadBalancer>>(Service::LoadBalancer, "loadbalancer_create", &path, body).await?.it)
    }

    /// Begins to change a load balancer.
    pub async fn update_load_balancer(&self, id: &str, changes: &LoadBalancerChanges) -> Result<()> {
        let (path, body) = (["lbaas", LOAD_BALANCERS, id], envelope!("loadbalancer", changes));
        self.put::<IgnoredAny>(Service::LoadBalancer, "loadbalancer_update", &path, body).await.map(drop)
    }

    /// Begins to delete a load balancer, with everything in it where `cascade` says so. False where it was gone already.
    pub async fn delete_load_balancer(&self, id: &str, cascade: bool) -> Result<bool> {
        let query: &[(&str, &str)] = if cascade { &[("cascade", "true")] } else { &[] };
        self.delete(Service::LoadBalancer, "loadbalancer_delete", &["lbaas", LOAD_BALANCERS, id], query).await
    }

    /// Begins to rebuild a load balancer on new machines. An administrator's right in Octavia's default policy.
    pub async fn fail_over_load_balancer(&self, id: &str) -> Result<()> {
        let path = ["lbaas", LOAD_BALANCERS, id, "failover"];
        let body = &BTreeMap::<&str, &str>::new();
        self.put::<IgnoredAny>(Service::LoadBalancer, "!loadbalancer_failover", &path, body).await.map(drop)
    }

    /// The listeners of a load balancer.
    pub async fn listeners(&self, load_balancer: &str) -> Result<Vec<Listener>> {
        let filter = [("loadbalancer_id", load_balancer)];
        let path = ["lbaas", LISTENERS];
        self.list(Service::LoadBalancer, "loadbalancer_listener_list", &path, LISTENERS, &filter).await
    }

    /// Begins to make a listener.
    pub async fn create_listener(&self, new: &NewListener) -> Result<Reference> {
        let (path, body) = (["lbaas", LISTENERS], envelope!("listener", new));
        Ok(self.post::<One<Reference>>(Service::LoadBalancer, "loadbalancer_listener_create", &path, body).await?.it)
    }

    /// Begins to change a listener.
    pub async fn update_listener(&self, id: &str, changes: &ListenerChanges) -> Result<()> {
        let (path, body) = (["lbaas", LISTENERS, id], envelope!("listener", changes));
        self.put::<IgnoredAny>(Service::LoadBalancer, "loadbalancer_listener_update", &path, body).await.map(drop)
    }

    /// Begins to delete a listener. False where it was gone already.
    pub async fn delete_listener(&self, id: &str) -> Result<bool> {
        self.delete(Service::LoadBalancer, "loadbalancer_listener_delete", &["lbaas", LISTENERS, id], &[]).await
    }

    /// The pools of a load balancer.
    pub async fn pools(&self, load_balancer: &str) -> Result<Vec<Pool>> {
        let filter = [("loadbalancer_id", load_balancer)];
        self.list(Service::LoadBalancer, "loadbalancer_pool_list", &["lbaas", POOLS], POOLS, &filter).await
    }

    /// Begins to make a pool.
    pub async fn create_pool(&self, new: &NewPool) -> Result<Reference> {
        let (path, body) = (["lbaas", POOLS], envelope!("pool", new));
        Ok(self.post::<One<Reference>>(Service::LoadBalancer, "loadbalancer_pool_create", &path, body).await?.it)
    }

    /// Begins to change a pool.
    pub async fn update_pool(&self, id: &str, changes: &PoolChanges) -> Result<()> {
        let (path, body) = (["lbaas", POOLS, id], envelope!("pool", changes));
        self.put::<IgnoredAny>(Service::LoadBalancer, "loadbalancer_pool_update", &path, body).await.map(drop)
    }

    /// Begins to delete a pool with its members. False where it was gone already.
    pub async fn delete_pool(&self, id: &str) -> Result<bool> {
        self.delete(Service::LoadBalancer, "loadbalancer_pool_delete", &["lbaas", POOLS, id], &[]).await
    }

    /// The members of a pool.
    pub async fn members(&self, pool: &str) -> Result<Vec<Member>> {
        let path = ["lbaas", POOLS, pool, "members"];
        self.list(Service::LoadBalancer, "loadbalancer_member_list", &path, "members", &[]).await
    }

    /// Begins to replace all members of a pool.
    pub async fn set_members(&self, pool: &str, members: &[NewMember]) -> Result<()> {
        let (path, body) = (["lbaas", POOLS, pool, "members"], envelope!("members", members));
        self.put::<IgnoredAny>(Service::LoadBalancer, "loadbalancer_members_update", &path, body).await.map(drop)
    }

    /// Begins to add one member to a pool.
    pub async fn create_member(&self, pool: &str, new: &NewMember) -> Result<()> {
        let (path, body) = (["lbaas", POOLS, pool, "members"], envelope!("member", new));
        self.post::<IgnoredAny>(Service::LoadBalancer, "!loadbalancer_member_create", &path, body).await.map(drop)
    }

    /// Begins to take one member out of a pool. False where it was gone already.
    pub async fn delete_member(&self, pool: &str, id: &str) -> Result<bool> {
        let path = ["lbaas", POOLS, pool, "members", id];
        self.delete(Service::LoadBalancer, "!loadbalancer_member_delete", &path, &[]).await
    }

    /// A monitor by ID.
    pub async fn monitor(&self, id: &str) -> Result<Monitor> {
        let path = ["lbaas", MONITORS, id];
        Ok(self.get::<One<Monitor>>(Service::LoadBalancer, "loadbalancer_healthmonitor_get", &path, &[]).await?.it)
    }

    /// Begins to make a monitor.
    pub async fn create_monitor(&self, new: &NewMonitor) -> Result<()> {
        let (path, body) = (["lbaas", MONITORS], envelope!("healthmonitor", new));
        let name = "loadbalancer_healthmonitor_create";
        self.post::<IgnoredAny>(Service::LoadBalancer, name, &path, body).await.map(drop)
    }

    /// Begins to change a monitor.
    pub async fn update_monitor(&self, id: &str, changes: &MonitorChanges) -> Result<()> {
        let (path, body) = (["lbaas", MONITORS, id], envelope!("healthmonitor", changes));
        let name = "loadbalancer_healthmonitor_update";
        self.put::<IgnoredAny>(Service::LoadBalancer, name, &path, body).await.map(drop)
    }

    /// Begins to delete a monitor. False where it was gone already.
    pub async fn delete_monitor(&self, id: &str) -> Result<bool> {
        let name = "loadbalancer_healthmonitor_delete";
        self.delete(Service::LoadBalancer, name, &["lbaas", MONITORS, id], &[]).await
    }
}
