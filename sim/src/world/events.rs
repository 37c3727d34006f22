//! What an event does to the world.

use super::{Event, World};
use crate::{
    checks::Happening,
    clock::Moment,
    faults::Action,
    node::{Delivery, Input, NodeId},
};
use std::sync::Arc;

/// Deliveries that wait for a frozen or busy process at most, as much as sockets hold; the rest is lost.
const INBOX: usize = 4_096;

impl World {
    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { to, life, delivery } => {
                if self.lives(to, life) {
                    self.arrive(to, delivery);
                }
            }
            Event::Wake { node, life } => {
                if self.lives(node, life) {
                    self.wake(node);
                }
            }
            Event::Free { node, life } => {
                if self.lives(node, life) {
                    self.work_off(node);
                }
            }
            Event::Fault(action) => self.befall(action),
            Event::Order => self.order(),
            Event::Release { node, life } => {
                if self.lives(node, life) {
                    self.release(node);
                }
            }
        }
    }

    fn lives(&self, node: NodeId, life: u32) -> bool {
        self.nodes[node].process.is_some() && self.nodes[node].lives == life
    }

    fn arrive(&mut self, to: NodeId, delivery: Delivery) {
        let now = self.now;
        let Some(process) = &mut self.nodes[to].process else { return };
        if process.frozen || process.busy_until > now {
            if process.inbox.len() < INBOX {
                process.inbox.push_back(delivery);
            }
            return;
        }
        self.take(to, delivery);
    }

    fn wake(&mut self, node: NodeId) {
        let now = self.now;
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.wake_at.is_none_or(|at| at > now) {
            return;
        }
        process.wake_at = None;
        if process.frozen {
            return;
        }
        if process.busy_until > now {
            let free = process.busy_until;
            self.plan_wake(node, free);
            return;
        }
        self.tick(node);
    }

    /// A process that was busy or frozen takes what waits, until it is busy again.
    pub(super) fn work_off(&mut self, node: NodeId) {
        loop {
            let now = self.now;
            let Some(process) = &mut self.nodes[node].process else { return };
            if process.frozen || process.busy_until > now || self.violation.is_some() {
                return;
            }
            let Some(delivery) = process.inbox.pop_front() else { break };
            self.take(node, delivery);
        }
        self.rest(node);
    }

    /// Takes what reached a node.
    fn take(&mut self, to: NodeId, delivery: Delivery) {
        self.trace.arrived(self.now, to, &delivery);
        self.nodes[to].figures.heard += 1;
        self.charge_reading(to, &delivery);
        match delivery {
            Delivery::Peer { from, epoch, message } => {
                if let Some(message) = self.twist_hears(to, message) {
                    self.step(to, Input::Peer(from, epoch, Arc::unwrap_or_clone(message)));
                    self.tick_shell(to);
                }
            }
            Delivery::Submit { order, signed } => self.take_order(to, order, signed),
            Delivery::Follow { from, stream, next } => self.take_follower(to, from, stream, next),
            Delivery::Feed { stream, blocks } => self.take_feed(to, stream, &blocks),
            Delivery::Crosslink { from, attempt, crosslink, handed_on } => {
                self.take_crosslink(to, (from, attempt), crosslink, handed_on);
            }
            Delivery::Followed { stream } => self.followed(to, stream),
            Delivery::CrosslinkTaken { attempt } => self.crosslink_taken(to, attempt),
            Delivery::Pull { from, root, next } => self.take_pull(to, from, root, next),
            Delivery::Pulled { closed, blocks } => self.take_pulled(to, closed.as_deref(), blocks.as_deref()),
        }
        self.rest(to);
    }

    fn tick(&mut self, node: NodeId) {
        let now = self.now;
        let local = self.nodes[node].clock.read(now);
        let due = self.nodes[node].process.as_ref().is_some_and(|process| process.machine.next_wakeup() <= local);
        if due {
            self.trace.ticked(now, node);
            self.step(node, Input::Tick);
        }
        self.tick_shell(node);
        self.rest(node);
    }

    /// Plans when a node is woken next, after anything happened to it.
    pub(super) fn rest(&mut self, node: NodeId) {
        let now = self.now;
        let Some(process) = &self.nodes[node].process else { return };
        let clock = self.nodes[node].clock;
        let when = |time| clock.when(time, now);
        let mut next = when(process.machine.next_wakeup());
        if let crate::node::Machine::Shard(_, _, shell) = &process.machine {
            next = next.min(shell.next_wakeup(when));
        }
        if let Some(puller) = &process.puller {
            next = next.min(puller.next_at);
        }
        // A machine that wants to be woken for ever without time passing would stop the world.
        self.plan_wake(node, next.max(now.plus(1)));
    }

    fn plan_wake(&mut self, node: NodeId, at: Moment) {
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.wake_at.is_some_and(|planned| planned <= at) {
            return;
        }
        process.wake_at = Some(at);
        let life = self.nodes[node].lives;
        self.queue.plan(at, Event::Wake { node, life });
    }

    fn befall(&mut self, action: Action) {
        self.trace.befell(self.now, &action);
        match action {
            Action::Kill { node, after_effects: None } => self.kill(node),
            Action::Kill { node, after_effects: Some(effects) } => {
                if let Some(process) = &mut self.nodes[node].process {
                    process.dies_after = Some(effects);
                }
            }
            Action::KillCommittee { chain, down_ms } => self.kill_committee(chain, down_ms),
            Action::Start(node) => self.start(node),
            Action::Freeze(node) => {
                if let Some(process) = &mut self.nodes[node].process {
                    process.frozen = true;
                }
            }
            Action::Thaw(node) => self.thaw(node),
            Action::Cut(links) => links.iter().for_each(|(from, to)| self.wires.cut(*from, *to)),
            Action::Mend(links) => links.iter().for_each(|(from, to)| self.wires.mend(*from, *to)),
            Action::Damage(node) => self.damage(node),
            Action::Copy(node) => {
                let copies = self.nodes[node].disks().map(|disk| disk.copy());
                self.copies.insert(node, (copies, self.nodes[node].guard));
            }
            Action::Restore(node) => self.restore(node),
            Action::StepClock { node, ms } => {
                self.nodes[node].clock.offset_ms += ms;
                self.rest(node);
            }
            Action::Heal => self.heal(),
        }
    }

    fn thaw(&mut self, node: NodeId) {
        let Some(process) = &mut self.nodes[node].process else { return };
        process.frozen = false;
        self.work_off(node);
        self.tick(node);
    }

    /// Links are whole and as good as they get, clocks right enough, and everybody runs.
    fn heal(&mut self) {
        self.wires.mend_all();
        self.wires.links.loss_ppm = 0;
        for node in 0..self.nodes.len() {
            self.nodes[node].clock.offset_ms = self.nodes[node].clock.offset_ms.clamp(-20, 20);
            if let Some(process) = &mut self.nodes[node].process {
                process.dies_after = None;
                if process.frozen {
                    self.thaw(node);
                }
            }
            self.start(node);
        }
        self.observe(&Happening::Healed);
    }

    /// Clients order what is due, and plan when they order next.
    fn order(&mut self) {
        let now = self.now;
        let until = Moment::ms(self.scenario.phases.load_until());
        let orders = self.workload.due(now, now < until, &self.setup, &self.nodes);
        for (to, order, signed) in orders {
            let life = self.nodes[to].lives;
            let delivery = Delivery::Submit { order, signed };
            self.queue.plan(now.plus(200), Event::Arrive { to, life, delivery });
        }
        self.queue.plan(self.workload.next_at(now), Event::Order);
    }
}
