//! DAGs as members make them when all are alive: a proposal, a vote and a confirmation a member and slot.
//!
//! One engine holds everything. Votes cite the proposal and what came before the slot; the confirmations begin when 19
//! in 20 have voted (above every quorum) and cite all that is there, so that their justifications differ. With late
//! arrivals each confirmation lacks up to a tenth of the votes, other ones each time. Where a tenth equivocates, each of
//! these says two votes in some slot, one of them late, and is heard no more.

use crate::figures::timed;
use kakera_cbc::*;
use sha2::{Digest, Sha256};
use std::{collections::VecDeque, time::Duration};

/// The era's root.
pub(crate) const ROOT: BlockId = BlockId([0; 32]);

/// What is made.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Members, of equal weight.
    pub(crate) members: u16,
    /// Two messages a member and slot.
    pub(crate) slots: u64,
    /// Who does what.
    pub(crate) kind: Kind,
}

/// Who does what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All are honest.
    Honest,
    /// All are honest, and hear votes late.
    Late,
    /// Every tenth member equivocates.
    Equivocating,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Honest, Kind::Late, Kind::Equivocating];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Honest => "honest",
            Kind::Late => "late",
            Kind::Equivocating => "a tenth equivocating",
        }
    }
}

/// When somebody looks at the engine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The last slot's proposal is there, and nothing else.
    Proposed,
    /// All have voted in the last slot, some have confirmed, and the engine's own member has not.
    Voted,
}

/// What the messages of the last tenth cost, and what all of them take.
#[derive(Default)]
pub(crate) struct Costs {
    messages: u32,
    check: Duration,
    insert: Duration,
    /// The longest insertion.
    pub(crate) longest: Duration,
    /// Memory that the engine took, bytes.
    pub(crate) bytes: usize,
    /// Messages that took it.
    pub(crate) held: usize,
}

impl Costs {
    /// Means of judging and inserting a message.
    pub(crate) fn means(&self) -> [Duration; 2] {
        [self.check / self.messages, self.insert / self.messages]
    }
}

/// An engine that holds all.
pub(crate) struct Script {
    pub(crate) plan: Plan,
    pub(crate) engine: Engine<Blocks>,
    pub(crate) slot: Slot,
    /// All messages in their order.
    pub(crate) ids: Vec<MessageId>,
    pub(crate) costs: Costs,
    measured: bool,
}

impl Plan {
    fn equivocates(self, member: Member) -> bool {
        self.kind == Kind::Equivocating && member.0 % 10 == 3
    }

    /// Makes it; `memory` says how much is allocated, and `look` is called at each [`Moment`].
    pub(crate) fn make(self, memory: &dyn Fn() -> usize, look: &mut dyn FnMut(Moment, &Script)) -> Script {
        let members = (0..self.members).map(Member);
        let leaders: Vec<Member> = members.clone().filter(|member| !self.equivocates(*member)).collect();
        let committee = Committee::new(vec![1; members.count()]).expect("members that weigh something");
        let me = leaders[((self.slots + 1) % leaders.len() as u64) as usize];
        let blocks = Blocks::new(ROOT, 0, Slot(0), Leaders::new(leaders));
        let engine = Engine::new(committee, Some(me), Limits::default(), blocks);
        let costs = Costs::default();
        let mut script = Script { plan: self, engine, slot: Slot(0), ids: Vec::new(), costs, measured: false };
        for slot in 1..=self.slots {
            script.slot = Slot(slot);
            script.measured = slot * 10 > self.slots * 9;
            script.run_slot(memory, look);
        }
        script
    }
}

impl Script {
    fn run_slot(&mut self, memory: &dyn Fn() -> usize, look: &mut dyn FnMut(Moment, &Script)) {
        let last = self.slot.0 == self.plan.slots;
        let leader = self.engine.protocol().leader(self.slot).expect("somebody leads each slot");
        let me = self.engine.me().expect("make() seats somebody");
        let members: Vec<Member> = self.engine.committee().members().collect();
        // An equal share of the equivocators in each slot.
        let turn = |member: Member| u64::from(member.0) * self.plan.slots / u64::from(self.plan.members) + 1;
        let falls: Vec<Member> =
            members.iter().copied().filter(|m| self.plan.equivocates(*m) && turn(*m) == self.slot.0).collect();
        self.say(leader, &self.engine.view(), true, 0, memory);
        if last {
            look(Moment::Proposed, self);
        }
        let start = leader.index();
        let mut voters: Vec<Member> = (1..members.len()).map(|step| members[(start + step) % members.len()]).collect();
        voters.retain(|member| !self.engine.is_faulty(*member));
        let all = voters.iter().copied().chain([leader]).filter(|member| !falls.contains(member));
        let mut confirmers = all.filter(|member| *member != me).chain([me]).collect::<Vec<_>>().into_iter();
        let proposal = self.engine.view();
        let enough = voters.len() * 19 / 20;
        let mut views = VecDeque::new();
        for (place, voter) in voters.iter().enumerate() {
            self.say(*voter, &proposal, false, 0, memory);
            self.hear(&mut views);
            if place >= enough {
                let confirmer = confirmers.next().expect("fewer confirmers than voters so far");
                self.say(confirmer, &self.heard(&views, confirmer), false, 0, memory);
            }
        }
        if last {
            look(Moment::Voted, self);
        }
        for (place, confirmer) in confirmers.enumerate() {
            if let Some(twin) = falls.get(place) {
                self.say(*twin, &proposal, false, 1, memory);
            }
            self.say(confirmer, &self.heard(&views, confirmer), false, 0, memory);
            self.hear(&mut views);
        }
        assert_eq!(self.engine.finalized(), self.engine.head(), "a slot's block is final in its slot");
        self.engine.certify(self.engine.finalized()).expect("what is final can be certified");
    }

