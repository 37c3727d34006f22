//! What must hold in every state, what must be reached, and where every run must end.

use super::{
    beacon::{Refusal, certified},
    model::Eras,
    state::{BeaconState, BlockId, Breach, Chain, Crash, Era, Loss, State, is_late},
};
use stateright::Property;

pub(crate) const ONE_ROOT: &str = "one root an epoch is acted upon";
pub(crate) const NAMED: &str = "who acts in an era has it from a certified beacon state";
pub(crate) const ONCE: &str = "an epoch's root is named once";
pub(crate) const CURRENT: &str = "past the deadline a shard has the epoch's root";
pub(crate) const UNDONE: &str = "what is recorded is never undone";
pub(crate) const OLD_ERA: &str = "what is recorded is of the era that is named";
pub(crate) const LINKED: &str = "recorded headers are linked across eras";
pub(crate) const FORWARD: &str = "nobody signs in an era older than one that it has opened";
pub(crate) const BESIDE: &str = "nobody signs in two eras of one epoch";
pub(crate) const BUILT: &str = "nothing is built upon a switch block in its own era";
pub(crate) const LOST: &str = "what is shard-final is lost by a fallback only";
pub(crate) const COUNTED: &str = "what a fallback loses is counted";
pub(crate) const ARRIVES: &str = "everybody comes to the last epoch's era";

pub(crate) const JUMPED: &str = "an epoch is jumped over";
pub(crate) const HASTY: &str = "a fallback comes with the beacon's first block of an epoch";
pub(crate) const FUTURE: &str = "a reference from the future is refused";
pub(crate) const OVER: &str = "an epoch is over when its root is named";
pub(crate) const SHUT_OUT: &str = "a block past the deadline cannot carry a crosslink that was due";

/// All of them.
pub(crate) fn all() -> Vec<Property<Eras>> {
    let mut all = vec![
        Property::always(ONE_ROOT, one_root),
        Property::always(NAMED, named),
        Property::always(ONCE, once),
        Property::always(CURRENT, current),
        Property::always(UNDONE, |_, state: &State| state.breach != Some(Breach::Undone)),
        Property::always(OLD_ERA, |_, state: &State| state.breach != Some(Breach::OldEra)),
        Property::always(LINKED, linked),
        Property::always(FORWARD, |_, state: &State| state.breach != Some(Breach::SignedOlder)),
        Property::always(BESIDE, |_, state: &State| state.breach != Some(Breach::SignedBeside)),
        Property::always(BUILT, built),
        Property::always(LOST, |_, state: &State| state.chains.iter().all(|chain| lost_by_fallback(state, chain))),
        Property::always(COUNTED, |_, state: &State| state.chains.iter().all(|chain| counted(state, chain))),
        Property::eventually(ARRIVES, arrived),
    ];
    all.extend(reached());
    all
}

fn reached() -> Vec<Property<Eras>> {
    vec![
        Property::sometimes("a switch block is recorded in time", |_, state: &State| {
            state.beacon.named.iter().any(|named| named.era.epoch > 0 && !named.fallback)
        }),
        Property::sometimes("a fallback happens", |_, state: &State| {
            state.beacon.named.iter().any(|named| named.fallback)
        }),
        Property::sometimes("both epochs change in time", |_, state: &State| changes(state) == [false, false]),
        Property::sometimes("both epochs change by a fallback", |_, state: &State| changes(state) == [true, true]),
        Property::sometimes(JUMPED, |model: &Eras, state: &State| {
            arrived(model, state) && state.beacon.visited.count_ones() <= u32::from(model.setup.changes)
        }),
        Property::sometimes("a switch block is recorded an epoch later than it read", |_, state: &State| {
            let late = |era: &Era| era.root.reference() < era.epoch;
            state.beacon.named.iter().any(|named| !named.fallback && late(&named.era))
        }),
        Property::sometimes(HASTY, |_, state: &State| {
            let hasty = |epoch: u8| state.beacon.waited >> epoch & 1 == 0;
            state.beacon.named.iter().any(|named| named.fallback && hasty(named.era.epoch))
        }),
        Property::sometimes("a late crosslink is refused", |model: &Eras, state: &State| {
            refused(model, state, Refusal::OtherEra)
        }),
        Property::sometimes("a crosslink that comes again is refused", |model: &Eras, state: &State| {
            refused(model, state, Refusal::Stale)
        }),
        Property::sometimes(OVER, |_, state: &State| {
            let named = |block: &BeaconState| block.named.len() > state.beacon.named.len();
            state.proposed.as_ref().is_some_and(|block| named(block) && block.era().epoch < block.epoch())
        }),
        Property::sometimes(SHUT_OUT, shut_out),
        Property::sometimes(FUTURE, |model: &Eras, state: &State| refused(model, state, Refusal::Future)),
        Property::sometimes(
            "a fallback loses what is shard-final, and everybody goes on",
            |model: &Eras, state: &State| {
                arrived(model, state) && state.chains.iter().any(|chain| lost(state, chain) > 0)
            },
        ),
        Property::sometimes("a fallback loses a certified switch block", |_, state: &State| {
            let switched = |chain: &Chain| chain.certified != chain.era.root && chain.certified.is_switch();
            state.chains.iter().any(|chain| switched(chain) && lost(state, chain) > 0)
        }),
        Property::sometimes("a fallback goes on from the old era's root", |_, state: &State| {
            state.beacon.named.windows(2).any(|pair| pair[1].fallback && pair[0].era.root == pair[1].era.root)
        }),
        Property::sometimes("an old era goes on while a member has opened the new one", |_, state: &State| {
            let newest = state.members.iter().map(|member| member.era.epoch).max();
            let behind = |chain: &&Chain| state.members.iter().any(|member| member.era == chain.era);
            let mut old = state.chains.iter().filter(|chain| Some(chain.era.epoch) < newest).filter(behind);
            old.any(|chain| chain.head != chain.certified)
        }),
        Property::sometimes(
            "a beacon block that names a root is lost, and everybody goes on",
            |model: &Eras, state: &State| state.loss == Loss::OfARoot && arrived(model, state),
        ),
        Property::sometimes(
            "a crash happens during the change, and everybody goes on",
            |model: &Eras, state: &State| state.crash == Crash::InChange && arrived(model, state),
        ),
        Property::sometimes("all faults happen, and everybody goes on", |model: &Eras, state: &State| {
            state.crash != Crash::Ahead && state.loss != Loss::Ahead && state.lies == 0 && arrived(model, state)
        }),
    ]
}

