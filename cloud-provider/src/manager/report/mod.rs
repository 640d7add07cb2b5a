//! What `plan` and `audit` print: the plans of all controllers, by object; resources without an owner. The JSON forms are
//! described in `docs/reference/plan.md`; what stands in them stays, fields may be added.

mod audit;
mod table;

use std::collections::BTreeMap;

use serde::Serialize;

pub(super) use self::audit::Audit;
use super::cli::Output;
use crate::controllers::plan::{Plan, Target};

/// Exit status when nothing was found.
const NOTHING: u8 = 0;
/// Exit status when something was found.
const SOMETHING: u8 = 2;
/// Exit status of an error, usage errors included, in every program.
pub(super) const ERROR: u8 = 1;

/// The plans of all controllers.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    kind: Kind,
    objects: Vec<Object>,
    summary: Summary,
}

/// What kind of document it is.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
enum Kind {
    #[default]
    Plan,
}

/// What concerns one object.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Object {
    object: String,
    changes: Vec<Change>,
    errors: Vec<Message>,
    notes: Vec<Message>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    target: Target,
    controller: &'static str,
    what: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Message {
    controller: &'static str,
    message: String,
}

/// How many of each.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Summary {
    /// Objects with changes.
    objects: usize,
    cloud: usize,
    cluster: usize,
    errors: usize,
    notes: usize,
}

impl Report {
    /// Puts the plans together. Objects are sorted by name; what concerns one of them stays in order.
    pub(super) fn of(plans: impl IntoIterator<Item = (&'static str, Plan)>) -> Self {
        let mut objects: BTreeMap<String, Object> = BTreeMap::new();
        for (controller, plan) in plans {
            for change in plan.changes {
                let target = change.target;
                entry(&mut objects, change.object).changes.push(Change { target, controller, what: change.what });
            }
            for (object, error) in plan.errors {
                entry(&mut objects, object).errors.push(Message { controller, message: error.chain() });
            }
            for (object, message) in plan.notes {
                entry(&mut objects, object).notes.push(Message { controller, message });
            }
        }
        let objects: Vec<Object> = objects.into_values().collect();
        Self { kind: Kind::Plan, summary: Summary::of(&objects), objects }
    }

    /// The exit status that tells what is in it.
    pub(super) fn exit(&self) -> u8 {
        match &self.summary {
            Summary { errors: 1.., .. } => ERROR,
            Summary { cloud: 0, cluster: 0, .. } => NOTHING,
            _ => SOMETHING,
        }
    }

    /// The report as text, with a line break at the end. One of several JSON documents takes one line.
    pub(super) fn render(&self, output: Output, one_of_several: bool) -> String {
        let json = match output {
            Output::Table => return table::render(self),
            Output::Json if one_of_several => serde_json::to_string(self),
            Output::Json => serde_json::to_string_pretty(self),
        };
        // Maps with text as keys and plain values: this cannot fail.
        json.unwrap_or_default() + "\n"
    }
}

fn entry(objects: &mut BTreeMap<String, Object>, object: String) -> &mut Object {
    objects.entry(object).or_insert_with_key(|name| Object { object: name.clone(), ..Object::default() })
}

impl Summary {
    fn of(objects: &[Object]) -> Self {
        let changes =
            |target| objects.iter().flat_map(|object| &object.changes).filter(|change| change.target == target).count();
        Self {
            objects: objects.iter().filter(|object| !object.changes.is_empty()).count(),
            cloud: changes(Target::Cloud),
            cluster: changes(Target::Cluster),
            errors: objects.iter().map(|object| object.errors.len()).sum(),
            notes: objects.iter().map(|object| object.notes.len()).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Kind};

    fn plans() -> Vec<(&'static str, Plan)> {
        let mut nodes = Plan::default();
        nodes.cluster("node b", "remove taint uninitialized");
        nodes.note("node a", "node of another cloud left alone");
        let mut services = Plan::default();
        services.cluster("service default/web", "add finalizer f");
        services.cloud("service default/web", "create load balancer x");
        services.error("service default/api", Error::new(Kind::Quota, "create target group").with_source("50 of 50"));
        vec![("cloud-node-controller", nodes), ("service-lb-controller", services)]
    }

    #[test]
    fn a_table_groups_by_object_and_sums_up() {
        insta::assert_snapshot!(Report::of(plans()).render(Output::Table, false));
    }

    #[test]
    fn json_has_the_documented_form() {
        insta::assert_snapshot!(Report::of(plans()).render(Output::Json, false));
        let line = Report::of(plans()).render(Output::Json, true);
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn the_exit_status_tells_nothing_something_and_errors_apart() {
        assert_eq!(Report::default().exit(), 0);
        assert_eq!(Report::of(plans()).exit(), 1, "there is an error");
        let mut change = Plan::default();
        change.cluster("node a", "x");
        assert_eq!(Report::of([("c", change)]).exit(), 2);
        let mut note = Plan::default();
        note.note("node a", "x");
        assert_eq!(Report::of([("c", note)]).exit(), 0, "a note is no change");
        assert!(Report::default().render(Output::Table, false).contains("No changes"));
    }
}
