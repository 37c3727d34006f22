//! The registry: every validator, its stake, and where it is in its life.
//!
//! ```text
//!   bond ──> Pending ──(queue, churn)──> Active ──(exit)──> Exiting: waits (churn) ──> begun ──> Withdrawable ──> Withdrawn
//!               ^                          │ silent                                     ^  seated      after the
//!               └───────(resume)─────── Suspended ──────────────(exit)──────────────────┘  nowhere     unbonding
//!   any of them, until its stake is paid out ──(evidence)──> Slashed
//! ```
//!
//! Everything but the requests themselves happens at the turn of an epoch ([`Registry::turn`]). Numbers are never given
//! twice; who is gone is forgotten once no evidence and no light client can ask for it.

mod bytes;
mod requests;
#[cfg(test)]
mod tests;
mod turn;

use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    address::Address,
    evidence,
    genesis::{Network, Role},
    hash::Hash,
    keys::{PublicKey, parse_hex},
    units::{ChainId, Epoch, ValidatorId},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::randomness::{Commitment, InvalidReveal, Reveal};
pub use requests::{Offence, Source};
pub use turn::Turned;

/// One entry of the registry. Amounts in the smallest unit.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Validator {
    /// Its Ed25519 key.
    pub key: PublicKey,
    /// What it does.
    pub role: Role,
    /// Its seats; more that it bonded for may still be in the queue.
    pub seats: u32,
    /// The account that owns it.
    pub owner: Address,
    /// Where its process listens for gRPC.
    pub endpoint: String,
    /// What it has promised to reveal.
    pub commitment: Commitment,
    /// Where it is in its life.
    pub status: Status,
    /// What its seats cost, queued ones included; zero once paid out or slashed.
    pub stake: u64,
    /// What it earned, and was not paid out.
    pub rewards: u64,
    /// The last epoch at whose beginning it was in a committee of that epoch or the next.
    pub seated: Epoch,
    /// What it lost its stake for; nothing unless it is slashed.
    pub slashing: Option<Slashing>,
}

/// What a validator lost its stake for. Amounts in the smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Slashing {
    /// The chain in whose committee it did it.
    pub chain: ChainId,
    /// The epoch of that committee.
    pub epoch: Epoch,
    /// What it did.
    pub act: evidence::Offence,
    /// The account that reported it.
    pub reporter: Address,
    /// What the reporter got.
    pub reporter_share: u64,
    /// What was burned.
    pub burned: u64,
}

/// Where a validator is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Status {
    /// May be drawn.
    Active,
    /// Waits in the queue to become active.
    Pending {
        /// When it was bonded, or resumed.
        since: Epoch,
    },
    /// Was silent for an epoch: not drawn until its owner resumes it.
    Suspended {
        /// When.
        since: Epoch,
    },
    /// Its owner wants to leave.
    Exiting {
        /// When it was asked.
        since: Epoch,
        /// From when on it is not drawn any more; nothing: it waits for its turn and serves like an active one.
        begun: Option<Epoch>,
    },
    /// Sits in no committee any more; its stake is kept in case there is evidence.
    Withdrawable {
        /// When it is paid out.
        at: Epoch,
    },
    /// Paid out.
    Withdrawn {
        /// When.
        at: Epoch,
    },
    /// Lost its stake.
    Slashed {
        /// When.
        at: Epoch,
        /// The receipt that brought the evidence: its source, and its `seq` in the lane to the beacon.
        from: ChainId,
        /// Its place there.
        seq: u64,
    },
}

/// The rules of staking, all from the genesis file. Amounts in the smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Terms {
    /// What one seat costs.
    pub seat: u64,
    /// Seats that become active, and seats that begin to leave, in one epoch at most.
    pub churn_seats: u32,
    /// What a seat that took part in everything earns in an epoch.
    pub reward: u64,
    /// The reporter's part of a slashed stake, in thousandths.
    pub reporter_per_mille: u16,
    /// Epochs from leaving until the stake is paid out, and for which evidence is taken.
    pub unbonding: u64,
    /// Beacon validators at most.
    pub beacon_validators: u32,
    /// What may be minted in all time, so that all value fits 64 bits.
    pub mintable: u64,
}

