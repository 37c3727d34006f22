//! From the own detector to certificates: finality signatures said in height order, collected, and adopted.

use super::{Breach, Effect, Phase, Refused, Replica, conflict::Passed, ledger::Held, record};
use crate::{
    application::{Application, Change},
    certificate::{Certificate, FinalitySignature},
    codec,
    peer::PeerMessage,
    store::{Table, Write},
    units::Height,
};
use kakera_cbc::{BlockId, Member};
use std::{collections::BTreeMap, ops::Bound, sync::Arc};

/// Heights above the certified one for which signatures are collected.
const WINDOW: u64 = 256;
/// Certificates of blocks not held yet that are kept.
const STASH: usize = 16;
/// What can never be undone any more is forgotten once in so many heights.
const UNDO_EVERY: u64 = 64;

/// Finality signatures above the certified height, at most one a member and height.
#[derive(Default)]
pub(super) struct Shares {
    held: BTreeMap<Height, BTreeMap<Member, FinalitySignature>>,
    /// Certificates of blocks that are not held yet, by height.
    stash: BTreeMap<(Height, BlockId), Certificate>,
    /// What is remembered of those at and below the certified height.
    pub(super) passed: Passed,
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
        self.passed.weigh(members, hold);
    }

    /// Signatures of one member above a height.
    pub(super) fn of(&self, member: Member, above: Height) -> impl Iterator<Item = &FinalitySignature> {
        let range = (Bound::Excluded(above), Bound::Unbounded);
        self.held.range(range).filter_map(move |(_, shares)| shares.get(&member))
    }

    /// A member's signatures at a height, and the nearest ones below and above it.
    pub(super) fn nearest(&self, member: Member, height: Height) -> impl Iterator<Item = &FinalitySignature> {
        let of = move |(_, shares): (&Height, &'_ BTreeMap<Member, FinalitySignature>)| shares.contains_key(&member);
        let below = self.held.range(..height).rev().find(|row| of(*row));
        let rest = self.held.range(height..).filter(move |row| of(*row));
        let at_and_above = rest.take(2);
        below.into_iter().chain(at_and_above).filter_map(move |(_, shares)| shares.get(&member))
    }

    /// All signatures on a block.
    pub(super) fn on(&self, height: Height, block: &BlockId) -> Vec<FinalitySignature> {
        let shares = self.held.get(&height).into_iter().flat_map(BTreeMap::values);
        shares.filter(|share| share.finality.block == *block).cloned().collect()
    }

    /// Takes out those up to a height.
    fn take_up_to(&mut self, height: Height) -> Vec<FinalitySignature> {
        let above = self.held.split_off(&height.next());
        let passed = std::mem::replace(&mut self.held, above);
        passed.into_values().flat_map(BTreeMap::into_values).collect()
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
        if own.0 > self.ledger.certified().height() {
            self.collect(share);
        } else {
            self.complete(&share);
        }
    }

    /// After a start: the own signatures above the certified height, which nobody may have heard, made again from the record
    /// of the last one. On an era's last block no later one follows in their stead. An old copy says nothing again.
    pub(super) fn sign_again(&mut self) {
        let (Some((_, signed)), Some(me), Some(key)) = (self.shares.own, self.engine.me(), &self.key) else { return };
        let certified = self.ledger.certified().id;
        for held in self.ledger.path(&certified, &signed).unwrap_or_default() {
            let share = FinalitySignature::sign(self.finality_of(&held.block.header), me, key, self.era.network);
            self.shares.held.entry(held.height()).or_default().insert(me, share);
        }
    }

    pub(super) fn hear_share(&mut self, share: FinalitySignature) -> Result<(), Refused> {
        let finality = &share.finality;
        if (finality.chain, finality.epoch, finality.root) != (self.era.chain, self.era.epoch, self.era.root) {
            return Err(Refused::OtherEra);
        }
        let certified = self.ledger.certified().height();
        let late = finality.height <= certified;
        let held = self.shares.held.get(&finality.height).and_then(|shares| shares.get(&share.signer));
        // The second one of a height is of use only against its signer.
        let nothing_new = match held {
            Some(held) => held.finality.block == finality.block || self.engine.is_faulty(share.signer),
            None => finality.height.0.saturating_sub(certified.0) > WINDOW,
        };
        let known = held.is_some();
        if nothing_new || late && !self.completes(&share) && self.is_settled(&share) {
            return Ok(());
        }
        let share = share.verify(&self.seats, self.era.network).map_err(|_| Refused::Signature)?.into_inner();
        let convicted = self.confront(&share);
        if !late && !known {
            self.collect(share);
        } else if late && !convicted {
            self.complete(&share);
            self.keep_passed(share);
        }
        Ok(())
    }

    /// Whether a signature is missing in the newest certificate, and counts for its signer: what is at stake is paid, or
    /// suspended, by who signed.
    fn completes(&self, share: &FinalitySignature) -> bool {
        self.network.genesis.staking.is_some()
            && !self.engine.is_faulty(share.signer)
            && self
                .newest_certificate
                .as_ref()
                .is_some_and(|newest| newest.finality == share.finality && !newest.is_signed_by(share.signer))
    }

    /// Adds a checked signature to the newest certificate if it is missing there.
    fn complete(&mut self, share: &FinalitySignature) {
        if !self.completes(share) {
            return;
        }
        let Some(newest) = &mut self.newest_certificate else { return };
        let at = newest.signatures.partition_point(|(signer, _)| *signer < share.signer);
        newest.signatures.insert(at, (share.signer, share.signature));
        let key = newest.finality.height.0.to_be_bytes();
        self.out.put(Table::Certificates, key, codec::encode(newest));
        self.app.certificate(newest);
    }

    /// Signs the newest certified block if others were faster, so that they can see that this member was there. Nothing
    /// that it says later can conflict: it follows what is certified.
    fn sign_certified(&mut self) {
        let (Phase::Active, Some(me)) = (self.voice.phase, self.engine.me()) else { return };
        let held = Arc::clone(self.ledger.certified());
        let follows = match self.shares.own {
            Some((height, id)) => height < held.height() && self.is_certified(height, &id),
            None => true,
        };
        let is_last = self.shares.stash.is_empty();
        if follows && is_last && self.network.genesis.staking.is_some() {
            self.sign_final(me, &held);
        }
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
        let certificate = checked.map_err(Refused::Certificate)?.into_inner();
        self.confront_all(&certificate);
        self.adopt(certificate);
        Ok(())
    }

    pub(super) fn is_certified(&mut self, height: Height, block: &BlockId) -> bool {
        let loaded = record::certified_id(&*self.store, height);
        let known = self.read(loaded).flatten();
        known.is_none_or(|id| id == *block)
    }

    /// A certificate that holds: its block and all below are certified as soon as they are held.
    pub(super) fn adopt(&mut self, certificate: Certificate) {
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
        let ids: Vec<(Height, BlockId)> = path.iter().map(|held| (held.height(), held.id)).collect();
        let mut before = certified;
        for held in path {
            self.engine
                .certify(held.id)
                .expect("adopt() found it above the certified block and on one chain with the finalized one");
            self.certify_held(&before, &held);
            before = held;
        }
        self.certified_up_to(&certificate);
        let passed = self.shares.take_up_to(height);
        for share in &passed {
            self.complete(share);
        }
        self.pass(passed, &ids);
        self.sign_certified();
    }

    /// The newest certified block has this certificate.
    pub(super) fn certified_up_to(&mut self, certificate: &Certificate) {
        let (height, id) = (certificate.finality.height, certificate.finality.block);
        self.out.put(Table::Certificates, height.0.to_be_bytes(), codec::encode(certificate));
        self.out.put(Table::Meta, record::CERTIFIED, codec::encode(&(height, id)));
        self.out.put(Table::Meta, record::TOTALS, codec::encode(&self.voice.totals));
        // The beacon may name this block the root of an era, in which those who certified it have no say: then nobody
        // certifies it again, and it must not be lost with the power of all who did.
        self.out.synced |= self.network.genesis.epochs.is_some();
        self.newest_certificate = Some(certificate.clone());
        self.app.certificate(certificate);
        self.shares.stash = self.shares.stash.split_off(&(height.next(), BlockId([0; 32])));
        self.voice.certified_at = self.now;
        let header = &self.ledger.certified().block.header;
        self.ahead.ripe = self.ahead.is_awaited() || self.era.is_closed_by(header, &self.network);
    }

    /// What follows from a block's being certified, outside the engine.
    pub(super) fn certify_held(&mut self, before: &Arc<Held<A::State>>, held: &Arc<Held<A::State>>) {
        let (id, height) = (held.id, held.height());
        self.out.put(Table::Heights, height.0.to_be_bytes(), codec::encode(&id));
        let Change { writes, undo } = self.app.certified(id, &held.block, &before.executed.state, &held.executed);
        self.out.writes.extend(writes);
        if !undo.is_empty() {
            self.out.put(Table::Undo, height.0.to_be_bytes(), codec::encode(&undo));
            // What is recorded of a later era may lie beside these blocks, which are taken back then.
            if height.0.is_multiple_of(UNDO_EVERY) && !self.ahead.is_awaited() {
                let key = self.app.settled().next().0.to_be_bytes().to_vec();
                self.out.writes.push(Write::Below { table: Table::Undo, key });
            }
        }
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
        let Some(held) = self.ledger.block(block).cloned() else { return };
        self.confront_at(held.height(), block);
        if let Some(certificate) = self.shares.stash.remove(&(held.height(), *block)) {
            self.adopt(certificate);
        }
    }
}
