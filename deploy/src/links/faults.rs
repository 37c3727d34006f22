//! What can be wrong in one direction of a link.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a direction is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// Connections end at once, and new ones do too: both ends know.
    Closed,
    /// Nothing passes, and nobody is told; what was under way arrives late, once it is healed.
    Silent,
}

/// Everything that is wrong in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Cut off.
    pub cut: Option<Cut>,
    /// Bytes arrive this much later, in ms.
    pub delay_ms: u64,
    /// And up to this much later still, in ms; order is kept.
    pub jitter_ms: u64,
    /// Bytes a second at most.
    pub bytes_per_second: Option<u64>,
    /// Of a million bytes, how many have one bit flipped.
    pub flips_per_million: u32,
    /// How often connections were ended once.
    pub resets: u64,
}

/// One change of what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Cut until healed.
    Cut(Cut),
    /// Delay until healed, in ms.
    Delay {
        /// Always.
        ms: u64,
        /// At most on top.
        jitter_ms: u64,
    },
    /// At most so many bytes a second until healed; at least 1.
    Throttle {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// Flip a bit in so many of a million bytes until healed.
    Corrupt {
        /// Bytes of a million.
        per_million: u32,
    },
    /// End the open connections once.
    Reset,
    /// Nothing is wrong any more.
    Heal,
}

impl Faults {
    /// Whether bytes pass as they come.
    pub fn is_clear(&self) -> bool {
        *self == Faults { resets: self.resets, ..Faults::default() }
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Cut(cut) => self.cut = Some(cut),
            Change::Delay { ms, jitter_ms } => (self.delay_ms, self.jitter_ms) = (ms, jitter_ms),
            Change::Throttle { bytes_per_second } => self.bytes_per_second = Some(bytes_per_second.max(1)),
            Change::Corrupt { per_million } => self.flips_per_million = per_million.min(1_000_000),
            Change::Reset => self.resets += 1,
            Change::Heal => *self = Faults { resets: self.resets, ..Faults::default() },
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        match self.cut {
            Some(Cut::Closed) => words.push("cut".to_owned()),
            Some(Cut::Silent) => words.push("cut silently".to_owned()),
            None => {}
        }
        match (self.delay_ms, self.jitter_ms) {
            (0, 0) => {}
            (ms, 0) => words.push(format!("{ms} ms late")),
            (ms, jitter) => words.push(format!("{ms} to {} ms late", ms.saturating_add(jitter))),
        }
        words.extend(self.bytes_per_second.map(|bytes| format!("{bytes} bytes/s")));
        if self.flips_per_million > 0 {
            words.push(format!("{} of 1,000,000 bytes corrupted", self.flips_per_million));
        }
        write!(out, "{}", words.join(", "))
    }
}
