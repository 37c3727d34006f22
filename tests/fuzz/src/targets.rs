//! The targets, one file each, and what several of them ask.

mod canonical;
mod certificates;
mod checkpoints;
mod committee;
mod crosslinks;
mod frames;
mod genesis;
mod keys;
mod lab;
mod merkle;
mod observers;
mod orders;
mod peer_messages;
mod profile;
mod proofs;
mod protobuf;
mod readings;
mod replica;
mod restart;
mod text;
mod twins;

use crate::{Target, heap};
use borsh::BorshSerialize;
use kakera_chain::codec::{self, InvalidBytes};

pub(crate) const ALL: &[Target] = &[
    peer_messages::TARGET,
    canonical::TARGET,
    merkle::TARGET,
    keys::TARGET,
    certificates::TARGET,
    orders::TARGET,
    crosslinks::TARGET,
    observers::TARGET,
    checkpoints::TARGET,
    readings::TARGET,
    proofs::TARGET,
    replica::TARGET,
    restart::TARGET,
    committee::TARGET,
    twins::TARGET,
    text::TARGET,
    genesis::TARGET,
    profile::TARGET,
    lab::TARGET,
    protobuf::TARGET,
    frames::TARGET,
];

/// What a decoder says of these bytes: refused, or the value whose canonical form they are, in bounded memory.
fn canonical<T: BorshSerialize>(bytes: &[u8], decode: impl FnOnce(&[u8]) -> Result<T, InvalidBytes>) -> Option<T> {
    let value = heap::bounded(bytes.len(), || decode(bytes)).ok()?;
    assert!(codec::encode(&value) == bytes, "decoded from bytes that are not its canonical form");
    Some(value)
}
