//! A crowd: members that hear by chance, cite any closed row, keep silent, split into faces and speak late.

use super::naive::Book;
use super::*;
use std::collections::BTreeSet;

/// The fewest messages a slot that any committee allows a member.
const A_SLOT: u32 = 5;

/// Everything said so far, who knows what, and how the crowd behaves.
pub(crate) struct Crowd {
    pub(crate) weights: Vec<u64>,
    pub(crate) faces: Vec<Face>,
    pub(crate) said: Vec<Message<Blocks>>,
    pub(crate) archive: Archive,
    pub(crate) book: Book,
    pub(crate) proofs: BTreeMap<Member, (MessageId, MessageId)>,
    pub(crate) slot: u64,
    /// Who may split, and how often that happened.
    pub(crate) traitors: BTreeSet<u16>,
    pub(crate) splits: u8,
    pub(crate) chance: Chance,
    /// Percent of hearing that is hearing everything.
    pub(crate) loud: usize,
    pub(crate) certifies: bool,
    /// Percent of chances for rival blocks that are taken.
    pub(crate) swings: usize,
}

/// What sees an engine after each change.
pub(crate) type Look<'a> = &'a mut dyn FnMut(&Engine<Blocks>, &[Event<Blocks>]);

/// Weights of a committee, uneven more often than not.
pub(crate) fn uneven(chance: &mut Chance, most: usize) -> Vec<u64> {
    let n = match chance.below(8) {
        0 => 1 + chance.below(3),
        1 => most,
        _ => 3 + chance.below(most - 2),
    };
    match chance.below(6) {
        0 => vec![1; n],
        1 => (0..n as u64).map(|at| 1 + at * at).collect(),
        2 => (0..n).map(|at| if at % 3 == 1 { 0 } else { 1 + chance.next() % 9 }).collect(),
        3 => vec![u64::MAX / n as u64; n],
        _ => (0..n).map(|_| 1 + chance.next() % 20).collect(),
    }
}

impl Crowd {
    /// Members with these weights; some that weigh at most `faults` together may split.
    pub(crate) fn new(weights: Vec<u64>, faults: u64, seed: u64) -> Self {
        let mut chance = Chance(seed);
        let mut members: Vec<u16> = (0..weights.len() as u16).collect();
        chance.shuffle(&mut members);
        let mut left = faults;
        let mut traitors = BTreeSet::new();
        for member in members {
            let weight = weights[usize::from(member)];
            if weight <= left && traitors.len() + 1 < weights.len() && faults > 0 {
                left -= weight;
                traitors.insert(member);
            }
        }
        let faces = (0..weights.len() as u16)
            .map(|member| Face { engine: engine(weights.clone(), Some(member)), salt: 0 })
            .collect();
        let loud = [5, 20, 50, 90][chance.below(4)];
        let certifies = chance.percent(50);
        let swings = [0, 30, 100][chance.below(3)];
        Self {
            weights,
            faces,
            said: Vec::new(),
            archive: Archive::new(),
            book: Book::default(),
            proofs: BTreeMap::new(),
            slot: 1,
            traitors,
            splits: 0,
            chance,
            loud,
            certifies,
            swings,
        }
    }

    /// So many happenings.
    pub(crate) fn run(&mut self, happenings: usize) {
        for _ in 0..happenings {
            let face = self.chance.below(self.faces.len());
            match self.chance.below(20) {
                0 if self.chance.percent(self.swings) => self.swing(),
                0 => self.slot += 1,
                1..4 => self.propose(face),
                4..11 => {
                    self.listen(face);
                    self.vote(face);
                }
                11..15 => self.round(),
                15 | 16 => self.listen(face),
                17 => self.split(face),
                18 if self.certifies => {
                    let engine = &mut self.faces[face].engine;
                    let finalized = engine.finalized();
                    engine.certify(finalized).unwrap();
                }
                _ => self.vote(face),
            }
        }
    }

