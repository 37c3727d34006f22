//! What a block costs next to its floor, the batched signature check; and the state's commitment.

#[path = "../../cbc/benches/figures/mod.rs"]
mod figures;

use figures::{Figures, timed};
use kakera_chain::{
    BlockId, Member, Slot,
    address::Address,
    application::{Application, Context},
    codec,
    genesis::{Fees, Genesis, GenesisAccount, Lanes, Network, Timing},
    hash::{Hash, NetworkId},
    keys::{PublicKey, SecretKey, Signature, verify_all},
    signatures::Signatures,
    units::{ChainId, Height, ShardId, ValidatorId},
};
use kakera_shard::{Account, Action, PoolLimits, Shard, ShardConfig, Transaction, Trie, first_reading};
use std::sync::Arc;

const TRANSFERS: u64 = 256;
/// Accounts on the shard that executes the block.
const ACCOUNTS: u64 = 100_000;
/// Keys set between two roots.
const KEYS: u64 = 4_000;
const NETWORK: NetworkId = NetworkId(Hash([0x77; 32]));

fn main() {
    let mut figures = Figures::new();
    let ratio = block(&mut figures);
    for accounts in [100_000, 1_000_000] {
        commitment(&mut figures, accounts);
    }
    figures.print();
    if let Some(ratio) = ratio {
        println!("\nexecution / batched signature check: {ratio:.2} (the floor is the signature: 1)");
    }
}

/// Something that looks like an address.
fn address(number: u64) -> Address {
    Address(Hash::of(&[&number.to_be_bytes()]).0)
}

fn sender(number: u64) -> SecretKey {
    SecretKey::from_seed(Hash::of(&[b"sender", &number.to_be_bytes()]).0)
}

fn shard() -> Shard {
    let timing = Timing { slot_ms: 200, delay_ms: 40, heartbeat_slots: 16 };
    let senders = (0..TRANSFERS).map(|number| Address::of(&sender(number).public()));
    let accounts = senders.chain((TRANSFERS..ACCOUNTS).map(address));
    let genesis = Genesis {
        name: "bench".to_owned(),
        genesis_time_ms: 0,
        seed: "11".repeat(32),
        shards: 1,
        committee_seats: 1,
        beacon: timing,
        shard: timing,
        fees: Fees { block_gas: 10_000_000, block_bytes: 1 << 20, base_fee: 10, receipt_gas_percent: 50 },
        lanes: Lanes { bound: 100, lifetime_slots: 1_000 },
        epochs: None,
        staking: None,
        risk: None,
        validators: Vec::new(),
        accounts: accounts.map(|address| GenesisAccount { address, balance: 1_000_000_000 }).collect(),
    };
    let config = ShardConfig {
        network: Arc::new(Network { id: NETWORK, genesis }),
        shard: ShardId(0),
        first: first_reading(BlockId([0xbe; 32]), BlockId([0xab; 32])),
        signatures: Signatures::default(),
        pool: PoolLimits::default(),
    };
    Shard::new(config, None).expect("without a store nothing fails")
}

/// Transfers of different senders to accounts of this shard, none seen before; the ratio to their signatures' check.
fn block(figures: &mut Figures) -> Option<f64> {
    let mut shard = shard();
    let genesis = shard.genesis();
    let (mut body, mut witnesses, mut signatures) =
        (Vec::new(), Vec::new(), Vec::<(PublicKey, Hash, Signature)>::new());
    for number in 0..TRANSFERS {
        let key = sender(number);
        let transaction = Transaction {
            network: NETWORK,
            sender: key.public(),
            nonce: 0,
            valid_until: Slot(u64::MAX),
            gas_limit: 100_000,
            max_fee: 1_000,
            tip: 1,
            action: Action::Transfer { to: address(ACCOUNTS - 1 - number), amount: 1 },
        };
        let id = transaction.id();
        let signed = transaction.sign(&key);
        body.push(codec::encode(&signed.transaction));
        witnesses.push(signed.signature.0.to_vec());
        signatures.push((key.public(), id, signed.signature));
    }
    let context = Context {
        chain: ChainId::Shard(ShardId(0)),
        height: Height(1),
        slot: Slot(1),
        proposer: Member(0),
        validator: ValidatorId(0),
        reference: shard.tip(),
    };
    let mut execute = || shard.execute(&genesis.state, &context, &body, &witnesses).expect("the block is valid");
    assert_eq!(u64::from(execute().figures.transactions), TRANSFERS);
    let execution = figures.repeat(&format!("execute a block of {TRANSFERS} transfers"), execute);
    let check = || verify_all(&signatures).expect("the signatures hold");
    let floor = figures.repeat(&format!("verify_all of its {TRANSFERS} signatures"), check);
    Some(execution? / floor?)
}

/// Half of the keys are there already; others each time.
fn commitment(figures: &mut Figures, accounts: u64) {
    let account = |balance| Account { balance, nonce: 0 };
    let before: Trie = (0..accounts).map(|number| (address(number), account(1))).collect();
    before.root();
    let mut round = 0;
    let pass = || {
        round += 1;
        let old = (0..KEYS / 2).map(|step| (round * KEYS + step) * 7_919 % accounts);
        let new = (0..KEYS / 2).map(|step| accounts + round * KEYS + step);
        let keys: Vec<Address> = old.chain(new).map(address).collect();
        let mut after = before.clone();
        let commit = || {
            keys.iter().for_each(|key| after.set(*key, account(2)));
            after.root()
        };
        timed(commit).0
    };
    let name = format!("trie: one of {KEYS} keys, into {accounts} accounts");
    figures.passes(&name, KEYS as usize, pass);
}
