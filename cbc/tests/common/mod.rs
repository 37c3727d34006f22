//! What the suites share: messages with real ids, delivery with fetching, and worlds of many views.
#![allow(dead_code, reason = "each suite uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod crowd;
pub(crate) mod naive;

use kakera_cbc::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

pub(crate) const ROOT: BlockId = BlockId([0; 32]);

pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Splitmix64: a sequence of numbers from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True so many times of a hundred.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

pub(crate) fn engine(weights: Vec<u64>, me: Option<u16>) -> Engine<Blocks> {
    let cycle = (0..weights.len() as u16).map(Member).collect();
    let blocks = Blocks::new(ROOT, 0, Slot(0), Leaders::new(cycle));
    Engine::new(Committee::new(weights).unwrap(), me.map(Member), Limits::default(), blocks)
}

pub(crate) fn named(mut message: Message<Blocks>) -> Message<Blocks> {
    let body = format!(
        "{:?} {} {:?} {} {:?} {:?} {:?}",
        message.sender, message.seq, message.slot, message.base, message.advances, message.cites, message.estimate
    );
    message.id = MessageId(hash(&[body.as_bytes()]));
    message
}

pub(crate) fn from_draft(draft: &Draft<Blocks>, estimate: BlockEstimate) -> Message<Blocks> {
    named(Message {
        id: MessageId([0; 32]),
        sender: draft.sender,
        seq: draft.seq,
        slot: draft.slot,
        base: draft.base,
        advances: draft.advances.clone(),
        cites: draft.cites,
        estimate,
    })
}

pub(crate) fn vote(engine: &Engine<Blocks>, slot: u64, row: &Row) -> Message<Blocks> {
    let draft = engine.draft(Slot(slot), engine.base(), row);
    from_draft(&draft, BlockEstimate::Vote(draft.value))
}

pub(crate) fn proposal(engine: &Engine<Blocks>, slot: u64, salt: u8) -> Message<Blocks> {
    let draft = engine.draft(Slot(slot), engine.base(), &engine.view());
    let id = BlockId(hash(&[&draft.value.0, &slot.to_be_bytes(), &[salt]]));
    let height = engine.protocol().block(&draft.value).unwrap().height + 1;
    let block = NewBlock { id, parent: draft.value, height, slot: Slot(slot) };
    from_draft(&draft, BlockEstimate::Proposal(block))
}

/// Checks and inserts an own message, which must be valid.
pub(crate) fn say(engine: &mut Engine<Blocks>, message: &Message<Blocks>) -> Vec<Event<Blocks>> {
    match engine.check(message.slot, message) {
        Verdict::Valid(checked) => engine.insert(checked),
        Verdict::Waiting(Missing::FullCites(_)) => {
            let row = engine.draft(message.slot, message.base, &engine.view()).row;
            let cites = engine.resolve(&row);
            match engine.check_full(message.slot, message, &cites) {
                Verdict::Valid(checked) => engine.insert(checked),
                other => panic!("an own message with all cites is {other:?}"),
            }
        }
        other => panic!("an own message is {other:?}"),
    }
}

/// Full justifications of all messages said: what peers would answer.
pub(crate) type Archive = BTreeMap<MessageId, Vec<Observation>>;

/// Delivers a message: waits, fetches and releases as a node would. Answers events and refusals.
pub(crate) fn feed(
    engine: &mut Engine<Blocks>,
    now: u64,
    message: &Message<Blocks>,
    archive: &Archive,
) -> (Vec<Event<Blocks>>, Vec<Invalid>) {
    let (mut events, mut refused) = (Vec::new(), Vec::new());
    let mut open = vec![message.clone()];
    while let Some(message) = open.pop() {
        match engine.check(Slot(now), &message) {
            Verdict::Known => {}
            Verdict::Invalid(invalid) => refused.push(invalid),
            Verdict::Waiting(missing) => {
                let id = message.id;
                engine.park(message, missing.clone()).unwrap();
                if let Missing::FullCites(wanted) = missing
                    && let Some(cites) = archive.get(&wanted)
                {
                    assert_eq!(wanted, id);
                    assert!(engine.supply_cites(&id, cites.clone()));
                }
                if let Missing::Certificate(base) = missing
                    && engine.certify(base).is_err()
                {
                    continue;
                }
            }
            Verdict::Valid(checked) => events.extend(engine.insert(checked)),
        }
        open.extend(engine.release(Slot(now)));
    }
    (events, refused)
}

/// One face of a member: an equivocator has two, which know nothing of each other.
pub(crate) struct Face {
    pub(crate) engine: Engine<Blocks>,
    pub(crate) salt: u8,
}

/// Everything said so far, and who holds what.
pub(crate) struct World {
    pub(crate) weights: Vec<u64>,
    pub(crate) faces: Vec<Face>,
    pub(crate) said: Vec<Message<Blocks>>,
    pub(crate) archive: Archive,
    pub(crate) slot: u64,
}

impl World {
    /// Members with these weights; the first `equivocators` of them have two faces.
    pub(crate) fn new(weights: &[u64], equivocators: usize) -> Self {
        let mut faces = Vec::new();
        for member in 0..weights.len() {
            for salt in 0..(1 + u8::from(member < equivocators)) {
                faces.push(Face { engine: engine(weights.to_vec(), Some(member as u16)), salt });
            }
        }
        let (said, archive) = (Vec::new(), BTreeMap::new());
        Self { weights: weights.to_vec(), faces, said, archive, slot: 1 }
    }

    /// A face says what it may: a block when it leads and has not said anything, else a vote.
    pub(crate) fn speak(&mut self, face: usize) {
        let Face { engine, salt } = &mut self.faces[face];
        let me = engine.me().unwrap();
        let count = engine.said_in_slot(me, Slot(self.slot));
        if count >= engine.committee().messages_per_slot() || engine.is_faulty(me) {
            return;
        }
        let leads = engine.protocol().leader(Slot(self.slot)) == Some(me) && count == 0;
        let message = if leads { proposal(engine, self.slot, *salt) } else { vote(engine, self.slot, &engine.view()) };
        say(engine, &message);
        let cites = engine.observations(&message.id).unwrap();
        if self.archive.insert(message.id, cites).is_none() {
            self.said.push(message);
        }
    }

    /// A face receives something that was said.
    pub(crate) fn deliver(&mut self, face: usize, which: usize) {
        let Some(message) = self.said.get(which) else { return };
        let (_, refused) = feed(&mut self.faces[face].engine, self.slot, message, &self.archive);
        assert_eq!(refused, [], "what faces say is valid");
    }

    /// Runs a script of (who, what, which).
    pub(crate) fn run(&mut self, script: &[(u8, u8, u16)]) {
        for (who, what, which) in script {
            let face = usize::from(*who) % self.faces.len();
            match what % 8 {
                0 => self.slot += 1,
                1..3 => self.speak(face),
                3 => (0..self.said.len()).for_each(|which| self.deliver(face, which)),
                _ if self.said.is_empty() => {}
                _ => self.deliver(face, usize::from(*which) % self.said.len()),
            }
        }
    }

    /// Somebody who receives everything, in this order of indices.
    pub(crate) fn observer(&self, order: impl IntoIterator<Item = usize>) -> Engine<Blocks> {
        let mut observer = engine(self.weights.clone(), None);
        for which in order {
            let (_, refused) = feed(&mut observer, self.slot, &self.said[which], &self.archive);
            assert_eq!(refused, []);
        }
        observer
    }
}