    /// Remembers the last views, as many as a tenth of the members.
    fn hear(&self, views: &mut VecDeque<Row>) {
        if self.plan.kind == Kind::Late {
            views.push_back(self.engine.view());
            if views.len() > usize::from(self.plan.members / 10).max(1) {
                views.pop_front();
            }
        }
    }

    /// What a member has heard of all that was said: some of the last views, and its own messages.
    fn heard(&self, views: &VecDeque<Row>, member: Member) -> Row {
        let choice = u64::from_be_bytes(
            *hash(b"late", self.slot.0 << 16 | u64::from(member.0)).first_chunk().expect("32 bytes"),
        );
        let late = views.get((choice % views.len().max(1) as u64) as usize);
        let own = self.engine.latest(member).and_then(|(_, id)| self.engine.row_of(&id));
        match (late, own) {
            (Some(late), Some(own)) => self.engine.merge(&[late, &own]),
            _ => self.engine.view(),
        }
    }

    /// A member says a message that cites this row; `salt` tells twins apart, which follow the message before the last.
    fn say(&mut self, sender: Member, row: &Row, proposes: bool, salt: u64, memory: &dyn Fn() -> usize) {
        let engine = &self.engine;
        let seq = engine.latest(sender).map_or(0, |(seq, _)| seq + 1 - salt);
        let previous = seq.checked_sub(1).map(|seq| engine.by_seq(sender, seq)[0]);
        let old = previous.and_then(|id| engine.row_of(&id));
        let mut row = engine.resolve(row);
        row[sender.index()] = previous.map_or(Observation::Nothing, Observation::Latest);
        let justification = engine.row_from(&row).expect("what is cited is held");
        let advance = |member: Member| {
            let before = old.as_ref().and_then(|old| engine.seen(old, member));
            match (justification.is_faulty(member), engine.seen(&justification, member)) {
                (true, _) if old.as_ref().is_some_and(|old| old.is_faulty(member)) => None,
                (true, _) => Some((member, Cite::Faulty)),
                (_, now) if now == before => None,
                (_, now) => Some((member, Cite::Ahead(before.map_or(now? + 1, |before| now.unwrap_or(0) - before)))),
            }
        };
        let others = engine.committee().members().filter(|member| *member != sender);
        let (base, head) = (engine.base(), engine.fork_choice(engine.base(), &justification));
        let message = Message {
            id: MessageId(hash(b"message", u64::from(sender.0) << 40 | seq << 1 | salt)),
            sender,
            seq,
            slot: self.slot,
            base,
            advances: others.filter_map(advance).collect(),
            cites: cites_digest(&row),
            estimate: if proposes { proposal(engine, head, self.slot) } else { BlockEstimate::Vote(head) },
        };
        self.take(&message, memory);
        self.ids.push(message.id);
    }

    fn take(&mut self, message: &Message<Blocks>, memory: &dyn Fn() -> usize) {
        let before = memory();
        let (check, verdict) = timed(|| self.engine.check(message.slot, message));
        let checked = match verdict {
            Verdict::Valid(checked) => checked,
            other => panic!("an honest message in the order of the script is {other:?}"),
        };
        let (insert, events) = timed(|| self.engine.insert(checked));
        drop(events);
        let costs = &mut self.costs;
        costs.bytes = (costs.bytes + memory()).saturating_sub(before);
        costs.held += 1;
        if self.measured {
            costs.messages += 1;
            costs.check += check;
            costs.insert += insert;
            costs.longest = costs.longest.max(insert);
        }
    }
}

fn proposal(engine: &Engine<Blocks>, parent: BlockId, slot: Slot) -> BlockEstimate {
    let height = engine.protocol().block(&parent).expect("the head is held").height + 1;
    BlockEstimate::Proposal(NewBlock { id: BlockId(hash(b"block", slot.0)), parent, height, slot })
}

/// Something that looks like an id.
pub(crate) fn hash(what: &[u8], number: u64) -> [u8; 32] {
    Sha256::new().chain_update(what).chain_update(number.to_be_bytes()).finalize().into()
}
