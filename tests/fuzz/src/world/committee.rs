//! The beacon's committee in a room: replicas that really talk, what they said, and a store that watches what is kept.

use super::{
    World,
    room::{Room, START},
    secret,
};
use kakera_beacon::{Beacon, leader_seed};
use kakera_chain::{
    BlockId, Member,
    application::CertifiedBlocks,
    block::Block,
    certificate::Certificate,
    codec,
    evidence::{Conflict, Equivocation},
    leaders::leader_cycle,
    machine::StateMachine,
    message::SignedMessage,
    peer::PeerMessage,
    replica::{Effect, Input, InvalidStore, Refused, Replica, ReplicaConfig, SignState},
    store::{Row, Store, StoreFailure, Table, Write},
    units::{ChainId, Epoch, Timestamp},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex},
};

/// A store in memory that believes nothing: every row is checked as it is written.
#[derive(Default)]
pub(crate) struct Rows(Mutex<Contents>);

/// Values by table and key.
pub(crate) type Contents = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

impl Rows {
    /// All rows.
    pub(crate) fn contents(&self) -> Contents {
        self.0.lock().unwrap().clone()
    }

    /// These rows.
    pub(crate) fn of(rows: Contents) -> Rows {
        Rows(Mutex::new(rows))
    }

    fn write(&self, writes: Vec<Write>) {
        for write in &writes {
            if let Write::Put { table, value, key } = write {
                check_row(*table, key, value);
            }
        }
        self.keep(writes);
    }

    /// Writes whatever it is.
    pub(crate) fn keep(&self, writes: Vec<Write>) {
        let mut rows = self.0.lock().unwrap();
        for write in writes {
            match write {
                Write::Put { table, key, value } => drop(rows.insert((table, key), value)),
                Write::Delete { table, key } => drop(rows.remove(&(table, key))),
                Write::Clear { table } => rows.retain(|(of, _), _| *of != table),
                Write::Below { table, key } => rows.retain(|(of, row), _| *of != table || *row >= key),
            }
        }
    }
}

/// Only what is signed by members, whole and consistent is ever kept.
fn check_row(table: Table, key: &[u8], value: &[u8]) {
    let world = World::of_all();
    let (seats, network) = (world.seats(ChainId::Beacon), world.id());
    let place = |message: &SignedMessage| {
        let statement = &message.statement;
        (statement.chain, statement.epoch, statement.root, statement.sender, statement.seq)
    };
    match table {
        Table::Messages => {
            let message: SignedMessage = codec::decode(value, SignedMessage::MAX_BYTES).unwrap();
            assert!(message.verify(seats, network).is_ok(), "an unsigned message was kept");
        }
        Table::Evidence => {
            if key.len() > 2 {
                let conflict: Conflict = codec::decode(value, usize::MAX).unwrap();
                let seat = |_, _, member: Member| Some((seats.validators[member.index()], *seats.key(member)?));
                conflict.verify(network, seat).unwrap();
                return;
            }
            let Equivocation { first, second } = codec::decode(value, usize::MAX).unwrap();
            assert_eq!(place(&first), place(&second), "evidence of two places was kept");
            let (a, _) = first.verify(seats, network).unwrap();
            let (b, _) = second.verify(seats, network).unwrap();
            assert_ne!(a, b, "one message was kept as evidence");
        }
        Table::Blocks => {
            let block = Block::decode(value).unwrap();
            assert_eq!(key, block.header.id(network).0, "a block was kept under another name");
        }
        Table::Certificates => {
            let certificate: Certificate = codec::decode(value, Certificate::MAX_BYTES).unwrap();
            let root = world.beacon_genesis.id(network);
            certificate.verify(ChainId::Beacon, Epoch(0), root, seats, network).unwrap();
        }
        Table::Undo => drop(codec::decode::<Vec<Write>>(value, usize::MAX).unwrap()),
        _ => {}
    }
}

