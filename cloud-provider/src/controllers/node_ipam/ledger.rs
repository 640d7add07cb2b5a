//! Which node holds which blocks.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use ipnet::IpNet;

use super::{
    cidr_set::{self, CidrSet},
    settings::RangeSettings,
};
use crate::{
    cluster::objects::{Key, Node, Object},
    metrics::Metrics,
};

/// The blocks of all ranges and their holders.
///
/// Holders are known by the UID of their node, so that a node that comes back under its old name gets nothing of its
/// predecessor by accident. A reservation stays until it is known whether it was written: asked again, the same node gets the
/// same blocks. Blocks that two holders share, since somebody wrote a range twice or since masks have changed, stay
/// taken until the last of them is gone; those of services always.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    sets: Vec<CidrSet>,
    services: Vec<IpNet>,
    holders: HashMap<String, Holder>,
    /// Nodes for which there was no block.
    starved: BTreeSet<Key>,
}

#[derive(Debug, Clone)]
struct Holder {
    node: Key,
    /// What the node holds of each set; `None` where its range does not lie in the set's.
    held: Vec<Option<Held>>,
    /// Whether the node's object shows it, as far as is known.
    written: bool,
}

#[derive(Debug, Clone)]
struct Held {
    cidr: IpNet,
    blocks: Range<usize>,
}

/// No block is left in one of the ranges. Displays as upstream's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to allocate cidr from cluster cidr at idx:{index}: {source}")]
pub(super) struct Starved {
    index: usize,
    source: cidr_set::Error,
}

/// A node's range that does not belong to this cluster. Displays as upstream's text, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{problem}; --cluster-cidr has to cover the ranges of all nodes: give the range that this node had when it was \
     allocated, or delete the node object so that its kubelet registers it anew"
)]
pub(super) struct Misfit {
    pub(super) node: String,
    problem: String,
}

impl Ledger {
    /// A ledger in which only the ranges of services are taken.
    ///
    /// # Errors
    ///
    /// A range that cannot be cut into blocks of that size.
    pub(super) fn new(settings: &RangeSettings, metrics: &Metrics) -> Result<Self, cidr_set::Error> {
        let sets = settings.ranges.iter().map(|range| CidrSet::new(range.cluster, range.node_prefix, metrics));
        let sets = sets.collect::<Result<Vec<_>, _>>()?;
        let mut ledger =
            Self { sets, services: settings.services.clone(), holders: HashMap::new(), starved: BTreeSet::new() };
        for set in &mut ledger.sets {
            for service in &ledger.services {
                // Most ranges of services lie elsewhere.
                let _ = set.occupy(*service);
            }
        }
        Ok(ledger)
    }

    /// Takes note of the ranges that a node has. Gives the other nodes that show some of the same blocks; there should be
    /// none. A mere reservation of the same blocks is given up.
    ///
    /// # Errors
    ///
    /// A range that lies in no range of the cluster; what fits is held all the same.
    pub(super) fn observe(&mut self, node: &Node) -> Result<Vec<Key>, Misfit> {
        self.starved.remove(&node.key());
        if let Some(holder) = self.holders.get_mut(node.uid()) {
            if holder.cidrs() == node.spec.pod_cidrs {
                holder.written = true;
                return Ok(Vec::new());
            }
            // Somebody else was quicker.
            self.release(node.uid());
        }
        let mut problem = None;
        let mut held = Vec::new();
        let mut shared = false;
        for (index, text) in node.spec.pod_cidrs.iter().enumerate() {
            held.push(match self.held(node, index, text) {
                Ok(range) => {
                    shared |= range.blocks.len() != self.take(index, &range);
                    Some(range)
                }
                Err(text) => {
                    problem.get_or_insert(text);
                    None
                }
            });
        }
        let holder = Holder { node: node.key(), held, written: true };
        let sharing = if shared { self.sharing(&holder) } else { Vec::new() };
        self.holders.insert(node.uid().to_owned(), holder);
        let mut others = Vec::new();
        for uid in sharing {
            match self.holders.get(&uid) {
                // It gets other blocks when it asks again.
                Some(other) if !other.written => self.release(&uid),
                Some(other) => others.push(other.node.clone()),
                None => {}
            }
        }
        others.sort();
        match problem {
            Some(problem) => Err(Misfit { node: node.name().to_owned(), problem }),
            None => Ok(others),
        }
    }