/// Seats that wait to become active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Joining {
    /// Whose.
    pub validator: ValidatorId,
    /// How many.
    pub seats: u32,
    /// Why.
    pub cause: Cause,
}

/// Why seats wait to become active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Cause {
    /// Their validator is new: it becomes active with them.
    New,
    /// Their validator was suspended, and becomes active again. It goes before all that are not back, however many there
    /// are: its stake was there before theirs.
    Back,
    /// They add to those that it has.
    More,
}

/// What changes in a network with stake.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Life {
    terms: Terms,
    /// The next number to be given.
    next: ValidatorId,
    /// In bond order.
    joining: VecDeque<Joining>,
    /// Who waits to leave, in the order of their requests.
    leaving: VecDeque<ValidatorId>,
    minted: u64,
    burned: u64,
}

/// Every validator, by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    validators: BTreeMap<ValidatorId, Arc<Validator>>,
    /// Who has which key; follows from the validators.
    keys: Arc<BTreeMap<PublicKey, ValidatorId>>,
    /// Nothing: there is no stake, and nobody comes or goes.
    life: Option<Life>,
}

/// What a slashing takes, in the smallest unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slashed {
    /// The reporter's.
    pub reporter_share: u64,
    /// Everybody's loss.
    pub burned: u64,
}

impl Registry {
    /// Validators at most, those included who are gone and not forgotten.
    pub const MAX: usize = 65_535;
    /// Beacon validators at most, where all of them are in the committee: a certificate has room for 1,024 signers.
    pub const MAX_BEACON: u32 = 1_024;

    /// The registry of a network's genesis file: all are active, and where seats cost something, all are paid for.
    pub fn genesis(network: &Network) -> Registry {
        let genesis = &network.genesis;
        let validators: BTreeMap<ValidatorId, Arc<Validator>> = (0..)
            .map(ValidatorId)
            .zip(&genesis.validators)
            .map(|(id, validator)| {
                let commitment = parse_hex(&validator.commitment).expect("checked with the genesis file");
                let entry = Validator {
                    key: validator.key,
                    role: validator.role,
                    seats: validator.seats,
                    owner: validator.owner,
                    endpoint: validator.endpoint.clone(),
                    commitment: Commitment::new(Hash(commitment), Epoch(0)),
                    status: Status::Active,
                    stake: network.stake_of(validator.seats),
                    rewards: 0,
                    seated: Epoch(0),
                    slashing: None,
                };
                (id, Arc::new(entry))
            })
            .collect();
        let next = ValidatorId(u32::try_from(validators.len()).expect("at most 65,535"));
        let life = Terms::of(network).map(|terms| Life {
            terms,
            next,
            joining: VecDeque::new(),
            leaving: VecDeque::new(),
            minted: 0,
            burned: 0,
        });
        Registry::from_parts(validators, life)
    }

    /// A validator.
    pub fn get(&self, id: ValidatorId) -> Option<&Validator> {
        self.validators.get(&id).map(Arc::as_ref)
    }

    /// Who has this key, gone or not.
    pub fn by_key(&self, key: &PublicKey) -> Option<ValidatorId> {
        self.keys.get(key).copied()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ValidatorId, &Validator)> {
        self.validators.iter().map(|(id, validator)| (*id, validator.as_ref()))
    }

    /// How many there are, those included who are gone and not forgotten.
    pub fn len(&self) -> usize {
        self.validators.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.validators.is_empty()
    }

    /// The seats of a role that may be drawn now, ascending by validator.
    pub fn rows(&self, role: Role) -> Vec<(ValidatorId, u32)> {
        let all = self.iter().filter(|(_, validator)| validator.role == role && validator.status.is_eligible());
        all.map(|(id, validator)| (id, validator.seats)).collect()
    }

