//! The checkpoints that are served: one is read at a time, and its bytes are shared by all who take it.

use crate::{
    api::Answers,
    core::Core,
    errors::ApiError,
    server::{Holding, Share},
    store::RocksStore,
};
use kakera_beacon::{Beacon, checkpoint_at, checkpoint_of, newest_checkpoint};
use kakera_chain::{BlockId, hash::NetworkId, units::Epoch};
use kakera_proto::v1::CanonicalBytes;
use std::sync::{Arc, Weak};
use tokio::sync::Mutex;

/// Bytes of a checkpoint in one message.
const PIECE: usize = 1024 * 1024;

/// A handle; clones share everything.
#[derive(Clone)]
pub struct Checkpoints {
    beacon: Core<Beacon>,
    store: Arc<RocksStore>,
    network: NetworkId,
    /// Epochs for which a root is held.
    unbonding: u64,
    /// What is being taken. Who holds the lock reads.
    taken: Arc<Mutex<Taken>>,
}

/// Roots, and the bytes as long as anybody takes them.
type Taken = Vec<(BlockId, Weak<Vec<u8>>)>;

impl Checkpoints {
    /// Those of a network with this unbonding delay, in epochs.
    pub(super) fn new(
        (beacon, store): (Core<Beacon>, Arc<RocksStore>),
        network: NetworkId,
        unbonding: u64,
    ) -> Checkpoints {
        Checkpoints { beacon, store, network, unbonding, taken: Arc::default() }
    }

    /// The bytes of a checkpoint that is held here, if it is; without a root, of the newest to begin every shard from.
    pub(super) async fn bytes(&self, root: Option<BlockId>) -> Result<Arc<Vec<u8>>, ApiError> {
        let mut taken = self.taken.lock().await;
        taken.retain(|(_, bytes)| bytes.strong_count() > 0);
        let shared = |taken: &Taken, wanted: BlockId| {
            taken.iter().find(|(root, _)| *root == wanted).and_then(|(_, bytes)| bytes.upgrade())
        };
        if let Some(bytes) = root.and_then(|root| shared(&taken, root)) {
            return Ok(bytes);
        }
        let newest = self.beacon.query(|replica, _| replica.certified().state.clone()).await?;
        tokio::task::block_in_place(|| {
            let read = match root {
                None => newest_checkpoint(&*self.store, &newest, true),
                Some(root) => {
                    let oldest = newest.epoch.0.saturating_sub(self.unbonding);
                    let is_it = |epoch: &u64| matches!(checkpoint_at(&*self.store, Epoch(*epoch)), Ok(Some((_, id))) if id == root);
                    let epoch = (oldest..=newest.epoch.0).find(is_it);
                    epoch.map_or(Ok(None), |epoch| checkpoint_of(&*self.store, Epoch(epoch)))
                }
            }?;
            let Some(checkpoint) = read else { return Ok(Arc::default()) };
            let found = checkpoint.block.header.id(self.network);
            if root.is_some_and(|root| root != found) {
                return Ok(Arc::default());
            }
            let bytes = shared(&taken, found).unwrap_or_else(|| Arc::new(checkpoint.to_bytes().unwrap_or_default()));
            taken.push((found, Arc::downgrade(&bytes)));
            Ok(bytes)
        })
    }
}

/// The bytes in pieces, each made when its reader has room for it.
pub(super) fn pieces(bytes: Arc<Vec<u8>>, share: Share) -> Answers<CanonicalBytes> {
    let count = bytes.len().div_ceil(PIECE);
    let piece = move |index: usize| {
        let from = index * PIECE;
        Ok(CanonicalBytes { canonical: bytes[from..bytes.len().min(from + PIECE)].to_vec() })
    };
    Box::pin(Holding::new(tokio_stream::iter((0..count).map(piece)), share))
}
