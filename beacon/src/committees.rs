//! The committees of every chain, drawn from the registry by the network's seed.

use crate::{
    draw::{Bench, Benches, Row, draw_seed},
    risk::{CommitteeRisk, adversary_seats, committee_risk},
};
use kakera_chain::{
    Committee,
    certificate::Seats,
    genesis::{GenesisValidator, Network, Role},
    hash::Hash,
    keys::PublicKey,
    units::{ChainId, Epoch, ShardId, ValidatorId},
};
use std::collections::BTreeMap;

/// The committees of one epoch.
#[derive(Clone, Debug)]
pub struct Committees {
    /// The beacon chain's; members ascend by validator.
    pub beacon: Seats,
    /// Each shard's, by [`ShardId`]; members ascend by validator.
    pub shards: Vec<Seats>,
    /// Seats of shard validators that were drawn into no committee, ascending by validator.
    pub standbys: Vec<Standby>,
}

/// A shard validator's seats that sit in no committee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standby {
    /// Whose.
    pub validator: ValidatorId,
    /// How many; above zero.
    pub seats: u64,
}

impl Committees {
    /// Draws the committees of epoch 0: [`Benches::first`] over all seats of each role, by [`draw_seed`] of the network's
    /// seed.
    pub fn draw(network: &Network) -> Committees {
        let genesis = &network.genesis;
        let row = |role: Role| -> Row {
            let those = numbered(&genesis.validators).filter(|(_, validator)| validator.role == role);
            those.map(|(id, validator)| (id, validator.seats)).collect()
        };
        let shards = row(Role::Shard);
        let beacon_seats = genesis.epochs.and_then(|epochs| epochs.beacon_seats);
        let seed = draw_seed(network.seed(), Epoch(0));
        let (count, size) = (genesis.shards, genesis.committee_seats);
        let benches = Benches::first(&row(Role::Beacon), &shards, count, size, beacon_seats, seed);
        Committees::of(&benches, &shards, |id| genesis.validators[usize::try_from(id.0).expect("an index")].key)
    }

    /// Committees that were drawn. A member is one validator, its weight the seats that it has there. The row says whose
    /// seats stand by; `key` is each validator's.
    pub fn of(benches: &Benches, row: &Row, key: impl Fn(ValidatorId) -> PublicKey) -> Committees {
        let shard = |bench: &Bench| {
            let mut weights = BTreeMap::<ValidatorId, u64>::new();
            for holder in &bench.0 {
                *weights.entry(*holder).or_default() += 1;
            }
            seats_of(weights, &key)
        };
        let beacon = benches.beacon.iter().map(|(id, seats)| (*id, u64::from(*seats))).collect();
        let standbys = benches.standbys(row).into_iter();
        Committees {
            beacon: seats_of(beacon, &key),
            shards: benches.shards.iter().map(shard).collect(),
            standbys: standbys.map(|(validator, seats)| Standby { validator, seats }).collect(),
        }
    }

    /// One shard's committee.
    pub fn shard(&self, shard: ShardId) -> Option<&Seats> {
        self.shards.get(usize::from(shard.0))
    }

    /// The risk of each shard's committee if an adversary holds this share of all shard seats.
    pub fn risk(&self, share_per_mille: u16) -> CommitteeRisk {
        let seated: u64 = self.shards.iter().map(|seats| seats.committee.total()).sum();
        let total = seated + self.standbys.iter().map(|standby| standby.seats).sum::<u64>();
        let size = self.shards.first().map_or(0, |seats| seats.committee.total());
        committee_risk(total, adversary_seats(total, share_per_mille), size)
    }

    /// One chain's committee.
    pub fn chain(&self, chain: ChainId) -> Option<&Seats> {
        match chain {
            ChainId::Beacon => Some(&self.beacon),
            ChainId::Shard(shard) => self.shard(shard),
        }
    }
}

