//! The turn of an epoch: who earned what, who is suspended, who leaves, who joins, who is paid out.

use super::{Cause, Life, Registry, Status, Terms};
use crate::rewards::Attendance;
use kakera_chain::{
    address::Address,
    genesis::Role,
    units::{Epoch, ValidatorId},
};
use std::collections::BTreeSet;

/// What a turn did. Amounts in the smallest unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// Who is paid out: the validator, its owner, and all that was held for it.
    pub withdrawals: Vec<(ValidatorId, Address, u64)>,
    /// Rewards given.
    pub minted: u64,
    /// Who became active, or got more seats, in order.
    pub activated: Vec<ValidatorId>,
    /// Who was silent.
    pub suspended: Vec<ValidatorId>,
    /// Who is not drawn any more.
    pub leaving: Vec<ValidatorId>,
    /// Who is forgotten.
    pub forgotten: Vec<ValidatorId>,
}

impl Registry {
    /// Withdrawals in one turn at most; what is left is paid at the next.
    pub const MAX_WITHDRAWALS: usize = 1_024;

    /// Turns to `epoch`. `seated`: who is in a committee of this epoch or the next; `attendance`: of the epochs since
    /// the last turn. Without stake nothing happens.
    ///
    /// In this order:
    /// 1. rewards are minted, as far as [`Terms::mintable`] goes;
    /// 2. who was silent is suspended;
    /// 3. who had begun to leave before, and is seated nowhere, becomes withdrawable;
    /// 4. those who wait to leave begin to, in order, [`Terms::churn_seats`] seats of them;
    /// 5. those who wait to join become active, in order, as many seats again of each role;
    /// 6. who is withdrawable for long enough is paid out;
    /// 7. who is gone for long enough is forgotten.
    ///
    /// A single validator with more seats than the churn limit goes alone: the genesis file or many top-ups make such ones,
    /// and they leave, or come back from a suspension, at once. The last beacon validator is neither suspended nor let go.
    pub fn turn(&mut self, epoch: Epoch, seated: &BTreeSet<ValidatorId>, attendance: &Attendance) -> Turned {
        let mut turned = Turned::default();
        let Some(mut life) = self.life.take() else { return turned };
        self.reward(&mut life, attendance, &mut turned);
        for id in seated {
            if let Some(validator) = self.edit(*id) {
                validator.seated = epoch;
            }
        }
        self.suspend(&mut life, epoch, attendance, &mut turned);
        self.unseat(&life.terms, epoch, seated);
        self.let_go(&mut life, epoch, &mut turned);
        self.admit(&mut life, &mut turned);
        self.pay_out(epoch, &mut turned);
        self.forget_gone(&life.terms, epoch, &mut turned);
        self.life = Some(life);
        turned
    }

    fn reward(&mut self, life: &mut Life, attendance: &Attendance, turned: &mut Turned) {
        for (id, earned) in attendance.earned(life.terms.reward) {
            let left = life.terms.mintable - life.minted;
            let earned = earned.min(left);
            let Some(validator) = self.edit(id).filter(|validator| !validator.status.is_gone()) else { continue };
            validator.rewards = validator.rewards.checked_add(earned).expect("all value fits 64 bits");
            life.minted += earned;
            turned.minted += earned;
        }
    }

    fn suspend(&mut self, life: &mut Life, epoch: Epoch, attendance: &Attendance, turned: &mut Turned) {
        let mut beacon = self.rows(Role::Beacon).len();
        for id in attendance.silent() {
            let Some(validator) = self.validators.get_mut(&id) else { continue };
            let last = validator.role == Role::Beacon && beacon <= 1;
            if last || !validator.status.is_eligible() {
                continue;
            }
            beacon -= usize::from(validator.role == Role::Beacon);
            let validator = std::sync::Arc::make_mut(validator);
            validator.status = match validator.status {
                Status::Exiting { since, .. } => {
                    life.leaving.retain(|other| *other != id);
                    Status::Exiting { since, begun: Some(epoch) }
                }
                _ => Status::Suspended { since: epoch },
            };
            turned.suspended.push(id);
        }
    }

    fn unseat(&mut self, terms: &Terms, epoch: Epoch, seated: &BTreeSet<ValidatorId>) {
        let at = Epoch(epoch.0.saturating_add(terms.unbonding));
        let unseated = |id: &ValidatorId, status: Status| {
            matches!(status, Status::Exiting { begun: Some(begun), .. } if begun < epoch) && !seated.contains(id)
        };
        for id in self.numbers(|id, status| unseated(id, status)) {
            self.edit(id).expect("it was found").status = Status::Withdrawable { at };
        }
    }

