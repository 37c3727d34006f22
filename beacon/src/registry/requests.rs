//! What owners and reporters ask of the registry: each request is done whole, or refused with a reason and nothing
//! changes.

use super::{Cause, Joining, Life, Registry, Slashed, Slashing, Status, Validator};
use crate::randomness::Commitment;
use kakera_chain::{
    address::Address,
    bond::{Bond, check_seats},
    evidence,
    genesis::Role,
    hash::NetworkId,
    receipt::ReturnReason,
    units::{ChainId, Epoch, ValidatorId},
};
use std::sync::Arc;

/// What somebody is proven to have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// Who.
    pub validator: ValidatorId,
    /// In the committee of which chain.
    pub chain: ChainId,
    /// And of which epoch.
    pub epoch: Epoch,
    /// What.
    pub act: evidence::Offence,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The chain.
    pub from: ChainId,
    /// Its place in the lane to the beacon.
    pub seq: u64,
    /// The account that asks.
    pub who: Address,
}

impl Registry {
    /// A new validator, which waits to become active.
    ///
    /// `amount` must be exactly what its seats cost: anything else is sent back whole. Two validators may name one
    /// endpoint, as otherwise anybody could keep another from joining; no two have one key.
    pub fn bond(
        &mut self,
        owner: Address,
        amount: u64,
        bond: &Bond,
        epoch: Epoch,
        network: NetworkId,
    ) -> Result<ValidatorId, ReturnReason> {
        let (count, taken) = (self.len(), self.by_key(&bond.key).is_some());
        let life = self.life.as_ref().ok_or(ReturnReason::Full)?;
        // Cheap checks first.
        check_seats(bond.seats, life.terms.churn_seats).map_err(|_| ReturnReason::InvalidBond)?;
        if life.terms.cost(bond.seats) != Some(amount) {
            return Err(ReturnReason::WrongAmount);
        }
        if taken {
            return Err(ReturnReason::KeyTaken);
        }
        let id = life.next;
        let next = id.0.checked_add(1).map(ValidatorId);
        let (true, Some(next)) = (count < Registry::MAX, next) else {
            return Err(ReturnReason::Full);
        };
        if bond.role == Role::Beacon && self.count(Role::Beacon) >= life.terms.beacon_validators {
            return Err(ReturnReason::Full);
        }
        bond.check(&owner, life.terms.churn_seats, network).map_err(|_| ReturnReason::InvalidBond)?;
        let life = self.life.as_mut().expect("it was found");
        life.next = next;
        life.joining.push_back(Joining { validator: id, seats: bond.seats, cause: Cause::New });
        let Bond { key, role, seats, endpoint, commitment, .. } = bond.clone();
        let status = Status::Pending { since: epoch };
        let commitment = Commitment::new(commitment, Epoch(epoch.0.saturating_add(1)));
        let (stake, rewards, seated, slashing) = (amount, 0, Epoch(0), None);
        let validator =
            Validator { key, role, seats, owner, endpoint, commitment, status, stake, rewards, seated, slashing };
        self.validators.insert(id, Arc::new(validator));
        Arc::make_mut(&mut self.keys).insert(key, id);
        Ok(id)
    }

    /// More seats for a validator; they wait in the queue behind all others.
    pub fn top_up(&mut self, owner: Address, amount: u64, id: ValidatorId, seats: u32) -> Result<(), ReturnReason> {
        let validator = self.owned(owner, id)?;
        let stays = matches!(validator.status, Status::Active | Status::Pending { .. } | Status::Suspended { .. });
        if !stays {
            return Err(ReturnReason::WrongStatus);
        }
        let (held, stake) = (validator.seats, validator.stake);
        let life = self.life.as_mut().ok_or(ReturnReason::Full)?;
        if life.terms.cost(seats) != Some(amount) {
            return Err(ReturnReason::WrongAmount);
        }
        let queued = life.joining.iter().filter(|joining| joining.validator == id && joining.cause == Cause::More);
        let all: u64 = queued.map(|joining| u64::from(joining.seats)).sum::<u64>() + u64::from(held) + u64::from(seats);
        let fits = check_seats(seats, life.terms.churn_seats).is_ok() && all <= u64::from(Bond::MAX_SEATS);
        let (true, Some(stake)) = (fits, stake.checked_add(amount)) else {
            return Err(ReturnReason::Full);
        };
        life.joining.push_back(Joining { validator: id, seats, cause: Cause::More });
        self.edit(id).expect("it was found").stake = stake;
        Ok(())
    }

