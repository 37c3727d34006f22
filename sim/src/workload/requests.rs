//! What is asked of the beacon: that it slashes who was seen to break a rule, and that it lets validators in and out.

use super::{Fate, Order, Request, Workload, transaction};
use crate::{clock::Moment, random::Random, setup::Setup};
use kakera_chain::{
    bond::Bond,
    genesis::Role,
    hash::Hash,
    receipt::ReceiptAction,
    units::{Epoch, ShardId, ValidatorId},
};
use kakera_shard::Action;
use std::collections::BTreeSet;

/// Gas of a bond's proof.
const BOND_GAS: u64 = 2_000;
/// Gas of a report, and the bytes of it that cost one more at the least.
const EVIDENCE_GAS: (u64, u64) = (4_000, 16);
/// Gas of all that any request takes.
const REQUEST_GAS: u64 = 1_400;

/// A report of who broke a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who did.
    pub validator: ValidatorId,
    /// The epoch that it was when that was seen.
    pub seen: Epoch,
}

/// Requests made so far, and what they are drawn from.
#[derive(Debug)]
pub struct Requests {
    random: Random,
    /// Reports made, one a validator.
    pub reports: Vec<Report>,
    /// Newcomers that are bonded, in turn, each with its owner's shard and place.
    pub bonded: Vec<(ValidatorId, (usize, usize))>,
    /// Those that are to leave.
    leaving: BTreeSet<ValidatorId>,
    waiting: Vec<ValidatorId>,
}

impl Requests {
    /// None yet.
    pub(super) fn new(setup: &Setup, seed: u64) -> Requests {
        let mut waiting = setup.newcomers();
        waiting.reverse();
        Requests {
            random: Random::stream(seed, "requests"),
            reports: Vec::new(),
            bonded: Vec::new(),
            leaving: BTreeSet::new(),
            waiting,
        }
    }
}

impl Workload {
    /// Somebody on a shard reports a validator, unless that was done before.
    pub fn report(&mut self, shard: ShardId, report: Report, bytes: Vec<u8>, setup: &Setup) {
        if self.requests.reports.iter().any(|before| before.validator == report.validator) {
            return;
        }
        self.requests.reports.push(report);
        let shard = usize::from(shard.0);
        let from = self.requests.random.index(setup.accounts[shard].len() - 1);
        let (fees, length) = (setup.network.genesis.fees, bytes.len() as u64);
        let transactions = fees.block_gas - fees.block_gas * u64::from(fees.receipt_gas_percent) / 100;
        let part = length * (transactions - REQUEST_GAS - EVIDENCE_GAS.0) / u64::from(fees.block_bytes);
        let gas = EVIDENCE_GAS.0 + part.max(length / EVIDENCE_GAS.1);
        let sender = setup.accounts[shard][from].0;
        let action = Action::SubmitEvidence { bytes: bytes.clone() };
        self.ask((shard, from), action, gas, setup, |transaction| ReceiptAction::Evidence {
            from: sender,
            bytes,
            transaction,
        });
    }

    /// The next newcomer is bonded once the one before has left: then the registry numbers them as they are made.
    pub(super) fn bond_newcomers(&mut self, setup: &Setup) {
        let last = self.requests.bonded.last().copied();
        if last.is_some_and(|(last, _)| !self.requests.leaving.contains(&last)) {
            return;
        }
        let Some(validator) = self.requests.waiting.pop() else { return };
        let shard = self.requests.random.index(setup.accounts.len());
        let from = self.requests.random.index(setup.accounts[shard].len() - 1);
        let owner = setup.accounts[shard][from].0;
        let end = ("127.0.0.1:9".to_owned(), Hash([1; 32]));
        let bond = Bond::sign(setup.key(validator), &owner, (Role::Shard, 1), end, setup.network.id);
        let amount = setup.network.genesis.staking.map_or(0, |staking| staking.seat);
        self.requests.bonded.push((validator, (shard, from)));
        let action = Action::Bond { bond: Box::new(bond.clone()) };
        self.ask((shard, from), action, BOND_GAS, setup, |transaction| ReceiptAction::Bond {
            from: owner,
            amount,
            bond: Box::new(bond),
            transaction,
        });
    }

    /// A newcomer has voted: it may leave.
    pub fn served(&mut self, validator: ValidatorId, setup: &Setup) {
        let owner = self.requests.bonded.iter().find(|(of, _)| *of == validator).map(|(_, owner)| *owner);
        let Some(owner) = owner.filter(|_| self.requests.leaving.insert(validator)) else { return };
        let sender = setup.accounts[owner.0][owner.1].0;
        self.ask(owner, Action::Exit { validator }, 0, setup, |transaction| ReceiptAction::Exit {
            from: sender,
            validator,
            transaction,
        });
    }

    /// An order that asks the beacon for something; it is submitted when clients look next.
    fn ask(
        &mut self,
        from: (usize, usize),
        action: Action,
        gas: u64,
        setup: &Setup,
        receipt: impl FnOnce(Hash) -> ReceiptAction,
    ) {
        let nonce = self.nonces[from.0][from.1];
        self.nonces[from.0][from.1] += 1;
        let tip = self.requests.random.below(4);
        let signed = transaction(setup, from, nonce, tip, action).sign(&setup.accounts[from.0][from.1].1);
        let id = signed.transaction.id();
        let number = self.orders.len();
        self.by_id.insert(id, number);
        self.open.insert(number);
        let shard = ShardId(u16::try_from(from.0).expect("at most 256 shards"));
        let request = Some(Request { action: receipt(id), gas });
        let order = Order::new(id, shard, signed, Vec::new(), Fate::Succeeds, Moment(0));
        self.orders.push(Order { request, ..order });
    }
}
