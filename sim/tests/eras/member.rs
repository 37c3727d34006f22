//! What a member does: reading the beacon chain, opening eras, building and signing, restarting; after
//! `chain/src/replica/eras.rs` and `chain/src/replica/voice.rs`.

use super::{
    model::Eras,
    mutants::Mutant,
    state::{BlockId, Breach, Chain, Crash, Disk, Era, MEMBERS, Member, State},
};

impl Eras {
    /// The references that a leader of this era may choose for the next block (`Shard::propose`): in an epoch not older
    /// than the era and the parent, as far as some member has read. A state that closed the era is none of them: who has
    /// read it speaks in another era.
    pub(crate) fn references(&self, state: &State, chain: &Chain) -> Vec<u8> {
        let Chain { era, head, certified, .. } = *chain;
        let full = head.height() - era.root.height() >= self.setup.blocks[usize::from(era.epoch)];
        if full || head != certified || !self.may_extend(chain) {
            return Vec::new();
        }
        let lowest = head.reference().max(era.epoch);
        let speakers = (0..MEMBERS).filter(|member| self.speaks(state, *member, era));
        let Some(known) = speakers.map(|member| state.members[member].known).max() else { return Vec::new() };
        (lowest..=known).filter(|reference| state.beacon.visited >> reference & 1 == 1).collect()
    }

    /// `Replica::propose` (`chain/src/replica/voice.rs`): nothing is built on a switch block in its own era.
    fn may_extend(&self, chain: &Chain) -> bool {
        let (head, era) = (chain.head, chain.era);
        match self.mutant {
            Some(Mutant::BuildsOnSwitch) => true,
            // As if an era's next epoch were always the one that follows in number.
            Some(Mutant::OverlooksJumps) => head == era.root || head.reference() != era.epoch + 1,
            _ => head == era.root || !head.is_switch(),
        }
    }

    /// Whether a member signs in an era.
    pub(crate) fn speaks(&self, state: &State, member: usize, era: Era) -> bool {
        let member = &state.members[member];
        let goes_on = self.mutant == Some(Mutant::GoesOnInTheOldEra) && member.era.epoch == era.epoch + 1;
        member.era == era || goes_on
    }

    /// A member's finality signature of the lowest uncertified header, durable before it is sent (`Replica::sign_final`,
    /// `chain/src/replica/finality.rs`). The rest of the certificate is signed by members that the model leaves out.
    pub(crate) fn sign(&self, before: &State, member: usize, era: Era) -> Option<State> {
        let chain = before.chain(era);
        let next = chain.head.path(chain.certified).next()?;
        let signer = &before.members[member];
        if signer.known < next.reference() {
            return None;
        }
        let mut state = before.clone();
        if signer.opened > era.epoch {
            state.breach = Some(Breach::SignedOlder);
        }
        let beside =
            |other: &Chain| other.era.epoch == era.epoch && other.era != era && other.signers >> member & 1 == 1;
        if state.chains.iter().any(beside) {
            state.breach = Some(Breach::SignedBeside);
        }
        let chain = state.chain_mut(era);
        chain.certified = next;
        chain.signers |= 1 << member;
        state.members[member].sync();
        Some(state)
    }

    /// What a member may read next, in the order of the beacon chain: up to a block of an epoch that leaves it its era,
    /// or up to one that names another one, past others perhaps.
    pub(crate) fn readings(state: &State, member: &Member) -> Vec<(u8, Era)> {
        let newer = |era: &Era| era.epoch >= member.era.epoch && *era != member.era;
        let named: Vec<Era> = state.beacon.named.iter().map(|named| named.era).filter(newer).collect();
        let quiet = |epoch: &u8| match named.first() {
            Some(next) if next.epoch < *epoch => false,
            Some(next) if next.epoch == *epoch => state.beacon.waited >> epoch & 1 == 1,
            _ => state.beacon.visited >> epoch & 1 == 1,
        };
        let ahead = (member.known + 1..=state.beacon.epoch()).filter(quiet).map(|epoch| (epoch, member.era));
        ahead.chain(named.iter().map(|era| (member.known.max(era.epoch), *era))).collect()
    }

    /// A member reads so far, and opens the era that is named there (`chain/src/replica/eras.rs`).
    pub(crate) fn read(&self, before: &State, member: usize, epoch: u8, era: Era) -> State {
        let mut state = before.clone();
        state.members[member].known = epoch;
        self.open(&mut state, member, era);
        state
    }

    /// Opens an era, unless it is older than the member's own. It is synced, with what the old one lost, before anything is
    /// said in it.
    pub(crate) fn open(&self, state: &mut State, member: usize, named: Era) {
        let old = state.members[member].era;
        if named == old || named.epoch < old.epoch {
            return;
        }
        let held = state.chain(old).certified;
        let lost = held.path(old.root).filter(|block| !named.root.descends(*block)).count();
        let opener = &mut state.members[member];
        let kept = opener.disk;
        opener.era = named;
        opener.known = opener.known.max(named.epoch);
        opener.opened = opener.opened.max(named.epoch);
        opener.lost[usize::from(old.epoch)] = u8::try_from(lost).expect("a handful");
        opener.sync();
        match self.mutant {
            Some(Mutant::RestartForgetsTheEra) => opener.disk.era = kept.era,
            Some(Mutant::RestartForgetsTheCount) => opener.disk.lost = kept.lost,
            _ => {}
        }
        if state.chains.iter().all(|chain| chain.era != named) {
            state.chains.push(Chain { era: named, head: named.root, certified: named.root, signers: 0 });
            state.chains.sort_unstable();
        }
    }

    /// A member loses what it has not synced and goes on from the rest: what it has read since it opened its era. Nothing
    /// if there is nothing to lose.
    pub(crate) fn crash(&self, before: &State, member: usize) -> Option<State> {
        let lost = &before.members[member];
        let signed = before.chain(lost.era).signers >> member & 1 == 1;
        let changes = lost.era.epoch < before.beacon.epoch() || (lost.era.epoch > 0 && !signed);
        let mut state = before.clone();
        state.crash = if changes { Crash::InChange } else { Crash::Quiet };
        let member = &mut state.members[member];
        (member.era, member.lost) = (member.disk.era, member.disk.lost);
        member.known = member.era.epoch;
        (*member != *lost).then_some(state)
    }
}

impl Member {
    fn sync(&mut self) {
        self.disk = Disk { era: self.era, lost: self.lost };
    }
}

/// A block that a committee certifies although it names a beacon block that nobody has seen: no honest member signs it.
pub(crate) fn lie(chain: &Chain, reference: u8) -> BlockId {
    chain.certified.child(chain.era, reference)
}
