//! The contract between pure machines and the shell that drives them.

use crate::units::Timestamp;

/// A machine that decides and never acts: what it wants done comes back as an ordered list, and the order is the crash
/// contract (what must be durable stands before what is sent).
pub trait StateMachine {
    /// What may happen to it.
    type Input;
    /// What it may want done.
    type Effect;

    /// Takes one input at the time `now`; time never runs backwards for a machine (a smaller `now` counts as the last).
    fn handle(&mut self, now: Timestamp, input: Self::Input) -> Vec<Self::Effect>;

    /// When it wants to be given a tick, if nothing else happens before.
    fn next_wakeup(&self) -> Timestamp;
}