/// Chains begin when somebody opens their era, and are kept.
fn one_root(_: &Eras, state: &State) -> bool {
    state.chains.windows(2).all(|pair| pair[0].era.epoch != pair[1].era.epoch)
}

fn named(_: &Eras, state: &State) -> bool {
    state.chains.iter().all(|chain| state.beacon.named.iter().any(|named| named.era == chain.era))
}

fn once(_: &Eras, state: &State) -> bool {
    state.beacon.named.windows(2).all(|pair| pair[0].era.epoch < pair[1].era.epoch)
}

/// Eras follow epochs; past the deadline they have caught up. An era never begins above where it ends.
fn current(_: &Eras, state: &State) -> bool {
    let newest = &state.beacon;
    let era = newest.era();
    era.epoch <= newest.epoch()
        && era.root.reference() <= era.epoch
        && (!is_late(newest.slot) || era.epoch == newest.epoch())
}

/// Each recorded header's parent is the one recorded before it, and every root is a recorded block.
fn linked(_: &Eras, state: &State) -> bool {
    let newest = &state.beacon;
    newest.recorded.windows(2).all(|pair| pair[1].parent() == pair[0])
        && newest.named.iter().all(|named| newest.recorded.contains(&named.era.root))
}

fn built(_: &Eras, state: &State) -> bool {
    let mut above =
        state.chains.iter().flat_map(|chain| chain.head.path(chain.era.root).map(|block| (chain.era, block)));
    above.all(|(era, block)| block.parent() == era.root || !block.parent().is_switch())
}

/// Certified blocks of an era that are not recorded and never will be.
fn lost(state: &State, chain: &Chain) -> usize {
    let newest = &state.beacon;
    let (era, last) = (newest.era(), newest.last());
    let can_follow = |block: BlockId| chain.era == era && block.descends(last);
    chain.certified.path(chain.era.root).filter(|block| !last.descends(*block) && !can_follow(*block)).count()
}

/// The era after one that lost something was named by a fallback.
fn lost_by_fallback(state: &State, chain: &Chain) -> bool {
    let next = state.beacon.named.iter().find(|named| named.era.epoch > chain.era.epoch);
    lost(state, chain) == 0 || next.is_some_and(|named| named.fallback)
}

/// Once no member is left in an era, one of them counts everything that it lost.
fn counted(state: &State, chain: &Chain) -> bool {
    let epoch = chain.era.epoch;
    let left = state.members.iter().all(|member| member.era.epoch > epoch);
    let most = state.members.iter().map(|member| usize::from(member.lost[usize::from(epoch)])).max();
    !left || most == Some(lost(state, chain))
}

/// The last epoch has its era, and all members speak in it.
fn arrived(model: &Eras, state: &State) -> bool {
    let last = state.beacon.era();
    last.epoch == model.setup.changes && state.members.iter().all(|member| member.era == last)
}

/// How the epochs changed, and whether by a fallback.
fn changes(state: &State) -> Vec<bool> {
    state.beacon.named.iter().skip(1).map(|named| named.fallback).collect()
}

/// Whether something certified would be refused for this reason now.
fn refused(model: &Eras, state: &State, refusal: Refusal) -> bool {
    let newest = &state.beacon;
    certified(state).any(|last| model.judge(newest, newest.epoch(), last) == Err(refusal))
}

/// Whether the beacon block that may name a root past the deadline is refused with a crosslink that is sound below it.
fn shut_out(model: &Eras, state: &State) -> bool {
    let below = &state.beacon;
    let past = 2 * below.epoch() + 1;
    !is_late(below.slot)
        && certified(state).any(|last| {
            let sound = model.judge(below, below.epoch(), last).is_ok();
            sound && model.beacon_block(below, &state.chains, past, Some(last)).is_err()
        })
}
