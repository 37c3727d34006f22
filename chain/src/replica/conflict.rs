//! Who signs two blocks as final of which neither is an ancestor of the other is found, convicted, and shown to all.
//!
//! A signature is compared with the nearest ones of its signer: at its height, below and above. That suffices as long as
//! all that is held lies on one chain, so that signatures off the certified chain are kept apart, and compared with
//! everything that their signer signs from then on. What is bound: one such signature a member, and one more on the
//! certified chain; a member that is convicted already is not looked at any further, as one offence takes all its stake.

use super::{Effect, Refused, Replica, record};
use crate::{
    application::Application,
    block::Header,
    certificate::{Certificate, FinalitySignature},
    codec,
    evidence::{Conflict, Equivocation, Evidence, InvalidEvidence},
    keys::PublicKey,
    message::SignedMessage,
    peer::PeerMessage,
    store::{StoreFailure, Table},
    units::{ChainId, Epoch, Height, ValidatorId},
};
use kakera_cbc::{BlockId, Member, MessageId};
use std::collections::BTreeMap;

/// Stored certificates at and above a height that are looked through for one member's signature.
const CERTIFICATES: usize = 8;

/// Checked finality signatures at or below the certified height.
#[derive(Default)]
pub(super) struct Passed {
    /// The newest one on the certified chain, by member.
    on_chain: BTreeMap<Member, FinalitySignature>,
    /// The first one off it, by member.
    strays: BTreeMap<Member, FinalitySignature>,
}

impl Passed {
    pub(super) fn weigh(&self, members: u64, hold: &mut impl FnMut(&'static str, usize, u64)) {
        hold("finality signatures on the certified chain", self.on_chain.len(), members);
        hold("finality signatures off the certified chain", self.strays.len(), members);
    }

    /// The one off the certified chain.
    pub(super) fn stray(&self, member: Member) -> Option<&FinalitySignature> {
        self.strays.get(&member)
    }

    fn of(&self, member: Member) -> impl Iterator<Item = &FinalitySignature> {
        self.on_chain.get(&member).into_iter().chain(self.strays.get(&member))
    }

    fn keep(&mut self, share: FinalitySignature, on_chain: bool) {
        if !on_chain {
            self.strays.entry(share.signer).or_insert(share);
        } else if self.on_chain.get(&share.signer).is_none_or(|held| held.finality.height < share.finality.height) {
            self.on_chain.insert(share.signer, share);
        }
    }
}

impl<A: Application> Replica<A> {
    /// Whether a finality signature at or below the certified height can show nothing new.
    pub(super) fn is_settled(&mut self, share: &FinalitySignature) -> bool {
        if self.engine.is_faulty(share.signer) {
            return true;
        }
        match self.shares.passed.stray(share.signer) {
            Some(stray) => stray.finality == share.finality,
            None => self.is_certified(share.finality.height, &share.finality.block),
        }
    }

    /// Compares a checked signature with what else its signer signed; true: that was against the rules.
    pub(super) fn confront(&mut self, share: &FinalitySignature) -> bool {
        let (member, height) = (share.signer, share.finality.height);
        if self.engine.is_faulty(member) {
            return false;
        }
        let mut others: Vec<FinalitySignature> = self.shares.nearest(member, height).cloned().collect();
        others.extend(self.shares.passed.of(member).cloned());
        if height <= self.ledger.certified().height() {
            others.extend(self.certified_by(member, height));
        }
        for other in others {
            if let Some(conflict) = self.conflict(share, &other) {
                self.indict(conflict);
                return true;
            }
        }
        false
    }

    /// The same for every signature in a certificate.
    pub(super) fn confront_all(&mut self, certificate: &Certificate) {
        let finality = certificate.finality;
        for (signer, signature) in &certificate.signatures {
            self.confront(&FinalitySignature { finality, signer: *signer, signature: *signature });
        }
    }

    /// A block is at hand from now on: what was signed about it may conflict with what its signers signed below.
    pub(super) fn confront_at(&mut self, height: Height, block: &BlockId) {
        for share in self.shares.on(height, block) {
            self.confront(&share);
        }
    }

    /// Blocks became certified: keeps one signature of each signer on their chain, and those off it.
    pub(super) fn pass(&mut self, shares: Vec<FinalitySignature>, path: &[(Height, BlockId)]) {
        let mut strays = Vec::new();
        for share in shares {
            let place = (share.finality.height, share.finality.block);
            let on_chain = path.binary_search(&place).is_ok();
            if !on_chain {
                strays.push(share.clone());
            }
            self.shares.passed.keep(share, on_chain);
        }
        for stray in strays {
            self.confront(&stray);
        }
    }

    /// Keeps a signature below the certified height that was confronted and conflicts with nothing known.
    pub(super) fn keep_passed(&mut self, share: FinalitySignature) {
        let on_chain = self.is_certified(share.finality.height, &share.finality.block);
        self.shares.passed.keep(share, on_chain);
    }

