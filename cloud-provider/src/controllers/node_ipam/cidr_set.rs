//! The blocks of one address range, and which of them are taken.

use std::{net::IpAddr, ops::Range};

use ipnet::IpNet;
use prometheus::{Gauge, Histogram, IntCounter};

use crate::metrics::{Metrics, exponential_buckets};

#[cfg(test)]
mod tests;

/// How much longer the mask of an IPv6 node may be than the cluster's: a bitmap of 8 KiB. IPv4 knows no such limit.
pub(super) const LONGEST_DIFFERENCE: u8 = 16;
const WORD: usize = u64::BITS as usize;

/// A range of addresses cut into blocks of equal size, one for each node.
///
/// Blocks are handed out in turn: one that is released comes up again only when the turn has gone around. Anything that
/// overlaps the range can be taken or released, whatever its size: what is smaller than a block stands for the whole block,
/// what is larger than the range for all of it. The set remembers blocks and not who holds them; see `Ledger` for that.
#[derive(Debug, Clone)]
pub struct CidrSet {
    cluster: IpNet,
    node_prefix: u8,
    blocks: usize,
    /// One bit for each block; blocks beyond its end are free.
    used: Vec<u64>,
    taken: usize,
    next: usize,
    metrics: SetMetrics,
}

/// Why there is no set, or no block. Displays as upstream's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The node's mask is shorter than the cluster's, or no mask of that family.
    #[error("node mask /{node_prefix} does not fit into cluster cidr {cluster}")]
    Mask {
        /// The cluster's range.
        cluster: IpNet,
        /// The length of the node's mask.
        node_prefix: u8,
    },
    /// More blocks than one set can hold.
    #[error("New CIDR set failed; the node CIDR size is too big")]
    TooBig,
    /// Every block is taken.
    #[error("CIDR allocation failed; there are no remaining CIDRs left to allocate in the accepted range")]
    Exhausted,
    /// Nothing of it lies in the cluster's range.
    #[error("cidr {cidr} is out the range of cluster cidr {cluster}")]
    OutOfRange {
        /// What was to be taken or released.
        cidr: IpNet,
        /// The cluster's range.
        cluster: IpNet,
    },
}

impl CidrSet {
    /// The blocks of `cluster` with masks of length `node_prefix`, all of them free.
    ///
    /// # Errors
    ///
    /// [`Error::Mask`] and [`Error::TooBig`].
    pub fn new(cluster: IpNet, node_prefix: u8, metrics: &Metrics) -> Result<Self, Error> {
        let cluster = cluster.trunc();
        if node_prefix < cluster.prefix_len() || node_prefix > cluster.max_prefix_len() {
            return Err(Error::Mask { cluster, node_prefix });
        }
        let difference = node_prefix - cluster.prefix_len();
        if cluster.addr().is_ipv6() && difference > LONGEST_DIFFERENCE {
            return Err(Error::TooBig);
        }
        let blocks = 1_usize.checked_shl(difference.into()).ok_or(Error::TooBig)?;
        let metrics = SetMetrics::new(&cluster.to_string(), blocks, metrics);
        Ok(Self { cluster, node_prefix, blocks, used: Vec::new(), taken: 0, next: 0, metrics })
    }

    /// The range that is cut into blocks.
    pub fn cluster(&self) -> IpNet {
        self.cluster
    }

    /// How many blocks there are.
    pub fn len(&self) -> usize {
        self.blocks
    }

    /// Whether no block is taken.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Whether every block is taken.
    pub fn is_full(&self) -> bool {
        self.taken == self.blocks
    }

    /// How many blocks are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Takes the next free block.
    ///
    /// # Errors
    ///
    /// [`Error::Exhausted`].
    pub fn allocate(&mut self) -> Result<IpNet, Error> {
        let found = self.first_free(self.next..self.blocks).or_else(|| self.first_free(0..self.next));
        let index = found.ok_or(Error::Exhausted)?;
        let skipped = (index + self.blocks - self.next) % self.blocks;
        self.metrics.tries.observe(skipped as f64);
        self.next = (index + 1) % self.blocks;
        self.assign(index..index + 1, true);
        Ok(self.block(index))
    }

