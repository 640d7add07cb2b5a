//! In which networks and subnets a load balancer, its floating IP and its members are: annotations, classes and the
//! configuration, each in its own order.

use cloud_provider::{Error, cluster::objects::Service, error::Result};

use super::{annotations, floating::SubnetSpec};
use crate::config::{Class, LoadBalancer as Settings};

/// What is said about the places of one service's load balancer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Whether it has no floating IP.
    pub(super) internal: bool,
    /// The port that it takes over.
    pub(super) port: Option<String>,
    /// The network of its address.
    pub(super) network: Option<String>,
    /// The subnet of its address.
    pub(super) subnet: Option<String>,
    /// The network, when it is made.
    pub(super) network_at_creation: Option<String>,
    /// The subnet, when it is made.
    pub(super) subnet_at_creation: Option<String>,
    /// The subnet of its members.
    pub(super) member_subnet: Option<String>,
    /// The external network.
    pub(super) floating_network: Option<String>,
    /// The subnet of that.
    pub(super) floating_subnet: SubnetSpec,
}

impl Placement {
    /// Reads the annotations of a service.
    ///
    /// # Errors
    ///
    /// A class that the configuration does not know.
    pub(super) fn of(service: &Service, settings: &Settings) -> Result<Self> {
        let name = annotations::CLASS.filled(service);
        let class = match name {
            None => None,
            Some(name) => Some(settings.classes.get(name).ok_or_else(|| {
                Error::invalid(annotations::CLASS.key, format!("invalid loadbalancer class {name:?}"))
            })?),
        };
        let internal = settings.internal_lb || annotations::INTERNAL.flag(service, false);
        let none = Class::default();
        let class_or_none = class.unwrap_or(&none);
        // The class without a name has a say in what is made without one, and in all that is internal.
        let at_creation = if internal || class.is_none() { settings.classes.get("") } else { class };
        let at_creation = at_creation.unwrap_or(&none);
        let network =
            first([annotations::NETWORK_ID.filled(service), get(&class_or_none.network_id), get(&settings.network_id)]);
        let subnet =
            first([annotations::SUBNET_ID.filled(service), get(&class_or_none.subnet_id), get(&settings.subnet_id)]);
        let member_subnet = first([
            annotations::MEMBER_SUBNET_ID.filled(service),
            get(&class_or_none.member_subnet_id),
            get(&settings.member_subnet_id),
            get(&settings.subnet_id),
            subnet.as_deref(),
        ]);
        let configured = get(&settings.floating_network_id).unwrap_or_default();
        let annotated = annotations::FLOATING_NETWORK_ID.or(service, configured);
        Ok(Self {
            internal,
            port: first([annotations::PORT_ID.filled(service)]),
            network_at_creation: first([get(&at_creation.network_id), network.as_deref()]),
            subnet_at_creation: first([get(&at_creation.subnet_id), subnet.as_deref()]),
            floating_network: first([get(&class_or_none.floating_network_id), Some(annotated)]),
            floating_subnet: floating_subnet(service, class_or_none, settings),
            network,
            subnet,
            member_subnet,
        })
    }

    /// Whether the subnet has to be found by looking where a node is.
    pub(super) fn needs_detection(&self) -> bool {
        self.network.is_none() && self.subnet.is_none()
    }
}

fn floating_subnet(service: &Service, class: &Class, settings: &Settings) -> SubnetSpec {
    let of = |id: &Option<String>, pattern: &Option<String>, tags: &Option<String>| {
        SubnetSpec::new(
            id.as_deref().unwrap_or_default(),
            pattern.as_deref().unwrap_or_default(),
            tags.as_deref().unwrap_or_default(),
        )
    };
    let annotated = SubnetSpec::new(
        annotations::FLOATING_SUBNET_ID.or(service, ""),
        annotations::FLOATING_SUBNET.or(service, ""),
        annotations::FLOATING_SUBNET_TAGS.or(service, ""),
    );
    let classed = of(&class.floating_subnet_id, &class.floating_subnet, &class.floating_subnet_tags);
    let configured = of(&settings.floating_subnet_id, &settings.floating_subnet, &settings.floating_subnet_tags);
    [classed, annotated].into_iter().find(SubnetSpec::is_set).unwrap_or(configured)
}

fn get(value: &Option<String>) -> Option<&str> {
    value.as_deref()
}