    /// Who lost its stake, and may sit in no committee.
    pub fn slashed(&self) -> BTreeSet<ValidatorId> {
        let all = self.iter().filter(|(_, validator)| matches!(validator.status, Status::Slashed { .. }));
        all.map(|(id, _)| id).collect()
    }

    /// The rules of staking; nothing: there is no stake, and nobody comes or goes.
    pub fn terms(&self) -> Option<&Terms> {
        self.life.as_ref().map(|life| &life.terms)
    }

    /// Seats that wait to become active, in the order in which they will.
    pub fn joining(&self) -> impl Iterator<Item = &Joining> {
        self.life.iter().flat_map(|life| &life.joining)
    }

    /// Who waits to leave, in order.
    pub fn leaving(&self) -> impl Iterator<Item = ValidatorId> {
        self.life.iter().flat_map(|life| life.leaving.iter().copied())
    }

    /// All value that the registry holds: stakes and rewards, of those who wait to be paid too.
    pub fn stake(&self) -> u128 {
        self.iter().map(|(_, validator)| validator.balance()).map(u128::from).sum()
    }

    /// All rewards ever given.
    pub fn minted(&self) -> u64 {
        self.life.as_ref().map_or(0, |life| life.minted)
    }

    /// All stake ever burned.
    pub fn burned(&self) -> u64 {
        self.life.as_ref().map_or(0, |life| life.burned)
    }

    /// A validator reveals the next link of its hash chain in a block of `epoch`; a validator that there is not has
    /// promised nothing.
    pub fn reveal(&mut self, validator: ValidatorId, reveal: &Reveal, epoch: Epoch) -> Result<(), InvalidReveal> {
        let nothing = InvalidReveal::NotBelow { commitment: Hash::ZERO };
        let entry = self.edit(validator).ok_or(nothing)?;
        entry.commitment = entry.commitment.revealed(reveal, epoch)?;
        Ok(())
    }

    fn from_parts(validators: BTreeMap<ValidatorId, Arc<Validator>>, life: Option<Life>) -> Registry {
        let keys = validators.iter().map(|(id, validator)| (validator.key, *id)).collect();
        Registry { validators, keys: Arc::new(keys), life }
    }

    fn edit(&mut self, id: ValidatorId) -> Option<&mut Validator> {
        self.validators.get_mut(&id).map(Arc::make_mut)
    }
}

impl Validator {
    /// What the registry holds for it, in the smallest unit.
    pub fn balance(&self) -> u64 {
        self.stake.checked_add(self.rewards).expect("all value fits 64 bits")
    }
}

impl Status {
    /// Whether its seats may be drawn.
    pub fn is_eligible(&self) -> bool {
        matches!(self, Status::Active | Status::Exiting { begun: None, .. })
    }

    /// Whether it has no stake any more.
    pub fn is_gone(&self) -> bool {
        matches!(self, Status::Withdrawn { .. } | Status::Slashed { .. })
    }
}

impl Terms {
    /// The terms of a network, if it has stake.
    pub fn of(network: &Network) -> Option<Terms> {
        let genesis = &network.genesis;
        let (staking, epochs) = genesis.staking.zip(genesis.epochs)?;
        let sampled = epochs.beacon_seats.is_some();
        Some(Terms {
            seat: staking.seat,
            churn_seats: staking.churn_seats,
            reward: staking.reward,
            reporter_per_mille: staking.reporter_per_mille,
            unbonding: epochs.unbonding,
            beacon_validators: if sampled { u32::from(u16::MAX) } else { Registry::MAX_BEACON },
            mintable: u64::MAX - network.supply(),
        })
    }

    /// What so many seats cost; nothing past 64 bits.
    pub fn cost(&self, seats: u32) -> Option<u64> {
        self.seat.checked_mul(u64::from(seats))
    }
}