    /// Rival blocks, and votes that hear one or two others each: fork choices go to and fro until all hear all.
    fn swing(&mut self) {
        let begin = self.said.len();
        for _ in 0..2 + self.chance.below(2) {
            let face = self.chance.below(self.faces.len());
            self.propose(face);
        }
        if self.said.is_empty() {
            return;
        }
        for _ in 0..self.faces.len() * (2 + self.chance.below(4)) {
            let face = self.chance.below(self.faces.len());
            for _ in 0..1 + self.chance.below(2) {
                let which = begin.min(self.said.len() - 1) + self.chance.below((self.said.len() - begin).max(1));
                self.hear(face, which);
            }
            let engine = &self.faces[face].engine;
            let row = engine.view();
            self.vote_citing(face, &row);
        }
        (0..2).for_each(|_| self.round());
    }

    /// Some hear all that some said, and vote.
    fn round(&mut self) {
        let some: Vec<usize> = (0..self.faces.len()).filter(|_| self.chance.percent(75)).collect();
        for face in some {
            if self.chance.percent(70) {
                self.hear_all(face);
            } else {
                self.listen(face);
            }
            self.vote(face);
        }
    }

    pub(crate) fn hear_all(&mut self, face: usize) {
        let mut engine = std::mem::replace(&mut self.faces[face].engine, engine(vec![1], None));
        (0..self.said.len()).for_each(|which| drop(self.deliver(&mut engine, which, &mut |_, _| {})));
        self.faces[face].engine = engine;
    }

    /// A face hears something by chance.
    fn listen(&mut self, face: usize) {
        if self.said.is_empty() {
            return;
        }
        if self.chance.percent(self.loud) {
            return self.hear_all(face);
        }
        for _ in 0..1 + self.chance.below(3) {
            let back = self.chance.below(self.said.len().min(12)) + 1;
            self.hear(face, self.said.len() - back);
        }
    }

    /// A face receives a message with all that it cites.
    pub(crate) fn hear(&mut self, face: usize, which: usize) {
        let mut engine = std::mem::replace(&mut self.faces[face].engine, engine(vec![1], None));
        if !engine.contains(&self.said[which].id) {
            for at in &self.book.closures[which] {
                self.deliver(&mut engine, *at, &mut |_, _| {});
            }
        }
        self.faces[face].engine = engine;
    }

    /// Delivers one message as a node would: waits, fetches, releases. `look` sees the engine after each change.
    pub(crate) fn deliver(&self, engine: &mut Engine<Blocks>, which: usize, look: Look<'_>) -> Vec<Invalid> {
        let now = Slot(self.slot);
        let mut refused = Vec::new();
        if engine.contains(&self.said[which].id) {
            return refused;
        }
        let mut open = vec![self.said[which].clone()];
        while let Some(message) = open.pop() {
            match engine.check(now, &message) {
                Verdict::Known => {}
                Verdict::Invalid(invalid) => refused.push(invalid),
                Verdict::Valid(checked) => {
                    let events = engine.insert(checked);
                    look(engine, &events);
                    let certificate = |missing: &Missing<Blocks>| match missing {
                        Missing::Certificate(base) => Some(*base),
                        _ => None,
                    };
                    let wanted: Vec<BlockId> = engine.missing().filter_map(certificate).collect();
                    for base in wanted {
                        if engine.certify(base).is_ok() {
                            look(engine, &[]);
                        }
                    }
                }
                Verdict::Waiting(missing) => {
                    let id = message.id;
                    engine.park(message, missing.clone()).unwrap();
                    match missing {
                        Missing::FullCites(_) => assert!(engine.supply_cites(&id, self.archive[&id].clone())),
                        Missing::Evidence(member) => {
                            let (first, second) = self.proofs[&member];
                            let events = engine.accuse(member, first, second);
                            look(engine, &events);
                        }
                        Missing::Certificate(base) if engine.certify(base).is_ok() => look(engine, &[]),
                        _ => continue,
                    }
                }
            }
            open.extend(engine.release(now));
        }
        refused
    }

    /// What a face cites: its whole view, or only the closures of some of what it knows.
    fn row(&mut self, face: usize) -> Row {
        let engine = &self.faces[face].engine;
        if self.chance.percent(60) || self.said.is_empty() {
            return engine.view();
        }
        let mut rows = Vec::new();
        for _ in 0..1 + self.chance.below(4) {
            let message = &self.said[self.chance.below(self.said.len())];
            rows.extend(engine.row_of(&message.id));
        }
        engine.merge(&rows.iter().collect::<Vec<_>>())
    }

