//! The I/O shell around a validator's replicas: stores, guards, peers, API, feeds, metrics and the process itself.
//!
//! ```text
//!   clients ──> server ──> api ──┬─> cores (a thread a chain, owns the Replica) ──> store, guard
//!                 │              └─> forward ──> nodes of other chains                 │
//!   peers <──> peers <───────────────────────────────────────────────────── outbox <─┘
//!   beacon ──> follow ──> beacon core ──> readings ──> shards' cores ──> tracker, crosslinks ──> beacon
//!                              │                                    └─> evidence ──> a shard, as a transaction
//!                              └─> director: which shards are hosted; handover: their states
//! ```
//!
//! Every process follows and executes the beacon chain. Its state says which shards this process hosts and with whom it
//! speaks about them.
//!
//! Nothing here decides anything about consensus or state: the replica does, and this crate carries out its effects.
//! Everything from a socket is bounded before it is decoded, and no queue grows without a limit.

pub mod api;
pub mod checked;
pub mod checkpoint;
pub mod config;
pub mod core;
pub mod crosslinks;
pub mod duties;
pub mod errors;
pub mod evidence;
pub mod follow;
pub mod forward;
pub mod guard;
pub mod handover;
pub mod home;
pub mod hosts;
pub mod lab;
pub mod limits;
pub mod metrics;
pub mod peers;
pub mod readings;
pub mod run;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod tracker;
pub mod versions;
pub mod ways;

#[cfg(test)]
mod testing;
