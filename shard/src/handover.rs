//! Hand-over of a shard's state: who is drawn into a shard fetches its state at one certified block, in parts, from peers.
//!
//! ```text
//!   certified header ── state_root = H(tag ‖ accounts_root ‖ H(meta))
//!                                           │            │
//!                      Answer::Part ── proves          StateHead ── Answer::Head
//!                           │
//!   peers ──answers──> Fetch ──> Persist (rows of Table::State, progress row) ──> Complete (state, rows that make it one)
//!                        └────> Ask, Dropped, Mismatch, Stalled
//! ```
//!
//! **What is fetched.** First the [`StateHead`]: the root of the accounts and the whole [`Meta`](crate::Meta), checked
//! against the state root. Then the accounts. The key space is divided into *pieces* (the shard's own slice of it evenly;
//! the first and the last reach to its ends), and each piece is fetched from its first key on by consecutive requests.
//!
//! **Shapes.** All are canonical borsh, and each has a limit that holds before anything is decoded.
//!
//! | what | fields | bytes at most |
//! | --- | --- | --- |
//! | [`Request`] | block (32), ask: head (0) or part (1, [`Wanted`]: from (32), until (32), limit (u32)) | 101 |
//! | [`StateHead`] | accounts_root (32), meta | 3.5 MiB (65,535 members and lanes) |
//! | [`Part`] | [`Run`](crate::trie::Run): leaves (address 32, balance u64, nonce u64), left and right steps (bit u8, hash 32) | 256 KiB |
//! | [`Answer`] | head (0), part (1), unavailable (2) | one more than what it holds |
//!
//! **What a part proves** is said in [`trie::range`](crate::trie): its leaves are all there are from its first to its last.
//! What it must hold follows from the trie and the request alone, so all honest peers answer the same bytes; one that
//! holds fewer or more accounts than it must is as bad as one that proves nothing. Hence every part that is accepted
//! brings its piece forward by `limit` accounts or ends it, and the number of answers is bounded by what there is to
//! fetch. No account count is sent: the state root does not prove one.
//!
//! **Durability.** [`Effect`]s are carried out in order, each before the next call of [`Fetch::handle`]. The accounts of
//! a part and the progress row that counts them are one write; what is not in the progress row is fetched again. While the
//! rows are incomplete there is no row [`META_KEY`](crate::records::META_KEY), so nobody takes them for a state, and
//! [`unfinished`] says so. A fetch of anything but what the progress row names begins by removing all rows of
//! [`Table::State`](kakera_chain::store::Table), page by page, behind a progress row that says just that.
//!
//! **Bounds.** Peers: [`MAX_PEERS`]; one request at a time of each; [`FetchConfig::in_flight`] at a time in all, so at
//! most so many parts wait to be looked at. Accounts are held by nobody but the store until the end, when the trie is built
//! from its rows once, which checks the whole root; that last call takes as long as loading a state at a start.
//!
//! **Who is blamed.** An answer counts only if it comes from the peer that was asked, with the ticket it was asked with, so
//! nobody can answer in another's name; replays and answers after a change of target are ignored. What cannot
//! come from an honest peer (a [`Fault`] that [`Fault::is_proof`]) excludes that peer for as long as the fetch lives. Silence
//! and not holding the block only cost a rest, growing with each, and after [`FetchConfig::strikes`] of them in a row the
//! peer is left out until the target changes, or until it is added again after its rest. When nobody is left, or all who are
//! have just said that they do not hold the block, that is a typed [`Stall`]. Then, and whenever nothing good has come for
//! [`FetchConfig::patience_ms`], whoever drives the fetch looks for another target ([`Fetch::wants_another`]).
//!
//! **Another target** begins again with nothing: parts of different roots never mix. A network in which committees change
//! by epochs names one block an epoch, whose version peers hold by structural sharing, so that is rare.

pub mod fetch;
pub mod head;
pub mod message;
pub mod part;
pub mod peers;
pub mod progress;

#[cfg(test)]
mod tests;

pub use fetch::{Completed, Effect, Fetch, FetchConfig, Input, Stall};
pub use head::{InvalidHead, StateHead};
pub use message::{Answer, Ask, InvalidAnswer, InvalidRequest, Request};
pub use part::{Covered, InvalidPart, PART_ACCOUNTS, Part, Wanted};
pub use peers::{Fault, MAX_PEERS};
pub use progress::{MAX_PIECES, Target, unfinished};
