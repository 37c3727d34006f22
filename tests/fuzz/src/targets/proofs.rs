//! Account proofs: a changed proof never verifies for another value.

use super::canonical;
use crate::{Target, choices::Choices};
use kakera_chain::{address::Address, codec};
use kakera_shard::{Account, AccountProof, StateProof, Trie};

pub(super) const TARGET: Target = Target {
    name: "proofs",
    about: "a changed account or state proof is refused or proves the same value",
    run,
    seeds,
    max_bytes: 2048,
    rounds: 3_000,
};

/// Addresses that share long beginnings, so that the trie is deep.
fn address(choices: &mut Choices<'_>) -> Address {
    let mut bytes = [0; 32];
    let (at, value) = (choices.below(32), choices.u8());
    bytes[at] = value;
    bytes[31 - at] ^= choices.u8() & 3;
    Address(bytes)
}

fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let mut trie = Trie::default();
    let mut addresses = vec![Address([0; 32])];
    for _ in 0..choices.below(24) {
        let (address, account) =
            (address(&mut choices), Account { balance: choices.number(), nonce: choices.number() });
        trie.set(address, account);
        addresses.push(address);
        assert_eq!(trie.account(&address), account);
    }
    let (asked, other) = (*choices.of(&addresses), *choices.of(&addresses));
    let absent = Address([choices.u8(); 32]);
    let root = trie.root();
    for key in [asked, other, absent] {
        assert_eq!(trie.prove(&key).verify(root, &key), Ok(trie.account(&key)));
    }
    let proof = trie.prove(&asked);
    let bytes = choices.change(&codec::encode(&proof), &codec::encode(&trie.prove(&other)));
    if let Some(changed) = canonical(&bytes, |bytes| codec::decode::<AccountProof>(bytes, 1 << 16)) {
        judge(&changed, &trie, &[asked, other, absent]);
    }
    // What the bytes themselves say, as a proof and as a state proof.
    let raw = choices.rest();
    if let Some(raw) = canonical(raw, |raw| codec::decode::<AccountProof>(raw, 1 << 16)) {
        judge(&raw, &trie, &[asked, other, absent]);
    }
    if let Some(raw) = canonical(raw, |raw| codec::decode::<StateProof>(raw, 1 << 16)) {
        assert!(raw.verify(root, &asked).is_err(), "an account root stood for a state root");
    }
}

fn judge(proof: &AccountProof, trie: &Trie, keys: &[Address]) {
    for key in keys {
        if let Ok(account) = proof.verify(trie.root(), key) {
            assert_eq!(account, trie.account(key), "a proof of another value for {key}");
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let accounts: Vec<u8> = (0..12u8).flat_map(|n| [n, 1 << (n % 8), n, 70 + n, 65]).collect();
    (0..12u8).map(|kind| [vec![12], accounts.clone(), vec![3, 5, 9, 0, kind, 40, 8, 7]].concat()).collect()
}
