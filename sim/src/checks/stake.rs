//! Who breaks a rule and is seen to, loses its stake in time, and nobody else does; a validator that leaves is paid what
//! it put at stake and earned, once.

use super::{Check, Happening, View};
use kakera_beacon::{BeaconState, Registry, Status};
use kakera_chain::{
    receipt::{Receipt, ReceiptAction},
    units::{Epoch, Height, ValidatorId},
};
use std::collections::{BTreeMap, BTreeSet};

/// Stake.
#[derive(Default)]
pub(super) struct Stake {
    /// The newest beacon block looked at.
    beacon: Height,
    /// What each validator had, at stake and earned, after that block.
    balances: BTreeMap<ValidatorId, u64>,
    slashed: BTreeSet<ValidatorId>,
    /// Newcomers that were seen to be paid out.
    paid: BTreeSet<ValidatorId>,
}

impl Check for Stake {
    fn name(&self) -> &'static str {
        "stake"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        let (Happening::Beacon { certified, .. }, Some(staking)) = (happening, view.setup.network.genesis.staking)
        else {
            return Ok(());
        };
        let (height, executed) = (certified.block.header.height, &certified.executed);
        if height <= self.beacon {
            return Ok(());
        }
        // Blocks that nobody lived to tell of leave a gap, in which somebody may have been paid.
        let gap = height > self.beacon.next();
        self.beacon = height;
        let looked = self
            .slashed(view, &executed.state.registry)
            .and_then(|()| self.in_time(view, executed.state.epoch))
            .and_then(|()| self.paid(view, &executed.receipts, gap))
            .and_then(|()| self.grown(&executed.state, staking.seat));
        looked.map_err(|what| format!("beacon block {height}: {what}"))
    }

    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        let expect = &view.scenario.expect;
        let (slashed, paid) = (self.slashed.len() as u64, self.paid.len() as u64);
        if slashed < expect.slashed {
            return Err(format!("{slashed} validators lost their stake, not {}", expect.slashed));
        }
        if paid < expect.withdrawals {
            return Err(format!("{paid} newcomers were paid out, not {}", expect.withdrawals));
        }
        Ok(())
    }
}

impl Stake {
    /// Nobody that keeps the rules on all chains loses its stake.
    fn slashed(&mut self, view: &View<'_>, registry: &Registry) -> Result<(), String> {
        let slashed = registry.slashed();
        for id in &slashed {
            let mut nodes = view.nodes.iter().filter(|node| node.validator == *id);
            if nodes.all(crate::node::Node::is_honest) {
                return Err(format!("validator {id} has lost its stake, and kept the rules"));
            }
        }
        self.slashed.extend(slashed);
        Ok(())
    }

    /// Who was reported has lost its stake by now.
    fn in_time(&self, view: &View<'_>, epoch: Epoch) -> Result<(), String> {
        let most = view.scenario.expect.slashing_epochs;
        let reports = view.workload.requests.reports.iter().filter(|_| most > 0);
        let overdue = |seen: Epoch| epoch.0 > seen.0.saturating_add(most);
        let mut late = reports.filter(|report| overdue(report.seen) && !self.slashed.contains(&report.validator));
        match late.next() {
            None => Ok(()),
            Some(report) => Err(format!("{report:?} has not lost its stake in epoch {epoch}")),
        }
    }

    /// Who is paid out gets what it had, and is a newcomer.
    fn paid(&mut self, view: &View<'_>, emitted: &[Receipt], gap: bool) -> Result<(), String> {
        for receipt in emitted {
            let ReceiptAction::Withdraw { validator, to, amount } = &receipt.action else { continue };
            let bonded = view.workload.requests.bonded.iter().find(|(of, _)| of == validator);
            let Some((_, (shard, place))) = bonded else {
                return Err(format!("pays out validator {validator}, which has not asked for that"));
            };
            let owner = view.setup.accounts[*shard][*place].0;
            let had = self.balances.get(validator).copied().unwrap_or_default();
            if *to != owner || !gap && *amount != had {
                return Err(format!("pays {amount} of validator {validator} to {to}, it had {had}, of {owner}"));
            }
            if !self.paid.insert(*validator) {
                return Err(format!("pays out validator {validator} again"));
            }
        }
        Ok(())
    }

    /// What a validator has is its seats' price and what it has earned; only who is slashed or paid loses it.
    fn grown(&mut self, state: &BeaconState, seat: u64) -> Result<(), String> {
        for (id, validator) in state.registry.iter() {
            let gone = matches!(validator.status, Status::Withdrawn { .. } | Status::Slashed { .. });
            let (stake, now) = (seat * u64::from(validator.seats), validator.balance());
            let before = self.balances.insert(id, now).unwrap_or_default();
            // More than that: seats that wait to become active.
            if !gone && (validator.stake < stake || now < before) {
                return Err(format!("validator {id} has {now} of {stake} at stake, and had {before}"));
            }
            if gone && now != 0 {
                return Err(format!("validator {id} is gone, and has {now}"));
            }
        }
        Ok(())
    }
}
