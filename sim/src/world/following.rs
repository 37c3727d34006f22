//! How a shard's process follows the beacon chain: its own copy executes what it is fed, and tells the shard's replica.

use super::{World, acting::panic_words};
use crate::{
    checks::Happening,
    node::{Answer, Delivery, Input, Machine, NodeId, Process},
    observer::Heard,
    shell::Asked,
};
use kakera_chain::{
    BlockId,
    application::CertifiedBlocks,
    era::EraPlan,
    lanes::Reading,
    replica::{ClosedEra, Effect, InvalidBlocks, Phase},
    units::Height,
};
use kakera_shard::Reply;
use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

impl World {
    /// A follower takes certified beacon blocks. What they say is given to the shard's replica before the copy of the
    /// chain is written: whoever is killed between the two has read more than it has copied, and not less.
    pub(super) fn take_feed(&mut self, id: NodeId, stream: u64, blocks: &CertifiedBlocks) {
        let (now, local) = (self.now, self.nodes[id].clock.read(self.now));
        let Some(Machine::Shard(_, observer, shell)) = self.machine(id) else { return };
        if !shell.reads(stream) {
            return;
        }
        let heard = match catch_unwind(AssertUnwindSafe(|| observer.take(local, blocks))) {
            Ok(heard) => heard,
            Err(panic) => {
                let words = panic_words(&*panic);
                self.observe(&Happening::Panicked { node: id, words: &words });
                self.kill(id);
                return;
            }
        };
        let Heard { effects, readings, certificates, eras, crosslinks } = heard;
        self.charge(id, 0, crosslinks);
        let new = !readings.is_empty();
        if !certificates.is_empty() {
            self.step(id, Input::Recorded(certificates));
        }
        if new && !self.tell_readings(id, readings) {
            return;
        }
        eras.into_iter().for_each(|plan| self.tell_era(id, plan));
        let Some(refused) = self.keep_copy(id, effects) else { return };
        if let Some(Machine::Shard(_, _, shell)) = self.machine(id) {
            match &refused {
                None => shell.fed(new, now),
                Some(_) => shell.leave(now),
            }
        }
        if let Some(reason) = refused {
            self.measures.refused_as("feed", &reason);
            self.observe(&Happening::FeedRefused { node: id, reason: &reason });
        }
        self.tick_shell(id);
    }

    /// Gives a shard's replica what its own process has read; whether it still runs.
    fn tell_readings(&mut self, id: NodeId, readings: Vec<Reading>) -> bool {
        if let Some(Answer::Shard(Reply::BeaconRefused(reason))) = self.step(id, Input::Beacon(readings)) {
            self.observe(&Happening::ReadingRefused { node: id, reason: &reason });
        }
        self.nodes[id].process.is_some()
    }

    fn tell_era(&mut self, id: NodeId, plan: EraPlan) {
        #[cfg(test)]
        let Some(plan) = self.flawed(id, plan) else { return };
        self.step(id, Input::Era(Box::new(plan)));
    }

    /// The plan as a broken rule of the shell tells it.
    #[cfg(test)]
    fn flawed(&self, id: NodeId, mut plan: EraPlan) -> Option<EraPlan> {
        use crate::mutants::Flaw;
        let node = &self.nodes[id];
        match self.flaw {
            Some(Flaw::OtherLeaders) if node.place == 1 => plan.leaders.rotate_left(1),
            Some(Flaw::EarlierRoots) => {
                let below = Height(plan.root.0.0.saturating_sub(1));
                plan.root = (below, node.certified_id(below).unwrap_or(plan.root.1));
            }
            Some(Flaw::LateEras) if plan.epoch.0 > 0 => {
                let clock = self.setup.network.clock(kakera_chain::units::ChainId::Beacon);
                let epochs = self.setup.network.genesis.epochs?;
                let due = epochs.start_of(plan.epoch).0 + epochs.slots / 2;
                // Whoever starts again is told in time.
                return (clock.slot_at(node.clock.read(self.now)).0 >= due).then_some(plan);
            }
            _ => {}
        }
        Some(plan)
    }

