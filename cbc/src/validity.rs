//! Validity: whether a message may enter the DAG, as typed verdicts (the rules: crate documentation, *Validity*).

use crate::arena::{FAULTY, NOTHING};
use crate::dag::Dag;
use crate::engine::Engine;
use crate::forkchoice::{Claim, InvalidEstimate, Protocol, Standing, Value};
use crate::ids::{Member, MessageId, Slot};
use crate::message::{Cite, Message, Observation, cites_digest};
use crate::pending::Missing;
use thiserror::Error;

/// Why a message is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    /// The sender is not in the committee.
    #[error("member {member} is not in the committee")]
    UnknownSender {
        /// The claimed sender.
        member: Member,
    },
    /// An advance names nobody in the committee.
    #[error("cited member {member} is not in the committee")]
    UnknownCited {
        /// The cited index.
        member: Member,
    },
    /// Advances are not sorted by member without duplicates.
    #[error("advances are not strictly sorted")]
    AdvancesUnsorted,
    /// An advance of no step.
    #[error("the advance of member {member} is none")]
    NoAdvance {
        /// About whom.
        member: Member,
    },
    /// The sender lists itself, or a full list cites another message of it than the one before.
    #[error("the sender's previous message is not cited as it must be")]
    OwnPrevious,
    /// A full list says something else than the advances.
    #[error("the advances disagree with the cited list about member {member}")]
    AdvancesDisagree {
        /// About whom.
        member: Member,
    },
    /// The slot is before the base's.
    #[error("the message is older than its base")]
    BeforeBase,
    /// The slot is before a cited message's.
    #[error("the message is older than one it cites, of member {member}")]
    BeforeCited {
        /// Sender of the cited message.
        member: Member,
    },
    /// More than M messages of the sender in the slot.
    #[error("more than {limit} messages of one member in one slot")]
    TooManyInSlot {
        /// M.
        limit: u32,
    },
    /// A second block of the sender in the slot.
    #[error("a second block of one member in one slot")]
    SecondBlockInSlot,
    /// Something the sender cited before is cited no more.
    #[error("the justification goes back on member {member}")]
    Regresses {
        /// About whom.
        member: Member,
    },
    /// A cited message has seen something this message does not cite.
    #[error("the justification is not closed: member {member}")]
    NotClosed {
        /// About whom.
        member: Member,
    },
    /// The closure holds two messages of one `seq`, and their sender is not marked faulty.
    #[error("the closure shows that member {member} equivocates, unmarked")]
    UnmarkedEquivocator {
        /// Who.
        member: Member,
    },
    /// A cited message has a base that is not at or below this one's.
    #[error("the base is not at or after that of the cited message of member {member}")]
    BaseBehindCited {
        /// Sender of the cited message.
        member: Member,
    },
    /// More messages above the base than L.
    #[error("more than {limit} messages above the base")]
    ClosureTooLarge {
        /// L.
        limit: u64,
    },
    /// The estimate may not be said.
    #[error(transparent)]
    Estimate(#[from] InvalidEstimate),
}

/// A message that may be inserted, with its justification resolved.
#[derive(Clone, Debug)]
pub struct Checked<P: Protocol> {
    pub(crate) message: Message<P>,
    pub(crate) row: Vec<u32>,
    pub(crate) prev: u32,
    pub(crate) base: Value,
    pub(crate) prunings: u64,
}

impl<P: Protocol> Checked<P> {
    /// The message.
    #[must_use]
    pub fn message(&self) -> &Message<P> {
        &self.message
    }
}

/// What is known about a message.
#[derive(Clone, Debug)]
pub enum Verdict<P: Protocol> {
    /// It is held already.
    Known,
    /// It is refused for good.
    Invalid(Invalid),
    /// Not decidable yet: this is missing.
    Waiting(Missing<P>),
    /// It may be inserted.
    Valid(Checked<P>),
}

/// Everything that ends a check early.
enum Stop<P: Protocol> {
    Invalid(Invalid),
    Waiting(Missing<P>),
}

impl<P: Protocol> From<Invalid> for Stop<P> {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl<P: Protocol> Engine<P> {
    /// Judges a message; changes nothing. `now` is the local clock's slot.
    #[must_use]
    pub fn check(&self, now: Slot, message: &Message<P>) -> Verdict<P> {
        let supplied = self.pending.cites_of(&message.id);
        self.verdict(message, self.judge(now, message, supplied))
    }

    /// The same with the full justification given, as a peer answered it.
    #[must_use]
    pub fn check_full(&self, now: Slot, message: &Message<P>, cites: &[Observation]) -> Verdict<P> {
        self.verdict(message, self.judge(now, message, Some(cites)))
    }

