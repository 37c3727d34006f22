//! No two honest nodes certify different blocks of one height of one chain.

use super::{Check, Happening, View};
use kakera_chain::{
    BlockId,
    units::{ChainId, Height},
};
use std::collections::BTreeMap;

/// Statement 2.
#[derive(Default)]
pub(super) struct Agreement(BTreeMap<(ChainId, Height), BlockId>);

impl Check for Agreement {
    fn name(&self) -> &'static str {
        "agreement"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        let (node, header, id) = match happening {
            Happening::Beacon { node, certified } => (*node, &certified.block.header, certified.id),
            Happening::Shard { node, certified } => (*node, &certified.block.header, certified.id),
            _ => return Ok(()),
        };
        let first = *self.0.entry((header.chain, header.height)).or_insert(id);
        if first == id {
            return Ok(());
        }
        Err(format!(
            "{} certified {id} at height {} of {}, others {first}",
            view.name(node),
            header.height,
            header.chain
        ))
    }
}
