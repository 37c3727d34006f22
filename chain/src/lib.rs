//! The vocabulary of every Kakera chain, the contracts between layers, and the replica that runs a chain.

pub mod address;
pub mod advances;
pub mod application;
pub mod block;
pub mod bond;
pub mod certificate;
pub mod codec;
pub mod crosslink;
pub mod era;
pub mod evidence;
pub mod genesis;
pub mod hash;
pub mod keys;
pub mod lanes;
pub mod leaders;
pub mod machine;
pub mod message;
pub mod peer;
pub mod receipt;
pub mod replica;
pub mod signatures;
pub mod store;
pub mod units;

pub use kakera_cbc::{BlockId, Committee, Member, MessageId, Slot};
