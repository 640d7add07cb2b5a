//! The whole cloud: tables of documents, and what is still under way in it.

use std::collections::BTreeMap;

use cloud_provider_simulation::{Shared, chance::uuid, mix};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    document::{Document, Fields as _},
    seed::{Seed, Template},
};

/// Documents by ID. Copies share what neither changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Table(Shared<BTreeMap<String, Shared<Document>>>);

impl Table {
    pub(crate) fn get(&self, id: &str) -> Option<&Document> {
        self.0.get(id).map(|document| &**document)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Document> {
        // Without it, nothing is copied.
        if !self.contains(id) {
            return None;
        }
        self.0.get_mut(id).map(|document| &mut **document)
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    pub(crate) fn insert(&mut self, document: Document) {
        self.0.insert(document.text("id").to_owned(), document.into());
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Document> {
        if self.contains(id) { self.0.remove(id).map(|document| (*document).clone()) } else { None }
    }

    /// All of them, by ID.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Document> {
        self.0.values().map(|document| &**document)
    }

    /// Those with this text under a name.
    pub(crate) fn with<'a, 't>(
        &'a self,
        name: &'t str,
        text: &'t str,
    ) -> impl Iterator<Item = &'a Document> + use<'a, 't> {
        self.values().filter(move |document| document.text(name) == text)
    }

    /// The IDs of those with this text under a name.
    pub(crate) fn ids_with(&self, name: &str, text: &str) -> Vec<String> {
        self.with(name, text).map(|document| document.text("id").to_owned()).collect()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

macro_rules! tables {
    ($($kind:ident $field:ident $name:literal,)*) => {
        /// A kind of resource.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind {
            $($kind,)*
        }

        impl Kind {
            pub(crate) fn of_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$kind),)*
                    _ => None,
                }
            }
        }

        /// Everything in the cloud. Its dump holds all of it, so that it can be loaded again.
        #[derive(Clone, Debug, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct State {
            pub(crate) regions: Vec<String>,
            $(#[serde(rename = $name, default)] pub(crate) $field: Table,)*
            /// Changes that come by themselves.
            #[serde(default)]
            pub(crate) jobs: Vec<Job>,
            #[serde(default)]
            pub(crate) template: Option<Template>,
            /// How many servers the template made, also those that are gone: names are not given twice.
            #[serde(default)]
            pub(crate) numbered: usize,
            #[serde(default)]
            made: u64,
        }

        impl State {
            pub(crate) fn table(&self, kind: Kind) -> &Table {
                match kind {
                    $(Kind::$kind => &self.$field,)*
                }
            }

            pub(crate) fn table_mut(&mut self, kind: Kind) -> &mut Table {
                match kind {
                    $(Kind::$kind => &mut self.$field,)*
                }
            }
        }
    };
}

tables! {
    Domains domains "domains",
    Projects projects "projects",
    Users users "users",
    Credentials credentials "application_credentials",
    Trusts trusts "trusts",
    Servers servers "servers",
    Flavors flavors "flavors",
    Volumes volumes "volumes",
    Networks networks "networks",
    Subnets subnets "subnets",
    Ports ports "ports",
    FloatingIps floating_ips "floatingips",
    Routers routers "routers",
    SecurityGroups security_groups "security-groups",
    SecurityGroupRules security_group_rules "security-group-rules",
    Trunks trunks "trunks",
    LoadBalancers load_balancers "loadbalancers",
    Listeners listeners "listeners",
    Pools pools "pools",
    Members members "members",
    HealthMonitors health_monitors "healthmonitors",
    LbFlavors lb_flavors "lbaas-flavors",
    LbZones lb_zones "lbaas-availability-zones",
    Secrets secrets "secrets",
    Containers containers "containers",
}

/// A load balancer settles: what is pending below it reaches its state.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Job {
    pub(crate) due: Timestamp,
    pub(crate) load_balancer: String,
    /// Whether it ends in `ERROR` instead of `ACTIVE`.
    pub(crate) fails: bool,
}

impl State {
    pub(crate) fn new(seed: &Seed) -> Self {
        let mut state = Self { regions: seed.regions.clone(), template: seed.template.clone(), ..Self::default() };
        for (name, documents) in &seed.tables {
            if let Some(kind) = Kind::of_name(name) {
                documents.iter().for_each(|document| state.table_mut(kind).insert(document.clone()));
            }
        }
        state.add_from_template(seed.nodes);
        state
    }

    /// A number that no other resource of this run has, spread over all bits.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.made += 1;
        mix(self.made)
    }

    /// A new UUID.
    pub(crate) fn next_id(&mut self) -> String {
        let (high, low) = (self.next_number(), self.next_number());
        uuid(high, low)
    }

    /// Ascends with the order in which resources were made.
    pub(crate) fn next_place(&mut self) -> u64 {
        self.made += 1;
        self.made
    }
}
