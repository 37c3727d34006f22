//! A fetch among peers that behave and misbehave, in virtual time, on a store that can be cut off at any write.

use crate::{
    account::Account,
    handover::*,
    records::load_state,
    state::ShardState,
    testing::{MemoryStore, Setup, World},
    trie::Trie,
};
use kakera_chain::{
    BlockId,
    address::Address,
    codec,
    hash::Hash,
    store::{Store, Table},
    units::{Height, ShardId, Timestamp, ValidatorId},
};
use std::{collections::BTreeMap, sync::Arc};

/// What a peer does when it is asked.
#[derive(Clone)]
pub(crate) enum Peer {
    Honest,
    /// Answers well, this many milliseconds later.
    Slow(u64),
    Silent,
    /// Its connection breaks each time.
    Lost,
    /// Nobody is there, which is noticed after so many milliseconds.
    Dead(u64),
    /// Holds the state until then, and on if it was asked for it before.
    Until(Timestamp),
    Unavailable,
    /// One bit of every answer is wrong; which one, counted through the answer from this number on.
    Bit(usize),
    /// One bit of every other part is wrong.
    Random,
    /// Answers with this.
    Always(Answer),
    /// True parts, but one account at a time.
    Drip,
    /// Holds another state and says that it is this one.
    Old(Box<ShardState>),
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum End {
    Complete(Box<Completed>),
    Stalled(Stall),
    Killed,
}

/// Something that looks like an address.
pub(crate) fn key(number: u64) -> Address {
    Address(Hash::of(&[&number.to_be_bytes()]).0)
}

/// A state with this many accounts, each holding `balance`.
pub(crate) fn state(accounts: u64, balance: u64) -> ShardState {
    let world = World::new(Setup::default());
    let meta = Arc::clone(&world.chains[0].head.state.meta);
    let accounts: Trie = (0..accounts).map(|number| (key(number), Account { balance, nonce: number })).collect();
    ShardState { accounts, meta, outcome: Arc::default() }
}

pub(crate) fn target(state: &ShardState) -> Target {
    let root = state.root();
    Target { block: BlockId(root.0), height: Height(7), state_root: root }
}

pub(crate) fn config() -> FetchConfig {
    FetchConfig { pieces: 8, part_accounts: 16, in_flight: 4, timeout_ms: 100, ..FetchConfig::of(ShardId(0), 1) }
}

/// A fetch and everything around it.
pub(crate) struct Net {
    pub(crate) state: ShardState,
    pub(crate) store: MemoryStore,
    pub(crate) fetch: Fetch,
    pub(crate) peers: Vec<Peer>,
    pub(crate) now: Timestamp,
    /// Single writes until the process is killed.
    pub(crate) writes_left: usize,
    pub(crate) written: usize,
    pub(crate) asked: usize,
    pub(crate) dropped: Vec<(ValidatorId, Fault)>,
    pub(crate) mismatches: usize,
    /// What is under way, by time and number.
    pub(crate) events: BTreeMap<(Timestamp, usize), Input>,
    random: u64,
}

impl Net {
    pub(crate) fn new(state: ShardState, peers: Vec<Peer>) -> Net {
        Net::on(MemoryStore::default(), state, peers, config())
    }

    pub(crate) fn on(store: MemoryStore, state: ShardState, peers: Vec<Peer>, config: FetchConfig) -> Net {
        let fetch = Fetch::open(config, target(&state), &store).unwrap();
        Net {
            state,
            store,
            fetch,
            peers,
            now: Timestamp(1_000),
            writes_left: usize::MAX,
            written: 0,
            asked: 0,
            dropped: Vec::new(),
            mismatches: 0,
            events: BTreeMap::new(),
            random: 1,
        }
    }

    /// Runs until the state is whole, nobody is left, or the process is killed.
    pub(crate) fn run(&mut self) -> End {
        for peer in 0..self.peers.len() {
            if let Some(end) = self.give(Input::Peer(id(peer))) {
                return end;
            }
        }
        self.go_on()
    }

    pub(crate) fn go_on(&mut self) -> End {
        loop {
            assert!(self.asked < 100_000, "it asks for ever");
            let wakeup = self.fetch.next_wakeup();
            let event = self.events.keys().next().copied();
            let input = match (event, wakeup) {
                (Some((time, _)), wakeup) if wakeup.is_none_or(|wakeup| time <= wakeup) => {
                    self.now = self.now.max(time);
                    self.events.pop_first().unwrap().1
                }
                (_, Some(wakeup)) => {
                    self.now = self.now.max(wakeup);
                    Input::Tick
                }
                _ => panic!("it waits for nothing"),
            };
            if let Some(end) = self.give(input) {
                return end;
            }
        }
    }

