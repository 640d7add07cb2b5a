//! The keys of the cloud config, each with what the reference page says about it.

pub use cloud_provider::config::keys::{Key, key};

/// The keys of `[Global]`, in the order of the reference page.
pub const GLOBAL: &[Key] = &[
    key(
        "auth-url",
        "a URL",
        "required",
        "Keystone, with `/v3` at the end, or without a version; then Keystone is asked for its versions.",
    ),
    key("region", "a region", "any", "Only endpoints of this region are used; nodes get it as their region label."),
    key("os-endpoint-type", "`public`, `internal`, `admin`", "`public`", "Which endpoints of the catalog are used."),
    key("username", "a name", "none", "The user, together with a domain of the user."),
    key("user-id", "an ID", "none", "The user; excludes `username` and any domain of the user."),
    key("password", "text", "none", "The user's password. It comes before application credentials."),
    key("user-domain-id", "an ID", "`domain-id`", "The domain of the user."),
    key("user-domain-name", "a name", "`domain-name`", "The domain of the user; excludes its ID."),
    key("tenant-id", "an ID", "none", "The project."),
    key("tenant-name", "a name", "none", "The project, together with its domain."),
    key("tenant-domain-id", "an ID", "`domain-id`", "The domain of the project."),
    key(
        "tenant-domain-name",
        "a name",
        "`domain-name`",
        "The domain of the project. An ID comes before it, also one from `domain-id`.",
    ),
    key(
        "domain-id",
        "an ID",
        "none",
        "Stands in for missing domains of user and project; without a project it is what the token is for.",
    ),
    key("domain-name", "a name", "none", "As `domain-id`."),
    key("trust-id", "an ID", "none", "The trust that the token is for."),
    key("trustee-id", "an ID", "`user-id`", "The user of a trust."),
    key("trustee-password", "text", "`password`", "That user's password."),
    key(
        "token",
        "text",
        "none",
        "A token that was issued elsewhere, for new tokens as long as it lives; comes before user and password.",
    ),
    key("application-credential-id", "an ID", "none", "An application credential. No project can be chosen with it."),
    key(
        "application-credential-name",
        "a name",
        "none",
        "The same by name, together with `user-id`, or `username` and its domain.",
    ),
    key("application-credential-secret", "text", "none", "The secret of the application credential."),
    key(
        "ca-file",
        "a file",
        "the system's",
        "Certificate authorities, in place of the system's. Read again when it changes.",
    ),
    key("cafilecontents", "PEM", "none", "The same as text; counts where `ca-file` is empty."),
    key(
        "cert-file",
        "a file",
        "none",
        "A client certificate; counts together with `key-file`. Read again when it changes.",
    ),
    key("key-file", "a file", "none", "Its private key."),
    key(
        "tls-insecure",
        "`true`",
        "off",
        "Certificates of servers are not checked. Any other value means that they are.",
    ),
    key("use-clouds", "boolean", "`false`", "What is empty here comes from an entry of `clouds.yaml`."),
    key("clouds-file", "a file", "`OS_CLIENT_CONFIG_FILE`, then the usual places", "That file."),
    key(
        "cloud",
        "a name",
        "`OS_CLOUD`, then the only one",
        "The entry. Where this key is set, all of who we are comes from the entry, whatever stands here.",
    ),
    key(
        "compute-endpoint",
        "a URL; not upstream's",
        "from the catalog",
        "Where Nova is. In `clouds.yaml`: `compute_endpoint_override`, and so for the others.",
    ),
    key("network-endpoint", "a URL; not upstream's", "from the catalog", "Where Neutron is."),
    key("load-balancer-endpoint", "a URL; not upstream's", "from the catalog", "Where Octavia is."),
    key("key-manager-endpoint", "a URL; not upstream's", "from the catalog", "Where Barbican is."),
    key("block-storage-endpoint", "a URL; not upstream's", "from the catalog", "Where Cinder is."),
    key("requests-per-second", "a number; not upstream's", "no limit", "How many requests are sent in a second."),
    key("requests-burst", "a number; not upstream's", "a second's worth", "How many of them may come at once."),
];

