//! Transactions that must be refused, each with its reason.

use super::{
    cast::Player,
    idle::{Desk, FUNDS},
    rng::Rng,
    scene::Scene,
};
use crate::{
    failure::{Failure, Result},
    order::{self, Order},
};
use kakera_chain::hash::NetworkId;
use std::collections::BTreeMap;

/// How often each kind is tried, on nodes chosen at random.
const TRIES: usize = 2;

/// Submits them; returns how often each reason was given, or what was wrong with an answer.
pub(crate) async fn run(
    scene: &Scene,
    desk: &Desk,
    players: &[Player],
    rng: &mut Rng,
) -> Result<(BTreeMap<String, u64>, Vec<String>)> {
    let mut counts = BTreeMap::new();
    let mut wrong = Vec::new();
    for _ in 0..TRIES {
        for (expected, order) in bad_orders(desk, players, rng) {
            let node = rng.below(scene.client.len());
            match scene.client.submit(node, order.bytes).await {
                Err(Failure::Refused { reason, .. }) if reason == expected => *counts.entry(reason).or_default() += 1,
                Err(failure) => wrong.push(format!("{expected} was answered with {failure}")),
                Ok(_) => wrong.push(format!("{expected} was accepted by {}", scene.client.endpoint(node))),
            }
        }
    }
    Ok((counts, wrong))
}

fn bad_orders(desk: &Desk, players: &[Player], rng: &mut Rng) -> Vec<(&'static str, Order)> {
    // Only one that has used a nonce can use it again.
    let used: Vec<&Player> = players.iter().filter(|player| player.nonce > 0).collect();
    let from = used[rng.below(used.len())];
    let to = players[rng.below(players.len())].address;
    let terms = desk.terms(from, [from.shard]);
    // Enough gas for either kind of destination: each order is wrong in one way only.
    let terms = order::Terms { gas_limit: terms.gas_limit.saturating_mul(2), ..terms };
    let sign = |terms: order::Terms, amount: u64| terms.sign(&from.key, order::transfer(to, amount));
    let mut elsewhere = terms.network.0;
    elsewhere.0[0] ^= 1;
    vec![
        ("BAD_SIGNATURE", sign(terms, 1).with_bad_signature()),
        ("NONCE_USED", sign(order::Terms { nonce: 0, ..terms }, 2)),
        ("OVERDRAFT", sign(terms, FUNDS.saturating_mul(1_000))),
        ("WRONG_NETWORK", sign(order::Terms { network: NetworkId(elsewhere), ..terms }, 1)),
        ("EXPIRED", sign(order::Terms { valid_until: 0, ..terms }, 1)),
    ]
}
