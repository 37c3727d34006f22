//! A small network for tests: one beacon validator, then shard validators of one shard.

#![allow(clippy::unwrap_used, reason = "tests")]
use kakera_chain::{address::Address, genesis::Network, keys::SecretKey};
use std::fmt::Write as _;

/// Validators in the network.
pub(crate) const VALIDATORS: u8 = 4;

/// Validator `index`'s key.
pub(crate) fn secret(index: u8) -> SecretKey {
    SecretKey::from_seed([index + 1; 32])
}

/// The genesis file.
pub(crate) fn genesis_text() -> String {
    let mut text = format!(
        "name = 'test'\ngenesis_time_ms = 0\nseed = '{}'\nshards = 1\ncommittee_seats = 3\n\
         accounts = [{{ address = '{}', balance = 1000 }}]\n\
         [beacon]\nslot_ms = 1000\ndelay_ms = 100\nheartbeat_slots = 4\n\
         [shard]\nslot_ms = 500\ndelay_ms = 100\nheartbeat_slots = 4\n\
         [fees]\nblock_gas = 10000000\nblock_bytes = 500000\nbase_fee = 1\nreceipt_gas_percent = 50\n\
         [lanes]\nbound = 100\nlifetime_slots = 100\n",
        "05".repeat(32),
        Address([1; 32]),
    );
    for index in 0..VALIDATORS {
        let role = if index == 0 { "beacon" } else { "shard" };
        write!(
            text,
            "[[validators]]\nname = 'validator-{index}'\nrole = '{role}'\nkey = '{}'\nseats = 1\n\
             endpoint = '127.0.0.1:{}'\nowner = '{}'\ncommitment = '{}'\n",
            secret(index).public(),
            4000 + u16::from(index),
            Address([index; 32]),
            "06".repeat(32),
        )
        .unwrap();
    }
    text
}

/// The network of [`genesis_text`].
pub(crate) fn network() -> Network {
    Network::parse(&genesis_text()).unwrap()
}

/// The network of [`genesis_text`] with epochs and stake.
pub(crate) fn staked() -> Network {
    let tables = "[epochs]\nslots = 100\nfallback_slots = 30\nrotation_per_mille = 250\nunbonding = 2\n\
                  [staking]\nseat = 1000\nchurn_seats = 4\nreward = 10\nreporter_per_mille = 100\n";
    Network::parse(&genesis_text().replacen("[[validators]]", &format!("{tables}[[validators]]"), 1)).unwrap()
}
