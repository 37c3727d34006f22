//! Reporting who broke the rules: what the replica holds evidence of goes to the beacon as a transaction of the account
//! of this validator's own key, on whatever shard that is, when [`Schedule`] says so.
//!
//! A report that the beacon would send back is never made: the process's own copy of the beacon's state judges it first,
//! by the beacon's own rule. So what is stale, or against somebody who is slashed already, costs nobody a fee.

mod schedule;
#[cfg(test)]
mod tests;

pub use schedule::{Look, Schedule, turn};

use crate::{
    api::chains::Served,
    core::{ChainEvent, Core, Stopped, now},
    errors,
    forward::Forwarder,
};
use kakera_beacon::{Beacon, BeaconState, convicts};
use kakera_chain::{
    Member, Slot,
    address::Address,
    codec,
    evidence::Evidence,
    genesis::Network,
    hash::{Hash, NetworkId},
    keys::SecretKey,
    replica::Replica,
    units::{ChainId, Epoch, Timestamp, ValidatorId},
};
use kakera_proto::v1::{
    Account, Fees, GetAccountRequest, GetFeesRequest, SubmitRequest, accounts_client::AccountsClient,
    transactions_client::TransactionsClient,
};
use kakera_shard::{Action, InvalidTransaction, Transaction, rules::Rules};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use thiserror::Error;
use tokio::{
    sync::broadcast::error::RecvError,
    time::{MissedTickBehavior, interval},
};
use tonic::Status;

/// How often what is held is looked at though nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Pieces that are judged in one look at most: each takes two signature checks.
const JUDGED: usize = 16;
/// What the proposer gets a gas of a first attempt, in the smallest unit: reports go before what pays nothing.
const TIP: u64 = 1;
/// With each attempt that comes to nothing it gets four times as much, up to so many times: nobody keeps a report out of
/// blocks for long by paying more.
const RAISES: u32 = 10;
/// The greatest base fee a gas that is paid, as a multiple of the present one.
const ROOM: u64 = 4;
/// Beacon slots for which a report may be executed.
const VALID_SLOTS: u64 = 16;
/// Beacon slots after which one that was executed has come to the beacon, and was judged.
const JUDGED_SLOTS: u64 = 8;

/// Why a report is not made now.
#[derive(Debug, Error)]
enum NotReported {
    /// The account cannot pay for it.
    #[error("account {address} holds {have}, but a report costs {need}")]
    Poor { address: Address, have: u64, need: u128 },
    /// What its shard's nodes say, or that they say nothing.
    #[error("{}", .0.message())]
    Status(#[from] Status),
    /// Its shape is wrong for this network.
    #[error("{0}")]
    Invalid(#[from] InvalidTransaction),
}

/// Submits what this node holds evidence of until the core stops; ends at once in a network without stake.
///
/// `core` is of a chain that the process has a replica of, `beacon` its copy of the beacon chain, `key` that of its
/// validator `me`, whose account pays.
pub async fn submit<A: Served>(
    core: Core<A>,
    beacon: Core<Beacon>,
    forwarder: Arc<Forwarder>,
    network: Arc<Network>,
    key: SecretKey,
    me: ValidatorId,
) {
    let genesis = &network.genesis;
    if genesis.staking.is_none() || genesis.epochs.is_none() {
        return;
    }
    let schedule = Schedule::new(genesis.shard, genesis.beacon);
    let account = Paying::new(forwarder, &network, key);
    let mut witness = Witness { core, beacon, account, network: network.id, me, schedule, warned: false };
    let mut events = witness.core.events();
    let mut every = interval(LOOK_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(ChainEvent::Certified { .. } | ChainEvent::Entered(_)) | Err(RecvError::Lagged(_)) => {
                    while events.try_recv().is_ok() {}
                }
                Ok(ChainEvent::Ended) | Err(RecvError::Closed) => return,
                Ok(_) => continue,
            },
            _ = every.tick() => {}
        }
        if let Err(Stopped) = witness.look().await {
            return;
        }
    }
}

