//! The beacon chain's rules: it draws the committees of every chain and records the shards' crosslinks, so that
//! recorded receipts are the memory that all shards share.
//!
//! ```text
//!    genesis file ──> committees (draw) ──> Seats of every chain
//!                                             │ certificates
//!    shard headers + certificate + receipts   v
//!          Crosslink ──> sound ──> record ──> BeaconState ──> state root
//!                          │          ^ position, lanes, solvency
//!                          v          │
//!                        pool ──> proposals        index ──> rows for queries
//! ```
//!
//! What always holds (each is checked when a block is executed):
//! - a shard's crosslinks are consecutive, certified by its committee, and their receipts are the ones that the headers
//!   commit to, in every lane without a gap;
//! - what left a shard never exceeds its genesis allocation plus what it consumed minus what it burned;
//! - balances + held + burned of all shards at their recorded crosslinks + recorded receipts not consumed + stake and
//!   rewards held + stake burned - rewards minted = genesis supply;
//! - a refused crosslink changes nothing.
//!
//! Epochs follow each other where the genesis file says so; without that section there is one, 0.
//!
//! ```
//! // How likely is a committee of 100 of 1,000 seats to be captured by a quarter of all seats?
//! let risk = kakera_beacon::committee_risk(1_000, 250, 100);
//! assert!(risk.capture < 1e-15 && risk.stall > 0.01 && risk.stall < 0.05);
//! ```

mod application;
pub mod bias;
mod checkpoint;
mod committees;
mod crosslink;
pub mod draw;
mod due;
mod epochs;
#[cfg(test)]
mod fixture;
mod genesis;
#[cfg(test)]
mod hostile;
mod index;
mod life;
mod pool;
pub mod randomness;
mod record;
mod registry;
mod rewards;
mod risk;
mod shuffle;
mod slashing;
mod sound;
mod state;
mod work;

pub use application::{Beacon, InvalidBeaconBlock, MAX_BODY_BYTES, Reply};
pub use checkpoint::{Checkpoint, InvalidCheckpoint, adopt, checkpoint_at, checkpoint_of, newest_checkpoint};
pub use committees::{Committees, Standby, leader_seed};
pub use crosslink::InvalidCrosslink;
pub use due::{InvalidBodies, Lacking, RecordedReceipts, due_reading, missing_bodies, verify_bodies};
pub use epochs::{Seating, certificates_of, receipts_toward};
pub use genesis::genesis_header;
pub use index::{
    ConsumedAt, RecordedReceipt, STATES_BYTES, STATES_KEPT, consumed_at, emitted_at, recorded_at, recorded_receipts,
    state_at,
};
pub use life::{Court, Judge};
pub use pool::Pool;
pub use registry::{Cause, Joining, Offence, Registry, Slashed, Slashing, Source, Status, Terms, Turned, Validator};
pub use rewards::{Attendance, Presence};
pub use risk::{
    CommitteeRisk, NetworkRisk, TooRisky, adversary_seats, check_risk, committee_risk, network_risk, size_that_would_do,
};
pub use shuffle::{SHUFFLE_ROUNDS, Shuffle, compute_shuffled_index};
pub use slashing::{InvalidReport, Window};
pub use sound::{KnownCertificates, SoundCrosslink};
pub use state::{BeaconState, Imbalance, Kind, LaneLog, Parameters, Pending, Recorded, ShardRecord, Solvency};
pub use work::convicts;
