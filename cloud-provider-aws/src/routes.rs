//! Routes to the pods of nodes, in the cluster's route table.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use cloud_provider::{
    Error, Kind,
    cloud::{
        Routes,
        routes::{Change, Creation, Route, State, one_by_one},
    },
    cluster::objects::Node,
    error::Result,
};

use crate::{
    client::{
        Client,
        network::{self, RouteTable, RouteTables},
    },
    cluster_id::ClusterId,
    environment::Environment,
    instances::Ec2Instances,
    provider_id::InstanceId,
};

/// Changes at the same time. EC2 gives a region's account a few writes per second.
const IN_FLIGHT: usize = 10;
/// How old it may be what is known of the instances of nodes that have no provider ID.
const NAMES_AGE: Duration = Duration::from_secs(60);

/// Routes in one route table: that of `RouteTableID`, or the only one with the cluster's tag.
pub struct Ec2Routes {
    client: Client,
    cluster_id: ClusterId,
    cluster_name: Arc<str>,
    /// `RouteTableID`.
    given: Option<String>,
    instances: Arc<Ec2Instances>,
    /// The ID of the table that was listed last.
    listed: Mutex<Option<String>>,
}

impl Ec2Routes {
    /// The routes of an environment.
    pub fn new(environment: &Environment, instances: Arc<Ec2Instances>) -> Self {
        Self {
            client: environment.client.clone(),
            cluster_id: environment.cluster_id.clone(),
            cluster_name: environment.cluster_name.clone(),
            given: environment.settings.route_table.clone(),
            instances,
            listed: Mutex::default(),
        }
    }

    async fn table(&self) -> Result<RouteTable> {
        let which = match &self.given {
            Some(id) => RouteTables::Id(id),
            None => RouteTables::Of(&self.cluster_id),
        };
        let found = self.client.describe_route_tables(which).await;
        let found = found.map_err(|error| Error::from(error).context("read the cluster's route table"))?;
        let table = choose(found, self.given.as_deref(), &self.cluster_id, &self.cluster_name)?;
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = Some(table.id.clone());
        Ok(table)
    }

    async fn table_id(&self) -> Result<String> {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match listed {
            Some(id) => Ok(id),
            None => Ok(self.table().await?.id),
        }
    }

    /// The names of nodes by their instances. Nodes without provider ID are looked up by name, and only where a route leads
    /// to an instance that no other node has.
    async fn names<'a>(&self, nodes: &'a [Arc<Node>], table: &RouteTable) -> Result<HashMap<InstanceId, &'a str>> {
        let mut names = HashMap::with_capacity(nodes.len());
        let mut unknown = Vec::new();
        for node in nodes {
            match self.instances.instance_id(node) {
                Some(id) => drop(names.insert(id, node.name())),
                None if node.provider_id().is_none() => unknown.push(node),
                None => {}
            }
        }
        let mut targets = table.routes.iter().filter_map(|route| route.instance.as_ref());
        if unknown.is_empty() || targets.all(|id| names.contains_key(id)) {
            return Ok(names);
        }
        let looked_up: Vec<Arc<Node>> = unknown.iter().map(|&node| node.clone()).collect();
        let found = self.instances.ids(&looked_up, NAMES_AGE).await;
        for (node, id) in unknown.into_iter().zip(found) {
            names.extend(id?.map(|id| (id, node.name())));
        }
        Ok(names)
    }

    async fn create(&self, table: &str, creation: &Creation) -> Result<()> {
        let (node, destination) = (&creation.node, creation.destination.network());
        let mut found = self.instances.ids(std::slice::from_ref(node), NAMES_AGE).await;
        let id = found.pop().transpose()?.flatten().ok_or_else(|| {
            Error::not_found(format!("no instance is behind node {}, so there is nothing to route to", node.name()))
        })?;
        // An instance that forwards packets of its pods sends from addresses that are not its own.
        let check = self.client.disable_source_dest_check(&id).await;
        check.map_err(|error| Error::from(error).context(format!("switch the source check of {id} off")))?;
        match self.client.create_route(table, destination, &id).await {
            Err(error) if error.code() == Some("RouteAlreadyExists") => {
                let routes = self.table().await?.routes;
                let is_there = |route: &network::Route| {
                    route.instance.as_ref() == Some(&id)
                        && route.destination.parse().is_ok_and(|there: ipnet::IpNet| there == destination)
                };
                match routes.iter().any(is_there) {
                    true => Ok(()),
                    false => Err(Error::new(Kind::Conflict, error.to_string()).with_source(error)),
                }
            }
            result => Ok(result?),
        }
    }

    async fn change(&self, table: &str, change: &Change) -> Result<()> {
        match change {
            Change::Create(creation) => self.create(table, creation).await,
            Change::Delete(route) => match self.client.delete_route(table, route.destination.network()).await {
                Err(error) if error.is_not_found() => Ok(()),
                result => Ok(result?),
            },
        }
    }
}

