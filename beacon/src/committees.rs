//! The committees of every chain, drawn from the registry by the network's seed.

use crate::{
    risk::{CommitteeRisk, adversary_seats, committee_risk},
    shuffle::Shuffle,
};
use kakera_chain::{
    Committee,
    certificate::Seats,
    codec,
    genesis::{GenesisValidator, Network, Role},
    hash::{Hash, Tag},
    keys::PublicKey,
    units::{ChainId, Epoch, ShardId, ValidatorId},
};
use std::collections::BTreeMap;

/// The committees of one epoch.
#[derive(Clone, Debug)]
pub struct Committees {
    /// The beacon chain's: all beacon validators, in registry order.
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
    /// Draws the committees of epoch 0.
    ///
    /// All seats of shard validators stand in a row, in registry order; the row is shuffled by
    /// `SHA-256(seed tag ‖ network seed ‖ "shards" ‖ epoch)`, so that place `p` is taken by seat
    /// `compute_shuffled_index(p)`; each shard takes the next `committee_seats` places. A member is one validator, its
    /// weight the seats it took there.
    pub fn draw(network: &Network) -> Committees {
        let genesis = &network.genesis;
        let row = SeatRow::of(&genesis.validators);
        let seed = draw_seed(network, b"shards", Epoch(0));
        let shuffle = Shuffle::new(row.len(), seed.0);
        let size = u64::from(genesis.committee_seats);
        let mut free = row.seats();
        let shards = (0..u64::from(genesis.shards))
            .map(|shard| {
                let mut weights = BTreeMap::<ValidatorId, u64>::new();
                for place in shard * size..(shard + 1) * size {
                    let validator = row.holder(shuffle.index(place));
                    *weights.entry(validator).or_default() += 1;
                    *free.get_mut(&validator).expect("a holder stands in the row") -= 1;
                }
                seats_of(&genesis.validators, weights)
            })
            .collect();
        let beacon = numbered(&genesis.validators)
            .filter(|(_, validator)| validator.role == Role::Beacon)
            .map(|(id, validator)| (id, u64::from(validator.seats)))
            .collect();
        let standbys = free.into_iter().filter(|(_, seats)| *seats > 0);
        Committees {
            beacon: seats_of(&genesis.validators, beacon),
            shards,
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

/// The seed of a chain's leader schedule in epoch 0: `SHA-256(seed tag ‖ network seed ‖ "leaders" ‖ epoch ‖ chain)`.
pub fn leader_seed(network: &Network, chain: ChainId) -> Hash {
    let drawn = draw_seed(network, b"leaders", Epoch(0));
    Hash::of(&[Tag::SEED.bytes(), &drawn.0, &codec::encode(&chain)])
}

fn draw_seed(network: &Network, purpose: &[u8], epoch: Epoch) -> Hash {
    Hash::of(&[Tag::SEED.bytes(), &network.seed().0, purpose, &codec::encode(&epoch)])
}

fn numbered(validators: &[GenesisValidator]) -> impl Iterator<Item = (ValidatorId, &GenesisValidator)> {
    (0..).map(ValidatorId).zip(validators)
}

fn seats_of(validators: &[GenesisValidator], weights: BTreeMap<ValidatorId, u64>) -> Seats {
    let key = |id: &ValidatorId| -> PublicKey { validators[usize::try_from(id.0).expect("an index")].key };
    Seats {
        keys: weights.keys().map(key).collect(),
        validators: weights.keys().copied().collect(),
        committee: Committee::new(weights.into_values().collect())
            .expect("the genesis check gives every committee a seat and at most 65,535 members"),
        signatures: Default::default(),
    }
}

/// All seats of shard validators in registry order, kept as sums.
struct SeatRow {
    /// Each validator and the number of the seat behind its last one.
    ends: Vec<(ValidatorId, u64)>,
}

impl SeatRow {
    fn of(validators: &[GenesisValidator]) -> SeatRow {
        let mut end = 0u64;
        let shard_validators = numbered(validators).filter(|(_, validator)| validator.role == Role::Shard);
        let ends = shard_validators
            .map(|(id, validator)| {
                end += u64::from(validator.seats);
                (id, end)
            })
            .collect();
        SeatRow { ends }
    }

    fn len(&self) -> u64 {
        self.ends.last().map_or(0, |(_, end)| *end)
    }

    fn holder(&self, seat: u64) -> ValidatorId {
        self.ends[self.ends.partition_point(|(_, end)| *end <= seat)].0
    }

    fn seats(&self) -> BTreeMap<ValidatorId, u64> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        self.ends.iter().zip(starts).map(|((id, end), start)| (*id, end - start)).collect()
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
