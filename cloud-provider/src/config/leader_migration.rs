//! `LeaderMigrationConfiguration`: which controllers run under a lease that two controller managers share, so that they
//! can be handed over without a moment in which both or none of them act.
//!
//! Group `controllermanager.config.k8s.io`, versions `v1alpha1`, `v1beta1` and `v1` (which has no `resourceLock`). Read
//! strictly, as upstream: unknown and repeated fields are errors.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// This program, in the `component` of a leader.
const COMPONENT: &str = "cloud-controller-manager";
/// In place of a component: every component that takes part.
const ANY: &str = "*";
const KIND: &str = "LeaderMigrationConfiguration";
const GROUP: &str = "controllermanager.config.k8s.io";
/// Names that upstream's built-in default lists, and that its controllers no longer have.
const FORMER_NAMES: &[(&str, &str)] =
    &[("route-controller", "node-route-controller"), ("service-controller", "service-lb-controller")];

/// A configuration, checked. Serializes with upstream's names of its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderMigration {
    /// The name of the shared lease.
    pub leader_name: String,
    #[serde(rename = "controllerLeaders")]
    leaders: Vec<Leader>,
}

/// Who runs a controller.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Leader {
    #[serde(default)]
    name: String,
    #[serde(default)]
    component: String,
}

/// Under which lease a controller runs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The main lease.
    Main,
    /// The shared lease.
    Shared,
    /// Not here at all: another component runs it.
    Other,
}

/// Why a file is no configuration. Displays all that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It does not decode.
    #[error("decode {KIND}: {0}")]
    Syntax(String),
    /// It is something else.
    #[error("apiVersion {api_version:?}, kind {kind:?}: {KIND} of {GROUP}/v1, v1beta1 or v1alpha1 is wanted")]
    Kind {
        /// As found.
        api_version: String,
        /// As found.
        kind: String,
    },
    /// Fields are missing or wrong; one text each.
    #[error("{}", .0.join(", "))]
    Fields(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    leader_name: String,
    resource_lock: Option<String>,
    #[serde(default)]
    controller_leaders: Vec<Leader>,
}

impl Default for LeaderMigration {
    /// Upstream's built-in default: routes, services and the life of nodes, by any component.
    fn default() -> Self {
        let names = ["route-controller", "service-controller", "cloud-node-lifecycle-controller"];
        Self {
            leader_name: "cloud-provider-extraction-migration".into(),
            leaders: names.map(|name| Leader { name: name.into(), component: ANY.into() }).into(),
        }
    }
}

impl FromStr for LeaderMigration {
    type Err = Invalid;

    /// Reads YAML or JSON; all wrong fields are told together.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| Invalid::Syntax(error.to_string()))?;
        let File { api_version, kind, leader_name, resource_lock, controller_leaders } = file;
        let version = api_version.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/'));
        let has_lock = match version {
            Some("v1") => false,
            Some("v1beta1" | "v1alpha1") => true,
            _ => return Err(Invalid::Kind { api_version, kind }),
        };
        if kind != KIND {
            return Err(Invalid::Kind { api_version, kind });
        }
        let mut wrong = Vec::new();
        if leader_name.is_empty() {
            wrong.push("leaderName: Required value: the name of the lease that is shared".to_owned());
        }
        match resource_lock.as_deref() {
            None if !has_lock => {}
            Some("leases") if has_lock => {}
            Some(lock) if !has_lock => {
                wrong.push(format!(
                    "resourceLock: Invalid value: {lock:?}: v1 has no resourceLock, it is always leases"
                ));
            }
            lock => {
                let lock = lock.unwrap_or_default();
                wrong.push(format!("resourceLock: Invalid value: {lock:?}: only \"leases\" is supported"));
            }
        }
        for (index, leader) in controller_leaders.iter().enumerate() {
            for (field, value) in [("name", &leader.name), ("component", &leader.component)] {
                if value.is_empty() {
                    wrong.push(format!("controllerLeaders[{index}].{field}: Required value"));
                }
            }
        }
        if wrong.is_empty() {
            Ok(Self { leader_name, leaders: controller_leaders })
        } else {
            Err(Invalid::Fields(wrong))
        }
    }
}

impl LeaderMigration {
    /// Where a controller runs, by all its names: the canonical one and its aliases, and those that it once had. Listed
    /// for this component or for any, it is shared; listed for others only, it is theirs; not listed, it is ours alone.
    pub fn owner(&self, names: &[&str]) -> Owner {
        let listed: Vec<_> = self.leaders.iter().filter(|leader| names.contains(&current(&leader.name))).collect();
        let is_ours = |leader: &&Leader| leader.component == COMPONENT || leader.component == ANY;
        if listed.iter().any(is_ours) {
            Owner::Shared
        } else if listed.is_empty() {
            Owner::Main
        } else {
            Owner::Other
        }
    }

    /// Names listed for this component that are none of `known`.
    pub fn unknown<'a>(&'a self, known: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        let ours = self.leaders.iter().filter(|leader| leader.component == COMPONENT);
        ours.map(|leader| leader.name.as_str()).filter(|name| !known.contains(&current(name)))
    }
}

