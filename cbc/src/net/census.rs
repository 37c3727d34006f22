//! What the speaking rule costs: messages a block, and hops until finality.

use super::{Latency, Net, Rule, Setup};
use crate::{InvalidCommittee, Member};
use serde::Serialize;
use std::fmt;

/// A committee and how its messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Members of equal weight.
    pub members: u16,
    /// How many of them say nothing; only the others lead.
    pub silent: u16,
    /// By how many milliseconds at most a message is earlier than the delay that members reckon with.
    pub jitter_ms: u64,
    /// When members speak.
    pub rule: Rule,
    /// Slots that are watched.
    pub slots: u64,
    /// Where the jitter comes from.
    pub seed: u64,
}

/// What a stage showed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Census {
    /// Members.
    pub members: u16,
    /// Those that speak.
    pub live: u16,
    /// K.
    pub levels: u32,
    /// Messages of each slot, from 1.
    pub messages: Vec<usize>,
    /// Bytes of each slot, about.
    pub bytes: Vec<u64>,
    /// By slot: after how many milliseconds all live members had finalized its block; none if one has not.
    pub final_ms: Vec<Option<u64>>,
    /// The network delay, milliseconds.
    pub delay_ms: u64,
}

impl Census {
    /// Hops that finality took in each slot: delays, rounded up; none where not all finalized.
    #[must_use]
    pub fn hops(&self) -> Vec<Option<u64>> {
        self.final_ms.iter().map(|time| time.map(|ms| ms.div_ceil(self.delay_ms))).collect()
    }
}

impl fmt::Display for Census {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { members, live, levels, messages, bytes, .. } = self;
        write!(out, "{live:>3} of {members:>3} live, K = {levels}: messages {messages:?}, bytes {bytes:?}, hops [")?;
        for (place, hops) in self.hops().iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            match hops {
                Some(hops) => write!(out, "{comma}{hops}")?,
                None => write!(out, "{comma}not final")?,
            }
        }
        write!(out, "]")
    }
}

/// Runs a stage slot by slot and counts.
///
/// # Errors
/// There are no members.
pub fn census(stage: &Stage) -> Result<Census, InvalidCommittee> {
    let live = stage.members.saturating_sub(stage.silent);
    let mut setup = Setup::equal(stage.members, stage.seed);
    let delay_ms = setup.times.delay_ms;
    setup.leaders = (0..live).map(Member).collect();
    setup.silent = (live..stage.members).map(Member).collect();
    setup.rule = stage.rule;
    setup.status_ms = None;
    setup.latency = match stage.jitter_ms {
        0 => Latency::Fixed(delay_ms),
        jitter => Latency::Between(delay_ms.saturating_sub(jitter), delay_ms),
    };
    let mut net = Net::new(setup)?;
    net.run(net.start_of(stage.slots + 1) - 1);
    let record = net.record();
    let count = |slot: u64| record.said.get(&slot).copied().unwrap_or(0);
    let bytes = |slot: u64| record.bytes.get(&slot).copied().unwrap_or(0);
    let time = |slot: u64| {
        let (block, (_, proposed)) = record.proposed.iter().find(|(_, (of, _))| *of == slot)?;
        let times = record.finalized.get(block).filter(|times| times.len() == usize::from(live))?;
        times.iter().map(|(_, at)| at - proposed).max()
    };
    Ok(Census {
        members: stage.members,
        live,
        levels: net.committee().levels(),
        messages: (1..=stage.slots).map(count).collect(),
        bytes: (1..=stage.slots).map(bytes).collect(),
        final_ms: (1..=stage.slots).map(time).collect(),
        delay_ms,
    })
}
