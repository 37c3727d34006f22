//! The I/O shell around one replica: store, guard, peers, API, feeds, metrics and the process itself.
//!
//! ```text
//!   clients ──> server ──> api ──┬─> core (one thread, owns the Replica) ──> store, guard
//!                 │              └─> forward ──> nodes of other chains          │
//!   peers <──> peers <──────────────────────────────────────────────── outbox <─┘
//!   beacon ──> follow ──> core        core events ──> tracker, crosslinks ──> beacon
//! ```
//!
//! Nothing here decides anything about consensus or state: the replica does, and this crate carries out its effects.
//! Everything from a socket is bounded before it is decoded, and no queue grows without a limit.

pub mod api;
pub mod checked;
pub mod config;
pub mod core;
pub mod crosslinks;
pub mod errors;
pub mod follow;
pub mod forward;
pub mod guard;
pub mod limits;
pub mod metrics;
pub mod peers;
pub mod readings;
pub mod run;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod tracker;
pub mod ways;

#[cfg(test)]
mod testing;
