//! What a node holds in memory stays within the bounds that are stated beside each list.

use super::{Check, Happening, View};
use crate::node::NodeId;
use kakera_beacon::Pool;
use kakera_chain::units::ChainId;
use kakera_shard::{PoolLimits, SignedTransaction};

/// A node is weighed after each so many of its happenings, and at the end.
const EACH: u32 = 64;

/// Statement 6: no growth without bound.
#[derive(Default)]
pub(super) struct Growth(Vec<u32>);

impl Check for Growth {
    fn name(&self) -> &'static str {
        "growth"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        let node = match happening {
            Happening::Said { node, .. }
            | Happening::Beacon { node, .. }
            | Happening::Shard { node, .. }
            | Happening::Refused { node, .. }
            | Happening::CrosslinkRefused { node, .. }
            | Happening::Answered { node, .. } => *node,
            _ => return Ok(()),
        };
        if self.0.len() < view.nodes.len() {
            self.0.resize(view.nodes.len(), 0);
        }
        self.0[node] += 1;
        if !self.0[node].is_multiple_of(EACH) {
            return Ok(());
        }
        weigh(view, node)
    }

    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        (0..view.nodes.len()).try_for_each(|node| weigh(view, node))
    }
}

fn weigh(view: &View<'_>, id: NodeId) -> Result<(), String> {
    let node = &view.nodes[id];
    if !node.is_honest() {
        return Ok(());
    }
    let within = |what: &str, count: usize, bound: usize| match count <= bound {
        true => Ok(()),
        false => Err(format!("{} holds {count} {what}, at most {bound} are allowed", node.name())),
    };
    let footprint = if let Some(replica) = node.beacon() {
        let pool = replica.app().inner().pool();
        within("crosslinks", pool.len(), Pool::PER_SHARD * usize::from(view.setup.network.genesis.shards))?;
        replica.footprint()
    } else if let (Some(replica), ChainId::Shard(shard)) = (node.shard(), node.chain) {
        let limits = PoolLimits::default();
        let (transactions, bytes) = replica.app().inner().pool_size();
        // Nobody without an account here can have one wait, and each only so many.
        let senders = view.setup.accounts[usize::from(shard.0)].len();
        let most = limits.transactions.min(senders * limits.sender_transactions);
        within("transactions", transactions, most)?;
        within("bytes of transactions", bytes, limits.bytes.min(most * SignedTransaction::MAX_BYTES))?;
        replica.footprint()
    } else {
        return Ok(());
    };
    let copy = node.observer().map(crate::observer::Observer::footprint);
    for footprint in std::iter::once(footprint).chain(copy) {
        if let Some(found) = footprint.excess() {
            let (count, what, bound) = (found.count, found.what, found.bound);
            return Err(format!("{} holds {count} {what}, at most {bound} are allowed", node.name()));
        }
    }
    Ok(())
}
