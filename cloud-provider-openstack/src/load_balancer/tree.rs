//! A load balancer with everything in it, and whose it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    desired::transport,
    names::{self, Names},
    operation::{Renaming, Retagging, Thing},
};
use crate::client::load_balancer::{Listener, LoadBalancer, Member, Monitor, Pool};

/// A load balancer with everything in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(super) load_balancer: LoadBalancer,
    pub(super) listeners: Vec<Listener>,
    pub(super) pools: Vec<PoolTree>,
    /// What is still named after a former name of the cluster; in the tree it has the new name already.
    pub(super) renamings: Vec<Renaming>,
    /// The load balancer's tags as they were read.
    pub(super) tags: Vec<String>,
}

/// A pool with what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PoolTree {
    pub(super) pool: Pool,
    /// Its members, where they are needed.
    pub(super) members: Vec<Member>,
    /// Its monitor, where it is needed.
    pub(super) monitor: Option<Monitor>,
}

impl Tree {
    /// Whether the load balancer was made for this service.
    pub(super) fn is_own(&self, names: &Names) -> bool {
        [&names.load_balancer, &names.legacy].contains(&&self.load_balancer.name)
    }

    /// Whether it goes when the service goes: it was made for the service, or for another one that is gone while this one
    /// shares it, and no other service does. Load balancers of users stay, and those that the service never came to share.
    pub(super) fn goes_with(&self, names: &Names, tags: bool) -> bool {
        let it = &self.load_balancer;
        let shares = it.name.starts_with(names::PREFIX) && it.tags.contains(&names.load_balancer);
        (self.is_own(names) || shares) && !(tags && self.others(names).next().is_some())
    }

    /// The name of the cluster under which the service was served from here, where that is another one than now: the cluster
    /// was renamed. A service of the same name in another cluster that shares the load balancer has its own tag on it; once it
    /// has left, the listeners of its ports are gone, while those of a service whose cluster was renamed are there.
    pub(super) fn former_cluster(&self, names: &Names, ports: &[(String, i32)]) -> Option<String> {
        let it = &self.load_balancer;
        if it.tags.contains(&names.load_balancer) {
            return None;
        }
        let by_tags: BTreeSet<String> = it.tags.iter().filter_map(|tag| names.former_cluster(tag)).collect();
        let by_tags = || by_tags.first().filter(|_| by_tags.len() == 1).cloned();
        let former = names.former_cluster(&it.name).or_else(by_tags)?;
        let before = names.in_cluster(&former);
        // A renaming that ended half way has tags of today already.
        let is_tagged = |tag: &String| *tag == before || *tag == names.load_balancer;
        let serves = |it: &Listener| {
            let is_port =
                |(protocol, port): &(String, i32)| *port == it.protocol_port && protocol == transport(&it.protocol);
            (it.tags.is_empty() || it.tags.iter().any(is_tagged)) && ports.iter().any(is_port)
        };
        self.listeners.iter().any(serves).then_some(former)
    }

    /// The tags of other services.
    pub(super) fn others<'a>(&'a self, names: &'a Names) -> impl Iterator<Item = &'a String> {
        let tags = self.load_balancer.tags.iter();
        tags.filter(move |tag| tag.starts_with(names::PREFIX) && **tag != names.load_balancer)
    }

    /// Whether a listener is the service's: it has its tag, or has none and the load balancer was made for the service.
    pub(super) fn is_owned(&self, listener: &Listener, names: &Names) -> bool {
        listener.tags.contains(&names.load_balancer) || (listener.tags.is_empty() && self.is_own(names))
    }

    /// The pool of a listener.
    pub(super) fn pool(&self, listener: &str) -> Option<&PoolTree> {
        self.pools.iter().find(|tree| tree.pool.serves(listener))
    }

    /// Puts the cluster's name in the place of a former one everywhere, and tells what has to be renamed: what is in the
    /// load balancer first, so that a round that ends half way finds the rest.
    pub(super) fn rename(&mut self, names: &Names, former: &str) {
        let marker = format!("{}{former}_", names::PREFIX);
        let new = |text: &str| names.renamed(text, former);
        let mut renamings = Vec::new();
        let mut note = |thing, id: &str, name: &mut String, tags: Option<&mut Vec<String>>| {
            let to = if name.contains(&marker) { new(name) } else { name.clone() };
            let renamed = tags.and_then(|tags| {
                let renamed: BTreeMap<String, String> =
                    tags.iter().filter(|tag| tag.starts_with(&marker)).map(|tag| (tag.clone(), new(tag))).collect();
                let retagging = (!renamed.is_empty()).then(|| Retagging { all: tags.clone(), renamed })?;
                *tags = retagging.of(tags);
                Some(retagging)
            });
            if to != *name || renamed.is_some() {
                let from = std::mem::replace(name, to.clone());
                renamings.push(Renaming { thing, id: id.to_owned(), from, to, tags: renamed });
            }
        };
        for PoolTree { pool, monitor, .. } in &mut self.pools {
            if let Some(monitor) = monitor {
                note(Thing::Monitor, &monitor.id, &mut monitor.name, None);
            }
            note(Thing::Pool, &pool.id, &mut pool.name, None);
        }
        for listener in &mut self.listeners {
            note(Thing::Listener, &listener.id, &mut listener.name, Some(&mut listener.tags));
        }
        let it = &mut self.load_balancer;
        note(Thing::LoadBalancer, &it.id.clone(), &mut it.name, Some(&mut it.tags));
        self.renamings = renamings;
    }
}