    /// Takes all blocks that `cidr` touches, and tells how many of them were free before.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    pub fn occupy(&mut self, cidr: IpNet) -> Result<usize, Error> {
        let touched = self.touched(cidr)?;
        Ok(self.assign(touched, true))
    }

    /// Frees all blocks that `cidr` touches, and tells how many of them were taken before.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    pub fn release(&mut self, cidr: IpNet) -> Result<usize, Error> {
        let touched = self.touched(cidr)?;
        Ok(self.assign(touched, false))
    }

    /// The blocks that `cidr` touches, by their numbers.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`].
    pub fn touched(&self, cidr: IpNet) -> Result<Range<usize>, Error> {
        if cidr.contains(&self.cluster) {
            return Ok(0..self.blocks);
        }
        if !self.cluster.contains(&cidr) {
            return Err(Error::OutOfRange { cidr: cidr.trunc(), cluster: self.cluster });
        }
        Ok(self.index(cidr.network())..self.index(cidr.broadcast()) + 1)
    }

    /// The number of the block with an address of the cluster's range.
    fn index(&self, address: IpAddr) -> usize {
        let offset = number(address) - number(self.cluster.network());
        // Less than `blocks`, since the address lies in the range.
        offset.checked_shr(self.shift()).unwrap_or_default() as usize
    }

    fn block(&self, index: usize) -> IpNet {
        let base = number(self.cluster.network());
        let start = base | (index as u128).checked_shl(self.shift()).unwrap_or_default();
        let address = match self.cluster {
            IpNet::V4(_) => IpAddr::V4((start as u32).into()),
            IpNet::V6(_) => IpAddr::V6(start.into()),
        };
        // The length was checked against the family when the set was made.
        IpNet::new_assert(address, self.node_prefix)
    }

    /// How many bits of an address lie within a block.
    fn shift(&self) -> u32 {
        u32::from(self.cluster.max_prefix_len() - self.node_prefix)
    }

    fn first_free(&self, within: Range<usize>) -> Option<usize> {
        let mut at = within.start;
        while at < within.end {
            let below = (1_u64 << (at % WORD)) - 1;
            let used = self.used.get(at / WORD).copied().unwrap_or_default() | below;
            let word = at - at % WORD;
            if used != u64::MAX {
                let free = word + used.trailing_ones() as usize;
                return (free < within.end).then_some(free);
            }
            at = word + WORD;
        }
        None
    }

    /// Marks blocks as taken or free and tells how many of them changed.
    fn assign(&mut self, blocks: Range<usize>, taken: bool) -> usize {
        if taken && self.used.len() * WORD < blocks.end {
            self.used.resize(blocks.end.div_ceil(WORD), 0);
        }
        let mut changed = 0;
        let mut at = blocks.start;
        while at < blocks.end {
            let count = (WORD - at % WORD).min(blocks.end - at);
            let mask = (u64::MAX >> (WORD - count)) << (at % WORD);
            if let Some(word) = self.used.get_mut(at / WORD) {
                let before = *word;
                *word = if taken { before | mask } else { before & !mask };
                changed += (before ^ *word).count_ones() as usize;
            }
            at += count;
        }
        if taken {
            self.taken += changed;
            self.metrics.allocations.inc_by(changed as u64);
        } else {
            self.taken -= changed;
            self.metrics.releases.inc_by(changed as u64);
        }
        self.metrics.usage.set(self.taken as f64 / self.blocks as f64);
        changed
    }
}

/// An address as a number, whatever its family.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[derive(Debug, Clone)]
struct SetMetrics {
    allocations: IntCounter,
    releases: IntCounter,
    usage: Gauge,
    tries: Histogram,
}

impl SetMetrics {
    fn new(cluster: &str, blocks: usize, metrics: &Metrics) -> Self {
        const LABEL: &[&str] = &["clusterCIDR"];
        let value = &[cluster];
        // The misspelt name is upstream's.
        let max = metrics.float_gauge_vec(
            "node_ipam_controller_cirdset_max_cidrs",
            "[ALPHA] Maximum number of CIDRs that can be allocated.",
            LABEL,
        );
        max.with_label_values(value).set(blocks as f64);
        let counter = |name, help| metrics.counter_vec(name, help, LABEL).with_label_values(value);
        Self {
            allocations: counter(
                "node_ipam_controller_cidrset_cidrs_allocations_total",
                "[ALPHA] Counter measuring total number of CIDR allocations.",
            ),
            releases: counter(
                "node_ipam_controller_cidrset_cidrs_releases_total",
                "[ALPHA] Counter measuring total number of CIDR releases.",
            ),
            usage: metrics
                .float_gauge_vec(
                    "node_ipam_controller_cidrset_usage_cidrs",
                    "[ALPHA] Gauge measuring percentage of allocated CIDRs.",
                    LABEL,
                )
                .with_label_values(value),
            tries: metrics
                .histogram_vec(
                    "node_ipam_controller_cidrset_allocation_tries_per_request",
                    "[ALPHA] Taken blocks that were passed over before a free one was found.",
                    &exponential_buckets(1.0, 5.0, 5),
                    LABEL,
                )
                .with_label_values(value),
        }
    }
}