    /// One block of each range for a node that has none, the same ones as before where it was asked before. `None`
    /// where the node's were written already, though the node does not show them yet.
    ///
    /// # Errors
    ///
    /// There is no block left in one of the ranges; then nothing is taken of the others.
    pub(super) fn reserve(&mut self, node: &Node) -> Result<Option<Vec<IpNet>>, Starved> {
        self.starved.remove(&node.key());
        if let Some(holder) = self.holders.get(node.uid()) {
            return Ok((!holder.written).then(|| holder.held.iter().flatten().map(|held| held.cidr).collect()));
        }
        if let Some(index) = self.sets.iter().position(CidrSet::is_full) {
            self.starved.insert(node.key());
            return Err(Starved { index, source: cidr_set::Error::Exhausted });
        }
        let mut cidrs = Vec::new();
        for (index, set) in self.sets.iter_mut().enumerate() {
            cidrs.push(set.allocate().map_err(|source| Starved { index, source })?);
        }
        let held = cidrs.iter().zip(&self.sets).map(|(cidr, set)| {
            let blocks = set.touched(*cidr).ok()?;
            Some(Held { cidr: *cidr, blocks })
        });
        let holder = Holder { node: node.key(), held: held.collect(), written: false };
        self.holders.insert(node.uid().to_owned(), holder);
        Ok(Some(cidrs))
    }

    /// A reservation was written.
    pub(super) fn written(&mut self, uid: &str) {
        if let Some(holder) = self.holders.get_mut(uid) {
            holder.written = true;
        }
    }

    /// Frees what the node of a UID holds, but for blocks that somebody else holds too.
    pub(super) fn release(&mut self, uid: &str) {
        let Some(holder) = self.holders.remove(uid) else { return };
        for (index, held) in holder.held.iter().enumerate() {
            let (Some(held), Some(set)) = (held, self.sets.get_mut(index)) else { continue };
            let freed = set.release(held.cidr);
            debug_assert!(freed.is_ok(), "it was taken by the same range");
            let others = self.holders.values().filter_map(|other| other.held.get(index)?.as_ref());
            let others = others.filter(|other| overlap(&other.blocks, &held.blocks)).map(|other| other.cidr);
            for cidr in others.chain(self.services.iter().copied()) {
                let _ = set.occupy(cidr);
            }
        }
    }

    /// A node is gone, with or without ranges.
    pub(super) fn forget(&mut self, node: &Node) {
        self.starved.remove(&node.key());
        self.release(node.uid());
    }

    /// A node for which there was no block, where there is one now. It is not named again unless it asks in vain again.
    pub(super) fn next_starved(&mut self) -> Option<Key> {
        if self.sets.iter().any(CidrSet::is_full) { None } else { self.starved.pop_first() }
    }

    fn held(&self, node: &Node, index: usize, text: &str) -> Result<Held, String> {
        let name = node.name();
        let cidr: IpNet = text.parse().map_err(|_| format!("failed to parse node {name}, CIDR {text}"))?;
        let set = self.sets.get(index).ok_or_else(|| {
            format!(
                "node:{name} has an allocated cidr: {text} at index:{index} that does not exist in cluster cidrs \
                 configuration"
            )
        })?;
        let cidr = cidr.trunc();
        let blocks = set.touched(cidr).map_err(|error| {
            format!("failed to mark cidr[{cidr}] at idx [{index}] as occupied for node: {name}: {error}")
        })?;
        Ok(Held { cidr, blocks })
    }

    /// Gives how many blocks were free before.
    fn take(&mut self, index: usize, held: &Held) -> usize {
        let taken = self.sets.get_mut(index).and_then(|set| set.occupy(held.cidr).ok());
        taken.unwrap_or_default()
    }

    /// The UIDs of those that hold some of the same blocks.
    fn sharing(&self, holder: &Holder) -> Vec<String> {
        let shares = |(_, other): &(&String, &Holder)| {
            let pairs = holder.held.iter().zip(&other.held);
            pairs.into_iter().any(|pair| matches!(pair, (Some(a), Some(b)) if overlap(&a.blocks, &b.blocks)))
        };
        self.holders.iter().filter(shares).map(|(uid, _)| uid.clone()).collect()
    }
}

impl Holder {
    fn cidrs(&self) -> Vec<String> {
        self.held.iter().flatten().map(|held| held.cidr.to_string()).collect()
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

#[cfg(test)]
mod tests;
