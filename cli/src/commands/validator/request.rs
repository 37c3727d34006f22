//! Requests to the beacon: ordered by a transaction, carried out by the block that records it, or sent back.

use super::{
    registry::{card, value, words},
    returned,
};
use crate::{
    client::Client,
    commands::transfer::follow,
    failure::{Failure, Result},
    locate::{self, Place},
    order::Terms,
    output::grouped,
};
use kakera_chain::{address::Address, hash::Hash, keys::SecretKey};
use kakera_proto::v1::{ListValidatorsResponse, Validator};
use kakera_shard::{
    Action,
    fees::{ACCOUNT_GAS, BOND_GAS, EMIT_GAS, TRANSACTION_GAS},
};
use serde_json::json;
use std::time::{Duration, Instant};

/// How long an order is followed.
const FOLLOW_LIMIT: Duration = Duration::from_secs(120);
/// How long nodes may take to hear of the beacon block that recorded it.
const HEAR_LIMIT: Duration = Duration::from_secs(30);
/// How many beacon slots an order may wait for its block.
const VALID_FOR: u64 = 600;

/// How a validator shows that a request was carried out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// It leaves.
    Leaves,
    /// It waits to become active again.
    Returns,
    /// It has more seats, or more that wait.
    Grows {
        /// How many more.
        seats: u32,
    },
}

impl Change {
    fn is_done(self, before: &Validator, now: &Validator) -> bool {
        let seats = |validator: &Validator| u64::from(validator.seats) + u64::from(validator.joining_seats);
        match self {
            Change::Leaves => !matches!(now.status.as_str(), "active" | "pending" | "suspended"),
            Change::Returns => before.status == "suspended" && matches!(now.status.as_str(), "pending" | "active"),
            Change::Grows { .. } => seats(now) > seats(before),
        }
    }

    /// What would be refused, known before anything is paid for it.
    fn check(self, validator: &Validator) -> Result<()> {
        const STAYING: &[&str] = &["pending", "active", "suspended"];
        let (fitting, rule) = match self {
            Change::Leaves => (STAYING, "only a pending, active or suspended validator can leave"),
            Change::Grows { .. } => (STAYING, "only a pending, active or suspended validator can be given more seats"),
            Change::Returns => (&["suspended"][..], "only a suspended validator can be resumed"),
        };
        if fitting.contains(&validator.status.as_str()) {
            return Ok(());
        }
        let message = format!("validator {} is {}: {rule}", validator.id, words(validator));
        Err(Failure::refused("WRONG_STATUS", message))
    }
}

/// An order that the beacon has recorded.
pub(super) struct Recorded {
    /// The transaction's id.
    pub(super) transaction: Hash,
    /// Its shard.
    pub(super) shard: u32,
    /// The beacon block.
    pub(super) height: u64,
}

/// What an account pays at most for an action, its value apart.
pub(super) struct Price {
    /// Gas.
    pub(super) gas: u64,
    /// Gas at the most that is offered, and the delivery of a request.
    pub(super) fees: u64,
}

/// What an order carries to the beacon costs at most. The delivery of a request is paid at the network's first base fee.
pub(super) fn price(action: &Action, max_fee: u64, first_base_fee: u64) -> Price {
    let gas =
        TRANSACTION_GAS + ACCOUNT_GAS + EMIT_GAS + if matches!(action, Action::Bond { .. }) { BOND_GAS } else { 0 };
    let delivery = kakera_shard::fees::DELIVERY_GAS.saturating_mul(first_base_fee);
    Price { gas, fees: gas.saturating_mul(max_fee).saturating_add(delivery) }
}

/// Signs an action, submits it, and follows it until it is recorded.
///
/// `value` is what it takes from the account besides fees: where that is not there, it says so and pays nothing.
pub(super) async fn order(
    place: &Place,
    client: &Client,
    key: &SecretKey,
    (action, value): (Action, u64),
    first_base_fee: u64,
) -> Result<Recorded> {
    let network = locate::network_id(&client.status().await?.network_id)?;
    let account = client.account(Address::of(&key.public()).to_string(), true).await?;
    let fees = client.fees(account.shard).await?;
    let usual = Terms::usual(network, account.pending_nonce, 0, &fees, VALID_FOR);
    let price = price(&action, usual.max_fee, first_base_fee);
    let needed = value.saturating_add(price.fees);
    if account.balance < needed {
        let message = format!(
            "{} (shard {}) holds {}, and this takes {} and up to {} for fees: pay {} into it, then give the same \
             command again",
            account.address,
            account.shard,
            grouped(account.balance),
            grouped(value),
            grouped(price.fees),
            grouped(needed - account.balance)
        );
        return Err(Failure::refused("OVERDRAFT", message));
    }
    let terms = Terms { gas_limit: price.gas, ..usual };
    let order = terms.sign(key, action);
    let started = Instant::now();
    let accepted = client.submit(client.turn(), order.bytes).await?;
    let told = json!({
        "transaction_id": order.id.to_string(), "shard": accepted.shard, "nonce": terms.nonce, "value": value,
    });
    place.output.data(&told, || format!("transaction {} on shard {}", order.id, accepted.shard));
    let window = (started, started + FOLLOW_LIMIT);
    let last = follow(place, client, accepted.shard, &order.id.0, window).await?;
    Ok(Recorded { transaction: order.id, shard: accepted.shard, height: last.beacon_height })
}

