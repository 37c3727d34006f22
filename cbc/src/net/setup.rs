//! What a network is made of, and which of its links are cut when.

use crate::{Limits, Member, SpeakerConfig};

/// How long a message travels between honest members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Milliseconds, always.
    Fixed(u64),
    /// Milliseconds, at least and at most, drawn from the seed for each message and link.
    Between(u64, u64),
}

/// When honest members speak, and what they cite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The speaking rule of [`crate::Speaker`].
    Speaker,
    /// The same without view merge: the vote on a proposal cites all that its sender holds, and a fork choice that has
    /// moved is followed at once.
    NoViewMerge,
    /// The same without waiting: a message for each level as soon as it is within reach.
    Eager,
    /// A message whenever something new was heard, as far as M allows.
    Chatty,
}

/// What a network is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Weight of each member.
    pub weights: Vec<u64>,
    /// Who leads which slot.
    pub leaders: Vec<Member>,
    /// Members that never say or hear anything.
    pub silent: Vec<Member>,
    /// Members that are faces of the adversary.
    pub byzantine: Vec<Member>,
    /// Length of a slot and the network delay that members reckon with.
    pub times: SpeakerConfig,
    /// How long messages really travel.
    pub latency: Latency,
    /// When honest members speak.
    pub rule: Rule,
    /// Whether honest members pass on what they hear, each message once.
    pub relay: bool,
    /// How often members tell each other how far they are, milliseconds; what a peer lacks it asks for.
    pub status_ms: Option<u64>,
    /// Slots below the newest certified block's of which messages stay in memory; none: all do.
    pub keep_slots: Option<u64>,
    /// Bounds of the engines' waiting messages.
    pub limits: Limits,
    /// Where all chance comes from.
    pub seed: u64,
}

impl Setup {
    /// Equal members that lead in turn; slots of 2 s, a delay of 100 ms, statuses every second.
    #[must_use]
    pub fn equal(members: u16, seed: u64) -> Self {
        Self {
            weights: vec![1; usize::from(members)],
            leaders: (0..members).map(Member).collect(),
            silent: Vec::new(),
            byzantine: Vec::new(),
            times: SpeakerConfig::new(0, 2_000, 100),
            latency: Latency::Between(40, 100),
            rule: Rule::Speaker,
            relay: false,
            status_ms: Some(1_000),
            keep_slots: None,
            limits: Limits::default(),
            seed,
        }
    }
}

/// A time during which nodes of different parts do not reach each other.
#[derive(Clone, Debug)]
pub struct Cut {
    /// When it begins, milliseconds.
    pub from_ms: u64,
    /// When it heals, milliseconds.
    pub to_ms: u64,
    /// The parts; a node in none of them reaches everybody.
    pub parts: Vec<Vec<usize>>,
    /// Whether what was sent meanwhile is lost, and not only late.
    pub lost: bool,
}
