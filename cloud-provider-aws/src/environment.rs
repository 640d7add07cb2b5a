//! Where the controller runs and what it serves: region, VPC, cluster ID. Found out once, at the start.

use std::{fmt, sync::Arc};

use cloud_provider::{Error, Kind, cloud::Gate, error::Result, metrics::Metrics};

use crate::{
    client::{self, Client, Imds, ec2_types::Instance},
    cluster_id::{ClusterId, Contradiction},
    config,
    instances::{self, Ec2Instances, Snapshot, Zones},
    provider_id::InstanceId,
};

/// What all parts of the provider share.
pub struct Environment {
    /// The AWS API.
    pub client: Client,
    /// The cloud config.
    pub settings: config::Settings,
    /// The cluster's ID.
    pub cluster_id: ClusterId,
    /// `--cluster-name`, which some resource names hash.
    pub cluster_name: Arc<str>,
    /// The cluster's VPC.
    pub vpc: String,
    /// The subnet that load balancers get where no subnet is tagged: that of the machine we run on, or `SubnetID`.
    pub subnet: Option<String>,
    /// Answers about instances, shared by nodes and load balancers.
    pub snapshot: Arc<Snapshot>,
    /// The zones of the region.
    pub zones: Arc<Zones>,
    own_node: Option<(String, InstanceId)>,
}

impl Environment {
    /// Finds out where we run, in upstream's order: the region from `Zone`, `Region` or the instance metadata service;
    /// then, unless the config says that the control plane is elsewhere, the instance that we run on, for its VPC, subnet,
    /// name and cluster tags.
    ///
    /// # Errors
    ///
    /// When any of these cannot be found out; the process cannot work without.
    pub async fn new(
        settings: config::Settings,
        cluster_name: Arc<str>,
        gate: Gate,
        metrics: &Metrics,
    ) -> Result<Self> {
        let imds_endpoint = settings.imds_endpoint();
        let imds = Imds::new(imds_endpoint.as_ref());
        let region = match &settings.region {
            Some(region) => region.clone(),
            None => imds.region().await.map_err(|error| error.context("find the region"))?,
        };
        let client_settings =
            client::Settings { endpoints: settings.endpoints(&region), role: settings.role.clone(), region };
        let client = Client::new(&client_settings, gate, metrics).await?;
        Self::with_client(settings, client, &imds, cluster_name).await
    }

    /// The same, with a client that stands already.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub async fn with_client(
        settings: config::Settings,
        client: Client,
        imds: &Imds,
        cluster_name: Arc<str>,
    ) -> Result<Self> {
        let own = match settings.is_off_cluster() {
            true => None,
            false => Some(own_instance(&client, imds).await?),
        };
        let from_tags = own.as_ref().map(|own| ClusterId::from_tags(&own.tags)).transpose().map_err(contradiction)?;
        let cluster_id = settings.cluster_id.clone().or(from_tags.flatten()).ok_or_else(|| {
            Error::new(Kind::Invalid { field: "KubernetesClusterID".into() }, "AWS cloud failed to find ClusterID")
        })?;
        let (vpc, subnet, own_node) = match own {
            Some(own) => (own.vpc, Some(own.subnet), Some((own.private_dns_name, own.id))),
            None => (settings.vpc.clone().unwrap_or_default(), settings.subnet.clone(), None),
        };
        tracing::info!(
            region = client.region(), %vpc, cluster_id = cluster_id.as_str(), off_cluster = own_node.is_none(),
            "found out where we run"
        );
        let families = settings.ip_families.clone();
        Ok(Self {
            snapshot: Arc::new(Snapshot::new(client.clone(), cluster_id.clone(), families)),
            zones: Arc::new(Zones::new(client.clone())),
            client,
            settings,
            cluster_id,
            cluster_name,
            vpc,
            subnet: subnet.filter(|subnet| !subnet.is_empty()),
            own_node: own_node.filter(|(name, _)| !name.is_empty()),
        })
    }

    /// The instances behind nodes.
    pub fn instances(&self) -> Ec2Instances {
        let settings = instances::Settings {
            ip_families: self.settings.ip_families.clone(),
            topology_types: self.settings.topology_types.clone(),
            ignore_topology_failures: self.settings.ignore_topology_failures,
            keep_nodes_without_provider_id: self.settings.keep_nodes_without_provider_id,
            vpc: self.vpc.clone(),
            own_node: self.own_node.clone(),
        };
        Ec2Instances::new(&self.client, self.snapshot.clone(), self.zones.clone(), settings)
    }
}

async fn own_instance(client: &Client, imds: &Imds) -> Result<Instance> {
    let context = "find the instance that this controller runs on; off the cluster, set VPC, KubernetesClusterID and \
                   SubnetID or RoleARN in the cloud config";
    let id = imds.instance_id().await.map_err(|error| error.context(context))?;
    let id = InstanceId::new(id.trim());
    let found =
        client.instances_by_id(std::slice::from_ref(&id)).await.map_err(|error| Error::from(error).context(context))?;
    found
        .into_iter()
        .find(|instance| instance.id == id)
        .ok_or_else(|| Error::transient(context).with_source(format!("EC2 does not name {id} in its answer")))
}

fn contradiction(contradiction: Contradiction) -> Error {
    Error::invalid("KubernetesClusterID", "read the cluster's ID from the tags of our instance")
        .with_source(contradiction)
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("vpc", &self.vpc)
            .field("cluster_id", &self.cluster_id)
            .finish_non_exhaustive()
    }
}
