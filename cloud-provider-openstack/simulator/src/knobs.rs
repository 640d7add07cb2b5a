//! How the simulated cloud misbehaves, how slow it is, and which version of OpenStack it plays.

use std::collections::{BTreeMap, BTreeSet};

use cloud_provider_simulation::{
    Behaviour,
    faults::{Fault, Latency, RateLimit},
};
use serde::{Deserialize, Serialize};

/// Everything that can be set while the simulator runs. The default is a fast and healthy cloud of a recent release.
///
/// Actions are patterns over `SERVICE.Action` or only `Action`: `octavia.CreateListener`, `ListPorts`, `neutron.*`, `*`.
/// Services are `keystone`, `nova`, `neutron`, `octavia`, `barbican` and `cinder`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Knobs {
    /// Time before an answer; the first entry that matches counts.
    pub latency: Vec<Latency>,
    /// Token buckets; a call that finds one empty is answered 429 with `Retry-After`.
    pub rate_limits: Vec<RateLimit>,
    /// Failures; the first one that strikes counts. The code of an error is its status, or Neutron's type of it.
    pub faults: Vec<Fault>,
    /// Seconds that injected answers 413, 429 and 503 name in `Retry-After`; none leaves the header away.
    pub retry_after_s: Option<u64>,
    /// How long things take.
    pub delays: Delays,
    /// Quotas; a resource without one has none.
    pub quotas: Quotas,
    /// What the services are and can do.
    pub release: Release,
    /// Attributes left out of answers, such as `port_security_enabled` where the extension is off, by collection
    /// (`ports`).
    pub omissions: BTreeMap<String, BTreeSet<String>>,
    /// Load balancers whose next change ends in `ERROR`: patterns over their names.
    pub failing_load_balancers: BTreeSet<String>,
    /// How many load balancers may be under way at once; those beyond wait for a worker, as behind a real one.
    pub octavia_workers: Option<usize>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            latency: Vec::new(),
            rate_limits: Vec::new(),
            faults: Vec::new(),
            retry_after_s: Some(1),
            delays: Delays::default(),
            quotas: Quotas::default(),
            release: Release::default(),
            omissions: BTreeMap::new(),
            failing_load_balancers: BTreeSet::new(),
            octavia_workers: None,
        }
    }
}

impl Behaviour for Knobs {
    fn latency(&self) -> &[Latency] {
        &self.latency
    }

    fn rate_limits(&self) -> &[RateLimit] {
        &self.rate_limits
    }

    fn faults(&mut self) -> &mut Vec<Fault> {
        &mut self.faults
    }
}

/// How long things take. Zero means at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delays {
    /// How long a new load balancer is `PENDING_CREATE`, in milliseconds.
    pub load_balancer_create_ms: u64,
    /// How long a load balancer is `PENDING_UPDATE` after a change of it or of what belongs to it, in milliseconds.
    pub load_balancer_update_ms: u64,
    /// How long a load balancer is `PENDING_DELETE`, in milliseconds.
    pub load_balancer_delete_ms: u64,
    /// How long a token is good, in seconds.
    pub token_s: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Self { load_balancer_create_ms: 0, load_balancer_update_ms: 0, load_balancer_delete_ms: 0, token_s: 3600 }
    }
}

/// What a project may have; none for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Neutron's `port`.
    pub ports: Option<usize>,
    /// Neutron's `floatingip`.
    pub floating_ips: Option<usize>,
    /// Neutron's `security_group`.
    pub security_groups: Option<usize>,
    /// Neutron's `security_group_rule`.
    pub security_group_rules: Option<usize>,
    /// Octavia's `load_balancer`.
    pub load_balancers: Option<usize>,
    /// Octavia's `listener`.
    pub listeners: Option<usize>,
    /// Octavia's `pool`.
    pub pools: Option<usize>,
    /// Octavia's `member`.
    pub members: Option<usize>,
    /// Octavia's `health_monitor`.
    pub health_monitors: Option<usize>,
}

/// What the services are and can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Release {
    /// The minor number of Octavia's newest API version, so 30 for `v2.30`.
    pub octavia_minor: u32,
    /// Octavia's providers.
    pub octavia_providers: BTreeSet<String>,
    /// The provider of load balancers that ask for none.
    pub octavia_default_provider: String,
    /// The minor number of Nova's newest microversion, so 104 for `2.104`.
    pub nova_minor: u32,
    /// Nova's largest page.
    pub nova_page: usize,
    /// Neutron's largest page, if it has one.
    pub neutron_page: Option<usize>,
    /// Octavia's largest page.
    pub octavia_page: usize,
    /// Neutron's extensions that are off, by alias.
    pub neutron_without: BTreeSet<String>,
    /// Service types that the catalog lacks, such as `load-balancer`.
    pub catalog_without: BTreeSet<String>,
    /// Routes of a router.
    pub max_routes: usize,
    /// Allowed address pairs of a port.
    pub max_address_pairs: usize,
}

impl Default for Release {
    fn default() -> Self {
        Self {
            octavia_minor: 30,
            octavia_providers: ["amphora", "amphorav2", "octavia", "ovn"].map(str::to_owned).into(),
            octavia_default_provider: "amphora".into(),
            nova_minor: 104,
            nova_page: 1000,
            neutron_page: None,
            octavia_page: 1000,
            neutron_without: BTreeSet::new(),
            catalog_without: BTreeSet::new(),
            max_routes: 30,
            max_address_pairs: 10,
        }
    }
}
