//! The speaking rule's price: messages a block, and hops until finality.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use kakera_cbc::*;
use std::collections::BTreeMap;

const SLOT_MS: u64 = 2_000;
const DELAY_MS: u64 = 100;

#[derive(Clone, Debug)]
enum Happening {
    Snapshot,
    Slot,
    Wake,
    Deliver(Box<Message<Blocks>>),
}

/// Nodes in virtual time; what happens at one time happens in the order it was scheduled.
struct Net {
    nodes: Vec<(Engine<Blocks>, Speaker)>,
    alive: Vec<bool>,
    agenda: BTreeMap<(u64, u64), (usize, Happening)>,
    scheduled: u64,
    archive: Archive,
    jitter_ms: u64,
    /// Messages by slot, and when each block was proposed and finalized, by node.
    said: BTreeMap<u64, usize>,
    proposed: BTreeMap<BlockId, (u64, u64)>,
    finalized: BTreeMap<BlockId, Vec<u64>>,
}

impl Net {
    fn new(members: usize, alive: usize, jitter_ms: u64) -> Self {
        let cycle: Vec<Member> = (0..alive as u16).map(Member).collect();
        let config = SpeakerConfig { slot_ms: SLOT_MS, delay_ms: DELAY_MS };
        let nodes = (0..members as u16)
            .map(|me| {
                let blocks = Blocks::new(ROOT, 0, Slot(0), Leaders::new(cycle.clone()));
                let committee = Committee::new(vec![1; members]).unwrap();
                let engine = Engine::new(committee, Some(Member(me)), Limits::default(), blocks);
                (engine, Speaker::new(config))
            })
            .collect();
        Self {
            nodes,
            alive: (0..members).map(|member| member < alive).collect(),
            agenda: BTreeMap::new(),
            scheduled: 0,
            archive: BTreeMap::new(),
            jitter_ms,
            said: BTreeMap::new(),
            proposed: BTreeMap::new(),
            finalized: BTreeMap::new(),
        }
    }

    fn schedule(&mut self, at: u64, node: usize, what: Happening) {
        if self.alive[node] {
            self.scheduled += 1;
            self.agenda.insert((at, self.scheduled), (node, what));
        }
    }

    fn broadcast(&mut self, now: u64, from: usize, message: &Message<Blocks>) {
        *self.said.entry(message.slot.0).or_default() += 1;
        let cites = self.nodes[from].0.observations(&message.id).unwrap();
        self.archive.insert(message.id, cites);
        if let BlockEstimate::Proposal(block) = message.estimate {
            self.proposed.insert(block.id, (block.slot.0, now));
        }
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            let spread = u64::from(message.id.0[0]) * 31 + to as u64 * 17;
            let late = if self.jitter_ms == 0 { 0 } else { spread % self.jitter_ms };
            self.schedule(now + DELAY_MS - late, to, Happening::Deliver(Box::new(message.clone())));
        }
    }

    fn note(&mut self, now: u64, events: &[Event<Blocks>]) {
        for event in events {
            if let Event::Finalized(block, _) = event {
                self.finalized.entry(*block).or_default().push(now);
            }
        }
    }

    fn utter(&mut self, now: u64, node: usize, message: &Message<Blocks>) {
        let events = say(&mut self.nodes[node].0, message);
        self.nodes[node].1.spoke();
        self.note(now, &events);
        self.broadcast(now, node, message);
    }

    fn step(&mut self, now: u64, node: usize, what: Happening) {
        let slot = now / SLOT_MS;
        match what {
            Happening::Snapshot => {
                let (engine, speaker) = &mut self.nodes[node];
                speaker.on_slot(engine, Slot(slot + 1));
                return;
            }
            Happening::Slot => {
                let engine = &self.nodes[node].0;
                if engine.protocol().leader(Slot(slot)) == engine.me() {
                    let message = proposal(engine, slot, 0);
                    self.utter(now, node, &message);
                }
            }
            Happening::Wake => {}
            Happening::Deliver(message) => {
                let (events, refused) = feed(&mut self.nodes[node].0, slot, &message, &self.archive);
                assert_eq!(refused, []);
                self.note(now, &events);
            }
        }
        let (engine, speaker) = &mut self.nodes[node];
        match speaker.decide(now, Slot(slot), engine) {
            Decision::Silent => {}
            Decision::WaitUntil(at) => self.schedule(at.max(now + 1), node, Happening::Wake),
            Decision::Speak { row, .. } => {
                let message = vote(engine, slot, &row);
                self.utter(now, node, &message);
                self.schedule(now + 1, node, Happening::Wake);
            }
        }
    }

    fn run(&mut self, slots: u64) {
        for slot in 1..=slots {
            for node in 0..self.nodes.len() {
                self.schedule(slot * SLOT_MS - DELAY_MS, node, Happening::Snapshot);
                self.schedule(slot * SLOT_MS, node, Happening::Slot);
            }
        }
        while let Some(((now, _), (node, what))) = self.agenda.pop_first() {
            self.step(now, node, what);
        }
    }
}

