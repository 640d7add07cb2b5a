//! The smallest provider: a cloud whose instances stand in a file, one `node-name address` per line.
//!
//! Start reading here. A cloud implements [`Cloud`] and hands out the capabilities that it has; [`Provider`] says how
//! it is built; `main` is one line. Try it on a test cluster:
//!
//! ```text
//! cargo run -p cloud-provider --example minimal -- --cloud-provider=file --cloud-config=instances.txt --kubeconfig=…
//! ```

use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

use async_trait::async_trait;
use cloud_provider::{
    cloud::{Cloud, Freshness, Instance, Instances, Metadata, Power, Want},
    cluster::objects::{AddressKind, Node, NodeAddress},
    error::Result,
    manager::{self, Built, Context, Provider},
};

struct File {
    instances: Arc<Addresses>,
}

impl Cloud for File {
    fn name(&self) -> &'static str {
        "file"
    }

    fn has_cluster_id(&self) -> bool {
        true
    }

    // What a cloud does not name here it has not, and the controller for it is not started.
    fn instances(&self) -> Option<Arc<dyn Instances>> {
        Some(self.instances.clone())
    }
}

/// Addresses by node name.
struct Addresses(BTreeMap<String, String>);

#[async_trait]
impl Instances for Addresses {
    async fn look_up(&self, nodes: &[Arc<Node>], _want: Want, _freshness: Freshness) -> Vec<Result<Instance>> {
        nodes.iter().map(|node| Ok(self.instance(node))).collect()
    }
}

impl Addresses {
    fn instance(&self, node: &Node) -> Instance {
        if node.provider_id().is_some_and(|id| !id.starts_with("file://")) {
            return Instance::Foreign;
        }
        // The file is all there is: a name that it does not hold is positively gone.
        let Some(address) = self.0.get(node.name()) else { return Instance::Gone };
        let metadata = Metadata {
            provider_id: format!("file://{}", node.name()),
            addresses: vec![NodeAddress::new(AddressKind::InternalIp, address)],
            ..Metadata::default()
        };
        Instance::Present { power: Power::Running, metadata: Some(Box::new(metadata)) }
    }
}

struct FileProvider;

/// This provider has no flags of its own.
#[derive(clap::Args)]
struct Flags {}

impl Provider for FileProvider {
    const NAME: &'static str = "file";
    const COMMAND: &'static str = "file-cloud-controller-manager";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Flags = Flags;

    async fn build(_flags: &Flags, context: Context) -> Result<Built> {
        let text = context.cloud_config.unwrap_or_default();
        let entries = text.lines().filter_map(|line| line.split_once(' '));
        let instances = entries.map(|(name, address)| (name.to_owned(), address.trim().to_owned())).collect();
        Ok(File { instances: Arc::new(Addresses(instances)) }.into())
    }
}

fn main() -> ExitCode {
    manager::run::<FileProvider>()
}