impl Store for Rows {
    fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        Ok(self.0.lock().unwrap().get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreFailure> {
        let rows = self.0.lock().unwrap();
        let rows = rows.range((table, from.to_vec())..).take_while(|((other, _), _)| *other == table);
        Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreFailure> {
        let rows = self.0.lock().unwrap();
        let row = rows.iter().rfind(|((other, _), _)| *other == table);
        Ok(row.map(|((_, key), value)| (key.clone(), value.clone())))
    }
}

/// One replica with its store.
pub(crate) struct Watched {
    pub(crate) replica: Replica<Beacon>,
    store: Arc<Rows>,
}

/// A replica of the beacon's chain from genesis; `me`: the member it speaks for.
pub(crate) fn open(me: Option<Member>) -> Watched {
    reopen(me, Contents::new(), START).unwrap()
}

/// A replica that goes on from what is stored.
pub(crate) fn reopen(me: Option<Member>, rows: Contents, now: u64) -> Result<Watched, InvalidStore> {
    let world = World::of_all();
    let seats = world.seats(ChainId::Beacon).clone();
    let store = Arc::new(Rows::of(rows));
    let config = ReplicaConfig {
        network: Arc::clone(&world.network),
        chain: ChainId::Beacon,
        leaders: leader_cycle(&seats.committee, leader_seed(&world.network, ChainId::Beacon)),
        validator: me.map(|member| seats.validators[member.index()]).map(|validator| (validator, secret(validator))),
        seats,
        genesis: world.beacon_genesis.clone(),
        guard: SignState::default(),
        restored: false,
        now: Timestamp(now),
    };
    let replica = Replica::open(config, world.beacon.clone(), Arc::<Rows>::clone(&store))?;
    Ok(Watched { replica, store })
}

impl Watched {
    /// Hears a member of the first committee say something.
    pub(crate) fn hear(&mut self, now: u64, from: Member, message: PeerMessage) -> Said {
        self.step(now, heard(from, message))
    }

    /// Whatever was heard, what is stored can be gone on from, at the same certified block.
    pub(crate) fn check_restart(&self, now: u64) {
        let rows = self.store.contents();
        let again = reopen(self.replica.me(), rows, now);
        let again = again.unwrap_or_else(|reason| panic!("a replica cannot start again after what it heard: {reason}"));
        assert_eq!(again.replica.certified().id, self.replica.certified().id);
        assert_eq!(again.replica.head().id, self.replica.head().id, "another head after a start");
    }

    /// Handles an input; what it keeps is checked and kept, what it sends and refuses is returned.
    pub(crate) fn step(&mut self, now: u64, input: Input<kakera_chain::crosslink::Crosslink>) -> Said {
        let mut said = Said::default();
        for effect in self.replica.handle(Timestamp(now), input) {
            match effect {
                Effect::Persist { writes, .. } => self.store.write(writes),
                Effect::Broadcast(message) => said.sent.push((None, message)),
                Effect::Send(to, message) => said.sent.push((Some(to), message)),
                Effect::Refused { reason, .. } => said.refused.push(reason),
                Effect::Halt(breach) => panic!("one faulty member of four made a replica halt: {breach}"),
                _ => {}
            }
        }
        said
    }
}

/// What a member of the first committee says, in the first era.
pub(crate) fn heard(from: Member, message: PeerMessage) -> Input<kakera_chain::crosslink::Crosslink> {
    let from = World::of_all().seats(ChainId::Beacon).validators[from.index()];
    Input::Peer { from, epoch: Epoch(0), message }
}

/// What came of one input.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) sent: Vec<(Option<Member>, PeerMessage)>,
    pub(crate) refused: Vec<Refused>,
}

/// What an honest committee said in a few slots.
pub(crate) struct Recorded {
    /// When, by whom, and what.
    pub(crate) heard: Vec<(u64, Member, PeerMessage)>,
    /// One of each kind that anybody said to anybody.
    pub(crate) kinds: Vec<PeerMessage>,
    /// The certified blocks by height, from 1 on.
    pub(crate) certified: Vec<BlockId>,
    /// Those blocks, as they are given to who follows.
    pub(crate) blocks: CertifiedBlocks,
    /// When it ended.
    pub(crate) end: u64,
    /// What the second member has stored by then.
    pub(crate) rows: Contents,
}

static RECORDED: LazyLock<Recorded> = LazyLock::new(record);

/// The one recorded run.
pub(crate) fn recorded() -> &'static Recorded {
    &RECORDED
}

fn record() -> Recorded {
    let world = World::of_all();
    let mut room = Room::new(&[]);
    for (_, crosslink) in world.crosslinks.iter().take(6) {
        drop(room.give(1, Input::Application(crosslink.clone())));
        let refused = room.run(400);
        assert!(refused.is_empty(), "{refused:?}");
    }
    let first = room.replicas().next().unwrap();
    let heights = 1..=first.certified().header.height.0;
    let certified: Vec<BlockId> =
        heights.map(|height| first.certified_id(kakera_chain::units::Height(height)).unwrap()).collect();
    assert!(certified.len() >= 4, "only {} blocks were certified", certified.len());
    let blocks = first.certified_blocks(kakera_chain::units::Height(1)).unwrap();
    assert_eq!(blocks.blocks.len(), certified.len());
    let mut kinds: BTreeMap<u8, PeerMessage> = BTreeMap::new();
    for (_, _, _, message) in &room.heard {
        kinds.entry(codec::encode(message)[0]).or_insert_with(|| message.clone());
    }
    let kinds = kinds.into_values().collect();
    let end = room.now;
    let rows = room.members[1].as_ref().unwrap().store.contents();
    // What reaches the first member, and what it says itself, as it reaches the second.
    let by_or_to_first = |(at, from, to, message): (u64, Member, Member, PeerMessage)| {
        (to == Member(0) || (from, to) == (Member(0), Member(1))).then_some((at, from, message))
    };
    Recorded { heard: room.heard.into_iter().filter_map(by_or_to_first).collect(), kinds, certified, blocks, end, rows }
}
