//! Each era of a chain is one: the same root and the same committee at every honest node, and the committee is the one
//! that was drawn. No validator sits where it has no seat, and no more seats change hands than the rules say.

use super::{Check, Happening, View};
use kakera_beacon::BeaconState;
use kakera_chain::{
    BlockId, Member, Slot,
    era::EraPlan,
    units::{ChainId, Epoch, Height, ShardId, ValidatorId},
};
use std::collections::BTreeMap;

/// What makes an era.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Whole {
    root: (Height, BlockId),
    members: Vec<(ValidatorId, u64)>,
    leaders: Vec<Member>,
}

/// One shard as a beacon state has it: its era's epoch, its bench, and how many eras began with a fallback.
type Bench = (Epoch, Vec<ValidatorId>, u64);

/// Eras.
#[derive(Default)]
pub(super) struct Eras {
    /// As nodes entered them or the beacon names them, whichever was first.
    known: BTreeMap<(ChainId, Epoch), Whole>,
    /// The newest beacon block looked at, and each shard's bench there.
    beacon: Height,
    benches: Vec<Bench>,
    /// Its epoch there.
    epoch: Epoch,
    /// The newest epoch of the beacon, and the slot of the first block seen of it.
    turned: (Epoch, Slot),
}

impl Check for Eras {
    fn name(&self) -> &'static str {
        "eras"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        match happening {
            Happening::Entered { node, plan } if view.nodes[*node].is_honest() => {
                let chain = view.nodes[*node].chain;
                self.same(chain, plan).map_err(|what| format!("{} {what}", view.name(*node)))
            }
            Happening::Beacon { certified, .. } if view.scenario.network.epochs.is_some() => {
                let (header, state) = (&certified.block.header, &certified.executed.state);
                if header.height <= self.beacon {
                    return Ok(());
                }
                // A block that nobody lived to tell of may have begun an era.
                let gap = header.height > self.beacon.next();
                self.beacon = header.height;
                let reached = view.setup.network.epoch_of(header.slot);
                if state.epoch != reached {
                    return Err(format!("after a block of epoch {reached} the beacon is in epoch {}", state.epoch));
                }
                self.follow(view, header.slot, state)?;
                if state.epoch > self.epoch && !gap {
                    let plan = state.beacon_era((header.height, certified.id), &view.setup.signatures);
                    self.same(ChainId::Beacon, &plan)
                        .map_err(|what| format!("beacon block {} {what}", header.height))?;
                }
                self.named(view, state, gap).map_err(|what| format!("beacon block {} {what}", header.height))
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        let expect = &view.scenario.expect;
        let fallbacks: u64 = self.benches.iter().map(|(.., fallbacks)| fallbacks).sum();
        if fallbacks < expect.fallbacks || fallbacks > expect.most_fallbacks {
            let (least, most) = (expect.fallbacks, expect.most_fallbacks);
            return Err(format!("{fallbacks} committees were replaced, not {least} to {most}"));
        }
        for chain in view.setup.chains() {
            let (epoch, ..) = view.eras.newest(chain);
            if epoch.0 < expect.epochs {
                return Err(format!("{chain} is in epoch {epoch}, not {}", expect.epochs));
            }
        }
        Ok(())
    }
}

impl Eras {
    /// Every shard is in the beacon's epoch once the time is up in which it must follow.
    fn follow(&mut self, view: &View<'_>, slot: Slot, state: &BeaconState) -> Result<(), String> {
        if state.epoch != self.turned.0 {
            self.turned = (state.epoch, slot);
        }
        let Some(epochs) = view.setup.network.genesis.epochs else { return Ok(()) };
        if slot.0 < self.turned.1.0.saturating_add(epochs.fallback_slots) {
            return Ok(());
        }
        match state.shards.iter().find(|record| record.era != state.epoch) {
            None => Ok(()),
            Some(late) => {
                Err(format!("{} is in epoch {} in slot {slot} of {}", late.last.header.chain, late.era, state.epoch))
            }
        }
    }

