//! Fetching a state: a machine without clock or sockets that says what to ask of whom and what to write.

use super::{
    head::StateHead,
    message::{Answer, Ask, Request},
    part::PART_ACCOUNTS,
    peers::{Asked, Fault, Peers},
    progress::{self, HEAD_KEY, MAX_PIECES, Piece, Progress, Target},
};
use crate::{
    records::{META_KEY, account_write, damaged, load_accounts},
    state::ShardState,
};
use kakera_chain::{
    codec,
    hash::Hash,
    store::{Store, StoreFailure, Table, Write},
    units::{ShardId, Timestamp, ValidatorId},
};
use std::sync::Arc;
use thiserror::Error;

/// Rows removed by one call.
const CLEARED: usize = 4_096;

/// The most that [`FetchConfig::strikes`] may be.
const MAX_STRIKES: u32 = 64;

/// [`FetchConfig::patience_ms`] doubles so many times.
const PATIENCE_DOUBLINGS: u32 = 2;

/// How to fetch. Values beyond the bounds named are brought within them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchConfig {
    /// Whose state.
    pub shard: ShardId,
    /// Shards of the network.
    pub shards: u16,
    /// Pieces that the key space is divided into, 1 to [`MAX_PIECES`].
    pub pieces: u16,
    /// Accounts asked for at a time, 1 to [`PART_ACCOUNTS`].
    pub part_accounts: u32,
    /// Requests under way at a time, at least 1; each may bring [`Part::MAX_BYTES`](super::Part::MAX_BYTES).
    pub in_flight: usize,
    /// How long an answer may take before somebody else is asked, and how long a peer rests after its first failure.
    pub timeout_ms: u64,
    /// Failures in a row after which a peer is left out, 1 to 64.
    pub strikes: u32,
    /// How long nothing good may come before another target is looked for. Doubles, twice at most, with each target that
    /// was taken for it: on a slow link the first answer needs its time.
    pub patience_ms: u64,
}

impl FetchConfig {
    /// What suits a network.
    pub fn of(shard: ShardId, shards: u16) -> FetchConfig {
        FetchConfig {
            shard,
            shards,
            pieces: 64,
            part_accounts: PART_ACCOUNTS,
            in_flight: 16,
            timeout_ms: 5_000,
            strikes: 4,
            patience_ms: 10_000,
        }
    }
}

/// What happens to a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing but that time passes: at the start, and when [`Fetch::next_wakeup`] says so.
    Tick,
    /// A peer answered, or what it sent instead of an answer. At most [`Ask::answer_bytes`] bytes need to be read.
    Answered {
        /// Who, as its connection proves.
        peer: ValidatorId,
        /// What it was asked with.
        ticket: u64,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The request could not be delivered, or its connection was lost.
    Lost {
        /// Of whom it was asked.
        peer: ValidatorId,
        /// What it was asked with.
        ticket: u64,
    },
    /// A peer that may be asked.
    Peer(ValidatorId),
    /// Another block's state is wanted instead.
    Target(Target),
}

/// What to do, in order, before anything else is given to the fetch.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Ask a peer.
    Ask {
        /// Whom.
        peer: ValidatorId,
        /// To be given back with the answer; no two requests of one fetch have the same.
        ticket: u64,
        /// What.
        request: Request,
    },
    /// Write these, all or nothing.
    Persist(Vec<Write>),
    /// This peer is not asked any more.
    Dropped {
        /// Who.
        peer: ValidatorId,
        /// Why.
        fault: Fault,
    },
    /// All parts were proved, but the rows in the store make up something else. Everything is fetched again, once.
    Mismatch {
        /// The root of the stored accounts.
        found: Hash,
        /// The root that they were proved under.
        expected: Hash,
    },
    /// Nobody is left to be asked, or all who are say that they do not hold the state; those are asked again after a
    /// rest. Another target or another peer ends the stall, and so does a good answer.
    Stalled(Stall),
    /// The state is whole.
    Complete(Box<Completed>),
}

/// A fetched state.
#[derive(Clone, Debug)]
pub struct Completed {
    /// The state, rebuilt from the stored rows and checked against the state root.
    pub state: ShardState,
    /// To be written together with whatever says that the chain begins at this block. Until then the fetch is unfinished.
    pub writes: Vec<Write>,
}

