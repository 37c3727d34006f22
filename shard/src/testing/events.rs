//! What may happen in a random world.

use super::World;
use crate::action::Action;
use kakera_chain::genesis::Lanes;
use proptest::prelude::*;

/// One thing that happens in a random world.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Send {
        from: (u16, u64),
        to: (u16, u64),
        amount: u64,
    },
    Batch {
        from: (u16, u64),
        to: Vec<((u16, u64), u64)>,
    },
    Step(u16),
    /// All that is certified is recorded, so many slots later.
    Record(u64),
    /// Only this shard's blocks are.
    RecordOne(u16),
}

/// Less than so many events, on three shards.
pub(crate) fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    let who = || (0u16..3, 0u64..6);
    let amount = || prop_oneof![1u64..1_000, 1u64..1_000_000_000];
    let event = prop_oneof![
        4 => (who(), who(), amount()).prop_map(|(from, to, amount)| Event::Send { from, to, amount }),
        2 => (who(), proptest::collection::vec((who(), amount()), 1..6))
            .prop_map(|(from, to)| Event::Batch { from, to }),
        3 => (0u16..3).prop_map(Event::Step),
        2 => (1u64..6).prop_map(Event::Record),
        2 => (0u16..3).prop_map(Event::RecordOne),
    ];
    proptest::collection::vec(event, 1..most)
}

/// A network with narrow lanes, and room for three receipts a block.
pub(crate) fn small_lanes() -> super::Setup {
    let lanes = Lanes { bound: 5, lifetime_slots: 4 };
    let mut setup = super::Setup { shards: 3, lanes, ..super::Setup::default() };
    setup.fees.block_gas = 100_000;
    setup.fees.receipt_gas_percent = 1;
    setup
}

pub(crate) fn happen(world: &mut World, event: &Event) {
    match event {
        Event::Send { from, to, amount } => {
            let to = world.address(to.0, to.1);
            world.send(from.0, from.1, to, *amount);
        }
        Event::Batch { from, to } => {
            let transfers = to.iter().map(|((shard, n), amount)| (world.address(*shard, *n), *amount)).collect();
            let order = world.order(from.0, from.1, Action::Batch { transfers });
            let key = world.key(from.0, from.1);
            world.chains[usize::from(from.0)].submit(order.sign(&key));
        }
        Event::Step(shard) => {
            world.chains[usize::from(*shard)].step();
        }
        Event::Record(slots) => world.record(*slots),
        Event::RecordOne(shard) => world.record_one(*shard),
    }
}
