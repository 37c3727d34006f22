//! From the own detector to certificates: finality signatures said in height order, collected, and adopted.

use super::{Breach, Effect, Phase, Refused, Replica, SignState, ledger::Held, record};
use crate::{
    application::Application,
    certificate::{Certificate, FinalitySignature},
    codec,
    peer::PeerMessage,
    store::Table,
    units::Height,
};
use kakera_cbc::{BlockId, Member};
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

/// Heights above the certified one for which signatures are collected.
const WINDOW: u64 = 256;
/// Certificates of blocks not held yet that are kept.
const STASH: usize = 16;

/// Finality signatures above the certified height, at most one a member and height.
#[derive(Default)]
pub(super) struct Shares {
    held: BTreeMap<Height, BTreeMap<Member, FinalitySignature>>,
    /// Certificates of blocks that are not held yet, by height.
    stash: BTreeMap<(Height, BlockId), Certificate>,
    /// The greatest height that this member signed, and the block there.
    pub(super) own: Option<(Height, BlockId)>,
}

impl Shares {
    pub(super) fn new(own: Option<(Height, BlockId)>) -> Self {
        Shares { own, ..Shares::default() }
    }

    /// What is held: others' signatures within the window, the own one of every block held, and certificates in wait.
    pub(super) fn weigh(&self, members: u64, blocks: u64, hold: &mut impl FnMut(&'static str, usize, u64)) {
        let shares = self.held.values().map(BTreeMap::len).sum();
        hold("finality signatures", shares, WINDOW * members + blocks);
        hold("heights with finality signatures", self.held.len(), WINDOW + blocks);
        hold("certificates in wait", self.stash.len(), STASH as u64);
    }

    /// Signatures of one member above a height.
    pub(super) fn of(&self, member: Member, above: Height) -> impl Iterator<Item = &FinalitySignature> {
        let range = (Bound::Excluded(above), Bound::Unbounded);
        self.held.range(range).filter_map(move |(_, shares)| shares.get(&member))
    }
}

impl<A: Application> Replica<A> {
    /// Signs what the own detector has finalized, every header in height order, once.
    pub(super) fn sign_finalized(&mut self) {
        let (Phase::Active, Some(me)) = (self.voice.phase, self.engine.me()) else { return };
        let certified = self.ledger.certified();
        let mut low = (certified.height(), certified.id);
        if let Some(own) = self.shares.own {
            low = low.max(own);
        }
        let finalized = self.engine.finalized();
        let finalized_height = self.ledger.block(&finalized).map(|held| held.height());
        if finalized_height.is_none_or(|height| height <= low.0) {
            return;
        }
        let Some(path) = self.ledger.path(&low.1, &finalized) else {
            self.out.halt(Breach::ConflictingFinality { signed: low.1, finalized });
            return;
        };
        for held in path {
            self.sign_final(me, &held);
        }
    }

    fn sign_final(&mut self, me: Member, held: &Held<A::State>) {
        let Some(key) = &self.key else { return };
        let own = (held.height(), held.id);
        let share = FinalitySignature::sign(self.finality_of(&held.block.header), me, key, self.era.network);
        self.shares.own = Some(own);
        self.out.put(Table::Meta, record::OWN_FINALITY, codec::encode(&own));
        self.guard();
        self.out.sent.push(Effect::Broadcast(PeerMessage::Finality(share.clone())));
        self.collect(share);
    }

    /// What was said so far must be on disk before more is.
    pub(super) fn guard(&mut self) {
        let next_seq = self.engine.me().and_then(|me| self.engine.latest(me)).map_or(0, |(seq, _)| seq + 1);
        let finality_height = self.shares.own.map_or(0, |(height, _)| height.0);
        self.out.synced = true;
        self.out.guard = Some(SignState { next_seq, finality_height });
    }

    pub(super) fn hear_share(&mut self, share: FinalitySignature) -> Result<(), Refused> {
        let finality = &share.finality;
        if (finality.chain, finality.epoch, finality.root) != (self.era.chain, self.era.epoch, self.era.root) {
            return Err(Refused::OtherEra);
        }
        let certified = self.ledger.certified().height();
        let near = finality.height > certified && finality.height.0 - certified.0 <= WINDOW;
        let known = self.shares.held.get(&finality.height).is_some_and(|shares| shares.contains_key(&share.signer));
        if !near || known {
            return Ok(());
        }
        let share = share.verify(&self.seats, self.era.network).map_err(|_| Refused::Signature)?;
        self.collect(share.into_inner());
        Ok(())
    }

