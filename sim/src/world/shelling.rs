//! What passes between a shard's processes and the beacon's, and what clients are answered.

use super::World;
use crate::{
    checks::Happening,
    node::{Answer, Delivery, Input, Machine, NodeId, Process},
};
use kakera_chain::{
    crosslink::Crosslink,
    replica::Phase,
    units::{ChainId, Height},
};
use kakera_shard::SignedTransaction;
use std::sync::Arc;

impl World {
    /// Lets the shell do what is due, if there is news or its time has come.
    pub(super) fn tick_shell(&mut self, id: NodeId) {
        self.pull(id);
        let (now, clock) = (self.now, self.nodes[id].clock);
        let Some(process) = &mut self.nodes[id].process else { return };
        let timely = match &process.machine {
            Machine::Shard(_, _, shell) => shell.next_wakeup(|time| clock.when(time, now)) <= now,
            Machine::Beacon(..) => false,
        };
        if !std::mem::take(&mut process.news) && !timely {
            return;
        }
        let local = clock.read(now);
        let due = match self.machine(id) {
            Some(Machine::Shard(replica, observer, shell)) => shell.tick(replica, observer, id, local, now),
            Some(Machine::Beacon(replica, shell)) => {
                let fed = shell.feed(replica);
                for (to, delivery) in fed {
                    self.send_shell(id, to, delivery);
                }
                return;
            }
            None => return,
        };
        for (index, delivery) in due {
            let beacons = self.beacons_in_office(id);
            let to = beacons[index % beacons.len()];
            let follows = matches!(delivery, Delivery::Follow { .. });
            if let Some(Machine::Shard(_, _, shell)) = self.machine(id).filter(|_| follows) {
                shell.asks(to);
            }
            let refused = follows && self.nodes[to].process.is_none() && !self.wires.is_cut(to, id);
            self.send_shell(id, to, delivery);
            // Where no process listens, the system refuses the connection at once.
            if refused && let Some(Machine::Shard(_, _, shell)) = self.machine(id) {
                shell.leave(now);
            }
        }
    }

    /// The beacon's nodes, each member's first instance.
    pub(super) fn instances_of_beacon(&self) -> Vec<NodeId> {
        let beacon = self.instances.iter().filter(|((chain, _), _)| *chain == ChainId::Beacon);
        beacon.filter_map(|(_, instances)| instances.first().copied()).collect()
    }

    /// Those of them that sit in the committee in office as a shard's node knows it: they are read, and given crosslinks.
    fn beacons_in_office(&self, id: NodeId) -> Vec<NodeId> {
        let all = self.instances_of_beacon();
        let Some(Process { machine: Machine::Shard(_, observer, _), .. }) = &self.nodes[id].process else { return all };
        let seats = &observer.state().seating.current.beacon;
        let sits = |node: &NodeId| seats.iter().any(|(validator, _)| *validator == self.nodes[*node].validator);
        all.into_iter().filter(sits).collect()
    }

    pub(crate) fn dispatch_shell(&mut self, from: NodeId, to: NodeId, delivery: Delivery) {
        let bytes = delivery.bytes();
        self.dispatch(from, to, bytes, delivery);
    }

    pub(super) fn take_follower(&mut self, id: NodeId, from: NodeId, stream: u64, next: Height) {
        if let Some(Machine::Beacon(_, shell)) = self.machine(id) {
            shell.follow(from, stream, next);
        }
        self.dispatch_shell(id, from, Delivery::Followed { stream });
        if let Some(process) = &mut self.nodes[id].process {
            process.news = true;
        }
        self.tick_shell(id);
    }

    pub(super) fn followed(&mut self, id: NodeId, stream: u64) {
        let now = self.now;
        if let Some(Machine::Shard(_, _, shell)) = self.machine(id)
            && shell.reads(stream)
        {
            shell.fed(false, now);
        }
    }

    /// A beacon node without a seat hands a crosslink on to one that it knows to have one; only once.
    pub(super) fn take_crosslink(
        &mut self,
        id: NodeId,
        (from, attempt): (NodeId, u64),
        crosslink: Arc<Crosslink>,
        handed_on: bool,
    ) {
        if self.nodes[id].phase() == Some(Phase::Observer) {
            if let Some(to) = self.seated_beacon(id).filter(|_| !handed_on) {
                self.send_shell(id, to, Delivery::Crosslink { from, attempt, crosslink, handed_on: true });
            }
            return;
        }
        let Some(Answer::Beacon(answer)) = self.step(id, Input::Crosslink((*crosslink).clone())) else { return };
        if let kakera_beacon::Reply::Refused(reason) = &answer {
            self.measures.refused_as("crosslink", reason);
            self.observe(&Happening::CrosslinkRefused { node: id, from, crosslink: &crosslink, reason });
        }
        self.send_shell(id, from, Delivery::CrosslinkTaken { attempt });
        self.tick_shell(id);
    }

    /// A member of the beacon's committee as a node knows it, another each slot.
    fn seated_beacon(&self, id: NodeId) -> Option<NodeId> {
        let machine = &self.nodes[id].process.as_ref()?.machine;
        let members = &machine.seats().validators;
        let slot = self.setup.network.clock(ChainId::Beacon).slot_at(self.nodes[id].clock.read(self.now)).0;
        let turn = usize::try_from(slot).unwrap_or(0) + usize::from(self.nodes[id].place);
        let member = members.get(turn.checked_rem(members.len())?)?;
        self.instances_of(ChainId::Beacon, *member, id).first().copied()
    }

    pub(super) fn crosslink_taken(&mut self, id: NodeId, attempt: u64) {
        if let Some(Machine::Shard(_, _, shell)) = self.machine(id) {
            shell.answered(attempt);
        }
    }

    pub(super) fn take_order(&mut self, id: NodeId, order: usize, signed: Arc<SignedTransaction>) {
        if self.twist_ignores(id, &signed) {
            return;
        }
        if let Some(Answer::Shard(reply)) = self.step(id, Input::Submit(Arc::unwrap_or_clone(signed))) {
            self.workload.answered(self.now, order, &reply);
            self.observe(&Happening::Answered { node: id, order, reply: &reply });
        }
        self.tick_shell(id);
    }
}
