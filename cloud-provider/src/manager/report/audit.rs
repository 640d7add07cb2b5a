//! What `audit` prints: resources in the cloud that bear this cluster's marks and belong to nothing.

use std::{collections::HashSet, fmt::Write as _, sync::Arc};

use ipnet::IpNet;
use serde::Serialize;

use super::{ERROR, NOTHING, SOMETHING};
use crate::{
    cloud::{LoadBalancers, Owned, routes::Route},
    cluster::objects::{Node, Service},
    manager::cli::Output,
    service::predicates,
};

/// The outcome of an audit.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Audit {
    kind: Kind,
    resources: Vec<Resource>,
    errors: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
enum Kind {
    #[default]
    Audit,
}

/// A resource that belongs to nothing.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Resource {
    what: String,
    /// What it was made for, in the cloud's words: a name by a formula, a tag.
    owner: String,
}

impl Audit {
    /// Adds what of `owned` no service claims.
    pub(crate) fn of_services(&mut self, owned: Vec<Owned>, services: &[Arc<Service>], cloud: &dyn LoadBalancers) {
        let is_ours =
            |service: &&Arc<Service>| predicates::wants_load_balancer(service) || predicates::has_finalizer(service);
        let claims: HashSet<String> =
            services.iter().filter(is_ours).flat_map(|service| cloud.claims(service)).collect();
        let left = owned.into_iter().filter(|resource| !claims.contains(&resource.claim));
        self.resources.extend(left.map(|Owned { what, claim }| Resource { what, owner: claim }));
        self.resources.sort();
    }

    /// Adds the routes of the pod ranges `ranges` that lead to no node.
    pub(crate) fn of_routes(&mut self, routes: Vec<Route>, nodes: &[Arc<Node>], ranges: &[IpNet]) {
        let is_known = |name: &String| nodes.iter().any(|node| node.name() == name);
        let left = routes.into_iter().filter(|route| {
            let network = route.destination.network();
            ranges.iter().any(|range| range.contains(&network)) && !route.node.as_ref().is_some_and(is_known)
        });
        self.resources.extend(left.map(|route| Resource {
            what: format!("route {} ({})", route.destination.as_str(), route.name),
            owner: route.node.map_or_else(|| "no node".to_owned(), |node| format!("node {node}")),
        }));
        self.resources.sort();
    }

    /// Adds something that could not be found out.
    pub(crate) fn error(&mut self, error: &crate::Error) {
        self.errors.push(error.chain());
    }

    /// Adds what was not looked at.
    pub(crate) fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    /// The exit status that tells what is in it.
    pub(crate) fn exit(&self) -> u8 {
        match (self.errors.is_empty(), self.resources.is_empty()) {
            (false, _) => ERROR,
            (true, true) => NOTHING,
            (true, false) => SOMETHING,
        }
    }

    /// The audit as text, with a line break at the end.
    pub(crate) fn render(&self, output: Output) -> String {
        match output {
            Output::Table => self.table(),
            // Plain values: this cannot fail.
            Output::Json => serde_json::to_string_pretty(self).unwrap_or_default() + "\n",
        }
    }

    fn table(&self) -> String {
        let mut text = String::new();
        if !self.resources.is_empty() {
            let longest = self.resources.iter().map(|resource| resource.what.chars().count()).max().unwrap_or_default();
            let width = longest.max("RESOURCE".len());
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{:<width$}  MADE FOR", "RESOURCE");
            for Resource { what, owner } in &self.resources {
                let _ = writeln!(text, "{what:<width$}  {owner}");
            }
            text.push('\n');
        }
        for (label, lines) in [("ERROR", &self.errors), ("note", &self.notes)] {
            for line in lines {
                let _ = writeln!(text, "{label}: {line}");
            }
        }
        match self.resources.len() {
            0 => text.push_str("Nothing in the cloud bears this cluster's marks and belongs to nothing"),
            count => {
                let _ = write!(text, "Resources with this cluster's marks that belong to nothing: {count}");
            }
        }
        if !self.errors.is_empty() {
            let _ = write!(text, "; errors: {}", self.errors.len());
        }
        text + ".\n"
    }
}