/// What the registry says of a validator once a beacon block is known; by number or by key.
pub(super) async fn heard(
    client: &Client,
    height: u64,
    (id, key): (u32, &[u8]),
) -> Result<(ListValidatorsResponse, Option<Validator>)> {
    let started = Instant::now();
    loop {
        let page = client.validators(id, key.to_vec()).await?;
        if page.height >= height {
            let found = page.validators.first().filter(|found| !key.is_empty() || found.id == id).cloned();
            return Ok((page, found));
        }
        if started.elapsed() > HEAR_LIMIT {
            return Err(Failure::Connection(format!(
                "the nodes know beacon block {} and not yet block {height}, which recorded the order: look again with \
                 `kakera validator status`",
                page.height
            )));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Orders a change of a validator and says what it is then.
pub(super) async fn change(
    place: &Place,
    client: &Client,
    key: &SecretKey,
    (action, change): (Action, Change),
    before: Validator,
) -> Result<()> {
    change.check(&before)?;
    let genesis = super::join::genesis(client, None).await?.1.genesis;
    let staking = genesis.staking.ok_or_else(no_stake)?;
    let seats = if let Change::Grows { seats } = change { seats } else { 0 };
    super::bond::check_seats(seats.max(1), &staking)?;
    let cost = staking.seat.saturating_mul(seats.into());
    let recorded = order(place, client, key, (action, cost), genesis.fees.base_fee).await?;
    let (page, found) = heard(client, recorded.height, (before.id, &[])).await?;
    if let Some(now) = found.as_ref().filter(|now| change.is_done(&before, now)) {
        let mut value = value(now, page.epoch, None);
        value["transaction_id"] = json!(recorded.transaction.to_string());
        place.output.data(&value, || card(now, page.epoch));
        return Ok(());
    }
    let stands = found.map_or("gone".to_owned(), |now| words(&now));
    let message = format!(
        "the beacon sent it back, and what it carried with it: {}; validator {} was {} before, and is {stands} now",
        returned::why(client, &recorded).await,
        before.id,
        words(&before)
    );
    Err(Failure::refused("RETURNED", message))
}

/// The network knows no stake.
pub(super) fn no_stake() -> Failure {
    Failure::refused("NO_STAKE", "this network has no stake: nobody joins or leaves, its genesis file lists everybody")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validator(status: &str) -> Validator {
        Validator { id: 4, status: status.to_owned(), seats: 2, ..Validator::default() }
    }

    #[test]
    fn what_would_be_refused_is_said_before_it_is_paid_for() {
        let refused = |change: Change, status: &str| change.check(&validator(status)).is_err();
        for status in ["exiting", "withdrawable", "withdrawn", "slashed"] {
            assert!(refused(Change::Leaves, status) && refused(Change::Grows { seats: 1 }, status), "{status}");
        }
        assert!(refused(Change::Returns, "active") && !refused(Change::Returns, "suspended"));
        assert!(!refused(Change::Leaves, "pending") && !refused(Change::Leaves, "suspended"));
        let said = Change::Returns.check(&validator("active")).expect_err("it is active").to_string();
        assert!(said.contains("validator 4 is active: only a suspended validator can be resumed"), "{said}");
    }

    #[test]
    fn a_change_is_seen_in_the_registry() {
        let (active, suspended) = (validator("active"), validator("suspended"));
        assert!(Change::Leaves.is_done(&active, &validator("exiting")) && !Change::Leaves.is_done(&active, &active));
        assert!(Change::Returns.is_done(&suspended, &validator("pending")));
        assert!(!Change::Returns.is_done(&suspended, &suspended));
        let grown = Validator { joining_seats: 1, ..active.clone() };
        let change = Change::Grows { seats: 1 };
        assert!(change.is_done(&active, &grown) && !change.is_done(&active, &active));
    }
}