    pub(crate) fn give(&mut self, input: Input) -> Option<End> {
        let effects = self.fetch.handle(self.now, input, &self.store).unwrap();
        let mut end = None;
        for effect in effects {
            match effect {
                Effect::Ask { peer, ticket, request } => self.answer(peer, ticket, request),
                Effect::Persist(writes) => {
                    for write in writes {
                        if self.writes_left == 0 {
                            return Some(End::Killed);
                        }
                        self.writes_left -= 1;
                        self.written += 1;
                        self.store.write(vec![write]);
                    }
                }
                Effect::Dropped { peer, fault } => self.dropped.push((peer, fault)),
                Effect::Mismatch { .. } => self.mismatches += 1,
                Effect::Stalled(stall) => end = Some(End::Stalled(stall)),
                Effect::Complete(completed) => end = Some(End::Complete(completed)),
            }
        }
        end
    }

    fn answer(&mut self, peer: ValidatorId, ticket: u64, request: Request) {
        self.asked += 1;
        assert_eq!(Request::decode(&codec::encode(&request)), Ok(request));
        let holds = request.block == target(&self.state).block;
        let good = Answer::to(&request.ask, holds.then_some(&self.state));
        let mut bytes = codec::encode(&good);
        let mut delay = 1;
        let mut behaviour = self.peers[peer.0 as usize].clone();
        match &mut behaviour {
            Peer::Honest => {}
            Peer::Slow(ms) => delay = *ms,
            Peer::Silent => return,
            Peer::Lost => return self.post(1, Input::Lost { peer, ticket }),
            Peer::Dead(ms) => return self.post(*ms, Input::Lost { peer, ticket }),
            Peer::Until(time) if self.now < *time => self.peers[peer.0 as usize] = Peer::Honest,
            Peer::Until(_) | Peer::Unavailable => bytes = codec::encode(&Answer::Unavailable),
            Peer::Bit(bit) => {
                let bit = *bit % (8 * bytes.len());
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            Peer::Random => {
                let random = self.draw();
                if matches!(request.ask, Ask::Part(_)) && random.is_multiple_of(2) {
                    let bit = (random / 2) as usize % (8 * bytes.len());
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
            Peer::Always(answer) => bytes = codec::encode(answer),
            Peer::Drip => {
                if let Ask::Part(wanted) = request.ask {
                    bytes = codec::encode(&Answer::Part(self.state.part(&Wanted { limit: 1, ..wanted })));
                }
            }
            Peer::Old(state) => bytes = codec::encode(&Answer::to(&request.ask, Some(state))),
        }
        self.post(delay, Input::Answered { peer, ticket, bytes });
    }

    fn post(&mut self, delay: u64, input: Input) {
        self.events.insert((self.now.plus(delay), self.asked), input);
    }

    /// splitmix64.
    pub(crate) fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Ends a run that must complete: the state is right, and its rows are all there and nothing else.
    pub(crate) fn assert_complete(&mut self, end: End) {
        let End::Complete(completed) = end else { panic!("{end:?}") };
        assert_eq!(completed.state.root(), self.state.root());
        assert_eq!(completed.state.accounts.len(), self.state.accounts.len());
        assert!(unfinished(&self.store).unwrap(), "until its writes are made");
        assert!(load_state(&self.store).unwrap().is_none());
        self.store.write(completed.writes);
        assert!(!unfinished(&self.store).unwrap());
        let stored = load_state(&self.store).unwrap().unwrap();
        assert_eq!((stored.root(), &stored.meta), (self.state.root(), &self.state.meta));
        assert_eq!(self.store.scan(Table::Meta, &[], 10).unwrap().len(), 1, "the meta row and nothing else");
        assert_eq!(self.fetch.next_wakeup(), None);
    }

    /// Who was left out for something that no honest peer does.
    pub(crate) fn convicted(&self) -> Vec<u32> {
        let mut peers: Vec<u32> =
            self.dropped.iter().filter(|(_, fault)| fault.is_proof()).map(|(peer, _)| peer.0).collect();
        peers.sort_unstable();
        peers
    }
}

pub(crate) fn id(peer: usize) -> ValidatorId {
    ValidatorId(u32::try_from(peer).unwrap())
}