/// A piece of evidence that is held.
struct Piece {
    accused: Member,
    turn: u32,
    kind: &'static str,
    bytes: Vec<u8>,
}

/// What one validator is convicted by, in the fewest bytes.
struct Case {
    turn: u32,
    kind: &'static str,
    bytes: Vec<u8>,
}

struct Witness<A: Served> {
    core: Core<A>,
    beacon: Core<Beacon>,
    account: Paying,
    network: NetworkId,
    me: ValidatorId,
    schedule: Schedule,
    /// It was said already that the account is too poor.
    warned: bool,
}

impl<A: Served> Witness<A> {
    async fn look(&mut self) -> Result<(), Stopped> {
        let held = self.core.query(|replica, _| held(replica)).await?;
        let cases = if held.is_empty() { BTreeMap::new() } else { self.judge(held).await? };
        let due = cases.iter().map(|(validator, case)| (*validator, case.turn)).collect();
        let Look { settled, report } = self.schedule.look(&due, now());
        if let Some(validator) = settled {
            tracing::info!(%validator, "the beacon has judged what was reported");
        }
        let Some((validator, case)) = report.and_then(|id| Some((id, cases.get(&id)?))) else { return Ok(()) };
        match self.account.report(&case.bytes, self.schedule.attempts(validator)).await {
            Ok(Report { transaction, until }) => {
                self.schedule.reported(validator, until);
                self.warned = false;
                tracing::info!(%validator, offence = case.kind, %transaction, "evidence is on its way to the beacon");
            }
            Err(reason) => {
                self.schedule.put_off(validator, now());
                self.tell(validator, case.kind, &reason);
            }
        }
        Ok(())
    }

    /// Whom the beacon would slash now, and by what.
    async fn judge(&self, held: Vec<(ChainId, Epoch, Piece)>) -> Result<BTreeMap<ValidatorId, Case>, Stopped> {
        let (network, me) = (self.network, self.me);
        let judged = move |replica: &Replica<Beacon>, _: Timestamp| {
            let state = replica.certified().state;
            let mut cases: BTreeMap<ValidatorId, Case> = BTreeMap::new();
            let open = held.into_iter().filter(|(chain, epoch, piece)| {
                let row = state.eras.get(&(*chain, *epoch));
                let accused = row.and_then(|row| row.get(piece.accused.index())).map(|(validator, _)| *validator);
                accused.is_some_and(|accused| accused != me && may_lose(state, accused))
            });
            for (_, _, piece) in open.take(JUDGED) {
                let Ok(offence) = convicts(state, &piece.bytes, network) else { continue };
                let Piece { turn, kind, bytes, .. } = piece;
                if cases.get(&offence.validator).is_none_or(|other| bytes.len() < other.bytes.len()) {
                    cases.insert(offence.validator, Case { turn, kind, bytes });
                }
            }
            cases
        };
        self.beacon.query(judged).await
    }

    fn tell(&mut self, validator: ValidatorId, offence: &'static str, reason: &NotReported) {
        match reason {
            NotReported::Poor { address, have, need } if !self.warned => {
                self.warned = true;
                tracing::warn!(
                    %validator, offence, %address, have, %need,
                    "evidence is not reported: fund the account of this validator's key, or leave it to others"
                );
            }
            NotReported::Poor { .. } => tracing::debug!(%validator, offence, %reason, "evidence is not reported yet"),
            NotReported::Status(status) => {
                let code = errors::reason_of(status);
                tracing::warn!(%validator, offence, ?code, %reason, "evidence is not taken; it is tried again");
            }
            NotReported::Invalid(_) => tracing::warn!(%validator, offence, %reason, "evidence cannot be reported"),
        }
    }
}

