//! Asking for what is missing: a bounded number of requests, each time of another peer.

use super::{Conduct, Happening, Net, mix};
use crate::{Blocks, Event, Member, MessageId, Missing};
use std::collections::{BTreeMap, BTreeSet};

/// Messages in one answer.
const ANSWER: usize = 256;
/// The longest wait between two requests for one thing, milliseconds.
const LONGEST_WAIT_MS: u64 = 2_000;
/// Requests for something that only a status named.
const TOLD_TRIES: u32 = 4;

/// One thing to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    /// Messages past what is held; known equivocators' are left out when this is false.
    Since,
    Id(MessageId),
    Cites(MessageId),
    Certificate(crate::BlockId),
    Evidence(Member),
}

#[derive(Clone, Copy, Debug)]
struct Try {
    at: u64,
    tries: u32,
    to: usize,
    told: bool,
}

/// Requests under way of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants {
    open: BTreeMap<Want, Try>,
    /// What messages that came since the last look miss, and who said them: those are the first to ask.
    fresh: Vec<(Want, usize)>,
    planned: Option<u64>,
}

impl Wants {
    /// A message of this node cannot be judged yet.
    pub(super) fn parked(&mut self, from: usize, missing: &Missing<Blocks>) {
        self.fresh.extend(want_for(missing).map(|want| (want, from)));
    }

    /// Something was taken in: asking for more starts afresh.
    pub(super) fn came(&mut self) {
        if let Some(asked) = self.open.get_mut(&Want::Since) {
            asked.tries = asked.tries.min(1);
        }
    }
}

fn want_for(missing: &Missing<Blocks>) -> Option<Want> {
    match missing {
        Missing::Message { .. } => Some(Want::Since),
        Missing::Id(id) => Some(Want::Id(*id)),
        Missing::FullCites(id) => Some(Want::Cites(*id)),
        Missing::Evidence(member) => Some(Want::Evidence(*member)),
        Missing::Certificate(block) => Some(Want::Certificate(*block)),
        _ => None,
    }
}

impl Net {
    /// What a node misses, as far as somebody can be asked for it.
    fn missing(&self, at: usize) -> BTreeSet<Want> {
        let node = &self.nodes[at];
        let wants = node.engine().missing().filter_map(want_for);
        // With the certificate at hand it is the block that is missing.
        let wants = wants.map(|want| match want {
            Want::Certificate(block) if node.has_certificate(&block) => Want::Since,
            other => other,
        });
        wants.collect()
    }

    /// Makes sure that a node which misses something will ask for it.
    pub(super) fn plan_fetches(&mut self, at: usize) {
        if self.nodes[at].conduct() != Conduct::Honest {
            return;
        }
        let (now, delay) = (self.now, self.setup.times.delay_ms);
        let missing = self.missing(at);
        let wants = &mut self.nodes[at].wants;
        wants.open.retain(|want, asked| (asked.told && asked.tries < TOLD_TRIES) || missing.contains(want));
        // What a message cites is most often under way from somebody else.
        let soon = |to| Try { at: now + delay / 2, tries: 0, to, told: false };
        for (want, from) in std::mem::take(&mut wants.fresh) {
            // Whoever cites it holds it: nobody has to be waited for that is only next in turn.
            let asked = wants.open.entry(want).or_insert(soon(from));
            if asked.to != from && asked.at > now + delay / 2 {
                *asked = soon(from);
            }
        }
        for want in missing {
            wants.open.entry(want).or_insert(soon(at));
        }
        let next = wants.open.values().map(|asked| asked.at.max(now + 1)).min();
        if let Some(next) = next.filter(|next| wants.planned.is_none_or(|planned| planned > *next || planned <= now)) {
            wants.planned = Some(next);
            self.schedule(next, at, Happening::Fetch);
        }
    }

    /// Asks for what is due.
    pub(super) fn fetch(&mut self, at: usize) {
        let (now, delay, peers) = (self.now, self.setup.times.delay_ms, self.committee.len());
        let missing = self.missing(at);
        // In no order: members in a row may be silent together.
        let chance = &mut self.chance;
        let mut anybody = || usize::try_from(mix(chance) % peers.max(1) as u64).unwrap_or(0);
        let wants = &mut self.nodes[at].wants;
        wants.planned = None;
        let mut due = Vec::new();
        for (want, asked) in &mut wants.open {
            let idle = !missing.contains(want) && !asked.told;
            if asked.at > now || idle {
                continue;
            }
            due.push((*want, asked.to));
            let wait = (2 * delay) << asked.tries.min(8);
            let at = now + wait.min(LONGEST_WAIT_MS);
            *asked = Try { at, tries: asked.tries + 1, to: anybody(), ..*asked };
        }
        let tips = self.tips(at);
        for (want, to) in due {
            self.send(at, to, Happening::Request(at, want, tips.clone()));
        }
    }