/// Why a fetch does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Stall {
    /// Peers say that they do not hold this state: another target is needed.
    #[error("no peer serves the state; {unavailable} do not hold the state, {silent} are silent, {bad} answered badly")]
    Unavailable {
        /// Who do not hold it.
        unavailable: usize,
        /// Who are silent.
        silent: usize,
        /// Who answered what no honest peer can.
        bad: usize,
    },
    /// Other peers are needed.
    #[error("no peer is left; {silent} are silent, {bad} answered badly")]
    NoPeers {
        /// Who are silent.
        silent: usize,
        /// Who answered what no honest peer can.
        bad: usize,
    },
}

#[derive(Clone, Debug)]
enum Stage {
    /// Removes rows that belong to something else; `marked` once the store says so.
    Clearing {
        marked: bool,
    },
    Head,
    Parts(Parts),
    Complete,
}

#[derive(Clone, Debug)]
struct Parts {
    head: Box<StateHead>,
    pieces: Vec<Piece>,
    /// By piece: the ticket of the request that is under way for it.
    tickets: Vec<Option<u64>>,
}

/// A fetch.
#[derive(Clone, Debug)]
pub struct Fetch {
    config: FetchConfig,
    target: Target,
    stage: Stage,
    peers: Peers,
    /// The next request's.
    ticket: u64,
    /// A stall that was reported and still lasts.
    stall: Option<Stall>,
    /// Since when nothing good has come, and how many targets were taken for that.
    waiting_since: Option<Timestamp>,
    impatient: u32,
    /// The store has been found not to hold what was written, once.
    mistrusted: bool,
}

impl Fetch {
    /// Goes on with what is stored, if that is a fetch of this target; else begins. Nothing happens before the first
    /// [`Input::Tick`]. Not to be called for a state that is held already: its rows would be removed.
    pub fn open(config: FetchConfig, target: Target, store: &dyn Store) -> Result<Fetch, StoreFailure> {
        let config = FetchConfig {
            pieces: config.pieces.clamp(1, MAX_PIECES),
            part_accounts: config.part_accounts.clamp(1, PART_ACCOUNTS),
            in_flight: config.in_flight.max(1),
            strikes: config.strikes.clamp(1, MAX_STRIKES),
            ..config
        };
        let stage = match progress::resume(store, &target)? {
            Some((head, pieces)) => Stage::Parts(Parts::new(head, pieces)),
            None => Stage::Clearing { marked: false },
        };
        let peers = Peers::default();
        let (stall, waiting_since) = (None, None);
        Ok(Fetch { config, target, stage, peers, ticket: 0, stall, waiting_since, impatient: 0, mistrusted: false })
    }

    /// What is fetched.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Pieces done, and all of them; none before the head is known.
    pub fn progress(&self) -> Option<(usize, usize)> {
        let Stage::Parts(parts) = &self.stage else { return None };
        Some((parts.pieces.iter().filter(|piece| piece.next.is_none()).count(), parts.pieces.len()))
    }

    /// Why it does not go on, if it does not.
    pub fn stalled(&self) -> Option<Stall> {
        self.stall
    }

    /// Whether to look for another target: nobody serves this one, or nothing good has come for long. A stall is not enough
    /// to go by: peers that are silent by turns are never all left out at one time.
    pub fn wants_another(&self, now: Timestamp) -> bool {
        self.stall.is_some() || self.is_impatient(now)
    }

    fn is_impatient(&self, now: Timestamp) -> bool {
        let patience = self.config.patience_ms.saturating_mul(1 << self.impatient.min(PATIENCE_DOUBLINGS));
        self.waits() && self.waiting_since.is_some_and(|since| since.plus(patience) <= now)
    }