/// The seed of a chain's leader schedule in epoch 0.
pub fn leader_seed(network: &Network, chain: ChainId) -> Hash {
    crate::epochs::leader_seed(network.seed(), Epoch(0), chain)
}

fn numbered(validators: &[GenesisValidator]) -> impl Iterator<Item = (ValidatorId, &GenesisValidator)> {
    (0..).map(ValidatorId).zip(validators)
}

pub(crate) fn seats_of(weights: BTreeMap<ValidatorId, u64>, key: impl Fn(ValidatorId) -> PublicKey) -> Seats {
    Seats {
        keys: weights.keys().map(|id| key(*id)).collect(),
        validators: weights.keys().copied().collect(),
        committee: Committee::new(weights.into_values().collect())
            .expect("a draw gives every committee a seat and at most 65,535 members"),
        signatures: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::fixture::{self, network_of};
    use kakera_chain::Member;
    use proptest::prelude::*;

    fn weights(seats: &Seats) -> Vec<(u32, u64)> {
        let members = (0..seats.committee.len()).map(|index| Member(u16::try_from(index).unwrap()));
        seats.validators.iter().zip(members).map(|(id, member)| (id.0, seats.committee.weight(member))).collect()
    }

    #[test]
    fn the_draw_is_golden() {
        let network = network_of(2, 4, &[(Role::Beacon, 3), (Role::Shard, 2), (Role::Shard, 5), (Role::Shard, 2)]);
        let drawn = Committees::draw(&network);
        assert_eq!(weights(&drawn.beacon), [(0, 3)]);
        assert_eq!(
            (weights(&drawn.shards[0]), weights(&drawn.shards[1])),
            (vec![(1, 1), (2, 2), (3, 1)], vec![(2, 3), (3, 1)])
        );
        assert_eq!(drawn.standbys, [Standby { validator: ValidatorId(1), seats: 1 }]);
        assert_eq!(drawn.risk(300), committee_risk(9, 3, 4));
        assert_eq!(
            leader_seed(&network, ChainId::Beacon).to_string(),
            "5031e4d47288492b412eb95c3386e6e26d2887ab6c4c8612acf41da6d1c2289f"
        );
    }

    #[test]
    fn leader_schedules_of_two_chains_differ() {
        let network = fixture::network();
        let shard = |n| leader_seed(&network, ChainId::Shard(ShardId(n)));
        assert_ne!(shard(0), shard(1));
        assert_ne!(shard(0), leader_seed(&network, ChainId::Beacon));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn draw_assigns_each_seat_once(
            shards in 1u16..4, size in 1u32..6, extra in proptest::collection::vec((any::<bool>(), 1u32..7), 1..6),
            seed in any::<[u8; 32]>()
        ) {
            let mut registry = vec![(Role::Beacon, 1), (Role::Shard, u32::from(shards) * size)];
            registry.extend(extra.iter().map(|(beacon, seats)| (if *beacon { Role::Beacon } else { Role::Shard }, *seats)));
            let mut network = network_of(shards, size, &registry);
            network.genesis.seed = hex::encode(seed);
            let drawn = Committees::draw(&network);
            let mut held = BTreeMap::<u32, u64>::new();
            for seats in &drawn.shards {
                prop_assert_eq!(seats.committee.total(), u64::from(size));
                prop_assert!(seats.validators.is_sorted() && seats.keys.len() == seats.validators.len());
                for (id, weight) in weights(seats) {
                    prop_assert_eq!(seats.key(seats.member(ValidatorId(id)).unwrap()), Some(&network.genesis.validators[id as usize].key));
                    *held.entry(id).or_default() += weight;
                }
            }
            for standby in &drawn.standbys {
                *held.entry(standby.validator.0).or_default() += standby.seats;
            }
            for (id, weight) in weights(&drawn.beacon) {
                *held.entry(id).or_default() += weight;
            }
            let expected: BTreeMap<u32, u64> = (0..).zip(registry.iter().map(|(_, seats)| u64::from(*seats))).collect();
            prop_assert_eq!(held, expected);
        }
    }
}
