//! CBC Casper consensus: a pure engine for the whole protocol family.
//!
//! ```text
//!   message --check--> Verdict --insert--> Dag (rows, threads)
//!                         |                  |        |
//!                      Pending            index    detector
//!                    (what is missing)    (head)   (summits: finality)
//!                                             \      /
//!                                             Speaker (when to say what)
//! ```
//!
//! # Invariants
//!
//! - Verdict, head and finality depend on the set of messages only, never on their order.
//! - A finalized candidate is never undone; each is a child of the one before.
//! - Nothing a peer sends can panic the engine: [`Engine::insert`] takes only [`Checked`] messages.
//! - No recursion over the DAG, no hash tables, no clock.
//!
//! # Example
//!
//! One member with all the weight proposes a block; it is final at once.
//!
//! ```
//! use kakera_cbc::*;
//! let root = BlockId([0; 32]);
//! let blocks = Blocks::new(root, 0, Slot(0), Leaders::new(vec![Member(0)]));
//! let committee = Committee::new(vec![1])?;
//! let mut engine = Engine::new(committee, Some(Member(0)), Limits::default(), blocks);
//!
//! let draft = engine.draft(Slot(1), root, &engine.view());
//! let block = NewBlock { id: BlockId([1; 32]), parent: draft.value, height: 1, slot: Slot(1) };
//! let message = Message {
//!     id: MessageId([9; 32]), // really: the hash of the canonical bytes
//!     sender: draft.sender,
//!     seq: draft.seq,
//!     slot: draft.slot,
//!     base: draft.base,
//!     advances: draft.advances,
//!     cites: draft.cites,
//!     estimate: BlockEstimate::Proposal(block),
//! };
//! let Verdict::Valid(checked) = engine.check(Slot(1), &message) else { panic!("a valid message") };
//! let events = engine.insert(checked);
//! assert!(events.contains(&Event::Finalized(block.id, 1)));
//! assert_eq!(engine.head(), block.id);
//! # Ok::<(), InvalidCommittee>(())
//! ```
//!
//! What follows: the definitions with their sources, the rules of validity, each deviation from the papers with its
//! reason, the soundness of the detector step by step, and what everything costs.
#![doc = include_str!("../docs/definitions.md")]
#![doc = include_str!("../docs/soundness.md")]
#![doc = include_str!("../docs/figures.md")]

mod arena;
pub mod attacks;
mod binary;
mod clique;
mod committee;
mod dag;
mod detector;
mod draft;
mod engine;
mod explain;
mod forkchoice;
mod ids;
mod integer;
pub mod lab;
mod levels;
mod message;
pub mod net;
mod order;
mod pending;
mod row;
mod say;
mod speak;
mod tally;
mod threads;
mod validity;
mod watch;

pub use binary::{Binary, Stance};
pub use clique::{CLIQUE_MEMBERS, CliqueRefused};
pub use committee::{Committee, InvalidCommittee};
pub use detector::Levels;
pub use draft::Draft;
pub use engine::{Engine, Event};
pub use explain::{Explanation, Hold, LevelFinding, MemberFinding, Stand, decimal};
pub use forkchoice::blocks::{BlockEstimate, Blocks, Leaders, NewBlock};
pub use forkchoice::{CertifyError, Claim, InvalidEstimate, Protocol, Standing, Value};
pub use ids::{BlockId, Member, MessageId, Slot};
pub use integer::{Integer, InvalidRange, RANGES, Range};
pub use message::{CITES_TAG, Cite, Message, Observation, cites_digest};
pub use order::{ITEMS, InvalidItems, InvalidRanking, Order, Ranking};
pub use pending::{Full, Limits, Missing};
pub use row::Row;
pub use say::{Said, Unsaid};
pub use speak::{Decision, Reason, Speaker, SpeakerConfig};
pub use validity::{Checked, Invalid, Verdict};