    fn let_go(&mut self, life: &mut Life, epoch: Epoch, turned: &mut Turned) {
        let mut beacon = self.rows(Role::Beacon).len();
        let mut churn = Churn::of(&life.terms);
        let mut staying = Vec::new();
        while let Some(id) = life.leaving.front().copied() {
            let validator = self.validators.get_mut(&id).expect("who waits to leave is registered");
            let is_beacon = validator.role == Role::Beacon;
            if is_beacon && beacon <= 1 {
                staying.push(id);
                life.leaving.pop_front();
                continue;
            }
            if !churn.takes(validator.seats) {
                break;
            }
            life.leaving.pop_front();
            beacon -= usize::from(is_beacon);
            let Status::Exiting { since, .. } = validator.status else {
                unreachable!("whose status changes is taken out of the queue")
            };
            std::sync::Arc::make_mut(validator).status = Status::Exiting { since, begun: Some(epoch) };
            turned.leaving.push(id);
        }
        staying.into_iter().rev().for_each(|id| life.leaving.push_front(id));
    }

    fn admit(&mut self, life: &mut Life, turned: &mut Turned) {
        // Nobody who waits in one role keeps those of the other waiting.
        let mut churn = [Role::Beacon, Role::Shard].map(|role| (role, Some(Churn::of(&life.terms))));
        for joining in std::mem::take(&mut life.joining) {
            let role = self.get(joining.validator).expect("who leaves or is slashed is taken out of the queue").role;
            let (_, left) = churn.iter_mut().find(|(of, _)| *of == role).expect("there are two roles");
            if !left.as_mut().is_some_and(|left| left.takes(joining.seats)) {
                *left = None;
                life.joining.push_back(joining);
                continue;
            }
            let validator = self.edit(joining.validator).expect("it was found");
            match joining.cause {
                Cause::More => validator.seats += joining.seats,
                Cause::New | Cause::Back => validator.status = Status::Active,
            }
            turned.activated.push(joining.validator);
        }
    }

    fn pay_out(&mut self, epoch: Epoch, turned: &mut Turned) {
        let due = self.numbers(|_, status| matches!(status, Status::Withdrawable { at } if at <= epoch));
        for id in due.into_iter().take(Registry::MAX_WITHDRAWALS) {
            let validator = self.edit(id).expect("it was found");
            turned.withdrawals.push((id, validator.owner, validator.balance()));
            (validator.stake, validator.rewards) = (0, 0);
            validator.status = Status::Withdrawn { at: epoch };
        }
    }

    /// Committees are kept for the unbonding delay, and their members' keys with them: evidence and light clients ask
    /// for them. The last committee that somebody sat in is of the epoch after the turn at which it was seen there.
    fn forget_gone(&mut self, terms: &Terms, epoch: Epoch, turned: &mut Turned) {
        let is_old = |since: Epoch| since.0.saturating_add(terms.unbonding).saturating_add(2) < epoch.0;
        let seated_lately = |registry: &Registry, id: &ValidatorId| {
            registry.get(*id).is_some_and(|validator| !is_old(validator.seated))
        };
        let old = self.numbers(|_, status| match status {
            Status::Withdrawn { at } | Status::Slashed { at, .. } => is_old(at),
            _ => false,
        });
        for id in old {
            if seated_lately(self, &id) {
                continue;
            }
            let gone = self.validators.remove(&id).expect("it was found");
            std::sync::Arc::make_mut(&mut self.keys).remove(&gone.key);
            turned.forgotten.push(id);
        }
    }

    fn numbers(&self, chosen: impl Fn(&ValidatorId, Status) -> bool) -> Vec<ValidatorId> {
        self.iter().filter(|(id, validator)| chosen(id, validator.status)).map(|(id, _)| id).collect()
    }
}

/// Seats that may still change in this turn.
struct Churn {
    left: u32,
    untouched: bool,
}

impl Churn {
    fn of(terms: &Terms) -> Churn {
        Churn { left: terms.churn_seats, untouched: true }
    }

    /// Whether so many seats may change; the first ones in any case.
    fn takes(&mut self, seats: u32) -> bool {
        if seats > self.left && !self.untouched {
            return false;
        }
        self.left = self.left.saturating_sub(seats);
        self.untouched = false;
        true
    }
}