    /// Adds a checked signature; makes the certificate when it completes one.
    fn collect(&mut self, share: FinalitySignature) {
        let finality = share.finality;
        let shares = self.shares.held.entry(finality.height).or_default();
        shares.insert(share.signer, share);
        let same = || shares.values().filter(|share| share.finality == finality);
        let weight: u64 = same().map(|share| self.seats.committee.weight(share.signer)).sum();
        if self.seats.is_supermajority(weight) {
            let signatures = same().map(|share| (share.signer, share.signature)).collect();
            self.adopt(Certificate { finality, signatures });
        }
    }

    pub(super) fn hear_certificate(&mut self, certificate: Certificate) -> Result<(), Refused> {
        let finality = certificate.finality;
        if finality.height <= self.ledger.certified().height() && self.is_certified(finality.height, &finality.block) {
            return Ok(());
        }
        if self.shares.stash.contains_key(&(finality.height, finality.block)) {
            return Ok(());
        }
        let era = self.era;
        let checked = certificate.verify(era.chain, era.epoch, era.root, &self.seats, era.network);
        self.adopt(checked.map_err(Refused::Certificate)?.into_inner());
        Ok(())
    }

    fn is_certified(&mut self, height: Height, block: &BlockId) -> bool {
        let loaded = record::certified_id(&*self.store, height);
        let known = self.read(loaded).flatten();
        known.is_none_or(|id| id == *block)
    }

    /// A certificate that holds: its block and all below are certified as soon as they are held.
    fn adopt(&mut self, certificate: Certificate) {
        let (height, id) = (certificate.finality.height, certificate.finality.block);
        let certified = self.ledger.certified().clone();
        let conflict =
            Breach::ConflictingCertificates { height: certified.height(), certified: certified.id, other: id };
        if height <= certified.height() {
            if !self.is_certified(height, &id) {
                self.out.halt(conflict);
            }
            return;
        }
        if self.ledger.block(&id).is_none() {
            self.shares.stash.insert((height, id), certificate);
            // The lowest are needed first: who is far behind hears of many more above.
            while self.shares.stash.len() > STASH {
                self.shares.stash.pop_last();
            }
            return;
        }
        let Some(path) = self.ledger.path(&certified.id, &id) else {
            self.out.halt(conflict);
            return;
        };
        let (tree, finalized) = (self.engine.protocol(), self.engine.finalized());
        if !tree.descends(&id, &finalized) && !tree.descends(&finalized, &id) {
            self.out.halt(Breach::CertifiedAgainstFinality { finalized, certified: id });
            return;
        }
        let mut before = certified;
        for held in path {
            self.certify(&before, &held);
            before = held;
        }
        self.out.put(Table::Certificates, height.0.to_be_bytes(), codec::encode(&certificate));
        self.out.put(Table::Meta, record::CERTIFIED, codec::encode(&(height, id)));
        self.out.put(Table::Meta, record::TOTALS, codec::encode(&self.voice.totals));
        self.newest_certificate = Some(certificate);
        self.shares.held = self.shares.held.split_off(&height.next());
        self.shares.stash = self.shares.stash.split_off(&(height.next(), BlockId([0; 32])));
        self.voice.certified_at = self.now;
    }

    fn certify(&mut self, before: &Arc<Held<A::State>>, held: &Arc<Held<A::State>>) {
        let (id, height) = (held.id, held.height());
        self.engine
            .certify(id)
            .expect("adopt() found it above the certified block and on one chain with the finalized one");
        self.out.put(Table::Heights, height.0.to_be_bytes(), codec::encode(&id));
        let writes = self.app.certified(id, &held.block, &before.executed.state, &held.executed);
        self.out.writes.extend(writes);
        self.ledger.advance(id);
        let figures = &held.block.header.figures;
        let consumed = |cursors: &[crate::receipt::LaneCursor]| cursors.iter().map(|cursor| cursor.next).sum::<u64>();
        let totals = &mut self.voice.totals;
        // They come from the store and decide nothing: a damaged row must not end the process.
        let grow = |total: &mut u64, by: u64| *total = total.saturating_add(by);
        grow(&mut totals.blocks, 1);
        grow(&mut totals.transactions, u64::from(figures.transactions));
        grow(&mut totals.receipts_out, held.executed.receipts.len() as u64);
        totals.receipts_in = consumed(&figures.inbox);
        grow(&mut totals.forks, (self.ledger.at_height(height) - 1) as u64);
        self.out.sent.push(Effect::Certified {
            id,
            block: held.block.clone(),
            receipts: Arc::new(held.executed.receipts.clone()),
        });
    }

    /// A block came whose certificate was waiting for it.
    pub(super) fn adopt_stashed(&mut self, block: &BlockId) {
        let Some(held) = self.ledger.block(block) else { return };
        if let Some(certificate) = self.shares.stash.remove(&(held.height(), *block)) {
            self.adopt(certificate);
        }
    }
}