/// The name that a former one has become.
fn current(name: &str) -> &str {
    FORMER_NAMES.iter().find(|(former, _)| *former == name).map_or(name, |(_, current)| current)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &[&str] = &["node-route-controller", "route"];
    const SERVICE: &[&str] = &["service-lb-controller", "service"];
    const LIFECYCLE: &[&str] = &["cloud-node-lifecycle-controller", "cloud-node-lifecycle"];
    const NODE: &[&str] = &["cloud-node-controller", "cloud-node"];

    fn file(version: &str, rest: &str) -> String {
        format!("kind: LeaderMigrationConfiguration\napiVersion: controllermanager.config.k8s.io/{version}\n{rest}")
    }

    fn with_component(component: &str) -> LeaderMigration {
        let leaders: String = ["route-controller", "service-controller", "cloud-node-lifecycle-controller"]
            .map(|name| format!("- name: {name}\n  component: {component:?}\n"))
            .concat();
        LeaderMigration::from_str(&file("v1", &format!("leaderName: migration\ncontrollerLeaders:\n{leaders}")))
            .unwrap()
    }

    #[test]
    fn section_12_11_migration_filter() {
        for (component, owner) in [
            ("kube-controller-manager", Owner::Other),
            ("cloud-controller-manager", Owner::Shared),
            ("*", Owner::Shared),
        ] {
            let migration = with_component(component);
            for names in [ROUTE, SERVICE, LIFECYCLE] {
                assert_eq!(migration.owner(names), owner, "{component} {names:?}");
            }
            assert_eq!(migration.owner(NODE), Owner::Main, "{component}");
        }
        let known = [ROUTE, LIFECYCLE].concat();
        assert_eq!(with_component(COMPONENT).unknown(&known).collect::<Vec<_>>(), ["service-controller"]);
        assert_eq!(LeaderMigration::default().owner(ROUTE), Owner::Shared);
    }

    #[test]
    fn section_12_11_migration_file() {
        for version in ["v1alpha1", "v1beta1"] {
            let read = LeaderMigration::from_str(&file(version, "leaderName: migration\nresourceLock: leases\n"));
            assert_eq!(read, Ok(LeaderMigration { leader_name: "migration".into(), leaders: Vec::new() }));
        }
        let two = "leaderName: migration\ncontrollerLeaders:\n- {name: a, component: b}\n- {name: c, component: d}\n";
        assert_eq!(LeaderMigration::from_str(&file("v1", two)).unwrap().leaders.len(), 2);
        let json = r#"{"kind":"LeaderMigrationConfiguration","apiVersion":"controllermanager.config.k8s.io/v1","leaderName":"m"}"#;
        assert_eq!(LeaderMigration::from_str(json).unwrap().leader_name, "m");
    }

    #[test]
    fn section_12_11_migration_file_that_is_wrong() {
        for (text, told) in [
            (String::new(), ""),
            ("kind: Pod\napiVersion: v1\nleaderName: m\n".to_owned(), "\"Pod\""),
            (file("v2", "leaderName: m\n"), "v2"),
            (file("v1", "leaderName: m\nfoo: bar\n"), "foo"),
            (file("v1beta1", "leaderName: m\nresourceLock: leases\nresourceLock: leases\n"), "resourceLock"),
        ] {
            let error = LeaderMigration::from_str(&text).expect_err(&text).to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn section_12_11_migration_validation_tells_all_at_once() {
        let text = file("v1alpha1", "resourceLock: invalid\ncontrollerLeaders:\n- name: a\n- component: '*'\n");
        let error = LeaderMigration::from_str(&text).unwrap_err().to_string();
        for told in ["leaderName", "\"invalid\"", "controllerLeaders[0].component", "controllerLeaders[1].name"] {
            assert!(error.contains(told), "{told}: {error}");
        }
    }

    #[test]
    fn a_lock_that_no_api_server_has_any_more_is_refused() {
        let error =
            LeaderMigration::from_str(&file("v1beta1", "leaderName: m\nresourceLock: endpoints\n")).unwrap_err();
        assert!(error.to_string().contains("endpoints"));
        assert!(LeaderMigration::from_str(&file("v1beta1", "leaderName: m\n")).is_err(), "required before v1");
        assert!(LeaderMigration::from_str(&file("v1", "leaderName: m\nresourceLock: leases\n")).is_err(), "gone in v1");
    }

    #[test]
    fn aliases_and_former_names_are_understood() {
        let text = "leaderName: m\ncontrollerLeaders:\n- {name: route, component: '*'}\n\
                    - {name: service, component: kube-controller-manager}\n- {name: nodeipam, component: '*'}\n";
        let migration = LeaderMigration::from_str(&file("v1", text)).unwrap();
        assert_eq!(migration.owner(ROUTE), Owner::Shared);
        assert_eq!(migration.owner(SERVICE), Owner::Other);
        assert!(migration.unknown(&[]).next().is_none(), "listed for others and for all");
    }
}