    fn verdict(&self, message: &Message<P>, judged: Result<Checked<P>, Stop<P>>) -> Verdict<P> {
        if self.dag.index_of(&message.id).is_some() {
            return Verdict::Known;
        }
        match judged {
            Ok(checked) => Verdict::Valid(checked),
            Err(Stop::Invalid(invalid)) => Verdict::Invalid(invalid),
            Err(Stop::Waiting(missing)) => Verdict::Waiting(missing),
        }
    }

    fn judge(&self, now: Slot, message: &Message<P>, cites: Option<&[Observation]>) -> Result<Checked<P>, Stop<P>> {
        self.check_shape(message)?;
        if message.slot > now {
            return Err(Stop::Waiting(Missing::Slot(message.slot)));
        }
        let base = match self.protocol.standing(&message.base) {
            Standing::Certified(base) => base,
            Standing::Pruned => return Err(Stop::Waiting(Missing::Past(message.base))),
            Standing::Uncertified => return Err(Stop::Waiting(Missing::Certificate(message.base))),
        };
        let floor = self.protocol.slot_of(base);
        if message.slot < floor {
            return Err(Invalid::BeforeBase.into());
        }
        let (row, prev) = match cites {
            Some(cites) => self.resolve_full(message, cites, floor)?,
            None => self.resolve_advances(message, floor)?,
        };
        if self.is_beside_the_forgotten(message) {
            return Err(Stop::Waiting(Missing::Past(message.base)));
        }
        self.check_faults(message, &row)?;
        self.check_rate(message, prev)?;
        self.check_closure(message, &row, prev, base)?;
        self.check_size(&row, prev, floor, message.slot)?;
        let votes = self.dag.honest_votes(&row, self.committee.weights());
        let follows = self.protocol.estimate(base, votes);
        let Message { sender, slot, estimate, .. } = message;
        let claim = Claim { sender: *sender, slot: *slot, estimate, follows };
        self.protocol.judge(&claim).map_err(Invalid::from)?;
        let message = message.clone();
        Ok(Checked { message, row, prev, base, prunings: self.prunings })
    }

    /// What can be refused without looking at any other message.
    fn check_shape(&self, message: &Message<P>) -> Result<(), Invalid> {
        if !self.committee.contains(message.sender) {
            return Err(Invalid::UnknownSender { member: message.sender });
        }
        if !message.advances.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(Invalid::AdvancesUnsorted);
        }
        if let Some((member, _)) = message.advances.last()
            && !self.committee.contains(*member)
        {
            return Err(Invalid::UnknownCited { member: *member });
        }
        for (member, cite) in &message.advances {
            if *member == message.sender {
                return Err(Invalid::OwnPrevious);
            }
            if *cite == Cite::Ahead(0) {
                return Err(Invalid::NoAdvance { member: *member });
            }
        }
        Ok(())
    }

    /// First slot above a base; that of the newest one for a base that is not certified here.
    pub(crate) fn floor(&self, base: &P::Base) -> Slot {
        let newest = || self.protocol.standing(&self.protocol.newest_base());
        match (self.protocol.standing(base), newest()) {
            (Standing::Certified(at), _) | (_, Standing::Certified(at)) => self.protocol.slot_of(at),
            _ => Slot(0),
        }
    }

    /// What advances add to: the closure of the sender's previous message, unless that is older than the base. A base
    /// is never below the pruning line, so that whoever judges has this closure or nobody asks for it.
    pub(crate) fn before(&self, prev: u32, floor: Slot) -> Option<&[u32]> {
        self.dag.node(prev).filter(|node| node.slot >= floor).and_then(|node| node.row.as_deref())
    }

    /// Resolves the justification from the advances; the digest decides whether that is right.
    fn resolve_advances(&self, message: &Message<P>, floor: Slot) -> Result<(Vec<u32>, u32), Stop<P>> {
        let nothing = [NOTHING];
        let previous: &[u32] = match message.seq.checked_sub(1) {
            None => &nothing,
            Some(seq) => {
                let held = self.dag.at(message.sender, seq);
                if held.is_empty() {
                    return Err(Stop::Waiting(Missing::Message { member: message.sender, seq }));
                }
                held
            }
        };
        let mut missing = Missing::FullCites(message.id);
        for prev in previous {
            match self.apply(message, *prev, floor) {
                Ok(Some(row)) => return Ok((row, *prev)),
                Ok(None) => {}
                // Steps after an equivocator's other message lead nowhere: only the whole list tells.
                Err(_) if self.is_faulty(message.sender) => {}
                Err(wanted) => missing = wanted,
            }
        }
        Err(Stop::Waiting(missing))
    }

