//! The lab: message DAGs from files or from a seed, studied without any rule of validity.
//!
//! ```text
//!   random ──▶ Case ──load──▶ FreeDag ──▶ replay   (figures of each observer)
//!    (seed)     ▲                 ├─────▶ explain  (why a block is final, or not)
//!             a file              └─────▶ picture  (what a drawing shows)
//! ```
//!
//! Cases may hold messages whose estimate does not follow and members that skip their own previous
//! message, so they enter the DAG itself, past the engine's checks. There is no `seq` to trust
//! either: an equivocation is what the papers say, two messages of which neither is later.

mod case;
mod explain;
mod free;
mod load;
mod picture;
mod random;
mod replay;

pub use case::{CASE_CELLS, Case, CaseError, CaseMessage, CaseValidator, CaseView, Name, ROOT};
pub use explain::explain;
pub use picture::{BRANCHES, Branch, DRAWN_MESSAGES, Drawn, Lane, Picture, picture};
pub use random::{Family, InvalidRandom, RandomCase, Weights};
pub use replay::{CLIQUE_STEPS, CandidateResult, CaseResult, SummitResult, ViewResult, replay};
