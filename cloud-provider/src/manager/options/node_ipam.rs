//! Section "nodeipam controller". Upstream has it in the programs of two clouds; here every cloud has the controller.

use clap::Args;

use super::{CloudSettings, Errors};
use crate::controllers::node_ipam::{self, Flags};

/// Section "nodeipam controller".
#[derive(Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Nodeipam controller flags")]
pub struct NodeIpam {
    /// Address ranges of services, one or one for each IP family; no node gets an address of them. Requires
    /// --allocate-node-cidrs
    #[arg(long, default_value = "")]
    pub service_cluster_ip_range: String,
    /// Length of the masks of nodes' ranges in a cluster of one IP family; 0 for 24 (IPv4) or 64 (IPv6)
    #[arg(long, default_value = "0")]
    pub node_cidr_mask_size: i32,
    /// Length of the masks of nodes' IPv4 ranges; 0 for 24
    #[arg(long, default_value = "0")]
    pub node_cidr_mask_size_ipv4: i32,
    /// Length of the masks of nodes' IPv6 ranges; 0 for 64
    #[arg(long, default_value = "0")]
    pub node_cidr_mask_size_ipv6: i32,
}

/// Settings of the node IPAM controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIpamSettings {
    /// Who allocates, and from what.
    pub allocator: node_ipam::Settings,
    /// What of the flags is ignored, for the log.
    pub ignored: Vec<String>,
}

impl NodeIpam {
    /// None where nothing is to be allocated: the controller is not enabled, or `--allocate-node-cidrs` is not given. Its
    /// flags are read only where something is; upstream finds their errors when the controller starts.
    pub(super) fn validate(
        &self,
        cloud: &CloudSettings,
        enabled: bool,
        errors: &mut Errors,
    ) -> Option<NodeIpamSettings> {
        if !enabled || !cloud.allocate_node_cidrs {
            return None;
        }
        let flags = Flags {
            allocator: &cloud.cidr_allocator_type,
            cluster_cidrs: &cloud.cluster_cidrs,
            service_ranges: &self.service_cluster_ip_range,
            mask: self.node_cidr_mask_size,
            mask_ipv4: self.node_cidr_mask_size_ipv4,
            mask_ipv6: self.node_cidr_mask_size_ipv6,
        };
        let mut ignored = Vec::new();
        match node_ipam::Settings::derive(&flags, &mut ignored) {
            Ok(allocator) => Some(NodeIpamSettings { allocator, ignored }),
            Err(error) => {
                errors.add(error.to_string());
                None
            }
        }
    }
}