    /// A validator leaves. An active one waits for its turn and serves until then; a pending or suspended one begins to
    /// leave at once. Seats of its that wait in the queue never become active; they are paid out with the others.
    pub fn exit(&mut self, owner: Address, id: ValidatorId, epoch: Epoch) -> Result<(), ReturnReason> {
        let begun = match self.owned(owner, id)?.status {
            Status::Active => None,
            Status::Pending { .. } | Status::Suspended { .. } => Some(epoch),
            _ => return Err(ReturnReason::WrongStatus),
        };
        let life = self.life.as_mut().ok_or(ReturnReason::WrongStatus)?;
        life.forget(id);
        if begun.is_none() {
            life.leaving.push_back(id);
        }
        self.edit(id).expect("it was found").status = Status::Exiting { since: epoch, begun };
        Ok(())
    }

    /// A suspended validator is back, and waits to become active, behind others that are back only.
    pub fn resume(&mut self, owner: Address, id: ValidatorId, epoch: Epoch) -> Result<(), ReturnReason> {
        let validator = self.owned(owner, id)?;
        if !matches!(validator.status, Status::Suspended { .. }) {
            return Err(ReturnReason::WrongStatus);
        }
        let seats = validator.seats;
        let life = self.life.as_mut().ok_or(ReturnReason::WrongStatus)?;
        let place = life.joining.iter().take_while(|joining| joining.cause == Cause::Back).count();
        life.joining.insert(place, Joining { validator: id, seats, cause: Cause::Back });
        self.edit(id).expect("it was found").status = Status::Pending { since: epoch };
        Ok(())
    }

    /// Takes everything that the registry holds for a validator, and ejects it.
    ///
    /// It is done once a validator: who was slashed has nothing left to lose. It can be done until the stake is paid
    /// out, for an offence of at most so many epochs ago as the unbonding delay has.
    pub fn slash(&mut self, offence: Offence, epoch: Epoch, source: Source) -> Result<Slashed, ReturnReason> {
        let id = offence.validator;
        let terms = *self.terms().ok_or(ReturnReason::InvalidEvidence)?;
        let validator = self.get(id).filter(|validator| !validator.status.is_gone());
        let validator = validator.ok_or_else(|| self.why_not_slashed(id))?;
        if offence.epoch > epoch {
            return Err(ReturnReason::InvalidEvidence);
        }
        // Who still sits is convicted of what it did in the era that it sits in, however long that goes on.
        if offence.epoch.0.saturating_add(terms.unbonding) < epoch.0 && validator.seated < epoch {
            return Err(ReturnReason::StaleEvidence);
        }
        let lost = validator.balance();
        let share = u128::from(lost) * u128::from(terms.reporter_per_mille) / 1000;
        let reporter_share = u64::try_from(share).expect("a part of a u64");
        let burned = lost - reporter_share;
        let life = self.life.as_mut().expect("there are terms");
        life.burned = life.burned.checked_add(burned).expect("all value fits 64 bits");
        life.forget(id);
        let validator = self.edit(id).expect("it was found");
        (validator.stake, validator.rewards) = (0, 0);
        validator.status = Status::Slashed { at: epoch, from: source.from, seq: source.seq };
        let Offence { chain, epoch, act, .. } = offence;
        let reporter = source.who;
        validator.slashing = Some(Slashing { chain, epoch, act, reporter, reporter_share, burned });
        Ok(Slashed { reporter_share, burned })
    }

    /// Why evidence against a validator that is gone changes nothing. Who is not known any more was paid out long ago.
    pub(crate) fn why_not_slashed(&self, id: ValidatorId) -> ReturnReason {
        match self.get(id).map(|validator| validator.status) {
            Some(Status::Slashed { .. }) => ReturnReason::AlreadySlashed,
            _ => ReturnReason::StaleEvidence,
        }
    }

    fn owned(&self, owner: Address, id: ValidatorId) -> Result<&Validator, ReturnReason> {
        let validator = self.get(id).ok_or(ReturnReason::UnknownValidator)?;
        if validator.owner == owner { Ok(validator) } else { Err(ReturnReason::NotOwner) }
    }

    /// Validators of a role that are not gone.
    fn count(&self, role: Role) -> u32 {
        let all = self.iter().filter(|(_, validator)| validator.role == role && !validator.status.is_gone());
        u32::try_from(all.count()).unwrap_or(u32::MAX)
    }
}

impl Life {
    /// Takes a validator out of both queues.
    pub(super) fn forget(&mut self, id: ValidatorId) {
        self.joining.retain(|joining| joining.validator != id);
        self.leaving.retain(|other| *other != id);
    }
}