    /// The justification that the advances describe after this previous message, if the digest agrees.
    fn apply(&self, message: &Message<P>, prev: u32, floor: Slot) -> Result<Option<Vec<u32>>, Missing<P>> {
        let mut row = self.before(prev, floor).map_or_else(|| vec![NOTHING; self.committee.len()], <[u32]>::to_vec);
        row[place(message.sender)] = prev;
        for (member, cite) in &message.advances {
            let old = row[place(*member)];
            row[place(*member)] = match cite {
                Cite::Faulty => FAULTY,
                Cite::Ahead(steps) => {
                    let Some(seq) = self.stepped(old, *steps) else { return Ok(None) };
                    let held = self.dag.at(*member, seq);
                    if held.is_empty() {
                        return Err(Missing::Message { member: *member, seq });
                    }
                    let mut later = held.iter().filter(|at| self.dag.contained(*member, old, **at));
                    match (later.next(), later.next()) {
                        (Some(only), None) => *only,
                        _ => return Ok(None),
                    }
                }
            };
        }
        Ok((self.dag.digest(&row) == message.cites).then_some(row))
    }

    /// The `seq` this many steps after an observation.
    fn stepped(&self, old: u32, steps: u64) -> Option<u64> {
        match old {
            NOTHING => steps.checked_sub(1),
            FAULTY => None,
            at => self.dag.node(at)?.seq.checked_add(steps),
        }
    }

    /// Resolves a full list whose digest agrees, and compares it with the advances.
    fn resolve_full(
        &self,
        message: &Message<P>,
        cites: &[Observation],
        floor: Slot,
    ) -> Result<(Vec<u32>, u32), Stop<P>> {
        if cites.len() != self.committee.len() || cites_digest(cites) != message.cites {
            return Err(Stop::Waiting(Missing::FullCites(message.id)));
        }
        let mut row = Vec::with_capacity(cites.len());
        for (member, cite) in self.committee.members().zip(cites) {
            row.push(match cite {
                Observation::Nothing => NOTHING,
                Observation::Faulty => FAULTY,
                Observation::Latest(id) => {
                    let at = self.dag.index_of(id).ok_or(Stop::Waiting(Missing::Id(*id)))?;
                    let sender = self.dag.node(at).map(|node| node.sender);
                    if sender != Some(member) {
                        return Err(Invalid::AdvancesDisagree { member }.into());
                    }
                    at
                }
            });
        }
        let prev = row[usize::from(message.sender.0)];
        let previous = self.dag.node(prev);
        if previous.map(|node| node.seq) != message.seq.checked_sub(1) || prev == FAULTY {
            return Err(Invalid::OwnPrevious.into());
        }
        let before = self.before(prev, floor);
        let mut advances = message.advances.iter().peekable();
        for (member, at) in self.committee.members().zip(&row) {
            let old = before.map_or(NOTHING, |before| before[place(member)]);
            let agrees = match advances.next_if(|(cited, _)| *cited == member) {
                Some((_, Cite::Faulty)) => *at == FAULTY,
                Some((_, Cite::Ahead(steps))) => {
                    let seq = self.dag.node(*at).map(|node| node.seq);
                    seq.is_some() && seq == self.stepped(old, *steps)
                }
                None => *at == old || member == message.sender,
            };
            if !agrees {
                return Err(Invalid::AdvancesDisagree { member }.into());
            }
        }
        Ok((row, prev))
    }

    /// Whether the sender has spoken past this place and what it said there has left memory: an equivocation, as soon
    /// as that is at hand.
    fn is_beside_the_forgotten(&self, message: &Message<P>) -> bool {
        let Message { sender, seq, .. } = message;
        let passed = self.latest(*sender).is_some_and(|(latest, _)| latest >= *seq);
        passed && !self.is_faulty(*sender) && self.dag.at(*sender, *seq).is_empty()
    }

    /// A faulty mark needs evidence here too.
    fn check_faults(&self, message: &Message<P>, row: &[u32]) -> Result<(), Stop<P>> {
        for (member, seen) in self.committee.members().zip(row) {
            if *seen == FAULTY && member != message.sender && !self.is_faulty(member) {
                return Err(Stop::Waiting(Missing::Evidence(member)));
            }
        }
        Ok(())
    }

    /// At most M messages a sender and slot, one of them a block.
    fn check_rate(&self, message: &Message<P>, prev: u32) -> Result<(), Invalid> {
        let Some(previous) = self.dag.node(prev).filter(|node| node.slot == message.slot) else {
            return Ok(());
        };
        let limit = self.committee.messages_per_slot();
        if u32::from(previous.in_slot) >= limit {
            return Err(Invalid::TooManyInSlot { limit });
        }
        if previous.block_in_slot && P::proposes(&message.estimate) {
            return Err(Invalid::SecondBlockInSlot);
        }
        Ok(())
    }

