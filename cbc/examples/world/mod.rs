//! Seeded worlds for any protocol whose base never moves: members, the faces of equivocators, late messages.
#![allow(dead_code, reason = "each example and suite uses its part")]

use kakera_cbc::{
    Committee, Draft, Engine, Event, Limits, Member, Message, MessageId, Missing, Observation, Protocol, Slot, Verdict,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A protocol whose members say the estimator's value, and from nothing what they like.
pub(crate) trait Follow: Protocol<Base = ()> {
    /// What to say when the fork choice is `value`; `liking` decides when nothing is known.
    fn follow(&self, value: Self::Candidate, liking: u64) -> Self::Estimate;
}

/// A small generator of numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// One face of a member: an equivocator has two, which know nothing of each other.
#[derive(Clone, Debug)]
pub(crate) struct Face<P: Protocol> {
    pub(crate) engine: Engine<P>,
    /// What it likes while it knows nothing.
    pub(crate) liking: u64,
    /// Who equivocates is not held to anything.
    pub(crate) honest: bool,
    /// Which of all messages said it was given.
    given: Vec<bool>,
}

/// Everything said so far, and who was given what.
#[derive(Clone, Debug)]
pub(crate) struct World<P: Protocol> {
    pub(crate) faces: Vec<Face<P>>,
    pub(crate) said: Vec<Message<P>>,
    /// Which face said each.
    authors: Vec<usize>,
    /// One bit a face: in a round, nothing passes between the two sides.
    pub(crate) sides: u64,
    /// The full justification of each message: what a peer would answer.
    archive: BTreeMap<MessageId, Vec<Observation>>,
    pub(crate) slot: u64,
}

impl<P: Follow> World<P> {
    /// The first `equivocators` members have a second face; likings go to faces in order, in turn.
    pub(crate) fn new(committee: &Committee, equivocators: usize, protocol: &P, likings: &[u64]) -> Self {
        let mut faces = Vec::new();
        for member in committee.members() {
            let honest = member.index() >= equivocators;
            for _ in 0..(if honest { 1 } else { 2 }) {
                let engine = Engine::new(committee.clone(), Some(member), Limits::default(), protocol.clone());
                let liking = likings[faces.len() % likings.len()];
                faces.push(Face { engine, liking, honest, given: Vec::new() });
            }
        }
        Self { faces, said: Vec::new(), authors: Vec::new(), sides: 0, archive: BTreeMap::new(), slot: 1 }
    }

    /// A face says what follows from its view, unless it has said enough or knows itself convicted.
    pub(crate) fn speak(&mut self, face: usize) -> Vec<Event<P>> {
        let Face { engine, liking, .. } = &mut self.faces[face];
        let Some(me) = engine.me() else { return Vec::new() };
        let slot = Slot(self.slot);
        if engine.said_in_slot(me, slot) >= engine.committee().messages_per_slot() || engine.is_faulty(me) {
            return Vec::new();
        }
        let (protocol, liking) = (engine.protocol().clone(), *liking);
        let finish = |draft: &Draft<P>| {
            let estimate = protocol.follow(draft.value, liking);
            (named(draft, &estimate), estimate)
        };
        let said = engine.say(slot, (), &engine.view(), finish);
        let (message, events) = said.expect("what follows from the own view is valid");
        let cites = engine.observations(&message.id).expect("it was just inserted");
        if self.archive.insert(message.id, cites).is_none() {
            self.said.push(message);
            self.authors.push(face);
        }
        events
    }

    /// A face is given something that was said; what cannot be judged yet waits with it.
    pub(crate) fn deliver(&mut self, face: usize, which: usize) -> Vec<Event<P>> {
        let Face { engine, given, .. } = &mut self.faces[face];
        let Some(message) = self.said.get(which) else { return Vec::new() };
        given.resize(self.said.len(), false);
        given[which] = true;
        feed(engine, Slot(self.slot), message, &self.archive)
    }

    /// Everybody speaks once; before that each is given what it was not given yet of its side, but each
    /// message may be late with this chance out of 8.
    pub(crate) fn round(&mut self, seed: &mut Seed, late: u64) {
        for face in 0..self.faces.len() {
            for which in 0..self.said.len() {
                let me = self.faces[face].engine.me();
                let own = Some(self.said[which].sender) == me;
                let known = self.faces[face].given.get(which) == Some(&true);
                let apart = (self.sides >> face ^ self.sides >> self.authors[which]) & 1 == 1;
                if !own && !known && !apart && seed.next() % 8 >= late {
                    self.deliver(face, which);
                }
            }
            self.speak(face);
        }
    }

    /// Runs a script of (who, what, which).
    pub(crate) fn run(&mut self, script: &[(u8, u8, u16)]) {
        for (who, what, which) in script {
            let face = usize::from(*who) % self.faces.len();
            match what % 8 {
                0 => self.slot += 1,
                1..3 => drop(self.speak(face)),
                3 => (0..self.said.len()).for_each(|which| drop(self.deliver(face, which))),
                _ if self.said.is_empty() => {}
                _ => drop(self.deliver(face, usize::from(*which) % self.said.len())),
            }
        }
    }

    /// An engine without a seat.
    pub(crate) fn bystander(&self, protocol: &P) -> Engine<P> {
        Engine::new(self.faces[0].engine.committee().clone(), None, Limits::default(), protocol.clone())
    }

    /// Gives a bystander one of the messages said.
    pub(crate) fn show(&self, bystander: &mut Engine<P>, which: usize) -> Vec<Event<P>> {
        feed(bystander, Slot(self.slot), &self.said[which], &self.archive)
    }

    /// A bystander who is given everything, in this order.
    pub(crate) fn observer(&self, protocol: &P, order: impl IntoIterator<Item = usize>) -> Engine<P> {
        let mut observer = self.bystander(protocol);
        for which in order {
            self.show(&mut observer, which);
        }
        observer
    }
}

/// Checks, parks, answers and releases as a node would.
fn feed<P: Protocol>(
    engine: &mut Engine<P>,
    now: Slot,
    message: &Message<P>,
    archive: &BTreeMap<MessageId, Vec<Observation>>,
) -> Vec<Event<P>> {
    let mut events = Vec::new();
    let mut open = vec![message.clone()];
    while let Some(message) = open.pop() {
        let verdict = match engine.check(now, &message) {
            Verdict::Waiting(Missing::FullCites(id)) => engine.check_full(now, &message, &archive[&id]),
            verdict => verdict,
        };
        match verdict {
            Verdict::Known => {}
            Verdict::Invalid(invalid) => panic!("what is said here is valid: {invalid}"),
            Verdict::Waiting(missing) => engine.park(message, missing).expect("the buffer holds what is said here"),
            Verdict::Valid(checked) => events.extend(engine.insert(checked)),
        }
        open.extend(engine.release(now));
    }
    events
}

/// An id for what a draft becomes: two messages that differ in anything differ in it.
pub(crate) fn named<P: Protocol>(draft: &Draft<P>, estimate: &P::Estimate) -> MessageId {
    let Draft { sender: Member(sender), seq, slot, base, advances, cites, .. } = draft;
    let body = format!("{sender} {seq} {slot} {base:?} {advances:?} {cites:?} {estimate:?}");
    MessageId(Sha256::digest(body.as_bytes()).into())
}
