//! Controllers by name: canonical names, aliases, and the grammar of `--controllers`.
//!
//! Names are identifiers that operators and manifests use; a name that changes stays as an alias for ever.

/// Initialises nodes and keeps their addresses.
pub const CLOUD_NODE: Controller = Controller {
    name: "cloud-node-controller",
    aliases: &["cloud-node"],
    client: "node-controller",
    metric: "cloud-node",
    event_source: "cloud-node-controller",
    on_by_default: true,
};

/// Taints nodes that are shut down and deletes those that are gone.
pub const CLOUD_NODE_LIFECYCLE: Controller = Controller {
    name: "cloud-node-lifecycle-controller",
    aliases: &["cloud-node-lifecycle"],
    client: "node-controller",
    metric: "cloud-node-lifecycle",
    event_source: "cloud-node-lifecycle-controller",
    on_by_default: true,
};

/// Load balancers of services.
pub const SERVICE_LB: Controller = Controller {
    name: "service-lb-controller",
    aliases: &["service"],
    client: "service-controller",
    metric: "service",
    event_source: "service-controller",
    on_by_default: true,
};

/// Routes to the pods of nodes.
pub const NODE_ROUTE: Controller = Controller {
    name: "node-route-controller",
    aliases: &["route"],
    client: "route-controller",
    metric: "route",
    event_source: "route_controller",
    on_by_default: true,
};

/// Pod address ranges of nodes. Off until named: existing manifests pass `--allocate-node-cidrs` for routes while
/// kube-controller-manager allocates.
pub const NODE_IPAM: Controller = Controller {
    name: "node-ipam-controller",
    aliases: &["nodeipam"],
    client: "node-controller",
    metric: "nodeipam",
    event_source: "cidrAllocator",
    on_by_default: false,
};

/// Labels of persistent volumes that exist. Off until named: nothing in the Go programs does this any more.
pub const PERSISTENT_VOLUME_LABEL: Controller = Controller {
    name: "persistent-volume-label-controller",
    aliases: &["pvlabel"],
    client: "pvl-controller",
    metric: "pvlabel",
    event_source: "persistent-volume-label-controller",
    on_by_default: false,
};

/// All names that one controller goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controller {
    /// The canonical name: lower case letters and dashes, with the suffix `-controller`.
    pub name: &'static str,
    /// Other names that `--controllers` takes.
    pub aliases: &'static [&'static str],
    /// The last part of its client's user agent, and its service account in `kube-system`.
    pub client: &'static str,
    /// The `name` label of `running_managed_controllers`.
    pub metric: &'static str,
    /// `source.component` of its events.
    pub event_source: &'static str,
    /// Whether `*` enables it.
    pub on_by_default: bool,
}

/// A controller that cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The name breaks the naming rule.
    #[error("{0:?} is not a controller name: lower case letters and dashes, ending in -controller")]
    Name(&'static str),
    /// Another controller has the name or alias already.
    #[error("the name {0:?} belongs to another controller")]
    Taken(&'static str),
}

/// The controllers that a program knows: those of the core and a provider's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    controllers: Vec<Controller>,
}

impl Default for Registry {
    /// The controllers of the core.
    fn default() -> Self {
        Self {
            controllers: vec![
                CLOUD_NODE,
                CLOUD_NODE_LIFECYCLE,
                NODE_IPAM,
                NODE_ROUTE,
                PERSISTENT_VOLUME_LABEL,
                SERVICE_LB,
            ],
        }
    }
}

impl Registry {
    /// Adds a provider's controller.
    pub fn register(&mut self, controller: Controller) -> Result<(), RegistryError> {
        let stem = controller.name.strip_suffix("-controller").unwrap_or_default();
        let first = stem.starts_with(|c: char| c.is_ascii_lowercase());
        if !first || !stem.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
            return Err(RegistryError::Name(controller.name));
        }
        for name in controller.aliases.iter().copied().chain([controller.name]) {
            if self.find(name).is_some() {
                return Err(RegistryError::Taken(name));
            }
        }
        self.controllers.push(controller);
        Ok(())
    }

    /// The controller of a canonical name or alias.
    pub fn find(&self, name: &str) -> Option<&Controller> {
        self.controllers.iter().find(|controller| controller.name == name || controller.aliases.contains(&name))
    }

    /// All controllers in order of registration.
    pub fn controllers(&self) -> &[Controller] {
        &self.controllers
    }

    /// Evaluates the items of `--controllers`: `*`, a name, or a name with a leading `-`, each by canonical name or
    /// alias. All unknown names are reported, in order and as they were written but for the dash.
    pub fn select(&self, items: &[String]) -> Result<Selection, Vec<UnknownController>> {
        let mut selected = Vec::new();
        let mut unknown = Vec::new();
        for item in items {
            let (prefix, name) = item.strip_prefix('-').map_or(("", item.as_str()), |name| ("-", name));
            match self.find(name) {
                _ if item == "*" => selected.push(item.clone()),
                Some(controller) => selected.push(format!("{prefix}{}", controller.name)),
                None => unknown.push(UnknownController(name.to_owned())),
            }
        }
        if unknown.is_empty() { Ok(Selection { items: selected }) } else { Err(unknown) }
    }
}

/// An item of `--controllers` that names no controller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not in the list of known controllers")]
pub struct UnknownController(String);

/// What `--controllers` says, by canonical names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    items: Vec<String>,
}