/// Members, alive, jitter, messages a block, hops to finality.
fn check(members: usize, alive: usize, jitter_ms: u64, messages: usize, hops: u64) {
    const SLOTS: u64 = 6;
    let mut net = Net::new(members, alive, jitter_ms);
    net.run(SLOTS);
    let said: Vec<usize> = net.said.values().copied().collect();
    assert_eq!(said, vec![messages; SLOTS as usize], "{members} members, {alive} alive");
    assert_eq!(net.proposed.len(), SLOTS as usize);
    for (block, (slot, proposed)) in &net.proposed {
        let times = net.finalized.get(block).unwrap_or_else(|| panic!("slot {slot} is not final"));
        assert_eq!(times.len(), alive, "every live node finalizes slot {slot}");
        let slowest = times.iter().max().unwrap() - proposed;
        // In an era's first two slots the silent are waited for, half a delay at each level.
        let waits = if *slot <= 2 && alive < members { hops.saturating_sub(2) } else { 0 };
        let bound = hops * DELAY_MS + waits * DELAY_MS / 2;
        assert!(slowest <= bound, "slot {slot} took {slowest} ms, not {bound}");
    }
    for (engine, _) in net.nodes.iter().take(alive) {
        assert_eq!(engine.finalized(), engine.head());
    }
}

#[test]
fn four_of_four_say_two_n_messages_and_finalize_after_three_hops() {
    check(4, 4, 0, 8, 3);
}

#[test]
fn three_of_four_say_nine_messages_and_finalize_after_k_plus_two_hops() {
    check(4, 3, 0, 9, 4);
}

#[test]
fn sixteen_of_sixteen_say_two_n_messages() {
    check(16, 16, 0, 32, 3);
}

#[test]
fn eleven_of_sixteen_say_k_plus_one_messages_each() {
    check(16, 11, 0, 44, 5);
}

#[test]
fn one_of_one_says_one_message() {
    check(1, 1, 0, 1, 0);
}

#[test]
fn jitter_of_a_quarter_of_a_delay_costs_no_messages() {
    // Proposal and vote may both be late: together by no more than the half delay that a level is waited for.
    check(4, 4, 25, 8, 3);
    check(4, 3, 25, 9, 4);
    check(16, 16, 25, 32, 3);
}

#[test]
fn a_silent_leader_costs_its_slot_only() {
    let mut net = Net::new(4, 4, 0);
    net.alive[2] = false;
    net.run(12);
    let slots: Vec<u64> = net.proposed.values().map(|(slot, _)| *slot).collect();
    assert_eq!(slots.len(), 9, "slots 2, 6 and 10 have no leader");
    assert_eq!(net.finalized.len(), 9);
    assert!(net.said.iter().all(|(_, count)| *count == 9), "{:?}", net.said);
}
