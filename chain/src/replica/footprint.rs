//! How much a replica holds in memory of every kind, each with the bound that it keeps.
//!
//! Bounds follow from the committee (n members, M messages a member and slot), from the constants beside the lists, and
//! from the slots that are in memory. What others say beyond a bound is refused, evicts only its own, or is never kept.

use super::{Phase, Replica, receive};
use crate::application::Application;
use kakera_cbc::Limits;

/// So much of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Of what.
    pub what: &'static str,
    /// Pieces, or bytes where the name says so.
    pub count: u64,
    /// At most.
    pub bound: u64,
}

/// Everything that grows with what is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint(pub Vec<Holding>);

impl Footprint {
    /// The first kind of which more is held than may be.
    pub fn excess(&self) -> Option<&Holding> {
        self.0.iter().find(|holding| holding.count > holding.bound)
    }

    /// How many pieces of a kind are held.
    pub fn of(&self, what: &str) -> Option<u64> {
        self.0.iter().find(|holding| holding.what == what).map(|holding| holding.count)
    }
}

impl<A: Application> Replica<A> {
    /// What this replica holds, the application's own stores aside.
    pub fn footprint(&self) -> Footprint {
        let members = self.seats.committee.len() as u64;
        let mut holdings = Vec::with_capacity(24);
        let mut hold = |what: &'static str, count: usize, bound: u64| {
            holdings.push(Holding { what, count: count as u64, bound });
        };
        self.weigh_consensus(members, &mut hold);
        self.weigh_waiting(members, &mut hold);
        self.fetches.weigh(members, self.engine.parked() as u64, &mut hold);
        self.doubts.weigh(members, &mut hold);
        self.shares.weigh(members, self.ledger.len() as u64, &mut hold);
        self.past.weigh(members, &mut hold);
        self.voice.weigh(members, &mut hold);
        self.ahead.weigh(&mut hold);
        Footprint(holdings)
    }

    fn weigh_consensus(&self, members: u64, hold: &mut impl FnMut(&'static str, usize, u64)) {
        let per_slot = u64::from(self.seats.committee.messages_per_slot());
        let faulty = self.engine.faulty().count() as u64;
        // An honest member introduces at most M messages of any one member for a slot number, itself included; what an
        // equivocator says on more branches is taken for the sake of each of them.
        let in_a_slot = per_slot * (members - faulty + faulty * members);
        // A clock that was set back is behind what was said by it before, and a slow one behind what is certified.
        let latest = self.seats.committee.members().filter_map(|member| self.engine.latest_slot(member)).max();
        let certified = self.ledger.certified().block.header.slot;
        let now = self.slot().max(latest.unwrap_or_default()).max(certified).0;
        let slots = now.saturating_sub(self.engine.line().0) + 1;
        // Each member's latest message stays, however old it is.
        hold("messages", self.engine.len(), in_a_slot.saturating_mul(slots).saturating_add(members));
        hold("evidence", self.engine.faulty().count(), members);
        let behind = certified.0.saturating_sub(self.engine.line().0);
        let kept = self.past.slots_kept;
        let most = if self.past.holds(self.slot()) || matches!(self.phase(), Phase::Halted | Phase::Observer) {
            u64::MAX
        } else {
            kept + kept / 4
        };
        hold("slots below the certified block", usize::try_from(behind).unwrap_or(usize::MAX), most);
        // One block a slot and leader; those of equivocating leaders come with their messages.
        let blocks_in_a_slot = if faulty == 0 { 1 } else { 1 + per_slot * members };
        let oldest = self.ledger.oldest_slot().0;
        let slots = now.saturating_sub(oldest) + 1;
        hold("blocks", self.ledger.len(), blocks_in_a_slot.saturating_mul(slots));
        let height = self.ledger.certified().height().0;
        let below = height - self.ledger.lowest().0;
        hold("heights below the certified block", usize::try_from(below).unwrap_or(usize::MAX), receive::BLOCKS_KEPT);
    }

    fn weigh_waiting(&self, members: u64, hold: &mut impl FnMut(&'static str, usize, u64)) {
        let limits = Limits::default();
        let most = (limits.pending_total as u64).min(members * limits.pending_per_sender as u64);
        hold("messages that wait", self.engine.parked(), most);
        hold("things that are missed", self.engine.missing().count(), self.engine.parked() as u64);
        hold("messages kept as they came", self.waiting.len(), self.engine.parked() as u64);
        let blocks = self.waiting.values().filter_map(|(_, carried)| carried.block.as_ref());
        let bytes = receive::WAITING_BYTES as u64;
        hold("bytes of blocks that wait", blocks.map(Vec::len).sum(), members.saturating_mul(bytes));
        hold("messages not written", self.unwritten.len(), 0);
        hold("effects not carried out", self.out.writes.len() + self.out.sent.len(), 0);
        let bound = self.newest_certificate.as_ref().map_or(0, |newest| newest.signatures.len());
        hold("signatures of the newest certificate", bound, members);
    }
}