impl Selection {
    /// The items with canonical names, as `/configz` shows them.
    pub fn items(&self) -> &[String] {
        &self.items
    }

    /// Whether a controller is to be started: by the first item that names it, else by `*` if it is on by default.
    pub fn is_enabled(&self, controller: &Controller) -> bool {
        is_enabled(&self.items, controller.name, controller.on_by_default)
    }
}

/// The grammar that `--controllers` and `--webhooks` share.
pub(crate) fn is_enabled(items: &[String], name: &str, on_by_default: bool) -> bool {
    for item in items {
        if item == name {
            return true;
        }
        if item.strip_prefix('-') == Some(name) {
            return false;
        }
    }
    on_by_default && items.iter().any(|item| item == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    const fn colour(name: &'static str, aliases: &'static [&'static str], on_by_default: bool) -> Controller {
        Controller { name, aliases, client: "", metric: "", event_source: "", on_by_default }
    }

    /// Red and blue with aliases, and green, which is off by default.
    fn colours() -> Registry {
        Registry {
            controllers: vec![
                colour("red-controller", &["crimson-controller", "pink-controller"], true),
                colour("green-controller", &[], false),
                colour("blue-controller", &["ultramarine-controller"], true),
            ],
        }
    }

    fn resolved(registry: &Registry, items: &[&str]) -> Vec<String> {
        registry.select(&strings(items)).unwrap().items
    }

    fn unknown(registry: &Registry, items: &[&str]) -> Vec<String> {
        registry.select(&strings(items)).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn section_12_11_is_controller_enabled() {
        for (items, name, on_by_default, enabled) in [
            (&["alpha", "bravo", "-charlie"][..], "bravo", true, true),
            (&["alpha", "bravo", "-charlie"], "charlie", true, false),
            (&["alpha", "bravo", "-charlie"], "foxtrot", true, false),
            (&["*"], "alpha", true, true),
            (&["*"], "delta", false, false),
            (&["*", "-charlie"], "alpha", true, true),
            (&["*", "-charlie"], "charlie", true, false),
        ] {
            assert_eq!(is_enabled(&strings(items), name, on_by_default), enabled, "{items:?} {name}");
        }
    }

    #[test]
    fn first_item_that_names_a_controller_wins_over_the_star() {
        assert!(!is_enabled(&strings(&["-a", "a", "*"]), "a", true));
        assert!(is_enabled(&strings(&["*", "a", "-a"]), "a", false));
        assert!(!is_enabled(&[], "a", true));
    }

    #[test]
    fn section_12_11_validate() {
        for items in [
            &["*"][..],
            &[],
            &["blue-controller"],
            &["*", "-red-controller", "blue-controller"],
            &["green-controller"],
            &["ultramarine-controller", "-pink-controller"],
        ] {
            assert!(colours().select(&strings(items)).is_ok(), "{items:?}");
        }
        let none = Registry { controllers: Vec::new() };
        assert_eq!(
            unknown(&none, &["red-controller"]),
            [r#""red-controller" is not in the list of known controllers"#]
        );
        assert_eq!(
            unknown(&colours(), &["crimson-controller", "-grey-controller", "black"]),
            [
                r#""grey-controller" is not in the list of known controllers"#,
                r#""black" is not in the list of known controllers"#
            ]
        );
    }

    #[test]
    fn section_12_11_resolve() {
        assert_eq!(
            resolved(
                &colours(),
                &["green-controller", "-crimson-controller", "ultramarine-controller", "-pink-controller"]
            ),
            ["green-controller", "-red-controller", "blue-controller", "-red-controller"]
        );
    }

    #[test]
    fn section_12_11_ccm_names_resolve() {
        assert_eq!(
            resolved(&Registry::default(), &["service", "-service", "route", "-cloud-node-lifecycle-controller"]),
            [
                "service-lb-controller",
                "-service-lb-controller",
                "node-route-controller",
                "-cloud-node-lifecycle-controller"
            ]
        );
    }

    #[test]
    fn what_is_new_in_a_cluster_is_off_by_default() {
        let registry = Registry::default();
        let all = registry.select(&strings(&["*"])).unwrap();
        let off: Vec<_> = registry.controllers().iter().filter(|c| !all.is_enabled(c)).map(|c| c.name).collect();
        assert_eq!(off, ["node-ipam-controller", "persistent-volume-label-controller"]);
        assert!(registry.select(&strings(&["*", "nodeipam"])).unwrap().is_enabled(&NODE_IPAM));
    }

    #[test]
    fn core_names_keep_the_naming_rule() {
        let mut registry = Registry { controllers: Vec::new() };
        for controller in Registry::default().controllers {
            registry.register(controller).unwrap();
        }
    }

    #[test]
    fn bad_and_taken_names_are_refused() {
        let mut registry = Registry::default();
        for name in ["tagging", "Tagging-controller", "-controller", "1-controller", "-a-controller"] {
            assert_eq!(registry.register(colour(name, &[], true)), Err(RegistryError::Name(name)));
        }
        let taken = Err(RegistryError::Taken("service"));
        assert_eq!(registry.register(colour("other-controller", &["service"], true)), taken);
        assert_eq!(registry.register(colour("tagging-controller", &["tagging"], true)), Ok(()));
        assert_eq!(registry.find("tagging").map(|c| c.name), Some("tagging-controller"));
    }
}