fn first<const N: usize>(values: [Option<&str>; N]) -> Option<String> {
    values.into_iter().flatten().find(|value| !value.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::load_balancer::tests::{service_with, settings};

    fn some(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    fn configured() -> Settings {
        let class = Class {
            network_id: some("class-network"),
            subnet_id: some("class-subnet"),
            member_subnet_id: some("class-members"),
            floating_network_id: some("class-floating"),
            floating_subnet: some("class-*"),
            ..Class::default()
        };
        Settings {
            network_id: some("network"),
            subnet_id: some("subnet"),
            floating_network_id: some("floating"),
            floating_subnet_id: some("floating-subnet"),
            classes: [("gold".to_owned(), class), ("plain".to_owned(), Class::default())].into(),
            ..settings()
        }
    }

    #[test]
    fn section_12_4_ids_by_annotation_class_and_default() {
        let of = |annotations| Placement::of(&service_with(annotations), &configured()).unwrap();
        let plain = of(json!({}));
        assert_eq!((plain.network.as_deref(), plain.subnet.as_deref()), (Some("network"), Some("subnet")));
        assert_eq!(plain.member_subnet.as_deref(), Some("subnet"));
        assert_eq!(plain.floating_subnet.id, "floating-subnet");

        let prefix = "loadbalancer.openstack.org/";
        let classed = of(json!({ (format!("{prefix}class")): "gold" }));
        assert_eq!(
            (classed.network.as_deref(), classed.member_subnet.as_deref()),
            (Some("class-network"), Some("class-members"))
        );
        assert_eq!(classed.floating_network.as_deref(), Some("class-floating"));
        assert_eq!(classed.floating_subnet.pattern, "class-*");

        let both = of(json!({
            (format!("{prefix}class")): "gold",
            (format!("{prefix}network-id")): "mine",
            (format!("{prefix}subnet-id")): "my-subnet",
            (format!("{prefix}member-subnet-id")): "my-members",
            (format!("{prefix}floating-network-id")): "my-floating",
            (format!("{prefix}floating-subnet-id")): "my-floating-subnet",
        }));
        assert_eq!((both.network.as_deref(), both.subnet.as_deref()), (Some("mine"), Some("my-subnet")));
        assert_eq!(both.member_subnet.as_deref(), Some("my-members"));
        assert_eq!(both.network_at_creation.as_deref(), Some("class-network"), "an external one, when it is made");
        assert_eq!(both.floating_network.as_deref(), Some("class-floating"));
        assert_eq!(both.floating_subnet.pattern, "class-*");
    }

    #[test]
    fn an_unknown_class_is_an_error() {
        let service = service_with(json!({ "loadbalancer.openstack.org/class": "x" }));
        let error = Placement::of(&service, &configured()).unwrap_err();
        assert_eq!(error.to_string(), "invalid loadbalancer class \"x\"");
    }

    #[test]
    fn an_internal_load_balancer_ignores_its_class_when_it_is_made() {
        let service = service_with(json!({
            "loadbalancer.openstack.org/class": "gold",
            "loadbalancer.openstack.org/network-id": "mine",
            "service.beta.kubernetes.io/openstack-internal-load-balancer": "true",
        }));
        let placement = Placement::of(&service, &configured()).unwrap();
        assert!(placement.internal);
        assert_eq!(placement.network_at_creation.as_deref(), Some("mine"));
    }

    #[test]
    fn a_class_without_a_name_counts_for_services_without_a_class() {
        let mut settings = configured();
        settings.classes.insert(String::new(), Class { subnet_id: some("nameless"), ..Class::default() });
        let placement = Placement::of(&service_with(json!({})), &settings).unwrap();
        assert_eq!(placement.subnet_at_creation.as_deref(), Some("nameless"));
        assert_eq!(placement.subnet.as_deref(), Some("subnet"));
    }

    #[test]
    fn an_empty_annotation_asks_for_a_search_of_the_external_network() {
        let service = service_with(json!({ "loadbalancer.openstack.org/floating-network-id": "" }));
        assert_eq!(Placement::of(&service, &configured()).unwrap().floating_network, None);
    }

    #[test]
    fn configuration_can_make_everything_internal() {
        let settings = Settings { internal_lb: true, ..configured() };
        let service = service_with(json!({ "service.beta.kubernetes.io/openstack-internal-load-balancer": "false" }));
        assert!(Placement::of(&service, &settings).unwrap().internal);
    }

    #[test]
    fn without_network_and_subnet_a_node_tells_where_it_is() {
        assert!(Placement::of(&service_with(json!({})), &settings()).unwrap().needs_detection());
        assert!(!Placement::of(&service_with(json!({})), &configured()).unwrap().needs_detection());
    }
}
