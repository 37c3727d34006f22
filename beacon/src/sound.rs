//! Crosslinks that are sound in themselves: linked headers, the receipts they commit to, and a valid certificate.

use crate::crosslink::InvalidCrosslink;
use kakera_chain::{
    BlockId,
    block::outbox_root,
    certificate::{Certificate, InvalidCertificate, Seats},
    codec,
    crosslink::{BeaconItem, Crosslink},
    hash::{Hash, NetworkId},
    units::{ChainId, Epoch},
};
use std::collections::{BTreeSet, VecDeque};

/// A crosslink whose links, receipts and certificate were checked: the only form that a state judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundCrosslink {
    crosslink: Crosslink,
    last: BlockId,
    item: Vec<u8>,
}

/// Whose headers a crosslink must hold, and who certifies them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Era<'a> {
    pub(crate) network: NetworkId,
    pub(crate) chain: ChainId,
    pub(crate) epoch: Epoch,
    pub(crate) root: BlockId,
    pub(crate) seats: &'a Seats,
}

impl SoundCrosslink {
    /// Checks everything that does not depend on what is recorded, the costly last.
    pub(crate) fn check(
        crosslink: Crosslink,
        era: &Era<'_>,
        known: &mut KnownCertificates,
    ) -> Result<SoundCrosslink, InvalidCrosslink> {
        let item = BeaconItem::Crosslink(Box::new(crosslink));
        let bytes = codec::encode(&item);
        let BeaconItem::Crosslink(crosslink) = item else { unreachable!("it was just made") };
        let limit = Crosslink::MAX_BYTES;
        // The item is the crosslink behind one byte that says so.
        let found = bytes.len() - 1;
        if found > limit {
            return Err(InvalidCrosslink::TooLong { found, limit });
        }
        let last = link(&crosslink, era)?;
        for (header, receipts) in crosslink.headers.iter().zip(&crosslink.receipts) {
            if outbox_root(receipts) != header.outbox_root {
                return Err(InvalidCrosslink::OutboxRoot { height: header.height });
            }
        }
        let certified = &crosslink.certificate.finality;
        let tip = crosslink.headers.last().expect("link() found one");
        if (certified.block, certified.height) != (last, tip.height) {
            return Err(InvalidCertificate::OtherBlock.into());
        }
        known.verify(&crosslink.certificate, era)?;
        Ok(SoundCrosslink { crosslink: *crosslink, last, item: bytes })
    }

    /// The crosslink.
    pub fn crosslink(&self) -> &Crosslink {
        &self.crosslink
    }

    /// The id of its last header.
    pub fn last(&self) -> BlockId {
        self.last
    }

    /// Its canonical bytes as a beacon block's item.
    pub fn item(&self) -> &[u8] {
        &self.item
    }
}

/// Checks that all headers are of this era and each names the one before as its parent; returns the last one's id.
fn link(crosslink: &Crosslink, era: &Era<'_>) -> Result<BlockId, InvalidCrosslink> {
    let mut below: Option<BlockId> = None;
    for (position, header) in crosslink.headers.iter().enumerate() {
        if (header.chain, header.epoch, header.root) != (era.chain, era.epoch, era.root) {
            return Err(InvalidCrosslink::OtherEra { position });
        }
        if below.is_some_and(|below| header.parent != below) {
            return Err(InvalidCrosslink::Parent { position });
        }
        below = Some(header.id(era.network));
    }
    below.ok_or(InvalidCrosslink::HeaderCount { found: 0, limit: Crosslink::MAX_HEADERS })
}

/// Certificates that were verified, so that none is verified twice; the oldest of [`KnownCertificates::BOUND`] goes first.
#[derive(Clone, Debug, Default)]
pub struct KnownCertificates {
    digests: BTreeSet<Hash>,
    order: VecDeque<Hash>,
}

impl KnownCertificates {
    /// Digests kept at most.
    pub const BOUND: usize = 4096;

    fn verify(&mut self, certificate: &Certificate, era: &Era<'_>) -> Result<(), InvalidCertificate> {
        // The digest covers all that the verdict depends on. The committee too: where a shard falls back, branches of the
        // beacon chain may name different ones for an era of one name.
        let members = codec::encode(&(&era.seats.keys, era.seats.committee.weights().to_vec()));
        let digest = Hash::of(&[&era.network.0.0, &codec::encode(certificate), &members]);
        let finality = &certificate.finality;
        if (finality.chain, finality.epoch, finality.root) != (era.chain, era.epoch, era.root) {
            return Err(InvalidCertificate::OtherEra);
        }
        if self.digests.contains(&digest) {
            return Ok(());
        }
        certificate.clone().verify(era.chain, era.epoch, era.root, era.seats, era.network)?;
        self.digests.insert(digest);
        self.order.push_back(digest);
        if self.order.len() > Self::BOUND
            && let Some(oldest) = self.order.pop_front()
        {
            self.digests.remove(&oldest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::fixture::{SEATS, Step, World};
    use kakera_chain::units::ShardId;

    #[test]
    fn verified_certificates_are_remembered_within_bounds() {
        let mut world = World::new();
        let crosslink = world.extend(0, &[Step::default()]);
        let seats = world.seats(ShardId(0));
        let root = world.state.shards[0].root;
        let chain = ChainId::Shard(ShardId(0));
        let era = Era { network: world.network.id, chain, epoch: Epoch(0), root, seats: &seats };
        let mut known = KnownCertificates::default();
        let filler = (0..KnownCertificates::BOUND as u64).map(|n| Hash::of(&[&n.to_le_bytes()]));
        filler.for_each(|digest| {
            known.digests.insert(digest);
            known.order.push_back(digest);
        });
        let oldest = known.order[0];
        for signers in [SEATS, SEATS, SEATS - 1] {
            assert_eq!(known.verify(&world.certificate(&crosslink, signers), &era), Ok(()));
        }
        assert_eq!((known.order.len(), known.digests.len()), (KnownCertificates::BOUND, KnownCertificates::BOUND));
        assert!(!known.digests.contains(&oldest));
        let weak = world.certificate(&crosslink, 4);
        assert!(
            known.verify(&weak, &era).is_err() && known.verify(&weak, &era).is_err(),
            "failures are not remembered"
        );
        let elsewhere = Era { epoch: Epoch(1), ..era };
        let good = world.certificate(&crosslink, SEATS);
        assert_eq!(known.verify(&good, &elsewhere), Err(InvalidCertificate::OtherEra));
    }
}