    fn tips(&self, at: usize) -> Vec<Option<u64>> {
        let engine = self.nodes[at].engine();
        self.committee.members().map(|member| engine.latest(member).map(|(seq, _)| seq)).collect()
    }

    pub(super) fn tell_status(&mut self, at: usize) {
        let tips = self.tips(at);
        self.send_all(at, &Happening::Tips(at, tips));
        if let Some(every) = self.setup.status_ms {
            self.schedule(self.now + every, at, Happening::Status);
        }
    }

    /// A peer's status: what it has and this node lacks is asked for.
    pub(super) fn compare_tips(&mut self, at: usize, from: usize, tips: &[Option<u64>]) {
        let own = self.tips(at);
        let engine = self.nodes[at].engine();
        let behind = self.committee.members().zip(own.iter().zip(tips)).any(|(member, (own, theirs))| {
            !engine.is_faulty(member) && theirs.is_some_and(|seq| own.is_none_or(|own| seq > own))
        });
        let theirs = self.nodes[from].newest_certificate();
        let certificate = theirs.filter(|block| !self.nodes[at].has_certificate(block)).map(Want::Certificate);
        let since = behind.then_some(Want::Since);
        let now = self.now;
        for want in [since, certificate].into_iter().flatten() {
            let asked = Try { at: now, tries: 0, to: from, told: true };
            self.nodes[at].wants.open.entry(want).or_insert(asked);
        }
    }

    /// A peer asks: it gets what is held here.
    pub(super) fn answer(&mut self, at: usize, to: usize, want: Want, tips: &[Option<u64>]) {
        let node = &self.nodes[at];
        if node.deaf {
            return;
        }
        let mut answers = Vec::new();
        match want {
            Want::Since => {
                let lacks = |message: &crate::Message<Blocks>| {
                    let held = tips.get(message.sender.index()).copied().flatten();
                    held.is_none_or(|held| message.seq > held)
                };
                let found = node.journal().iter().filter(|message| lacks(message)).take(ANSWER);
                answers.extend(found.map(|message| Happening::Hear(at, message.clone())));
            }
            Want::Id(id) => {
                let found = self.library.messages.get(&id).filter(|_| node.engine().contains(&id));
                answers.extend(found.map(|message| Happening::Hear(at, message.clone())));
            }
            Want::Cites(id) if node.engine().contains(&id) => answers.push(Happening::Cites(id)),
            Want::Certificate(block) if node.has_certificate(&block) => answers.push(Happening::Certificate(block)),
            Want::Evidence(member) => {
                let found = node.engine().faulty().find(|(faulty, ..)| *faulty == member);
                answers.extend(found.map(|(member, first, second)| Happening::Evidence(member, first, second)));
            }
            Want::Cites(_) | Want::Certificate(_) => {}
        }
        for answer in answers {
            self.send(at, to, answer);
        }
    }

    /// Shows a face a message with everything it cites: Byzantine members keep nothing from each other.
    pub(super) fn show_face(&mut self, face: usize, id: MessageId) -> Vec<Event<Blocks>> {
        let slot = crate::Slot(self.slot().saturating_add(1 << 32));
        let (mut open, mut tried, mut events) = (vec![id], BTreeSet::new(), Vec::new());
        while let Some(id) = open.last().copied() {
            let node = &mut self.nodes[face];
            let (Some(message), Some(cites)) = (self.library.messages.get(&id), self.library.cites.get(&id)) else {
                open.pop();
                continue;
            };
            let lacking: Vec<MessageId> = cites
                .iter()
                .filter_map(|cite| if let crate::Observation::Latest(id) = cite { Some(*id) } else { None })
                .filter(|id| !node.engine().contains(id))
                .collect();
            if !lacking.is_empty() && tried.insert(id) {
                open.extend(lacking);
                continue;
            }
            open.pop();
            for (place, cite) in cites.iter().enumerate() {
                let Some(member) = u16::try_from(place).ok().map(Member) else { continue };
                if *cite == crate::Observation::Faulty
                    && let Some((first, second)) = self.library.evidence.get(&member)
                {
                    events.extend(node.engine_mut().accuse(member, *first, *second));
                }
            }
            events.extend(node.take_in(slot, message.clone(), cites, &self.library));
        }
        events
    }
}
