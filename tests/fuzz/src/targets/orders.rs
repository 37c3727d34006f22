//! Transactions through a shard's pool into blocks: only what its owner signed moves value, and no unit is lost.

use crate::{
    Target,
    choices::Choices,
    world::{ACCOUNTS, SHARDS, World, above, account_key},
};
use kakera_chain::{
    Slot,
    address::Address,
    application::Application,
    codec,
    keys::{SecretKey, Signature},
    units::{ShardId, Timestamp},
};
use kakera_shard::{Action, Input, Reply, Shard, ShardState, SignedTransaction};
use std::sync::LazyLock;

pub(super) const TARGET: Target = Target {
    name: "orders",
    about: "transactions into a pool and blocks: signed by their owners only, executed alike, every unit conserved",
    run,
    seeds,
    max_bytes: 1024,
    rounds: 300,
};

static KEYS: LazyLock<Vec<SecretKey>> =
    LazyLock::new(|| (0..SHARDS).flat_map(|shard| (0..ACCOUNTS).map(move |n| account_key(shard, n))).collect());

fn run(bytes: &[u8]) {
    let mut chain = World::of_all().shards[0].clone();
    let mut choices = Choices::new(bytes);
    let mut steps = 0;
    while !choices.is_over() && steps < 24 {
        steps += 1;
        match choices.below(8) {
            0 => chain.step(),
            1 => {
                let raw = choices.bytes(240);
                drop(chain.shard.gossip(Timestamp(1), &chain.head.state, raw));
            }
            2 => body(&mut chain.shard.clone(), &chain.head.state, &chain.header, &mut choices),
            _ => submit(&mut chain.shard, &chain.head.state, &mut choices),
        }
    }
    chain.step();
    let meta = &chain.head.state.meta;
    assert!(meta.conserves(World::of_all().network.allocation(ShardId(0))));
    let balances: u128 = chain.head.state.accounts.iter().map(|(_, account)| u128::from(account.balance)).sum();
    assert_eq!(balances, u128::from(meta.balances), "the balances sum up");
}

/// An order of numbers at the edges, perhaps changed after it was signed.
fn order(state: &ShardState, choices: &mut Choices<'_>) -> SignedTransaction {
    let world = World::of_all();
    let key = choices.of(&KEYS);
    let to = |choices: &mut Choices<'_>| match choices.below(8) {
        7 => Address([choices.u8(); 32]),
        n => Address::of(&KEYS[n % KEYS.len()].public()),
    };
    let action = if choices.flag() {
        let count = choices.below(6);
        Action::Batch { transfers: (0..count).map(|_| (to(choices), choices.number())).collect() }
    } else {
        Action::Transfer { to: to(choices), amount: choices.number() }
    };
    let mut order = world.shards[0].order(key, action);
    order.nonce = state.account(&Address::of(&key.public())).nonce;
    let wrong = choices.u8();
    order.nonce = order.nonce.wrapping_add(u64::from(wrong >> 5 & 3));
    if wrong & 1 == 1 {
        (order.gas_limit, order.max_fee, order.tip) = (choices.number(), choices.number(), choices.number());
    }
    if wrong & 2 == 2 {
        order.valid_until = Slot(choices.number());
    }
    let signed = order.sign(key);
    if wrong & 0x18 != 0x18 {
        return signed;
    }
    let changed = choices.change(&codec::encode(&signed), &[0xff; 64]);
    SignedTransaction::decode(&changed).unwrap_or(signed)
}

fn submit(shard: &mut Shard, state: &ShardState, choices: &mut Choices<'_>) {
    let signed = order(state, choices);
    let (transaction, signature) = (&signed.transaction, signed.signature);
    let holds = transaction.sender.verify(&transaction.id(), &signature).is_ok();
    let reply = shard.handle(Timestamp(1), state, Input::Submit(signed.clone())).reply;
    if let Reply::Accepted { id } = reply {
        assert!(holds, "the pool took what its sender did not sign");
        assert_eq!(shard.pooled(&id), Some(&signed));
        assert_eq!(transaction.network, World::of_all().id(), "the pool took another network's order");
    }
}

/// A leader's own choice of items and signatures: a block of it holds only if each is signed.
fn body(shard: &mut Shard, state: &ShardState, below: &kakera_chain::block::Header, choices: &mut Choices<'_>) {
    let orders: Vec<_> = (0..1 + choices.below(4)).map(|_| order(state, choices)).collect();
    let mut body: Vec<_> = orders.iter().map(|signed| codec::encode(&signed.transaction)).collect();
    let mut witnesses: Vec<_> = orders.iter().map(|signed| signed.signature.0.to_vec()).collect();
    match choices.below(8) {
        0 => drop(witnesses.pop()),
        1 => body.extend(body.last().cloned()),
        2 => witnesses.reverse(),
        3 => body[0] = choices.bytes(160).to_vec(),
        4 => witnesses[0] = choices.bytes(64).to_vec(),
        _ => {}
    }
    let context = above(below, World::of_all().seats(below.chain), below.reference);
    let Ok(executed) = shard.execute(state, &context, &body, &witnesses) else { return };
    assert_eq!(body.len(), witnesses.len());
    for (item, witness) in body.iter().zip(&witnesses) {
        let transaction = kakera_shard::Transaction::decode(item).unwrap();
        let signature = Signature(witness.as_slice().try_into().unwrap());
        assert!(transaction.sender.verify(&transaction.id(), &signature).is_ok(), "an unsigned order was executed");
    }
    assert!(executed.state.meta.conserves(World::of_all().network.allocation(ShardId(0))));
    let again = World::of_all().shards[0].clone().shard.execute(state, &context, &body, &witnesses).unwrap();
    assert_eq!(again.state_root, executed.state_root);
}

fn seeds() -> Vec<Vec<u8>> {
    let submit = |key: u8, wrong: u8, tail: &[u8]| [&[3, key, 0, 1, 70, wrong][..], tail].concat();
    let body = |kind: u8| vec![2, 1, 0, 0, 1, 70, 0, 1, 0, 2, 71, 0, kind, 1, 2, 3];
    let mut seeds: Vec<_> = (0..8).map(body).collect();
    seeds.extend((0..6).map(|key| [submit(key, 0, &[]), vec![0], submit(key, 0x20, &[]), vec![0]].concat()));
    seeds.extend((0..8).map(|at| submit(0, 0x1b, &[90, 255, 70, 3, at, at * 20, 30, 200])));
    seeds.push([3, 0, 1, 5, 0, 70, 1, 71, 2, 72, 3, 73, 4, 1, 0, 0].to_vec());
    seeds
}