    /// A member's signature in a certificate at a height, or in one of the next ones above it.
    fn certified_by(&mut self, member: Member, height: Height) -> Option<FinalitySignature> {
        let newest = self.newest_certificate.clone();
        let rows = self.store.scan(Table::Certificates, &height.0.to_be_bytes(), CERTIFICATES);
        let rows = self.read(rows).unwrap_or_default();
        let stored = rows.iter().filter_map(|(_, bytes)| codec::decode::<Certificate>(bytes, usize::MAX).ok());
        stored.chain(newest).filter(|certificate| certificate.finality.height >= height).find_map(|certificate| {
            let at = certificate.signatures.binary_search_by_key(&member, |(signer, _)| *signer).ok()?;
            let (signer, signature) = certificate.signatures[at];
            Some(FinalitySignature { finality: certificate.finality, signer, signature })
        })
    }

    /// The evidence in two signatures, as far as headers are at hand.
    fn conflict(&self, a: &FinalitySignature, b: &FinalitySignature) -> Option<Conflict> {
        let (low, high) = if a.finality.height <= b.finality.height { (a, b) } else { (b, a) };
        // What every honest member does, without a look at headers.
        if self.engine.protocol().descends(&high.finality.block, &low.finality.block) {
            return None;
        }
        Conflict::of(a, b, |id| self.header(id))
    }

    fn header(&self, id: &BlockId) -> Option<Header> {
        self.block(id).map(|block| block.header.clone())
    }

    /// From now on the member weighs nothing here, and everybody is shown why.
    fn indict(&mut self, conflict: Conflict) {
        let member = conflict.first.signer;
        if Some(member) == self.engine.me() {
            self.hear_own();
        }
        let id = |share: &FinalitySignature| MessageId(share.finality.id(self.era.network).0);
        let (first, second) = (id(&conflict.first), id(&conflict.second));
        self.out.put(Table::Evidence, record::conflict_key(member), codec::encode(&conflict));
        self.out.sent.push(Effect::Broadcast(PeerMessage::Conflict(Box::new(conflict))));
        let events = self.engine.accuse(member, first, second);
        self.follow(events);
    }

    pub(super) fn hear_conflict(&mut self, conflict: Conflict) -> Result<(), Refused> {
        let finality = &conflict.first.finality;
        if (finality.chain, finality.epoch, finality.root) != (self.era.chain, self.era.epoch, self.era.root) {
            return Err(Refused::Evidence);
        }
        if self.engine.is_faulty(conflict.first.signer) {
            return Ok(());
        }
        conflict.verify(self.era.network, |chain, epoch, member| self.seat(chain, epoch, member)).map_err(refused)?;
        self.indict(conflict);
        Ok(())
    }

    pub(super) fn hear_equivocation(&mut self, pair: Equivocation) -> Result<(), Refused> {
        let statement = &pair.first.statement;
        let member = statement.sender;
        if (statement.chain, statement.epoch, statement.root) != (self.era.chain, self.era.epoch, self.era.root) {
            return Err(Refused::Evidence);
        }
        if self.engine.is_faulty(member) {
            return Ok(());
        }
        pair.verify(self.era.network, |chain, epoch, member| self.seat(chain, epoch, member)).map_err(refused)?;
        if Some(member) == self.engine.me() {
            self.hear_own();
        }
        let id = |message: &SignedMessage| message.statement.id(self.era.network);
        let (first, second) = (id(&pair.first), id(&pair.second));
        self.unwritten.insert(first, pair.first);
        self.unwritten.insert(second, pair.second);
        let events = self.engine.accuse(member, first, second);
        self.follow(events);
        Ok(())
    }

    /// Who holds a seat in this era.
    fn seat(&self, chain: ChainId, epoch: Epoch, member: Member) -> Option<(ValidatorId, PublicKey)> {
        let here = (chain, epoch) == (self.era.chain, self.era.epoch);
        let validator = self.seats.validators.get(member.index()).filter(|_| here)?;
        Some((*validator, *self.seats.key(member)?))
    }

    /// All evidence held, of both kinds, of this era and of earlier ones: to be submitted to the beacon by whoever runs
    /// this.
    ///
    /// # Errors
    /// The store fails.
    pub fn evidence(&self) -> Result<Vec<Evidence>, StoreFailure> {
        let mut all = record::load_past_evidence(&*self.store)?;
        all.extend(record::load_evidence(&*self.store)?);
        Ok(all)
    }
}

fn refused(invalid: InvalidEvidence) -> Refused {
    match invalid {
        InvalidEvidence::Signature { .. } | InvalidEvidence::UnknownSeat { .. } => Refused::Signature,
        _ => Refused::Evidence,
    }
}
