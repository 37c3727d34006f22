//! Following a chain block by block: certified blocks as they are, without the messages that led to them.
//!
//! An observer has no seat, or its era is over and it lacks the next one's root. Each batch that it takes ends in a block
//! with a certificate of this era's committee, and every block is executed.

use super::{Phase, Replica, agrees, ledger::Held};
use crate::{
    application::{Application, CertifiedBlocks, ReferenceStatus},
    block::{Block, Header},
    certificate::InvalidCertificate,
    codec,
    store::Table,
    units::Height,
};
use kakera_cbc::BlockId;
use std::sync::Arc;
use thiserror::Error;

/// Why certified blocks are not taken; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidBlocks {
    /// No block, too many, or too many bytes.
    #[error("{blocks} blocks of {bytes} bytes: 1 to {most_blocks} blocks and {most_bytes} bytes are allowed")]
    Size {
        /// Blocks present.
        blocks: usize,
        /// Canonical bytes present.
        bytes: usize,
        /// Blocks allowed.
        most_blocks: usize,
        /// Bytes allowed.
        most_bytes: usize,
    },
    /// Blocks are missing between the newest certified one and these.
    #[error("the first new block has height {found}, but {expected} is next")]
    Gap {
        /// The height above the newest certified block's.
        expected: Height,
        /// The first new block's.
        found: Height,
    },
    /// A block that does not follow the one before: parent, height, slot, era, or after a switch block.
    #[error("the block at height {height} does not follow the one below it")]
    Linkage {
        /// Its height.
        height: Height,
    },
    /// A body or witnesses that the header does not commit to.
    #[error("the block at height {height} is not what its header commits to")]
    Torn {
        /// Its height.
        height: Height,
    },
    /// The certificate is not for the last block.
    #[error("the certificate is not for the last block")]
    OtherBlock,
    /// The certificate does not hold.
    #[error("the certificate does not hold: {0}")]
    Certificate(InvalidCertificate),
    /// A block whose reference is not known here yet: to be given again when more of the beacon chain is known.
    #[error("the block at height {height} has read more of the beacon chain than is known here")]
    Reference {
        /// Its height.
        height: Height,
    },
    /// A certified block that does not execute to what it states: more than a third of the committee is faulty.
    #[error("the block at height {height} does not execute to what it states")]
    Content {
        /// Its height.
        height: Height,
    },
}

/// Blocks one above the other, ascending.
type Path<S> = Vec<Arc<Held<S>>>;

impl<A: Application> Replica<A> {
    /// Takes certified blocks; an observer only: a member certifies what it hears.
    pub(super) fn import(&mut self, certified: &CertifiedBlocks) -> Result<(), InvalidBlocks> {
        if self.voice.phase != Phase::Observer {
            return Ok(());
        }
        let Some(path) = self.examine(certified)? else { return Ok(()) };
        // Nobody asks an observer for blocks below the last ones given, and what is settled is never gone back to.
        let settled = self.app.settled().min(self.ledger.certified().height());
        self.ledger.forget_below(settled);
        self.ledger.extend(path.iter().cloned());
        let mut before = self.ledger.certified().clone();
        for held in path {
            self.out.put(Table::Blocks, held.id.0, codec::encode(&*held.block));
            self.certify_held(&before, &held);
            before = held;
        }
        self.certified_up_to(&certified.certificate);
        Ok(())
    }

    /// The new ones among certified blocks, executed; nothing if there are none.
    fn examine(&mut self, certified: &CertifiedBlocks) -> Result<Option<Path<A::State>>, InvalidBlocks> {
        let (blocks, most_blocks) = (certified.blocks.len(), CertifiedBlocks::MAX_BLOCKS);
        let (bytes, most_bytes) = (borsh::object_length(certified).unwrap_or(usize::MAX), CertifiedBlocks::MAX_BYTES);
        if blocks == 0 || blocks > most_blocks || bytes > most_bytes {
            return Err(InvalidBlocks::Size { blocks, bytes, most_blocks, most_bytes });
        }
        let below = self.ledger.certified().clone();
        let expected = below.height().next();
        let fresh = certified.blocks.iter().skip_while(|block| block.header.height < expected);
        let fresh: Vec<&Block> = fresh.collect();
        let Some((first, last)) = fresh.first().zip(fresh.last()) else { return Ok(None) };
        if first.header.height != expected {
            return Err(InvalidBlocks::Gap { expected, found: first.header.height });
        }
        let (mut header, mut id) = (below.block.header.clone(), below.id);
        for block in &fresh {
            self.links(&header, id, &block.header)?;
            if !block.is_whole() {
                return Err(InvalidBlocks::Torn { height: block.header.height });
            }
            (header, id) = (block.header.clone(), block.header.id(self.era.network));
        }
        let finality = &certified.certificate.finality;
        if (finality.block, finality.height) != (id, last.header.height) {
            return Err(InvalidBlocks::OtherBlock);
        }
        let era = self.era;
        let certificate = certified.certificate.clone();
        certificate
            .verify(era.chain, era.epoch, era.root, &self.seats, era.network)
            .map_err(InvalidBlocks::Certificate)?;
        self.execute_all(below, &fresh).map(Some)
    }

    /// Whether a header follows the one below it in this era.
    fn links(&self, below: &Header, id: BlockId, header: &Header) -> Result<(), InvalidBlocks> {
        let follows = self.era.holds(header)
            && header.parent == id
            && Some(header.height.0) == below.height.0.checked_add(1)
            && header.slot > below.slot
            && usize::from(header.proposer.0) < self.seats.keys.len()
            && !self.era.is_closed_by(below, &self.network);
        if follows { Ok(()) } else { Err(InvalidBlocks::Linkage { height: header.height }) }
    }

    fn execute_all(
        &mut self,
        mut below: Arc<Held<A::State>>,
        blocks: &[&Block],
    ) -> Result<Path<A::State>, InvalidBlocks> {
        let mut path = Vec::with_capacity(blocks.len());
        for block in blocks {
            let (header, height) = (&block.header, block.header.height);
            match self.app.reference_status(&header.reference, &below.block.header.reference) {
                ReferenceStatus::Known => {}
                ReferenceStatus::Unknown => return Err(InvalidBlocks::Reference { height }),
                ReferenceStatus::Invalid => return Err(InvalidBlocks::Content { height }),
            }
            let context = self.context(header);
            let executed = self.app.execute(&below.executed.state, &context, &block.body, &block.witnesses);
            let Some(executed) = executed.ok().filter(|executed| agrees(header, executed)) else {
                return Err(InvalidBlocks::Content { height });
            };
            let id = header.id(self.era.network);
            below = Arc::new(Held { id, block: Arc::new((*block).clone()), executed });
            path.push(below.clone());
        }
        Ok(path)
    }
}
