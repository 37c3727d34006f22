//! How a shard's process follows the beacon chain: its own copy executes what it is fed, and tells the shard's replica.

use super::{World, acting::panic_words};
use crate::{
    checks::Happening,
    node::{Answer, Input, Machine, NodeId},
    observer::Heard,
};
use kakera_chain::{
    application::CertifiedBlocks,
    era::EraPlan,
    lanes::Reading,
    replica::{Effect, InvalidBlocks},
};
use kakera_shard::Reply;
use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
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
        let Heard { effects, readings, eras, crosslinks } = heard;
        self.charge(id, 0, crosslinks);
        let new = !readings.is_empty();
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
        self.step(id, Input::Era(Box::new(plan)));
    }

    /// Tells a replica that starts which eras were named while it was away.
    pub(super) fn tell_eras(&mut self, id: NodeId) {
        let Some(Machine::Shard(replica, observer, _)) = self.machine(id) else { return };
        let eras = observer.eras_after(replica.era().epoch);
        eras.into_iter().for_each(|plan| self.tell_era(id, plan));
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
