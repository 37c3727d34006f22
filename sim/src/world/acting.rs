//! A node's step, and how its effects are carried out, in their order.

use super::{Event, World};
use crate::{
    checks::{Happening, View},
    node::{Answer, Delivery, Handled, Input, Machine, NodeId, Noted},
};
use kakera_chain::{
    Member,
    peer::PeerMessage,
    replica::Effect,
    units::{Epoch, ValidatorId},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

impl World {
    /// Tells the checkers.
    pub(super) fn observe(&mut self, happening: &Happening<'_>) {
        if self.violation.is_some() {
            return;
        }
        let view = View {
            now: self.now,
            scenario: &self.scenario,
            setup: &self.setup,
            nodes: &self.nodes,
            eras: &self.eras,
            workload: &self.workload,
        };
        if let Err(violation) = self.checks.after(&view, happening) {
            self.violation = Some(violation);
        }
    }

    /// Gives a node's replica an input, carries out what it wants, and returns its answer.
    pub(super) fn step(&mut self, id: NodeId, input: Input) -> Option<Answer> {
        let local = self.nodes[id].clock.read(self.now);
        let process = self.nodes[id].process.as_mut()?;
        // A beacon member checks each crosslink once: given by a shard, or passed on by another member.
        let crosslink = match &input {
            Input::Crosslink(_) => true,
            Input::Peer(_, _, PeerMessage::Application(_)) => matches!(process.machine, Machine::Beacon(..)),
            _ => false,
        };
        let handled = catch_unwind(AssertUnwindSafe(|| process.machine.handle(local, input)));
        let handled = match handled {
            Ok(handled) => handled,
            Err(panic) => {
                let words = panic_words(&*panic);
                self.observe(&Happening::Panicked { node: id, words: &words });
                self.kill(id);
                return None;
            }
        };
        self.charge(id, handled.work, u64::from(crosslink));
        let Handled { effects, noted, .. } = handled;
        let effects = self.twisted(id, effects);
        let mut answer = None;
        let mut noted = noted.into_iter();
        for effect in effects {
            if self.dies_now(id) {
                // What became certified in memory only was never seen by anybody.
                self.kill(id);
                return None;
            }
            self.carry_out(id, effect, &mut noted, &mut answer);
            if self.violation.is_some() {
                return None;
            }
        }
        answer
    }

    /// The virtual work of a step: executions, and crosslinks checked.
    pub(super) fn charge(&mut self, id: NodeId, work: u64, crosslinks: u64) {
        let cpu = &self.scenario.cpu;
        self.nodes[id].figures.executions += work;
        self.keep_busy(id, work * cpu.execution_us + crosslinks * cpu.crosslink_us);
    }

    /// The virtual work of reading what reached a node.
    pub(super) fn charge_reading(&mut self, id: NodeId, delivery: &Delivery) {
        let cpu = &self.scenario.cpu;
        let bytes = if cpu.kib_us == 0 { 0 } else { delivery.bytes() as u64 };
        self.keep_busy(id, cpu.message_us + bytes * cpu.kib_us / 1_024);
    }

    /// A node that works hears nothing meanwhile.
    fn keep_busy(&mut self, id: NodeId, took: u64) {
        if took == 0 {
            return;
        }
        let node = &mut self.nodes[id];
        node.figures.busy_us += took;
        let life = node.lives;
        if let Some(process) = &mut node.process {
            process.busy_until = process.busy_until.max(self.now).plus(took);
            self.queue.plan(process.busy_until, Event::Free { node: id, life });
        }
    }

    /// Whether a planned death between two effects comes before this one.
    pub(super) fn dies_now(&mut self, id: NodeId) -> bool {
        let Some(process) = &mut self.nodes[id].process else { return true };
        match &mut process.dies_after {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    fn carry_out(
        &mut self,
        id: NodeId,
        effect: Effect<Answer>,
        noted: &mut impl Iterator<Item = Noted>,
        answer: &mut Option<Answer>,
    ) {
        match effect {
            Effect::Persist { writes, synced } => {
                #[cfg(test)]
                let synced = synced && self.flaw != Some(crate::mutants::Flaw::NeverSyncs);
                let accuses = self.accuses(id, &writes);
                self.nodes[id].disk.write(writes, synced);
                if accuses {
                    self.report(id);
                }
            }
            Effect::Guard(state) => {
                #[cfg(test)]
                if self.flaw == Some(crate::mutants::Flaw::NeverSyncs) {
                    return;
                }
                self.nodes[id].guard = state;
            }
            Effect::Broadcast(message) => self.broadcast(id, message),
            Effect::Send(to, message) => self.send(id, to, message),
            Effect::Included { id: block, .. } => self.measures.included(self.now, block),
            Effect::Certified { .. } => {
                self.has_news(id);
                if let Some(noted) = noted.next() {
                    self.certified(id, &noted);
                }
            }
            Effect::ReferencesGrew => self.has_news(id),
            Effect::Undone(blocks) => {
                self.trace.undone(self.now, id, &blocks);
                if self.nodes[id].is_honest() {
                    self.measures.undone(&blocks);
                    self.observe(&Happening::Undone { node: id, blocks: &blocks });
                }
            }
            Effect::Entered(plan) => {
                if self.nodes[id].is_honest() {
                    let chain = self.nodes[id].chain;
                    self.eras.entered(chain, &plan);
                    self.workload.entered(chain, plan.epoch, plan.root.0);
                    self.measures.eras = self.eras.count();
                }
                self.trace.entered(self.now, id, plan.epoch, plan.root.0);
                self.observe(&Happening::Entered { node: id, plan: &plan });
                self.has_news(id);
            }
            Effect::BlocksRefused(reason) => {
                self.measures.refused_as("blocks", &reason);
            }
            Effect::Reopen => self.reopen(id),
            Effect::Reply(reply) => *answer = Some(reply),
            Effect::Refused { from, reason } => {
                self.measures.refused_as("peer", &reason);
                let seats = self.nodes[id].process.as_ref().map(|process| process.machine.seats());
                let from = seats.and_then(|seats| seats.validators.get(from.index()).copied());
                self.observe(&Happening::Refused { node: id, from, reason: &reason });
            }
            Effect::Halt(breach) => {
                self.trace.halted(self.now, id, &breach);
                self.halt(id, &breach);
            }
        }
    }

    fn has_news(&mut self, id: NodeId) {
        if let Some(process) = &mut self.nodes[id].process {
            process.news = true;
        }
    }

    fn certified(&mut self, id: NodeId, noted: &Noted) {
        let now = self.now;
        match noted {
            Noted::Beacon(certified) => {
                self.trace.certified(now, id, &certified.id, certified.block.header.height);
                if self.nodes[id].is_honest() {
                    self.measures.certified_beacon(now, certified, &self.setup);
                    self.workload.beacon(now, certified);
                    self.observe(&Happening::Beacon { node: id, certified });
                }
            }
            Noted::Shard(certified) => {
                self.trace.certified(now, id, &certified.id, certified.block.header.height);
                if self.nodes[id].is_honest() {
                    self.measures.certified_shard(now, certified);
                    self.workload.shard(now, certified);
                    self.observe(&Happening::Shard { node: id, certified });
                }
            }
        }
    }

    /// To every other member of the committee that a node's replica is in, in the order of its members.
    pub(crate) fn broadcast(&mut self, from: NodeId, message: PeerMessage) {
        let Some(process) = &self.nodes[from].process else { return };
        let (epoch, members) = (process.machine.era().epoch, process.machine.seats().validators.clone());
        self.say(from, epoch, &members, message);
    }

    /// To one member of that committee.
    pub(crate) fn send(&mut self, from: NodeId, to: Member, message: PeerMessage) {
        #[cfg(test)]
        if self.flaw == Some(crate::mutants::Flaw::NeverAsks) && crate::mutants::asks(&message) {
            return;
        }
        let Some(process) = &self.nodes[from].process else { return };
        let epoch = process.machine.era().epoch;
        let Some(to) = process.machine.seats().validators.get(to.index()).copied() else { return };
        self.say(from, epoch, &[to], message);
    }

    /// To these validators, in the era of an epoch; never to oneself.
    pub(crate) fn say(&mut self, from: NodeId, epoch: Epoch, to: &[ValidatorId], message: PeerMessage) {
        if self.nodes[from].is_honest() {
            self.observe(&Happening::Said { node: from, message: &message });
        }
        self.has_voted(from, &message);
        let message = Arc::new(message);
        let bytes = borsh::object_length(&*message).unwrap_or(usize::MAX);
        let (chain, me) = (self.nodes[from].chain, self.nodes[from].validator);
        for validator in to.iter().filter(|validator| **validator != me) {
            for to in self.instances_of(chain, *validator, from) {
                self.dispatch(from, to, bytes, Delivery::Peer { from: me, epoch, message: message.clone() });
            }
        }
    }

    /// Puts something on the wire.
    pub(super) fn dispatch(&mut self, from: NodeId, to: NodeId, bytes: usize, delivery: Delivery) {
        let figures = &mut self.nodes[from].figures;
        figures.messages += 1;
        figures.bytes += bytes as u64;
        if self.nodes[to].process.is_none() {
            return;
        }
        let leaves = self.nodes[from].process.as_ref().map_or(self.now, |process| process.busy_until.max(self.now));
        let life = self.nodes[to].lives;
        let mut arrivals = self.wires.send(leaves, from, to, bytes);
        let last = arrivals.pop();
        for at in arrivals {
            self.queue.plan(at, Event::Arrive { to, life, delivery: delivery.clone() });
        }
        if let Some(at) = last {
            self.queue.plan(at, Event::Arrive { to, life, delivery });
        }
    }

    /// What became of a machine that answers a crosslink or is read by followers.
    pub(super) fn machine(&mut self, node: NodeId) -> Option<&mut Machine> {
        self.nodes[node].process.as_mut().map(|process| &mut process.machine)
    }
}

/// What a panic said.
pub(super) fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}