/// The keys of `[LoadBalancer]`.
pub const LOAD_BALANCER: &[Key] = &[
    key("enabled", "boolean", "`true`", "Whether services get load balancers."),
    key("lb-version", "`v2`", "`v2`", "The API of Octavia."),
    key(
        "subnet-id",
        "an ID",
        "that of the nodes",
        "The subnet of the virtual IP, and of members where nothing else is set.",
    ),
    key("member-subnet-id", "an ID", "`subnet-id`", "The subnet of members."),
    key("network-id", "an ID", "none", "The network of the virtual IP."),
    key("floating-network-id", "an ID", "the first external network", "The network of floating IPs."),
    key("floating-subnet-id", "an ID", "any of the network", "The subnet of floating IPs."),
    key(
        "floating-subnet",
        "a name, a glob, or `~` and a regular expression; `!` in front negates",
        "any",
        "Subnets of floating IPs by name.",
    ),
    key(
        "floating-subnet-tags",
        "tags between commas; `&` in front means all of them, `!` negates",
        "any",
        "Subnets of floating IPs by tags.",
    ),
    key(
        "lb-method",
        "`ROUND_ROBIN`, `LEAST_CONNECTIONS`, `SOURCE_IP`, `SOURCE_IP_PORT`",
        "`ROUND_ROBIN`",
        "How members are chosen. With provider `ovn` it must be `SOURCE_IP_PORT`.",
    ),
    key("lb-provider", "`amphora`, `octavia`, `ovn`, `f5`, `amphorav2`", "`amphora`", "Octavia's driver."),
    key("create-monitor", "boolean", "`false`", "Whether members are watched. External traffic policy Local needs it."),
    key("monitor-delay", "Go duration", "`5s`", "The time between two looks, in whole seconds."),
    key("monitor-timeout", "Go duration", "`3s`", "The time for an answer, in whole seconds."),
    key("monitor-max-retries", "a number", "`1`", "Good answers until a member is well."),
    key("monitor-max-retries-down", "a number", "`3`", "Failures until it is ill."),
    key(
        "manage-security-groups",
        "boolean",
        "`false`",
        "Each service gets a security group that opens its node ports, and the ports of nodes get it.",
    ),
    key("internal-lb", "boolean", "`false`", "All load balancers are internal, whatever services say."),
    key("node-selector", "`key=value,key`", "all nodes", "Only nodes with these labels are members."),
    key("cascade-delete", "boolean", "`true`", "A load balancer is deleted with all that belongs to it by one call."),
    key("flavor-id", "an ID", "none", "Octavia's flavor."),
    key("availability-zone", "a name", "none", "Octavia's availability zone."),
    key(
        "enable-ingress-hostname",
        "boolean",
        "`false`",
        "Services with proxy protocol get a host name in place of an address.",
    ),
    key("ingress-hostname-suffix", "a domain", "`nip.io`", "What these names end in."),
    key("max-shared-lb", "a number", "`2`", "How many services may share a load balancer."),
    key(
        "container-store",
        "`barbican`, `external`",
        "`barbican`",
        "Whether references to TLS certificates are looked up before they are used.",
    ),
    key("provider-requires-serial-api-calls", "boolean", "`false`", "For drivers that can make nothing in bulk."),
    key("default-tls-container-ref", "a URL", "none", "The TLS certificate of all services that say nothing else."),
    key(
        "update-session-affinity",
        "boolean; not upstream's",
        "`false`",
        "Pools follow changes of `spec.sessionAffinity`.",
    ),
    key(
        "detach-security-groups",
        "boolean; not upstream's",
        "`false`",
        "The ports of nodes that are no members any more lose the security group of the service.",
    ),
    key(
        "share-internal-load-balancers",
        "boolean; not upstream's",
        "`false`",
        "Internal services may share a load balancer.",
    ),
    key(
        "dual-stack",
        "boolean; not upstream's",
        "`false`",
        "Services with two IP families get an address of each, where Octavia can do that.",
    ),
    key(
        "repair-load-balancers",
        "`failover`, `recreate`; not upstream's",
        "off",
        "A load balancer in ERROR is failed over; with `recreate` it is made anew where that does not help.",
    ),
];