    /// Slots, bases, no going back, closed above the base, equivocators marked.
    ///
    /// Only what changed against the previous message is looked at: the rest was checked with it.
    fn check_closure(&self, message: &Message<P>, row: &[u32], prev: u32, base: Value) -> Result<(), Invalid> {
        let floor = self.protocol.slot_of(base);
        let old = self.before(prev, floor);
        if let Some(member) = old.and_then(|old| self.dag.first_uncontained(old, row)) {
            let (before, after) = (old.map_or(NOTHING, |old| old[place(member)]), row[place(member)]);
            let incomparable = self.dag.incomparable(member, before, after);
            return Err(if incomparable {
                Invalid::UnmarkedEquivocator { member }
            } else {
                Invalid::Regresses { member }
            });
        }
        let open = OpenEnds::of(self, row);
        for (member, at) in self.committee.members().zip(row) {
            let unchanged = member != message.sender && old.is_some_and(|old| old[place(member)] == *at);
            let Some(node) = self.dag.node(*at).filter(|_| !unchanged) else { continue };
            if node.slot > message.slot {
                return Err(Invalid::BeforeCited { member });
            }
            if node.slot < floor {
                continue;
            }
            // Certified bases lie on one chain, so slots order them; a pruned base is below all others.
            if self.protocol.slot_of(node.base) > floor {
                return Err(Invalid::BaseBehindCited { member });
            }
            let Some(seen) = node.row.as_deref() else { continue };
            let Some(open) = open.first_uncontained(&self.dag, (seen, self.dag.top(*at)), row) else { continue };
            let (theirs, ours) = (seen[place(open)], row[place(open)]);
            return Err(if theirs == FAULTY || self.dag.incomparable(open, theirs, ours) {
                Invalid::UnmarkedEquivocator { member: open }
            } else {
                Invalid::NotClosed { member: open }
            });
        }
        Ok(())
    }

    /// At most L = n^2 M (slots since base + 1) messages above the base.
    fn check_size(&self, row: &[u32], prev: u32, floor: Slot, slot: Slot) -> Result<(), Invalid> {
        let members = self.committee.len() as u64;
        let limit = (members * members)
            .saturating_mul(self.committee.messages_per_slot().into())
            .saturating_mul(slot.0.saturating_sub(floor.0).saturating_add(1));
        if self.dag.holds_more_than(limit, floor) && self.dag.closure_size(row, prev, floor, limit) > limit {
            return Err(Invalid::ClosureTooLarge { limit });
        }
        Ok(())
    }
}

/// Where a row ends: what it does not contain begins there, member by member.
///
/// Of a member with a single thread, whatever was inserted before the first message that the row lacks is contained.
/// So a cited message that has seen nothing inserted later needs no comparison of its whole row.
struct OpenEnds {
    /// First message that the row lacks, and whose it is; ascending.
    ends: Vec<(u32, Member)>,
    /// Members with branches or evidence against them that the row does not mark.
    special: Vec<Member>,
}

impl OpenEnds {
    fn of<P: Protocol>(engine: &Engine<P>, row: &[u32]) -> Self {
        let unmarked = |member: &Member| row[place(*member)] != FAULTY;
        let branched = engine.dag.forked().chain(engine.faulty_members());
        let mut special: Vec<Member> = branched.filter(unmarked).collect();
        special.sort_unstable();
        special.dedup();
        let ends = engine.committee.members().zip(row).filter(|(_, seen)| **seen != FAULTY);
        let mut ends: Vec<(u32, Member)> =
            ends.filter_map(|(member, seen)| Some((engine.dag.next_after(member, *seen)?, member))).collect();
        ends.sort_unstable();
        Self { ends, special }
    }

    /// The first member of whom a closure with this greatest index holds more than the row.
    fn first_uncontained(&self, dag: &Dag, (seen, top): (&[u32], u32), row: &[u32]) -> Option<Member> {
        let beyond = self.ends.iter().take_while(|(end, _)| *end <= top).map(|(_, member)| *member);
        let lacking = beyond.filter(|member| seen[place(*member)] > row[place(*member)]).min();
        let differs = |member: &Member| !dag.contained(*member, seen[place(*member)], row[place(*member)]);
        let special = self.special.iter().copied().find(differs);
        lacking.into_iter().chain(special).min()
    }
}

fn place(member: Member) -> usize {
    usize::from(member.0)
}

impl<P: Protocol> Verdict<P> {
    /// The missing thing, when waiting.
    #[must_use]
    pub fn missing(&self) -> Option<&Missing<P>> {
        match self {
            Self::Waiting(missing) => Some(missing),
            _ => None,
        }
    }
}

impl<P: Protocol> Checked<P> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.message.id
    }
}
