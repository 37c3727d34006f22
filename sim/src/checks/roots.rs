//! Every node computes the same state from the same chain: the root that the header names is the root of what it holds.

use super::{Check, Happening, View};
use kakera_chain::{
    BlockId,
    block::Header,
    hash::Hash,
    units::{ChainId, Height},
};
use kakera_shard::{ShardState, Trie};
use std::collections::BTreeMap;

/// Up to so many accounts the tree is built anew from its leaves at each block, too.
const REBUILT: usize = 256;

/// Statement 5.
#[derive(Default)]
pub(super) struct Roots(BTreeMap<(ChainId, Height), (BlockId, Hash)>);

impl Check for Roots {
    fn name(&self) -> &'static str {
        "roots"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        match happening {
            Happening::Beacon { node, certified } => {
                let header = &certified.block.header;
                self.agrees(header, certified.id, certified.executed.state_root, certified.executed.state.root())
                    .map_err(|what| format!("{}: {what}", view.name(*node)))
            }
            Happening::Shard { node, certified } => {
                let (header, executed) = (&certified.block.header, &certified.executed);
                if !self.0.contains_key(&(header.chain, header.height)) {
                    rebuilt(&executed.state).map_err(|what| format!("{}: {what}", view.name(*node)))?;
                }
                self.agrees(header, certified.id, executed.state_root, executed.state.root())
                    .map_err(|what| format!("{}: {what}", view.name(*node)))
            }
            Happening::Started { node } if view.nodes[*node].is_honest() => {
                let node = &view.nodes[*node];
                let restored = if let Some(replica) = node.beacon() {
                    let certified = replica.certified();
                    self.agrees(certified.header, certified.id, certified.header.state_root, certified.state.root())
                } else if let Some(replica) = node.shard() {
                    let certified = replica.certified();
                    self.agrees(certified.header, certified.id, certified.header.state_root, certified.state.root())
                } else {
                    Ok(())
                };
                restored.map_err(|what| format!("{} as restored: {what}", node.name()))
            }
            _ => Ok(()),
        }
    }
}

impl Roots {
    fn agrees(&mut self, header: &Header, id: BlockId, claimed: Hash, found: Hash) -> Result<(), String> {
        let height = header.height;
        if claimed != header.state_root || found != header.state_root {
            return Err(format!(
                "the state at height {height} of {} has root {found}, was executed to {claimed}, the header says {}",
                header.chain, header.state_root
            ));
        }
        let (first, root) = *self.0.entry((header.chain, height)).or_insert((id, found));
        match first != id || root == found {
            true => Ok(()),
            false => {
                Err(format!("the state at height {height} of {} has root {found}, elsewhere {root}", header.chain))
            }
        }
    }
}

/// The tree that was changed block by block is the one that its leaves make.
fn rebuilt(state: &ShardState) -> Result<(), String> {
    if state.accounts.len() > REBUILT {
        return Ok(());
    }
    let mut anew = Trie::default();
    state.accounts.iter().for_each(|(address, account)| anew.set(address, account));
    match anew.root() == state.accounts.root() {
        true => Ok(()),
        false => Err(format!("the accounts have root {}, built anew {}", state.accounts.root(), anew.root())),
    }
}