    /// Tells a replica that starts which eras were named while it was away.
    pub(super) fn tell_eras(&mut self, id: NodeId) {
        let Some(Machine::Shard(replica, observer, _)) = self.machine(id) else { return };
        let eras = observer.eras_after(replica.era().epoch);
        eras.into_iter().for_each(|plan| self.tell_era(id, plan));
    }

    /// Asks another node of the chain how it went on, if that is due.
    pub(super) fn pull(&mut self, id: NodeId) {
        let now = self.now;
        let slot_us = self.setup.network.timing(self.nodes[id].chain).slot_ms * 1_000;
        let Some(Process { machine, puller: Some(puller), frozen: false, .. }) = &mut self.nodes[id].process else {
            return;
        };
        let Some(asked) = puller.look(machine, slot_us, now) else { return };
        let (root, next) = (machine.era().root, machine.certified().next());
        let members = machine.seats().validators.clone();
        let (chain, me) = (self.nodes[id].chain, self.nodes[id].validator);
        let (mut whom, turn) = match asked {
            Asked::Member(turn) => (members, turn),
            Asked::Anybody(turn) => (self.setup.validators(chain), turn),
        };
        whom.retain(|validator| *validator != me);
        if whom.is_empty() {
            return;
        }
        let to = whom[(turn + usize::from(self.nodes[id].place)) % whom.len()];
        for to in self.instances_of(chain, to, id) {
            self.send_shell(id, to, Delivery::Pull { from: id, root, next });
        }
    }

    /// Says how the chain went on.
    pub(super) fn take_pull(&mut self, id: NodeId, from: NodeId, root: BlockId, next: Height) {
        let Some(machine) = self.machine(id) else { return };
        let (closed, blocks) = machine.went_on(&root, next);
        if closed.is_some() || blocks.is_some() {
            let (closed, blocks) = (closed.map(Arc::new), blocks.map(Arc::new));
            self.send_shell(id, from, Delivery::Pulled { closed, blocks });
        }
        self.tick_shell(id);
    }

    /// Takes how the chain went on.
    pub(super) fn take_pulled(&mut self, id: NodeId, closed: Option<&ClosedEra>, blocks: Option<&CertifiedBlocks>) {
        let before = self.nodes[id].certified();
        if let Some(closed) = closed {
            self.step(id, Input::Closed(closed.clone()));
        }
        if let Some(blocks) = blocks.filter(|_| self.nodes[id].phase() == Some(Phase::Observer)) {
            self.step(id, Input::Blocks(blocks.clone()));
        }
        let (now, grew) = (self.now, self.nodes[id].certified() > before);
        let slot_us = self.setup.network.timing(self.nodes[id].chain).slot_ms * 1_000;
        if let Some(Process { puller: Some(puller), .. }) = self.nodes[id].process.as_mut().filter(|_| grew) {
            puller.fed(slot_us, now);
        }
        self.tick_shell(id);
    }

    /// Carries out what the copy wants; nothing if the process ended meanwhile, otherwise why the blocks were refused, if
    /// they were.
    fn keep_copy(&mut self, id: NodeId, effects: Vec<Effect<Infallible>>) -> Option<Option<InvalidBlocks>> {
        let mut refused = None;
        for effect in effects {
            if self.dies_now(id) {
                self.kill(id);
                return None;
            }
            match effect {
                Effect::Persist { writes, synced } => self.nodes[id].beacon_disk.write(writes, synced),
                Effect::BlocksRefused(reason) => refused = Some(reason),
                Effect::Halt(breach) => {
                    self.trace.halted(self.now, id, &breach);
                    self.halt(id, &breach);
                    return None;
                }
                Effect::Reopen => {
                    self.reopen(id);
                    return None;
                }
                Effect::Certified { .. }
                | Effect::Entered(_)
                | Effect::Guard(_)
                | Effect::Broadcast(_)
                | Effect::Send(..)
                | Effect::Included { .. }
                | Effect::Undone(_)
                | Effect::ReferencesGrew
                | Effect::Refused { .. } => {}
                Effect::Reply(never) => match never {},
            }
        }
        Some(refused)
    }
}
