//! A network of engines and speakers in virtual time: deterministic, and open to Byzantine members.
//!
//! What is modelled: messages that travel for a while, links that are cut, members that are silent, certificates from
//! signatures of more than 2/3 of the weight, evidence that is passed on, and the fetching of whatever a message
//! cites. Blocks are ids. What happens at one time happens in the order it was scheduled; only then do members speak.
//!
//! A Byzantine member is a *face*: an engine of its own that hears everybody almost at once and says what a script
//! makes it say, to whom and when the script wants (see `faces`). Equivocators have several faces.

mod census;
mod craft;
mod faces;
mod fetch;
mod intake;
mod node;
mod record;
mod setup;

pub use census::{Census, Stage, census};
pub use craft::{Unsayable, message_bytes, named};
pub use faces::Crafted;
pub use node::{Conduct, Node};
pub use record::{Record, Reorg};
pub use setup::{Cut, Latency, Rule, Setup};

use crate::{
    BlockId, Blocks, Committee, Engine, Event, InvalidCommittee, Leaders, Member, Message, MessageId, Observation, Slot,
};
use fetch::Want;
use node::{Turn, Uttered};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The era's root in every network here.
pub const ROOT: BlockId = BlockId([0; 32]);
/// What a message between honest members and faces takes: Byzantine members are near everybody.
const RUSH_MS: u64 = 1;

/// One thing that happens to a node.
#[derive(Clone, Debug)]
enum Happening {
    Slot(Slot),
    Wake,
    Status,
    Hear(usize, Arc<Message<Blocks>>),
    Share(Member, BlockId),
    Certificate(BlockId),
    Evidence(Member, MessageId, MessageId),
    Cites(MessageId),
    Tips(usize, Vec<Option<u64>>),
    Fetch,
    Request(usize, Want, Vec<Option<u64>>),
}

/// Everything that was ever said, honest or not: what peers and faces can show.
#[derive(Clone, Debug, Default)]
pub(crate) struct Library {
    pub(crate) messages: BTreeMap<MessageId, Arc<Message<Blocks>>>,
    pub(crate) cites: BTreeMap<MessageId, Vec<Observation>>,
    pub(crate) blocks: BTreeMap<BlockId, crate::NewBlock>,
    /// Blocks that more than 2/3 of the weight has signed.
    pub(crate) certificates: BTreeSet<BlockId>,
    /// Two messages of one place, by equivocator.
    pub(crate) evidence: BTreeMap<Member, (MessageId, MessageId)>,
}

/// The network.
#[derive(Clone, Debug)]
pub struct Net {
    setup: Setup,
    committee: Committee,
    nodes: Vec<Node>,
    agenda: BTreeMap<(u64, u64), (usize, Happening)>,
    scheduled: u64,
    now: u64,
    chance: u64,
    cuts: Vec<Cut>,
    library: Library,
    record: Record,
    /// Slots whose beginnings are on the agenda.
    planned: u64,
}