    /// When to give [`Input::Tick`] if nothing else happens first; a time past means at once.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        let at_once = Some(Timestamp(0));
        match &self.stage {
            Stage::Complete => None,
            Stage::Clearing { .. } => at_once,
            Stage::Parts(parts) if parts.are_done() => at_once,
            Stage::Head | Stage::Parts(_) => {
                let room = self.peers.in_flight() < self.config.in_flight && self.has_work();
                let rested = if room { self.peers.next_rested() } else { None };
                self.peers.next_deadline().into_iter().chain(rested).min()
            }
        }
    }

    /// Takes what happened. The effects of all calls before have been carried out: `store` holds what they wrote.
    ///
    /// # Errors
    /// The store's own failures, and a store that does not hold what was written, twice.
    pub fn handle(&mut self, now: Timestamp, input: Input, store: &dyn Store) -> Result<Vec<Effect>, StoreFailure> {
        let mut effects = Vec::new();
        if !self.waits() || self.waiting_since.is_none() {
            self.waiting_since = Some(now);
        }
        self.advance(store, &mut effects)?;
        match input {
            Input::Tick => {}
            Input::Answered { peer, ticket, bytes } => self.answered(now, peer, ticket, &bytes, &mut effects),
            Input::Lost { peer, ticket } => {
                if let Some(asked) = self.peers.take(peer, ticket) {
                    self.failed(now, peer, &asked, Fault::Silent, &mut effects);
                }
            }
            Input::Peer(peer) => {
                if self.peers.add(peer, now) {
                    self.stall = None;
                }
            }
            Input::Target(target) => {
                if target != self.target {
                    self.impatient = self.impatient.saturating_add(u32::from(self.is_impatient(now)));
                    self.target = target;
                    self.mistrusted = false;
                    self.begin();
                }
            }
        }
        while let Some((peer, asked)) = self.peers.overdue(now) {
            self.failed(now, peer, &asked, Fault::Silent, &mut effects);
        }
        self.ask(now, &mut effects);
        self.notice_stall(&mut effects);
        Ok(effects)
    }

    /// Begins with nothing.
    fn begin(&mut self) {
        self.stage = Stage::Clearing { marked: false };
        self.peers.forgive();
        self.stall = None;
    }

    /// What needs the store, and no peer.
    fn advance(&mut self, store: &dyn Store, effects: &mut Vec<Effect>) -> Result<(), StoreFailure> {
        match &mut self.stage {
            Stage::Clearing { marked: false } => {
                // From here on the rows are nobody's state.
                let gone = |key: &[u8]| Write::Delete { table: Table::Meta, key: key.to_vec() };
                effects.push(Effect::Persist(vec![Progress::Clearing.write(), gone(META_KEY), gone(HEAD_KEY)]));
                self.stage = Stage::Clearing { marked: true };
            }
            Stage::Clearing { marked: true } => {
                let rows = store.scan(Table::State, &[], CLEARED)?;
                if rows.is_empty() {
                    self.stage = Stage::Head;
                } else {
                    let gone = |(key, _)| Write::Delete { table: Table::State, key };
                    effects.push(Effect::Persist(rows.into_iter().map(gone).collect()));
                }
            }
            Stage::Parts(parts) if parts.are_done() => {
                let accounts = load_accounts(store)?;
                let (found, expected) = (accounts.root(), parts.head.accounts_root);
                if found == expected {
                    let meta = Arc::new(parts.head.meta.clone());
                    let state = ShardState { accounts, meta, outcome: Arc::default() };
                    let writes = progress::completion(&parts.head);
                    effects.push(Effect::Complete(Box::new(Completed { state, writes })));
                    self.stage = Stage::Complete;
                } else if self.mistrusted {
                    return Err(damaged(Table::State, "it does not hold the accounts that were written to it"));
                } else {
                    effects.push(Effect::Mismatch { found, expected });
                    self.mistrusted = true;
                    self.begin();
                }
            }
            Stage::Head | Stage::Parts(_) | Stage::Complete => {}
        }
        Ok(())
    }

    /// Judges an answer. One that nobody asked for, or that comes under another's name, changes nothing.
    fn answered(&mut self, now: Timestamp, peer: ValidatorId, ticket: u64, bytes: &[u8], effects: &mut Vec<Effect>) {
        let Some(asked) = self.peers.take(peer, ticket) else { return };
        let fault = match Answer::decode(bytes, &asked.ask) {
            Ok(Answer::Unavailable) => {
                self.failed(now, peer, &asked, Fault::Unavailable, effects);
                return;
            }
            Ok(answer) => self.judge(answer, &asked, effects).err(),
            Err(invalid) => Some(invalid.into()),
        };
        self.release(&asked);
        match fault {
            None => {
                self.peers.praise(peer);
                (self.stall, self.waiting_since) = (None, Some(now));
            }
            Some(fault) => {
                self.peers.exclude(peer, fault.clone());
                effects.push(Effect::Dropped { peer, fault });
            }
        }
    }

    /// Takes a good answer; one that is no longer of use is checked all the same.
    fn judge(&mut self, answer: Answer, asked: &Asked, effects: &mut Vec<Effect>) -> Result<(), Fault> {
        match (answer, asked.ask, &mut self.stage) {
            (Answer::Head(head), Ask::Head, stage) => {
                head.verify(self.target.state_root)?;
                if matches!(stage, Stage::Head) {
                    let FetchConfig { shard, shards, pieces, .. } = self.config;
                    let parts = Parts::new(*head, progress::divide(shard, shards, pieces));
                    let head_row = Write::put(Table::Meta, HEAD_KEY, codec::encode(&*parts.head));
                    effects.push(Effect::Persist(vec![head_row, parts.progress(self.target).write()]));
                    *stage = Stage::Parts(parts);
                }
            }
            (Answer::Part(part), Ask::Part(wanted), Stage::Parts(parts)) => {
                let covered = part.verify(parts.head.accounts_root, &wanted)?;
                let index = asked.piece.expect("noted when the part was asked for");
                // Somebody faster may have brought it already.
                if parts.pieces[index].next == Some(wanted.from) {
                    parts.pieces[index].next = covered.next;
                    parts.tickets[index] = None;
                    let rows = covered.accounts.iter().map(|(address, account)| account_write(address, account));
                    effects.push(Effect::Persist(rows.chain([parts.progress(self.target).write()]).collect()));
                }
            }
            // Decoding checked the kind. Somebody faster brought the last part, and the state is whole.
            _ => {}
        }
        Ok(())
    }

    /// A request failed in a way that proves nothing against the peer.
    fn failed(&mut self, now: Timestamp, peer: ValidatorId, asked: &Asked, fault: Fault, effects: &mut Vec<Effect>) {
        self.release(asked);
        let FetchConfig { timeout_ms, strikes, .. } = self.config;
        // One that was overdue has been counted.
        if !asked.late && self.peers.strike(peer, fault.clone(), now, timeout_ms, strikes) {
            effects.push(Effect::Dropped { peer, fault });
        }
    }

    /// The piece of a request that is over may be asked of somebody else.
    fn release(&mut self, asked: &Asked) {
        if let (Stage::Parts(parts), Some(index)) = (&mut self.stage, asked.piece)
            && parts.tickets[index] == Some(asked.ticket)
        {
            parts.tickets[index] = None;
        }
    }

    fn has_work(&self) -> bool {
        match &self.stage {
            Stage::Head => !self.peers.head_asked(),
            Stage::Parts(parts) => parts.free().is_some(),
            Stage::Clearing { .. } | Stage::Complete => false,
        }
    }

    fn ask(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while self.has_work() && self.peers.in_flight() < self.config.in_flight {
            let Some(peer) = self.peers.choose(now) else { return };
            let ticket = self.ticket;
            self.ticket += 1;
            let (ask, piece) = match &mut self.stage {
                Stage::Parts(parts) => {
                    let index = parts.free().expect("there is work");
                    parts.tickets[index] = Some(ticket);
                    let wanted = parts.pieces[index].wanted(self.config.part_accounts);
                    (Ask::Part(wanted.expect("a free piece is not done")), Some(index))
                }
                _ => (Ask::Head, None),
            };
            let deadline = now.plus(self.config.timeout_ms);
            self.peers.ask(peer, Asked { ticket, ask, piece, deadline, late: false });
            effects.push(Effect::Ask { peer, ticket, request: Request { block: self.target.block, ask } });
        }
    }

    /// Whether it goes on only by answers.
    fn waits(&self) -> bool {
        match &self.stage {
            Stage::Head => true,
            Stage::Parts(parts) => !parts.are_done(),
            Stage::Clearing { .. } | Stage::Complete => false,
        }
    }

    fn notice_stall(&mut self, effects: &mut Vec<Effect>) {
        if !self.waits() || self.stall.is_some() || self.peers.any_hope() {
            return;
        }
        let silent = self.peers.left_out(|fault| *fault == Fault::Silent);
        let bad = self.peers.left_out(Fault::is_proof);
        let stall = match self.peers.lacking() {
            0 => Stall::NoPeers { silent, bad },
            unavailable => Stall::Unavailable { unavailable, silent, bad },
        };
        self.stall = Some(stall);
        effects.push(Effect::Stalled(stall));
    }

    #[cfg(test)]
    pub(super) fn fault(&self, peer: ValidatorId) -> Option<&Fault> {
        self.peers.fault(peer)
    }
}

impl Parts {
    fn new(head: StateHead, pieces: Vec<Piece>) -> Parts {
        Parts { head: Box::new(head), tickets: vec![None; pieces.len()], pieces }
    }

    fn are_done(&self) -> bool {
        self.pieces.iter().all(|piece| piece.next.is_none())
    }

    /// The first piece that is not done and that nobody has been asked for.
    fn free(&self) -> Option<usize> {
        let mut pieces = self.pieces.iter().zip(&self.tickets);
        pieces.position(|(piece, ticket)| piece.next.is_some() && ticket.is_none())
    }

    fn progress(&self, target: Target) -> Progress {
        Progress::Fetching { target, pieces: self.pieces.clone() }
    }
}
