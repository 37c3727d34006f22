//! What the end-to-end suites share: networks of real processes, orders of real accounts, and scanners of the sources.
//!
//! ```text
//!   suites (tests/tests/*.rs)
//!      │
//!      ├─ net     a network of processes in a temporary directory, asked over gRPC
//!      ├─ orders  accounts and signed transactions      ├─ load    a sender that never loses track of its orders
//!      ├─ facts   what must hold on every chain         ├─ program one program run to its end
//!      ├─ wait    conditions with deadlines             ├─ random  reproducible choices
//!      ├─ soak    faults by a drawn schedule           ├─ liar    members that break the rules
//!      ├─ raw     calls whose bytes may be wrong        ├─ epochs  committees that change, watched
//!      └─ scan    rules about the sources themselves    └─ stage   such a network under load
//! ```
//!
//! Invariants: every wait is for a condition and has a deadline; no suite depends on how fast the machine is; one
//! network at a time; no process outlives its suite, and the directory of a failed one is kept and named.

pub mod epochs;
pub mod facts;
pub mod liar;
pub mod load;
pub mod net;
pub mod orders;
pub mod program;
pub mod random;
pub mod raw;
pub mod scan;
pub mod soak;
pub mod stage;
pub mod wait;
