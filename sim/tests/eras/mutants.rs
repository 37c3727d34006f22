//! Broken rules: the checker must find each of them.

use super::{
    properties::{
        ARRIVES, BESIDE, BUILT, COUNTED, CURRENT, FORWARD, FUTURE, HASTY, JUMPED, LINKED, LOST, NAMED, OLD_ERA, ONCE,
        ONE_ROOT, OVER, SHUT_OUT, UNDONE,
    },
    state::{Order, Setup},
};

/// One rule broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A member opens the era that a beacon block names before that block is certified.
    ReadsUncertifiedBeacon,
    /// A member opens the next era as soon as the switch block has a certificate, recorded or not.
    OpensOnCertificate,
    /// The beacon takes crosslinks of older eras that continue what is recorded.
    TakesLateCrosslinks,
    /// The beacon names a root past the deadline although it has named one for the epoch.
    FallsBackAlways,
    /// The beacon never names a root but by a switch block.
    NeverFallsBack,
    /// The fallback waits for a block above one past the deadline.
    FallsBackABlockLater,
    /// A fallback goes on from the newest certified block, recorded or not.
    FallsBackToFinal,
    /// A fallback goes on from where the old era began.
    FallsBackToTheRoot,
    /// Leaders build on a switch block in its own era.
    BuildsOnSwitch,
    /// A block whose reference lies more than one epoch later is not taken for a switch block.
    OverlooksJumps,
    /// The beacon believes references that lie in epochs to come.
    BelievesReferences,
    /// A member that has opened an era signs on in the one before.
    GoesOnInTheOldEra,
    /// The era is not written when it is opened, only with the next signature.
    RestartForgetsTheEra,
    /// What an era lost is not written when it is left, only with the next signature.
    RestartForgetsTheCount,
}

impl Mutant {
    pub(crate) const ALL: [Mutant; 14] = [
        Mutant::ReadsUncertifiedBeacon,
        Mutant::OpensOnCertificate,
        Mutant::TakesLateCrosslinks,
        Mutant::FallsBackAlways,
        Mutant::NeverFallsBack,
        Mutant::FallsBackABlockLater,
        Mutant::FallsBackToFinal,
        Mutant::FallsBackToTheRoot,
        Mutant::BuildsOnSwitch,
        Mutant::OverlooksJumps,
        Mutant::BelievesReferences,
        Mutant::GoesOnInTheOldEra,
        Mutant::RestartForgetsTheEra,
        Mutant::RestartForgetsTheCount,
    ];

    /// The properties that it breaks, and a setup in which it does.
    pub(crate) fn breaks(self) -> (&'static [&'static str], Setup) {
        match self {
            Mutant::ReadsUncertifiedBeacon => (&[NAMED, ONE_ROOT], TWICE),
            Mutant::OpensOnCertificate => (&[NAMED, ONE_ROOT, BESIDE], TWICE),
            Mutant::TakesLateCrosslinks => (&[OLD_ERA, ONCE], TWICE),
            Mutant::FallsBackAlways => (&[ONCE], TWICE),
            Mutant::NeverFallsBack => (&[ARRIVES], TWICE),
            Mutant::FallsBackABlockLater => (&[CURRENT], TWICE),
            Mutant::FallsBackToFinal => (&[LINKED], TWICE),
            Mutant::FallsBackToTheRoot => (&[UNDONE], TWICE),
            Mutant::BuildsOnSwitch => (&[BUILT, LOST], TWICE),
            Mutant::OverlooksJumps => (&[BUILT], JUMPS),
            Mutant::BelievesReferences => (&[ONCE, ONE_ROOT], CAPTURED),
            Mutant::GoesOnInTheOldEra => (&[FORWARD], TWICE),
            Mutant::RestartForgetsTheEra => (&[FORWARD], TWICE),
            Mutant::RestartForgetsTheCount => (&[COUNTED], TWICE),
        }
    }
}

/// Two changes, with a beacon that makes a block in every epoch before its deadline.
pub(crate) const TWICE: Setup = Setup {
    name: "twice",
    changes: 2,
    blocks: [2, 2, 1],
    order: Order::TurnRecordFallback,
    lies: 0,
    sleeps: false,
    never: &[JUMPED, HASTY, FUTURE, OVER, SHUT_OUT],
};

/// The beacon sleeps through deadlines and epochs.
pub(crate) const JUMPS: Setup =
    Setup { name: "jumps", sleeps: true, blocks: [2, 1, 1], never: &[FUTURE, OVER, SHUT_OUT], ..TWICE };

/// A committee certifies a block that names a beacon block to come.
pub(crate) const CAPTURED: Setup =
    Setup { name: "captured", lies: 1, blocks: [2, 1, 0], never: &[JUMPED, HASTY, OVER, SHUT_OUT], ..TWICE };

/// Crosslinks are recorded before the epoch turns.
pub(crate) const RECORD_FIRST: Setup = Setup {
    name: "record first",
    order: Order::RecordTurnFallback,
    blocks: [2, 1, 1],
    never: &[JUMPED, HASTY, FUTURE, SHUT_OUT],
    ..TWICE
};

/// The fallback comes before the crosslinks of its block.
pub(crate) const FALLBACK_FIRST: Setup = Setup {
    name: "fallback first",
    order: Order::TurnFallbackRecord,
    blocks: [2, 1, 1],
    never: &[JUMPED, HASTY, FUTURE, OVER],
    ..TWICE
};