    pub(crate) fn vote(&mut self, face: usize) {
        let row = self.row(face);
        self.vote_citing(face, &row);
    }

    fn vote_citing(&mut self, face: usize, row: &Row) {
        let engine = &self.faces[face].engine;
        let me = engine.me().unwrap();
        if engine.said_in_slot(me, Slot(self.slot)) >= A_SLOT {
            self.slot += 1;
        }
        let engine = &self.faces[face].engine;
        let draft = engine.draft(Slot(self.slot), engine.base(), row);
        self.say(face, &draft, BlockEstimate::Vote(draft.value));
    }

    /// The next slot that the face's member leads comes, and it proposes.
    pub(crate) fn propose(&mut self, face: usize) {
        if self.chance.percent(60) {
            self.listen(face);
        }
        let row = self.row(face);
        let Face { engine, salt } = &self.faces[face];
        let me = engine.me().unwrap();
        let n = self.weights.len() as u64;
        self.slot += (u64::from(me.0) + n - self.slot % n) % n;
        if engine.said_in_slot(me, Slot(self.slot)) > 0 {
            self.slot += n;
        }
        let draft = engine.draft(Slot(self.slot), engine.base(), &row);
        let id = BlockId(hash(&[&draft.value.0, &self.slot.to_be_bytes(), &[*salt]]));
        let parent = engine.protocol().block(&draft.value).unwrap();
        let block = NewBlock { id, parent: draft.value, height: parent.height + 1, slot: Slot(self.slot) };
        self.say(face, &draft, BlockEstimate::Proposal(block));
    }

    /// Says it where it is valid: one that is found out may not cite those who know.
    fn say(&mut self, face: usize, draft: &Draft<Blocks>, estimate: BlockEstimate) {
        let message = from_draft(draft, estimate);
        let engine = &mut self.faces[face].engine;
        let cites = engine.resolve(&draft.row);
        match engine.check_full(message.slot, &message, &cites) {
            Verdict::Valid(checked) => drop(engine.insert(checked)),
            Verdict::Known => {}
            Verdict::Invalid(reason) if engine.is_faulty(message.sender) => {
                assert!(matches!(reason, Invalid::UnmarkedEquivocator { .. }), "{reason:?}");
                return;
            }
            other => panic!("a draft is {other:?}"),
        }
        if self.archive.contains_key(&message.id) {
            return;
        }
        let twin = self.said.iter().find(|other| (other.sender, other.seq) == (message.sender, message.seq));
        if let Some(twin) = twin {
            self.proofs.entry(message.sender).or_insert((twin.id, message.id));
        }
        self.book.add(&message, &cites);
        self.archive.insert(message.id, cites);
        self.said.push(message);
    }

    /// One that may splits: another face, with what the member knows now.
    fn split(&mut self, face: usize) {
        let Face { engine, .. } = &self.faces[face];
        let me = engine.me().unwrap();
        if self.traitors.contains(&me.0) && self.faces.len() < self.weights.len() + 6 {
            self.splits += 1;
            let twin = Face { engine: engine.clone(), salt: self.splits };
            self.faces.push(twin);
        }
    }

    /// The slot of a block that somebody proposed, or of the root.
    pub(crate) fn slot_of(&self, block: BlockId) -> Slot {
        let proposed = self.said.iter().find_map(|message| match message.estimate {
            BlockEstimate::Proposal(new) if new.id == block => Some(new.slot),
            _ => None,
        });
        proposed.unwrap_or(Slot(0))
    }

    /// A fresh observer of this committee.
    pub(crate) fn nobody(&self) -> Engine<Blocks> {
        engine(self.weights.clone(), None)
    }

    /// The places of `said` in an order that somebody might receive them in, some twice.
    pub(crate) fn order(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.said.len()).collect();
        match self.chance.below(4) {
            0 => {}
            1 => self.chance.shuffle(&mut order),
            // Nearly in order.
            2 => order.chunks_mut(7).for_each(|part| self.chance.shuffle(part)),
            // One after the other of the members, as when partitions heal.
            _ => order.sort_by_key(|at| (at / 30, self.said[*at].sender)),
        }
        let again: Vec<usize> = order.iter().copied().filter(|at| at % 5 == 0).collect();
        order.extend(again);
        order
    }
}