/// Exactly one table, in upstream's words.
fn choose(found: Vec<RouteTable>, given: Option<&str>, cluster: &ClusterId, name: &str) -> Result<RouteTable> {
    let is_ours = |table: &RouteTable| match given {
        Some(id) => table.id == id,
        None => cluster.has_tag(&table.tags),
    };
    let mut ours: Vec<RouteTable> = found.into_iter().filter(is_ours).collect();
    match (ours.pop(), ours.as_slice()) {
        (Some(table), []) => Ok(table),
        (Some(last), others) => {
            let ids: Vec<&str> = others.iter().chain([&last]).map(|table| table.id.as_str()).collect();
            let problem = format!(
                "found multiple matching AWS route tables for AWS cluster: {name} ({}); RouteTableID in the cloud config \
                 chooses one",
                ids.join(", ")
            );
            Err(Error::invalid("RouteTableID", problem))
        }
        (None, _) => {
            let problem = format!("unable to find route table for AWS cluster: {name}");
            Err(Error::invalid("RouteTableID", problem))
        }
    }
}

/// What the controller sees of a route: what leads to an instance, and what leads nowhere. A route to an instance that a
/// node has counts as working: while the instance is stopped AWS calls it a black hole, and it works again when the
/// instance does.
fn seen(route: &network::Route, names: &HashMap<InstanceId, &str>, cluster_name: &str) -> Option<Route> {
    let node = route.instance.as_ref().and_then(|id| names.get(id));
    let state = match node {
        None if route.blackhole => State::Blackhole,
        None if route.instance.is_none() => return None,
        _ => State::Active,
    };
    Some(Route {
        name: format!("{cluster_name}-{}", route.destination),
        node: node.map(|name| (*name).to_owned()),
        node_addresses: None,
        destination: route.destination.parse().ok()?,
        state,
    })
}

#[async_trait]
impl Routes for Ec2Routes {
    async fn list(&self, nodes: &[Arc<Node>]) -> Result<Vec<Route>> {
        let table = self.table().await?;
        let names = self.names(nodes, &table).await?;
        Ok(table.routes.iter().filter_map(|route| seen(route, &names, &self.cluster_name)).collect())
    }

    async fn apply(&self, changes: &[Change]) -> Vec<Result<()>> {
        let table = match self.table_id().await {
            Ok(table) => table,
            Err(error) => {
                let (kind, text) = (error.kind().clone(), error.chain());
                return changes.iter().map(|_| Err(Error::new(kind.clone(), text.clone()))).collect();
            }
        };
        one_by_one(changes, IN_FLIGHT, |change| self.change(&table, change)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(id: &str, tag: Option<&str>) -> RouteTable {
        let tags = tag.map(|cluster| (format!("kubernetes.io/cluster/{cluster}"), "shared".to_owned()));
        RouteTable { id: id.into(), tags: tags.into_iter().collect(), ..RouteTable::default() }
    }

    #[test]
    fn the_table_is_the_given_one_or_the_only_one_with_the_clusters_tag() {
        let cluster = ClusterId::new("", "c").unwrap().unwrap();
        let tables = [table("rtb-1", None), table("rtb-2", Some("c")), table("rtb-3", Some("d"))];
        let choose = |tables: &[RouteTable], given: Option<&str>| {
            choose(tables.to_vec(), given, &cluster, "demo").map(|table| table.id).map_err(|error| error.to_string())
        };
        assert_eq!(choose(&tables, None), Ok("rtb-2".into()));
        assert_eq!(choose(&tables, Some("rtb-3")), Ok("rtb-3".into()));
        let none = "unable to find route table for AWS cluster: demo";
        assert_eq!(choose(&tables[..1], None).unwrap_err(), none);
        assert_eq!(choose(&tables, Some("rtb-9")).unwrap_err(), none);
        let several = choose(&[table("rtb-1", Some("c")), table("rtb-2", Some("c"))], None).unwrap_err();
        assert!(several.starts_with("found multiple matching AWS route tables for AWS cluster: demo (rtb-1, rtb-2)"));
    }

    #[test]
    fn gateways_are_not_seen_and_a_stopped_instance_is_no_black_hole() {
        let names = HashMap::from([(InstanceId::new("i-1"), "a")]);
        for (destination, instance, blackhole, expected) in [
            ("10.0.1.0/24", Some("i-1"), false, Some((Some("a"), State::Active))),
            ("10.0.1.0/24", Some("i-1"), true, Some((Some("a"), State::Active))),
            ("fd00::/64", Some("i-1"), false, Some((Some("a"), State::Active))),
            ("10.0.2.0/24", Some("i-2"), false, Some((None, State::Active))),
            ("10.0.2.0/24", Some("i-2"), true, Some((None, State::Blackhole))),
            ("10.0.3.0/24", None, true, Some((None, State::Blackhole))),
            ("0.0.0.0/0", None, false, None),
        ] {
            let route = network::Route {
                destination: destination.into(),
                instance: instance.map(InstanceId::new),
                blackhole,
                ..network::Route::default()
            };
            let seen = seen(&route, &names, "demo");
            assert_eq!(seen.as_ref().map(|route| (route.node.as_deref(), route.state)), expected, "{destination}");
            assert!(seen.is_none_or(|seen| seen.name == format!("demo-{destination}")));
        }
    }
}
