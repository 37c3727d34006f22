//! Broken rules: the checker must find each of them.

use super::{
    properties::{
        ACCEPTED, BOUNDED, CONSERVED, DELIVERED, IN_ORDER, NO_GAPS, ONCE, RECORDED, REPLAYED, RESTS_SETTLED, SETTLES,
        TOGETHER,
    },
    state::{Setup, Transfer},
};

/// One rule broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Lane cursors are kept beside the state that blocks commit to: a crash brings back those of the record.
    CursorOutsideTheState,
    /// The beacon records blocks without a certificate.
    RecordsUncertified,
    /// A receipt past its last slot is credited and sent back.
    ExpiredIsCreditedToo,
    /// A return keeps the transfer's last slot, and is burned past it.
    ReturnsExpire,
    /// The beacon takes a crosslink that begins above the next header.
    RecordsOutOfOrder,
    /// A transfer counts as settled as soon as it is sent back.
    BoundForgetsReturns,
    /// The beacon counts returns against a lane's bound.
    BeaconCountsReturns,
    /// After a crash a shard goes on from what is recorded, not from what is certified.
    CrashForgetsCertificates,
    /// A block may read less of the beacon chain than its parent.
    ReferenceRegresses,
    /// A block processes receipts that its source emitted, recorded or not.
    DeliversUnrecorded,
    /// A shard reads beacon blocks without a certificate.
    ReadsUncertifiedBeacon,
    /// What a shard may send is judged by its allocation alone.
    SolvencyForgetsReceived,
    /// A block whose share is used up moves the cursor past the receipts that did not fit.
    PassesOverTheRest,
    /// What a block must process follows from the newest beacon block that a node knows, not from the reference.
    ExecutesAtTheTip,
    /// Receipts alone make nobody propose.
    WakesForTransactionsOnly,
}

impl Mutant {
    pub(crate) const ALL: [Mutant; 15] = [
        Mutant::CursorOutsideTheState,
        Mutant::RecordsUncertified,
        Mutant::ExpiredIsCreditedToo,
        Mutant::ReturnsExpire,
        Mutant::RecordsOutOfOrder,
        Mutant::BoundForgetsReturns,
        Mutant::BeaconCountsReturns,
        Mutant::CrashForgetsCertificates,
        Mutant::ReferenceRegresses,
        Mutant::DeliversUnrecorded,
        Mutant::ReadsUncertifiedBeacon,
        Mutant::SolvencyForgetsReceived,
        Mutant::PassesOverTheRest,
        Mutant::ExecutesAtTheTip,
        Mutant::WakesForTransactionsOnly,
    ];

    /// The property that it breaks, and a setup in which it does.
    pub(crate) fn breaks(self) -> (&'static str, Setup) {
        match self {
            Mutant::CursorOutsideTheState => (ONCE, CROSSING),
            Mutant::RecordsUncertified => (RECORDED, CROSSING),
            Mutant::ExpiredIsCreditedToo => (CONSERVED, CROSSING),
            Mutant::ReturnsExpire => (RESTS_SETTLED, CROSSING),
            Mutant::RecordsOutOfOrder => (NO_GAPS, ONE_WAY),
            Mutant::BoundForgetsReturns => (BOUNDED, CROSSING),
            Mutant::BeaconCountsReturns => (ACCEPTED, CROSSING),
            Mutant::CrashForgetsCertificates => (DELIVERED, CROSSING),
            Mutant::ReferenceRegresses => (ACCEPTED, CROSSING),
            Mutant::DeliversUnrecorded => (IN_ORDER, CROSSING),
            Mutant::ReadsUncertifiedBeacon => (IN_ORDER, CROSSING),
            Mutant::SolvencyForgetsReceived => (ACCEPTED, ONWARD),
            Mutant::PassesOverTheRest => (IN_ORDER, ONE_WAY),
            Mutant::ExecutesAtTheTip => (REPLAYED, CROSSING),
            Mutant::WakesForTransactionsOnly => (SETTLES, CROSSING),
        }
    }
}

/// Two transfers toward one shard and one back, in lanes that hold one.
pub(crate) const CROSSING: Setup = Setup {
    name: "crossing",
    transfers: [Transfer { from: 0, amount: 1 }, Transfer { from: 0, amount: 2 }, Transfer { from: 1, amount: 4 }],
    one_sender: false,
    allocation: [5, 5],
    bound: 1,
    share: 1,
    uncertified: 2,
    unrecorded: 3,
    heartbeats: 0,
    never: &[],
};

/// Three transfers toward one shard, in a lane that holds two; a block takes one.
pub(crate) const ONE_WAY: Setup = Setup {
    name: "one way",
    transfers: [Transfer { from: 0, amount: 1 }, Transfer { from: 0, amount: 2 }, Transfer { from: 0, amount: 4 }],
    one_sender: true,
    allocation: [10, 0],
    bound: 2,
    share: 1,
    uncertified: 2,
    unrecorded: 3,
    heartbeats: 0,
    never: &[TOGETHER],
};

/// A shard that had nothing sends on what it was sent; a block takes two.
pub(crate) const ONWARD: Setup = Setup {
    name: "onward",
    transfers: [Transfer { from: 0, amount: 4 }, Transfer { from: 0, amount: 2 }, Transfer { from: 1, amount: 3 }],
    one_sender: true,
    allocation: [8, 0],
    bound: 1,
    share: 2,
    uncertified: 2,
    unrecorded: 3,
    heartbeats: 1,
    never: &[],
};