/// Everything held, with this node's turn.
fn held<A: Served>(replica: &Replica<A>) -> Vec<(ChainId, Epoch, Piece)> {
    let all = replica.evidence().unwrap_or_else(|failure| {
        tracing::error!(%failure, "the evidence held cannot be read");
        Vec::new()
    });
    let members = u32::try_from(replica.seats().keys.len()).unwrap_or(u32::MAX);
    let piece = |evidence: Evidence| {
        let (chain, epoch, accused) = evidence.accused();
        let kind = match evidence {
            Evidence::Equivocation(_) => "equivocation",
            Evidence::Conflict(_) => "conflicting finality",
        };
        let turn = turn(replica.me(), accused, members);
        Some((chain, epoch, Piece { accused, turn, kind, bytes: evidence.to_bytes()? }))
    };
    all.into_iter().filter_map(piece).collect()
}

/// Whether a validator is there and has a stake to lose.
fn may_lose(state: &BeaconState, validator: ValidatorId) -> bool {
    state.registry.get(validator).is_some_and(|entry| !entry.status.is_gone())
}

/// The account that pays for reports.
struct Paying {
    forwarder: Arc<Forwarder>,
    key: SecretKey,
    address: Address,
    rules: Rules,
    slot_ms: u64,
}

/// What a later attempt offers above [`TIP`] a gas, of half of what the account can spare.
fn raised(attempts: u32, spare: u128, gas: u64) -> u64 {
    let wanted = (TIP << (2 * attempts.min(RAISES))) - TIP;
    let most = spare / 2 / u128::from(gas.max(1));
    wanted.min(u64::try_from(most).unwrap_or(u64::MAX))
}

/// A report on its way.
struct Report {
    transaction: Hash,
    /// Until when the beacon may hear of it.
    until: Timestamp,
}

impl Paying {
    fn new(forwarder: Arc<Forwarder>, network: &Network, key: SecretKey) -> Paying {
        let address = Address::of(&key.public());
        let rules = Rules::of(network, address.shard(network.genesis.shards));
        Paying { forwarder, key, address, rules, slot_ms: network.genesis.beacon.slot_ms }
    }

    /// Submits evidence. Its nonce is the next one of the account, whatever waits: of two reports that are made at
    /// different times only one can be executed. `attempts`: so many came to nothing.
    async fn report(&self, evidence: &[u8], attempts: u32) -> Result<Report, NotReported> {
        let (account, fees) = (self.account().await?, self.fees().await?);
        let action = Action::SubmitEvidence { bytes: evidence.to_vec() };
        let demand = action.demand(&self.rules)?;
        let mut transaction = Transaction {
            network: self.rules.network,
            sender: self.key.public(),
            nonce: account.nonce,
            valid_until: Slot(fees.beacon_slot.saturating_add(VALID_SLOTS)),
            gas_limit: demand.gas,
            max_fee: fees.base_fee.saturating_mul(ROOM).saturating_add(TIP),
            tip: TIP,
            action,
        };
        let need = demand.charge(&transaction, fees.base_fee, &self.rules)?.total;
        let spare = u128::from(account.balance).checked_sub(need);
        let spare = spare.ok_or(NotReported::Poor { address: self.address, have: account.balance, need })?;
        let raise = raised(attempts, spare, demand.gas);
        (transaction.tip, transaction.max_fee) = (TIP + raise, transaction.max_fee.saturating_add(raise));
        let (id, until) = (transaction.id(), now().plus((VALID_SLOTS + JUDGED_SLOTS).saturating_mul(self.slot_ms)));
        let request = SubmitRequest { signed_transaction: codec::encode(&transaction.sign(&self.key)) };
        let answer = self.forwarder.call(self.rules.chain(), request, |channel, request| async move {
            TransactionsClient::new(channel).submit(request).await
        });
        answer.await?;
        Ok(Report { transaction: id, until })
    }

    async fn account(&self) -> Result<Account, Status> {
        let request = GetAccountRequest { address: self.address.to_string(), head: true };
        let answer = self.forwarder.call(self.rules.chain(), request, |channel, request| async move {
            AccountsClient::new(channel).get_account(request).await
        });
        answer.await
    }

    async fn fees(&self) -> Result<Fees, Status> {
        let request = GetFeesRequest { shard: self.rules.shard.0.into() };
        let answer = self.forwarder.call(self.rules.chain(), request, |channel, request| async move {
            AccountsClient::new(channel).get_fees(request).await
        });
        answer.await
    }
}
