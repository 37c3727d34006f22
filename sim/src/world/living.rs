//! Processes that start, are killed, halt, and lose what was on their disks.

use super::World;
use crate::{
    checks::Happening,
    faults::Action,
    node::{Input, Machine, NodeId, Process},
    random::Random,
    shell::Puller,
};
use kakera_chain::{replica::Breach, units::ChainId};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
};

impl World {
    /// Starts a node's process, if none runs.
    pub(crate) fn start(&mut self, id: NodeId) {
        if self.nodes[id].process.is_some() || self.twist_sleeps(id) {
            return;
        }
        let opened = self.open(id);
        let Some(machine) = opened.or_else(|| self.open_anew(id)) else { return };
        let node = &mut self.nodes[id];
        node.lives += 1;
        node.process = Some(Process {
            machine,
            inbox: VecDeque::new(),
            busy_until: self.now,
            frozen: false,
            wake_at: None,
            news: true,
            dies_after: None,
            puller: self.setup.network.genesis.epochs.map(|_| Puller::new(self.now)),
        });
        self.trace.started(self.now, id);
        self.observe(&Happening::Started { node: id });
        self.tell_eras(id);
        self.step(id, Input::Tick);
        self.tick_shell(id);
        self.rest(id);
    }

    /// Opens what is on the disk; a disk that is damaged says so.
    fn open(&mut self, id: NodeId) -> Option<Machine> {
        let (make_rules, now) = (self.make_rules, self.now);
        let opened = catch_unwind(AssertUnwindSafe(|| Machine::open(&self.setup, &self.nodes[id], now, make_rules)));
        match opened {
            Ok(Ok(machine)) => Some(machine),
            Ok(Err(reason)) => {
                if !self.nodes[id].is_damaged() {
                    self.observe(&Happening::Unopened { node: id, reason: &reason });
                }
                None
            }
            Err(_) => {
                self.observe(&Happening::Panicked { node: id, words: "while it opened its store" });
                None
            }
        }
    }

    /// The operator moves a damaged store away and starts again; what was signed is remembered in the second place.
    fn open_anew(&mut self, id: NodeId) -> Option<Machine> {
        if self.violation.is_some() {
            return None;
        }
        self.replace_disks(id);
        self.open(id)
    }

    /// New disks in place of damaged ones. Where none is known to be, it is the first that does not open.
    fn replace_disks(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        let damaged = node.disks().map(|disk| disk.is_damaged());
        if damaged[0] || !damaged[1] {
            node.disk.wipe();
        }
        // A shard that begins anew has read nothing.
        node.beacon_disk.wipe();
        self.measures.replaced_disks += 1;
    }

    /// The replica wants to be opened again: its process does that, and goes on.
    pub(super) fn reopen(&mut self, id: NodeId) {
        if self.nodes[id].process.take().is_some() {
            self.start(id);
        }
    }

    /// SIGKILL and a loss of power at once.
    pub(super) fn kill(&mut self, id: NodeId) {
        if self.nodes[id].process.take().is_none() {
            return;
        }
        let mut lost = self.nodes[id].disk.crash(&mut self.random);
        if self.nodes[id].chain != ChainId::Beacon {
            lost += self.nodes[id].beacon_disk.crash(&mut self.random);
        }
        self.measures.crashes += 1;
        self.measures.lost_batches += lost as u64;
        self.trace.killed(self.now, id, lost);
        self.observe(&Happening::Killed { node: id });
        self.hang_up(id);
    }

    /// Everybody who has a seat in a chain's committee now is killed, and starts again later.
    pub(super) fn kill_committee(&mut self, chain: ChainId, down_ms: u64) {
        let (.., seats) = self.eras.newest(chain);
        let members: Vec<NodeId> = (0..self.nodes.len())
            .filter(|id| self.nodes[*id].chain == chain && self.nodes[*id].is_honest())
            .filter(|id| seats.member(self.nodes[*id].validator).is_some())
            .collect();
        for id in members {
            self.kill(id);
            self.queue.plan(self.now.plus(down_ms * 1_000), super::Event::Fault(Action::Start(id)));
        }
    }

    /// The system of a killed beacon process ends its streams, where links still carry that.
    fn hang_up(&mut self, id: NodeId) {
        let now = self.now;
        for node in 0..self.nodes.len() {
            let Some(Machine::Shard(_, _, shell)) =
                self.nodes[node].process.as_mut().map(|process| &mut process.machine)
            else {
                continue;
            };
            if shell.follows() == Some(id) && !self.wires.is_cut(id, node) {
                shell.leave(now);
                self.rest(node);
            }
        }
    }

    /// A replica has stopped itself. Because of its disk: the operator gives it a new one. Otherwise it stays away.
    pub(super) fn halt(&mut self, id: NodeId, breach: &Breach) {
        let damaged = self.nodes[id].is_damaged();
        self.nodes[id].process = None;
        if damaged {
            self.replace_disks(id);
            self.start(id);
            return;
        }
        self.measures.halted += 1;
        self.observe(&Happening::Halted { node: id, breach });
    }

    /// A row of a node's disk changes under it.
    pub(super) fn damage(&mut self, id: NodeId) {
        let mut random = Random::stream(self.seed ^ self.now.0, "damage");
        let node = &self.nodes[id];
        let other = node.chain != ChainId::Beacon && random.chance(250_000);
        node.disks()[usize::from(other)].damage(&mut random);
        // Damage is found when it is read: at the next start at the latest.
        self.kill(id);
        self.start(id);
    }

    /// An older copy takes the place of what is on a disk. The second place keeps what was signed.
    pub(super) fn restore(&mut self, id: NodeId) {
        let Some((copies, _)) = self.copies.remove(&id) else { return };
        self.kill(id);
        self.nodes[id].disks().iter().zip(&copies).for_each(|(disk, copy)| disk.replace(copy));
        self.start(id);
    }
}