    fn same(&mut self, chain: ChainId, plan: &EraPlan) -> Result<(), String> {
        let seats = &plan.seats;
        let weights = seats.committee.members().map(|member| seats.committee.weight(member));
        let members = seats.validators.iter().copied().zip(weights).collect();
        let whole = Whole { root: plan.root, members, leaders: plan.leaders.clone() };
        let first = self.known.entry((chain, plan.epoch)).or_insert_with(|| whole.clone());
        match *first == whole {
            true => Ok(()),
            false => Err(format!("has for {chain} in epoch {} {whole:?}, others {first:?}", plan.epoch)),
        }
    }

    /// What a beacon state says of every shard's era.
    fn named(&mut self, view: &View<'_>, state: &BeaconState, gap: bool) -> Result<(), String> {
        let shards = (0..view.setup.network.genesis.shards).map(ShardId);
        let mut benches = Vec::new();
        for (place, shard) in shards.enumerate() {
            let (Some(record), Some(plan)) = (state.shard(shard), state.era_of(shard, &view.setup.signatures)) else {
                return Err(format!("knows no shard {shard}"));
            };
            if record.era > Epoch(0) {
                self.same(ChainId::Shard(shard), &plan)?;
            }
            let bench = (record.era, record.bench.0.clone(), record.fallbacks);
            if let Some(before) = self.benches.get(place) {
                follows(view, (state, self.epoch), before, &bench, gap)
                    .map_err(|what| format!("of shard {shard}: {what}"))?;
            }
            benches.push(bench);
        }
        (self.benches, self.epoch) = (benches, state.epoch);
        held_once(view, state)
    }
}

/// A bench changes with its era only, and then by as many seats as the rules say; all of it where it did not follow.
/// `state` comes with the epoch that it was before its block, whose crosslinks still count for that one.
fn follows(
    view: &View<'_>,
    (state, epoch): (&BeaconState, Epoch),
    before: &Bench,
    now: &Bench,
    gap: bool,
) -> Result<(), String> {
    if now.0 == before.0 {
        return if now == before { Ok(()) } else { Err(format!("{now:?} in the era of {before:?}")) };
    }
    if now.0 < before.0 || now.0 > state.epoch || now.0 != state.epoch && now.0 != epoch && !gap {
        return Err(format!("epoch {} after {}, while it is {}", now.0, before.0, state.epoch));
    }
    let fallbacks = now.2 - before.2.min(now.2);
    let changed = now.1.iter().zip(&before.1).filter(|(now, before)| now != before).count();
    let per_mille = view.setup.network.genesis.epochs.map_or(0, |epochs| usize::from(epochs.rotation_per_mille));
    let each = (now.1.len() * per_mille / 1_000).max(1);
    let most = usize::try_from(now.0.0 - before.0.0).unwrap_or(usize::MAX).saturating_mul(each);
    // All who were slashed go, beyond that bound.
    let slashed = state.registry.slashed();
    let most = most.saturating_add(before.1.iter().filter(|holder| slashed.contains(*holder)).count());
    // A fallback elsewhere may leave a holder where it would have gone.
    match fallbacks > 0 || changed <= most {
        true => Ok(()),
        false => Err(format!("{changed} of {} seats changed hands, at most {most} may", now.1.len())),
    }
}

/// Nobody holds more seats in all of the epoch's benches than it has.
fn held_once(view: &View<'_>, state: &BeaconState) -> Result<(), String> {
    for benches in [&state.seating.current, &state.seating.next] {
        let mut held = BTreeMap::<ValidatorId, u32>::new();
        benches.shards.iter().flat_map(|bench| &bench.0).for_each(|holder| *held.entry(*holder).or_default() += 1);
        for (holder, seats) in held {
            // A newcomer has one.
            let has = view.setup.network.genesis.validators.get(holder.0 as usize).map_or(1, |one| one.seats);
            if seats > has {
                return Err(format!("seats validator {holder} {seats} times, which has {has} seats"));
            }
        }
    }
    Ok(())
}
