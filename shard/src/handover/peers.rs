//! The peers of a fetch: whom to ask next, who is slow, and who is no longer asked.

use super::{
    head::InvalidHead,
    message::{Ask, InvalidAnswer},
    part::InvalidPart,
};
use kakera_chain::units::{Timestamp, ValidatorId};
use std::collections::BTreeMap;
use thiserror::Error;

/// Peers that a fetch knows at a time; more are not taken.
pub const MAX_PEERS: usize = 1_024;

/// Rests double this many times.
const DOUBLINGS: u32 = 4;

/// Why a peer is not asked any more.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// No answer to what was asked.
    #[error(transparent)]
    Answer(#[from] InvalidAnswer),
    /// A head that is not the state's.
    #[error(transparent)]
    Head(#[from] InvalidHead),
    /// A part that proves nothing.
    #[error(transparent)]
    Part(#[from] InvalidPart),
    /// No answer in time, several times in a row.
    #[error("does not answer in time")]
    Silent,
    /// Does not hold the state, several times in a row.
    #[error("does not hold the state")]
    Unavailable,
}

impl Fault {
    /// Whether no honest peer can have done it, however late, loaded or far behind it is.
    pub fn is_proof(&self) -> bool {
        !matches!(self, Fault::Silent | Fault::Unavailable)
    }
}

/// What a peer was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) ticket: u64,
    pub(crate) ask: Ask,
    /// Which piece, if it is for a part.
    pub(crate) piece: Option<usize>,
    pub(crate) deadline: Timestamp,
    /// Its time is over and others may be asked instead; the answer still counts if it is of use when it comes.
    pub(crate) late: bool,
}

#[derive(Clone, Debug, Default)]
struct Peer {
    asked: Option<Asked>,
    /// The last ticket it was given: who waited longest is asked first.
    last: u64,
    /// Failures since its last good answer.
    strikes: u32,
    /// The last of these was that it does not hold the state.
    lacks: bool,
    rests_until: Timestamp,
    fault: Option<Fault>,
}

impl Peer {
    fn in_flight(&self) -> Option<&Asked> {
        self.asked.as_ref().filter(|asked| !asked.late)
    }

    fn is_free(&self) -> bool {
        self.fault.is_none() && self.in_flight().is_none()
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    peers: BTreeMap<ValidatorId, Peer>,
}

impl Peers {
    /// Takes a peer, or one back that was left out without a proof and has rested. Whether it can be asked now that could
    /// not before. Its failures stay counted: with the next one it is left out again, and rests longer.
    pub(crate) fn add(&mut self, id: ValidatorId, now: Timestamp) -> bool {
        let room = self.peers.len() < MAX_PEERS;
        match self.peers.get_mut(&id) {
            Some(peer) => {
                let left_out = peer.fault.as_ref().is_some_and(|fault| !fault.is_proof());
                let back = left_out && peer.rests_until <= now;
                if back {
                    peer.fault = None;
                }
                back
            }
            None if room => {
                self.peers.insert(id, Peer::default());
                true
            }
            None => false,
        }
    }

    /// Forgets what was asked and all failures, but not what was proved. Whoever was silent is asked after all who have
    /// answered something, so that what is asked for is not gone before somebody who lives is asked.
    pub(crate) fn forgive(&mut self) {
        for peer in self.peers.values_mut() {
            let fault = peer.fault.take().filter(Fault::is_proof);
            let strikes = u32::from(peer.strikes > 0 && !peer.lacks);
            *peer = Peer { last: peer.last, strikes, fault, ..Peer::default() };
        }
    }

    /// Requests whose time is not over.
    pub(crate) fn in_flight(&self) -> usize {
        self.peers.values().filter(|peer| peer.in_flight().is_some()).count()
    }

    /// Whether the head has been asked for and its time is not over.
    pub(crate) fn head_asked(&self) -> bool {
        self.peers.values().filter_map(Peer::in_flight).any(|asked| asked.ask == Ask::Head)
    }

    /// Whom to ask now: those with the fewest failures first, and of them who waited longest.
    pub(crate) fn choose(&self, now: Timestamp) -> Option<ValidatorId> {
        let free = self.peers.iter().filter(|(_, peer)| peer.is_free() && peer.rests_until <= now);
        free.min_by_key(|(id, peer)| (peer.strikes, peer.last, **id)).map(|(id, _)| *id)
    }

    /// Notes what was asked of whom.
    pub(crate) fn ask(&mut self, id: ValidatorId, asked: Asked) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.last = asked.ticket;
            peer.asked = Some(asked);
        }
    }

    /// Takes back what was asked of a peer with this ticket. None for a ticket that it was not given.
    pub(crate) fn take(&mut self, id: ValidatorId, ticket: u64) -> Option<Asked> {
        self.peers.get_mut(&id)?.asked.take_if(|asked| asked.ticket == ticket)
    }

    /// A good answer came; however late, it brings back who was left out for its silence.
    pub(crate) fn praise(&mut self, id: ValidatorId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.fault = peer.fault.take().filter(Fault::is_proof);
            peer.strikes = 0;
            peer.lacks = false;
            peer.rests_until = Timestamp(0);
        }
    }

    /// The peer is not asked any more.
    pub(crate) fn exclude(&mut self, id: ValidatorId, fault: Fault) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.asked = None;
            peer.fault = Some(fault);
        }
    }

    /// A failure that proves nothing: it rests, longer each time. True if it is now left out; what it was asked may still be
    /// answered.
    pub(crate) fn strike(&mut self, id: ValidatorId, fault: Fault, now: Timestamp, rest_ms: u64, most: u32) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        if peer.fault.is_some() {
            return false;
        }
        let rest = rest_ms.saturating_mul(1 << peer.strikes.min(DOUBLINGS));
        peer.strikes = peer.strikes.saturating_add(1);
        peer.lacks = fault == Fault::Unavailable;
        peer.rests_until = now.plus(rest);
        let out = peer.strikes >= most;
        if out {
            peer.fault = Some(fault);
        }
        out
    }

    /// Marks a request whose time is over as late, and answers what it was until now.
    pub(crate) fn overdue(&mut self, now: Timestamp) -> Option<(ValidatorId, Asked)> {
        let late = |peer: &Peer| peer.in_flight().is_some_and(|asked| asked.deadline <= now);
        let (id, peer) = self.peers.iter_mut().find(|(_, peer)| late(peer))?;
        let asked = peer.asked.as_mut().expect("one is in flight");
        let before = *asked;
        asked.late = true;
        Some((*id, before))
    }

    /// When the next request is overdue.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.peers.values().filter_map(Peer::in_flight).map(|asked| asked.deadline).min()
    }

    /// When somebody can be asked.
    pub(crate) fn next_rested(&self) -> Option<Timestamp> {
        self.peers.values().filter(|peer| peer.is_free()).map(|peer| peer.rests_until).min()
    }

    /// Whether anybody may be expected to serve: not left out, and not one that has just said that it holds nothing.
    pub(crate) fn any_hope(&self) -> bool {
        self.peers.values().any(|peer| peer.fault.is_none() && !peer.lacks)
    }

    /// Peers that do not hold the state, left out or not.
    pub(crate) fn lacking(&self) -> usize {
        self.peers.values().filter(|peer| peer.lacks && !peer.fault.as_ref().is_some_and(Fault::is_proof)).count()
    }

    /// Peers that are left out, by what is true of their fault.
    pub(crate) fn left_out(&self, which: impl Fn(&Fault) -> bool) -> usize {
        self.peers.values().filter_map(|peer| peer.fault.as_ref()).filter(|fault| which(fault)).count()
    }

    #[cfg(test)]
    pub(crate) fn fault(&self, id: ValidatorId) -> Option<&Fault> {
        self.peers.get(&id)?.fault.as_ref()
    }
}
