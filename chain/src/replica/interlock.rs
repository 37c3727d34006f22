//! The interlock: what a member may have said, remembered outside the store, too, so that an old copy says nothing.
//!
//! It is of one era, and every era begins afresh. A store that remembers less of the interlock's era, or that stands in an
//! earlier one, is an old copy: its member stays silent in every era in which it may have spoken before.

use super::{Phase, Replica};
use crate::{
    application::Application,
    units::{Epoch, Height},
};
use kakera_cbc::BlockId;
use std::cmp::Ordering;

/// What a member may not forget: kept in a second place outside the store, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignState {
    /// The epoch of the era that the rest speaks of.
    pub epoch: Epoch,
    /// The root of that era; all zero: not known.
    pub root: BlockId,
    /// The `seq` of the next message: everything below was said.
    pub next_seq: u64,
    /// The greatest height whose header was signed as final.
    pub finality_height: u64,
}

impl Default for SignState {
    /// Nothing was ever said.
    fn default() -> Self {
        SignState { epoch: Epoch(0), root: SignState::ANY_ROOT, next_seq: 0, finality_height: 0 }
    }
}

impl SignState {
    /// In place of a root that is not known.
    pub const ANY_ROOT: BlockId = BlockId([0; 32]);

    /// Anything may have been said in this epoch and before: after the declared restore of an old copy.
    pub fn spent(epoch: Epoch) -> SignState {
        SignState { epoch, root: SignState::ANY_ROOT, next_seq: u64::MAX, finality_height: u64::MAX }
    }

    /// What is remembered once `next` is said as well: a later epoch's as it is, of one epoch the greater of each part.
    /// Nothing if that would go back: an earlier epoch, or another root of the same one.
    #[must_use]
    pub fn then(self, next: SignState) -> Option<SignState> {
        if next.epoch > self.epoch {
            return Some(next);
        }
        let root = if self.root == SignState::ANY_ROOT { next.root } else { self.root };
        let same = next.epoch == self.epoch && (next.root == SignState::ANY_ROOT || next.root == root);
        same.then(|| SignState {
            epoch: self.epoch,
            root,
            next_seq: self.next_seq.max(next.next_seq),
            finality_height: self.finality_height.max(next.finality_height),
        })
    }

    /// Whether a member that remembers `held` remembers all of this.
    #[must_use]
    pub fn is_within(self, held: SignState) -> bool {
        match self.epoch.cmp(&held.epoch) {
            Ordering::Less => true,
            Ordering::Equal => {
                let same = self.root == SignState::ANY_ROOT || self.root == held.root;
                same && self.next_seq <= held.next_seq && self.finality_height <= held.finality_height
            }
            Ordering::Greater => false,
        }
    }
}

impl<A: Application> Replica<A> {
    /// What this member has said in this era, by its store.
    pub(super) fn said(&self) -> SignState {
        let latest = self.engine.me().and_then(|me| self.engine.latest(me));
        SignState {
            epoch: self.era.epoch,
            root: self.era.root,
            next_seq: latest.map_or(0, |(seq, _)| seq + 1),
            finality_height: self.shares.own.map_or(Height(0), |(height, _)| height).0,
        }
    }

    /// What was said so far must be on disk before more is.
    pub(super) fn guard(&mut self) {
        let said = self.said();
        self.voice.guard = said;
        self.out.synced = true;
        self.out.guard = Some(said);
    }

    /// At the start, and at the beginning of each era: a member that may have said more than its store shows is silent.
    pub(super) fn check_guard(&mut self) {
        let speaks = matches!(self.voice.phase, Phase::Joining | Phase::Active);
        if speaks && !self.voice.guard.is_within(self.said()) {
            self.voice.phase = Phase::Silent;
        }
    }

    /// The store was restored from an old copy, so it is declared: anything may have been said in this era and in every
    /// other one up to the epoch that it is by the clock. The guard is told with the next effects, so that a further start
    /// needs no declaration.
    pub(super) fn restored(&mut self) {
        let clock = self.network.clock(crate::units::ChainId::Beacon);
        let epoch = self.network.epoch_of(clock.slot_at(self.now)).max(self.era.epoch);
        if let Some(spent) = self.voice.guard.then(SignState::spent(epoch)) {
            self.voice.guard = spent;
            self.out.guard = Some(spent);
        }
    }
}
