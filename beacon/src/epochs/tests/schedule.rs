//! Random schedules of blocks, turns, crosslinks in time, late and never, requests and evidence: what must hold of every
//! state holds.

use super::play::{BEACONS, LATE, Play, SIZE, SLOTS, TRANSACTION, VALIDATORS, bond, report};
use crate::{
    BeaconState, InvalidBeaconBlock, InvalidCrosslink,
    fixture::{BEACON, SHARDS, Step, lane},
};
use kakera_chain::{
    Slot, codec,
    crosslink::BeaconItem,
    receipt::ReceiptAction,
    units::{Epoch, ValidatorId},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Places of all shards.
const PLACES: usize = SHARDS as usize * SIZE as usize;

/// What a shard does before a block.
#[derive(Clone, Debug)]
enum Act {
    /// Nothing: it has stopped.
    Sleep,
    /// A block that has read the newest beacon block, or is still at what the one below read; recorded so many blocks
    /// later.
    Block { reads: bool, held: usize, ask: Option<Ask> },
}

#[derive(Clone, Debug)]
enum Ask {
    Bond(u32),
    Exit(prop::sample::Index),
    Report(prop::sample::Index, prop::sample::Index),
}

#[derive(Clone, Debug)]
struct Beat {
    gap: u64,
    proposer: u32,
    reveals: bool,
    attends: bool,
    shards: Vec<Act>,
}

fn acts() -> impl Strategy<Value = Act> {
    let ask = prop_oneof![
        6 => Just(None),
        1 => (1u32..=4).prop_map(|seats| Some(Ask::Bond(seats))),
        1 => any::<prop::sample::Index>().prop_map(|who| Some(Ask::Exit(who))),
        1 => any::<(prop::sample::Index, prop::sample::Index)>().prop_map(|(era, place)| Some(Ask::Report(era, place))),
    ];
    let held = prop_oneof![4 => Just(0usize), 1 => 1usize..4];
    prop_oneof![
        2 => Just(Act::Sleep),
        5 => (prop::bool::weighted(0.7), held, ask).prop_map(|(reads, held, ask)| Act::Block { reads, held, ask }),
    ]
}

fn beats() -> impl Strategy<Value = Vec<Beat>> {
    let gap = prop_oneof![8 => 1..5u64, 1 => 1..6 * SLOTS];
    let beat = (gap, 0..BEACONS, any::<bool>(), any::<bool>(), proptest::collection::vec(acts(), usize::from(SHARDS)));
    let beat =
        beat.prop_map(|(gap, proposer, reveals, attends, shards)| Beat { gap, proposer, reveals, attends, shards });
    // Fewer than a hash chain has links here.
    proptest::collection::vec(beat, 1..40)
}

struct Schedule {
    play: Play,
    /// Each shard's crosslink that is on its way, and in how many blocks it arrives.
    held: Vec<Option<(usize, BeaconItem)>>,
    bonded: u32,
    /// The epochs in which each shard was named a root.
    named: Vec<BTreeSet<Epoch>>,
    slashed: BTreeSet<ValidatorId>,
}

impl Schedule {
    fn asked(&mut self, shard: u16, ask: &Ask) -> ReceiptAction {
        let state = self.play.state();
        match ask {
            Ask::Bond(seats) => bond(&self.play.world.network, VALIDATORS + self.bonded, (shard, 3), *seats),
            Ask::Exit(who) => {
                let (validator, entry) = state.registry.iter().nth(who.index(state.registry.len())).unwrap();
                ReceiptAction::Exit { from: entry.owner, validator, transaction: TRANSACTION }
            }
            Ask::Report(era, place) => {
                let ((chain, epoch), row) = state.eras.iter().nth(era.index(state.eras.len())).unwrap();
                let at = place.index(row.len());
                report(self.play.conflict(*chain, *epoch, u16::try_from(at).unwrap(), row[at].0))
            }
        }
    }

    /// What a shard's next block asks and takes, and its crosslink.
    fn extend(&mut self, shard: u16, reads: bool, ask: Option<&Ask>) -> BeaconItem {
        let newest = self.play.world.reference;
        if !reads {
            self.play.world.reference = self.play.record(shard).last.header.reference;
        }
        let asks: Vec<ReceiptAction> = ask.map(|ask| self.asked(shard, ask)).into_iter().collect();
        let waiting = self.play.state().lane(&lane(BEACON, shard)).map_or(0, |log| log.pending.len() as u64);
        let item = self.play.step(shard, Step { asks, takes: vec![(BEACON, waiting)], ..Step::default() });
        self.play.world.reference = newest;
        item
    }

    fn arrivals(&mut self, beat: &Beat) -> Vec<(u16, BeaconItem)> {
        let mut arrived = Vec::new();
        for (shard, act) in (0..SHARDS).zip(&beat.shards) {
            let at = usize::from(shard);
            match (self.held[at].take(), act) {
                (Some((0, item)), _) => arrived.push((shard, item)),
                (Some((left, item)), _) => self.held[at] = Some((left - 1, item)),
                (None, Act::Sleep) => {}
                (None, Act::Block { reads, held, ask }) => {
                    let ask = ask.as_ref().filter(|ask| !matches!(ask, Ask::Bond(_)) || *held == 0);
                    let item = self.extend(shard, *reads, ask);
                    self.bonded += u32::from(matches!(ask, Some(Ask::Bond(_))));
                    if *held == 0 { arrived.push((shard, item)) } else { self.held[at] = Some((held - 1, item)) }
                }
            }
        }
        arrived
    }

    fn beat(&mut self, beat: &Beat) {
        let slot = self.play.slot + beat.gap;
        let mut items = Vec::new();
        let beacon = self.play.state().seating.current.beacon.clone();
        let proposer = beacon[beat.proposer as usize % beacon.len()].0.0;
        if beat.reveals {
            items.push(self.play.reveal(proposer));
        }
        let members = u16::try_from(beacon.len()).unwrap();
        if beat.attends {
            let signers: Vec<u16> = (0..members).collect();
            items.push(BeaconItem::Attendance(Box::new(self.play.attendance(slot, &signers))));
        }
        for (shard, item) in self.arrivals(beat) {
            // A crosslink counts if its era is the one that the shard is in; otherwise its blocks are lost.
            let record = self.play.record(shard);
            let first = &super::play::crosslink(&item).headers[0];
            let counts = (first.epoch, first.root) == (record.era, record.root);
            let judged = self.play.judge(slot, proposer, std::slice::from_ref(&item));
            if counts {
                assert!(judged.is_ok(), "{judged:?}");
                items.push(item);
            } else {
                let reason = InvalidCrosslink::OtherEra { position: 0 };
                assert_eq!(judged.unwrap_err(), InvalidBeaconBlock::Crosslink { position: 0, reason });
                self.play.world.forget_unrecorded(shard);
            }
        }
        let before = self.play.state().clone();
        self.play.block(slot, proposer, &items);
        self.follow(&before);
    }

    fn follow(&mut self, before: &BeaconState) {
        let state = self.play.state();
        for (at, (old, new)) in before.shards.iter().zip(&state.shards).enumerate() {
            if new.era > old.era {
                assert!(self.named[at].insert(new.era), "one root an epoch");
            }
            let switched = state.parameters.epochs.unwrap().of(new.last.header.reference.slot) > old.era;
            assert_eq!(new.fallbacks - old.fallbacks, u64::from(new.era > old.era && !switched));
        }
        // Who is slashed stays out of everything that is drawn from then on.
        if state.epoch > before.epoch {
            let drawn = &state.seating.next;
            let free = |row: &crate::draw::Row| row.iter().filter(|(id, _)| !self.slashed.contains(id)).count();
            let out = |id: &ValidatorId| !self.slashed.contains(id);
            assert!(free(&before.seating.shards) < PLACES || drawn.held().keys().all(out), "{drawn:?}");
            assert!(free(&before.seating.beacon) == 0 || drawn.beacon.iter().all(|(id, _)| out(id)), "{drawn:?}");
        }
        self.slashed.extend(state.registry.slashed());
        for chain in state.eras.values() {
            assert!(chain.iter().all(|(id, _)| state.registry.get(*id).is_some()), "keys are known with committees");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// One root a shard and epoch, whatever comes; eras and records never go back; no committee is empty; supply is exact.
    #[test]
    fn every_shard_has_one_root_an_epoch_whatever_comes(beats in beats()) {
        let mut schedule = Schedule {
            play: Play::new(),
            held: vec![None; usize::from(SHARDS)],
            bonded: 0,
            named: vec![BTreeSet::new(); usize::from(SHARDS)],
            slashed: BTreeSet::new(),
        };
        for beat in &beats {
            schedule.beat(beat);
        }
        let state = schedule.play.state();
        let bytes = codec::encode(state);
        prop_assert!(codec::decode(&bytes, BeaconState::MAX_BYTES).as_ref() == Ok(state));
        // Whatever happened: a block after the fallback's slots, and all are in the epoch that it is.
        let state = schedule.play.state();
        let due = state.turned_at.0 + LATE;
        let in_epoch = state.parameters.epochs.unwrap().of(Slot(due)) == state.epoch && due > schedule.play.slot;
        if in_epoch {
            schedule.play.block(due, 0, &[]);
            let state = schedule.play.state();
            prop_assert!(state.shards.iter().all(|record| record.era == state.epoch));
        }
    }
}