/// The next of a sequence of well mixed numbers (splitmix64, Steele, Lea, Flood 2014).
#[must_use]
pub fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Net {
    /// A network at time 0, one node a member.
    ///
    /// # Errors
    /// The weights are no committee.
    pub fn new(setup: Setup) -> Result<Self, InvalidCommittee> {
        let committee = Committee::new(setup.weights.clone())?;
        let mut net = Self {
            chance: setup.seed,
            setup,
            committee: committee.clone(),
            nodes: Vec::new(),
            agenda: BTreeMap::new(),
            scheduled: 0,
            now: 0,
            cuts: Vec::new(),
            library: Library::default(),
            record: Record::default(),
            planned: 0,
        };
        for member in committee.members() {
            let conduct = if net.setup.silent.contains(&member) {
                Conduct::Silent
            } else if net.setup.byzantine.contains(&member) {
                Conduct::Face
            } else {
                Conduct::Honest
            };
            net.add(member, conduct);
        }
        Ok(net)
    }

    fn add(&mut self, member: Member, conduct: Conduct) -> usize {
        let at = self.nodes.len();
        self.nodes.push(Node::new(self.fresh_engine(member), conduct, &self.setup));
        if let (Some(every), Conduct::Honest) = (self.setup.status_ms, conduct) {
            let first = self.now + 1 + at as u64 * 37 % every;
            self.schedule(first, at, Happening::Status);
        }
        at
    }

    fn fresh_engine(&self, member: Member) -> Engine<Blocks> {
        let blocks = Blocks::new(ROOT, 0, Slot(0), Leaders::new(self.setup.leaders.clone()));
        Engine::new(self.committee.clone(), Some(member), self.setup.limits, blocks)
    }

    /// Cuts links for a while.
    pub fn cut(&mut self, cut: Cut) {
        self.cuts.push(cut);
    }

    /// The time, milliseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The slot that this time lies in.
    #[must_use]
    pub fn slot(&self) -> u64 {
        self.now / self.setup.times.slot_ms
    }

    /// When a slot begins, milliseconds.
    #[must_use]
    pub fn start_of(&self, slot: u64) -> u64 {
        slot.saturating_mul(self.setup.times.slot_ms)
    }

    /// What the network is made of.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The committee.
    #[must_use]
    pub fn committee(&self) -> &Committee {
        &self.committee
    }

    /// A node; those of members come first, in their order.
    #[must_use]
    pub fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    /// The honest members' nodes, in order.
    #[must_use]
    pub fn honest(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| self.nodes[*at].conduct() == Conduct::Honest).collect()
    }

    /// What happened so far.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Writes a line into the log.
    pub fn note(&mut self, line: impl AsRef<str>) {
        let slot = self.slot();
        self.record.log.push(format!("slot {slot}: {}", line.as_ref()));
    }

    /// Lets the network run until a time, that one included.
    pub fn run(&mut self, until_ms: u64) {
        self.play(until_ms, |_| {});
    }

    /// The same with an adversary who acts after everything that happens at one time, before anything else does.
    pub fn play(&mut self, until_ms: u64, mut adversary: impl FnMut(&mut Self)) {
        loop {
            self.plan(until_ms);
            let Some(((at, _), _)) = self.agenda.first_key_value() else { break };
            let at = *at;
            if at > until_ms {
                break;
            }
            self.now = at;
            let mut moved = BTreeSet::new();
            while self.agenda.first_key_value().is_some_and(|((time, _), _)| *time == at) {
                let Some((_, (node, what))) = self.agenda.pop_first() else { break };
                self.happen(node, what);
                moved.insert(node);
            }
            for node in moved {
                self.decide(node);
                self.plan_fetches(node);
            }
            adversary(self);
        }
        self.now = self.now.max(until_ms);
    }

    /// Puts the slots up to a time on the agenda.
    fn plan(&mut self, until_ms: u64) {
        let next = self.agenda.first_key_value().map_or(until_ms, |((at, _), _)| *at).min(until_ms);
        while self.start_of(self.planned + 1) <= next {
            self.planned += 1;
            let start = self.start_of(self.planned);
            for node in 0..self.nodes.len() {
                if self.nodes[node].conduct() != Conduct::Silent {
                    self.schedule(start, node, Happening::Slot(Slot(self.planned)));
                }
            }
        }
    }

    fn schedule(&mut self, at: u64, node: usize, what: Happening) {
        self.scheduled += 1;
        self.agenda.insert((at, self.scheduled), (node, what));
    }

    /// Sends something from a node to another one; what travels takes its time, and may be cut off.
    fn send(&mut self, from: usize, to: usize, what: Happening) {
        let conducts = (self.nodes[from].conduct(), self.nodes[to].conduct());
        if from == to || conducts.1 == Conduct::Silent {
            return;
        }
        let travels = match (conducts, self.setup.latency) {
            ((Conduct::Face, _) | (_, Conduct::Face), _) => RUSH_MS,
            (_, Latency::Fixed(ms)) => ms.max(1),
            (_, Latency::Between(least, most)) => {
                least.max(1) + mix(&mut self.chance) % (most.saturating_sub(least) + 1)
            }
        };
        let mut leaves = self.now;
        for cut in &self.cuts {
            let part = |node: usize| cut.parts.iter().position(|part| part.contains(&node));
            let (a, b) = (part(from), part(to));
            let active = (cut.from_ms..cut.to_ms).contains(&self.now);
            if active && a.is_some() && b.is_some() && a != b {
                if cut.lost {
                    return;
                }
                leaves = leaves.max(cut.to_ms);
            }
        }
        self.schedule(leaves + travels, to, what);
    }

    fn send_all(&mut self, from: usize, what: &Happening) {
        for to in 0..self.nodes.len() {
            self.send(from, to, what.clone());
        }
    }

    fn happen(&mut self, at: usize, what: Happening) {
        let slot = Slot(self.slot());
        if self.nodes[at].deaf {
            return;
        }
        match what {
            Happening::Slot(begun) => self.begin(at, begun),
            Happening::Wake => self.nodes[at].woken(),
            Happening::Status => self.tell_status(at),
            Happening::Hear(_, message) if self.nodes[at].conduct() == Conduct::Face => {
                self.show_face(at, message.id);
            }
            Happening::Hear(from, message) => {
                let known = self.library.certificates.contains(&message.base);
                let certificate = known.then_some(message.base);
                let events = self.nodes[at].hear(slot, from, message, certificate, &self.library);
                self.follow(at, &events);
            }
            Happening::Share(member, block) => {
                let committee = &self.committee;
                if self.nodes[at].hear_share(member, block, committee) {
                    self.library.certificates.insert(block);
                    let events = self.nodes[at].learn(slot, block, &self.library);
                    self.follow(at, &events);
                }
            }
            Happening::Certificate(block) => {
                let events = self.nodes[at].learn(slot, block, &self.library);
                self.follow(at, &events);
            }
            Happening::Evidence(member, first, second) => {
                let mut events = self.nodes[at].engine_mut().accuse(member, first, second);
                events.extend(self.nodes[at].release(slot, &self.library));
                self.follow(at, &events);
            }
            Happening::Cites(id) => {
                let events = self.nodes[at].hear_cites(slot, &id, &self.library);
                self.follow(at, &events);
            }
            Happening::Tips(from, tips) => self.compare_tips(at, from, &tips),
            Happening::Fetch => self.fetch(at),
            Happening::Request(from, want, tips) => self.answer(at, from, want, &tips),
        }
    }

    /// A slot begins: what waited for the clock is looked at, and an honest leader proposes.
    fn begin(&mut self, at: usize, slot: Slot) {
        self.summarise(slot.0);
        let events = self.nodes[at].release(slot, &self.library);
        self.follow(at, &events);
        let node = &self.nodes[at];
        let Some(me) = node.engine().me() else { return };
        let leads = node.engine().protocol().leader(slot) == Some(me);
        if node.conduct() == Conduct::Honest && leads && !node.engine().is_faulty(me) {
            let made = self.nodes[at].propose(slot, 0, &mut self.library);
            self.said(at, made);
        }
    }

    /// Lets an honest member speak as long as its rule has something to say.
    fn decide(&mut self, at: usize) {
        if self.nodes[at].conduct() != Conduct::Honest {
            return;
        }
        let slot = Slot(self.slot());
        for _ in 0..=self.committee.messages_per_slot() {
            match self.nodes[at].decide(self.now, slot, self.setup.rule) {
                Turn::Silent => return,
                Turn::Wake(time) => {
                    let time = time.max(self.now + 1);
                    self.schedule(time, at, Happening::Wake);
                    return;
                }
                Turn::Speak(row) => {
                    let made = self.nodes[at].vote(slot, &row, &mut self.library);
                    if !self.said(at, made) {
                        return;
                    }
                }
            }
        }
    }

    /// Sends what an honest member has just said to all; answers whether it said anything.
    fn said(&mut self, at: usize, made: Result<Uttered, Unsayable>) -> bool {
        let Ok((message, events)) = made else { return false };
        self.record.count(&message, self.now);
        self.follow(at, &events);
        self.send_all(at, &Happening::Hear(at, message));
        true
    }

    /// What follows from what an engine has said: signatures, evidence, relays, and the record.
    fn follow(&mut self, at: usize, events: &[Event<Blocks>]) {
        if self.nodes[at].conduct() != Conduct::Honest {
            return;
        }
        for event in events {
            match event {
                Event::Finalized(block, _) => {
                    self.record.finalized.entry(*block).or_default().push((at, self.now));
                    if let Some(me) = self.nodes[at].engine().me() {
                        let share = Happening::Share(me, *block);
                        self.happen(at, share.clone());
                        self.send_all(at, &share);
                    }
                }
                Event::Equivocation { member, first, second } => {
                    self.library.evidence.entry(*member).or_insert((*first, *second));
                    let line = format!("{} convicts member {member}", self.nodes[at].name());
                    self.note(line);
                    self.send_all(at, &Happening::Evidence(*member, *first, *second));
                }
                Event::HeadChanged(head) => self.note_head(at, *head),
                Event::Inserted(id) => {
                    if self.setup.relay
                        && let Some(message) = self.library.messages.get(id).cloned()
                        && self.nodes[at].engine().me() != Some(message.sender)
                    {
                        self.send_all(at, &Happening::Hear(at, message));
                    }
                }
            }
        }
    }
}