/// The keys of `[LoadBalancerClass "name"]`.
pub const LOAD_BALANCER_CLASS: &[Key] = &[
    key(
        "floating-network-id",
        "an ID",
        "that of `[LoadBalancer]`",
        "As in `[LoadBalancer]`, for services with this class.",
    ),
    key("floating-subnet-id", "an ID", "that of `[LoadBalancer]`", "So too."),
    key("floating-subnet", "as there", "that of `[LoadBalancer]`", "So too."),
    key("floating-subnet-tags", "as there", "that of `[LoadBalancer]`", "So too."),
    key("network-id", "an ID", "that of `[LoadBalancer]`", "So too."),
    key("subnet-id", "an ID", "that of `[LoadBalancer]`", "So too."),
    key("member-subnet-id", "an ID", "that of `[LoadBalancer]`", "So too."),
];

/// The keys of `[Networking]`.
pub const NETWORKING: &[Key] = &[
    key("ipv6-support-disabled", "boolean", "`false`", "Nodes get no IPv6 addresses."),
    key("public-network-name", "a name; one for each line", "none", "Addresses in these networks are external."),
    key(
        "internal-network-name",
        "a name; one for each line",
        "all",
        "Only addresses in these networks are internal; those in others are left out.",
    ),
    key(
        "address-sort-order",
        "CIDRs between commas or blanks",
        "as they come",
        "Addresses in the first of these come first, and so on; others stay at the end.",
    ),
];

/// The keys of `[Route]`.
pub const ROUTE: &[Key] =
    &[key("router-id", "an ID", "none: no routes", "The router that gets the routes to the pods of nodes.")];

/// The keys of `[Metadata]`.
pub const METADATA: &[Key] = &[
    key(
        "search-order",
        "`configDrive`, `metadataService`, or both",
        "both",
        "For the CSI driver; here it is only checked.",
    ),
    key("request-timeout", "Go duration", "`60s`, also for `0`", "How long an answer of OpenStack may take."),
];

/// The keys of `[BlockStorage]`.
pub const BLOCK_STORAGE: &[Key] = &[
    key("node-volume-attach-limit", "any", "", "For the CSI driver, without effect here."),
    key("rescan-on-resize", "any", "", "So too."),
    key("ignore-volume-az", "any", "", "So too."),
    key("ignore-volume-microversion", "any", "", "So too."),
];

/// The keys of `[Node]`, a section of ours.
pub const NODE: &[Key] = &[key(
    "remove-without-provider-id",
    "boolean; not upstream's",
    "`false`",
    "A node that has no provider ID is deleted when no server has its name. Upstream keeps it for ever.",
)];

/// All sections in the order of the reference page.
pub const SECTIONS: &[(&str, &[Key])] = &[
    ("[Global]", GLOBAL),
    ("[LoadBalancer]", LOAD_BALANCER),
    ("[LoadBalancerClass \"name\"]", LOAD_BALANCER_CLASS),
    ("[Networking]", NETWORKING),
    ("[Route]", ROUTE),
    ("[Node]", NODE),
    ("[Metadata]", METADATA),
    ("[BlockStorage]", BLOCK_STORAGE),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config;

    fn fields(section: impl serde::Serialize) -> BTreeSet<String> {
        let fields = serde_json::to_value(section).unwrap();
        fields.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn every_key_that_is_read_has_its_definition_and_no_other() {
        let names = |keys: &[Key]| keys.iter().map(|key| key.name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(names(GLOBAL), fields(config::global::Section::default()));
        assert_eq!(names(LOAD_BALANCER), fields(config::load_balancer::Section::default()));
        assert_eq!(names(LOAD_BALANCER_CLASS), fields(config::load_balancer::ClassSection::default()));
        assert_eq!(names(NETWORKING), fields(config::networking::Section::default()));
        assert_eq!(names(ROUTE), fields(config::Route::default()));
        assert_eq!(names(METADATA), fields(config::Metadata::default()));
        assert_eq!(names(BLOCK_STORAGE), fields(config::BlockStorage::default()));
        assert_eq!(names(NODE), fields(config::Node::default()));
    }
}
