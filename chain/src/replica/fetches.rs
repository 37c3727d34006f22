//! Requests under way: for what, whom to ask next, and when.

use crate::{
    codec,
    hash::Hash,
    units::{ChainId, Timestamp},
};
use kakera_cbc::{BlockId, Blocks, Member, MessageId, Missing};
use std::collections::{BTreeMap, BTreeSet};

/// Things asked for at a time because one peer's status names them.
const TOLD: usize = 4;
/// The longest wait between two requests for one thing.
const LONGEST_WAIT_MS: u64 = 2_000;
/// Answers to one peer in one second at most: an honest one that catches up needs fewer.
const ANSWERS_A_SECOND: u32 = 64;

/// One thing to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    /// Messages past what is held.
    Since,
    ById(MessageId),
    Cites(MessageId),
    Certificate(BlockId),
    Evidence(Member),
}

impl Want {
    pub(super) fn of(missing: &Missing<Blocks>) -> Option<Want> {
        match missing {
            Missing::Message { .. } => Some(Want::Since),
            Missing::Id(id) => Some(Want::ById(*id)),
            Missing::FullCites(id) => Some(Want::Cites(*id)),
            Missing::Evidence(member) => Some(Want::Evidence(*member)),
            Missing::Certificate(block) => Some(Want::Certificate(*block)),
            Missing::Slot(_) | Missing::Block(_) | Missing::Past(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Fetch {
    at: Timestamp,
    /// Requests since the wait was the shortest.
    tries: u32,
    /// Whom to ask next, out of order: it surely holds what is wanted.
    aim: Option<Member>,
    /// A new aim waits until somebody was asked in order: whoever draws requests to itself gets every other one at most.
    owed: bool,
    /// In which order all are asked.
    order: u64,
    /// How many were asked in order.
    turn: u64,
    /// Asked for because of this peer's status, not because a message waits.
    told: Option<Member>,
}

/// Requests under way: one for each thing that a parked message misses (the engine bounds those), and a few that the
/// status of each peer makes worth a try.
pub(super) struct Fetches {
    wants: BTreeMap<Want, Fetch>,
    /// Whom to ask first for something new.
    next: Member,
    /// When each peer drew a request under way to itself.
    aimed: BTreeMap<Member, Timestamp>,
    /// How many orders were begun.
    orders: u64,
    /// Who was asked last for messages past what is held.
    asked: Option<Member>,
    /// Answers given to each peer in this second.
    answers: BTreeMap<Member, u32>,
    second: u64,
    /// How far down a thread each peer was last led, and how many messages at once.
    led: BTreeMap<Member, (MessageId, usize)>,
    delay_ms: u64,
}

/// Who asks whom: what a request's order is derived from.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    pub(super) chain: ChainId,
    pub(super) me: Option<Member>,
    pub(super) members: usize,
}

impl Fetches {
    pub(super) fn new(delay_ms: u64) -> Self {
        Fetches {
            wants: BTreeMap::new(),
            next: Member(0),
            aimed: BTreeMap::new(),
            orders: 0,
            asked: None,
            answers: BTreeMap::new(),
            second: 0,
            led: BTreeMap::new(),
            delay_ms,
        }
    }

    /// What is held: one want for each thing that is missed, for each message that is doubted, and what peers told of.
    pub(super) fn weigh(&self, members: u64, parked: u64, hold: &mut impl FnMut(&'static str, usize, u64)) {
        hold("requests under way", self.wants.len(), parked + members + members * TOLD as u64);
        hold("peers aimed at", self.aimed.len(), members);
        hold("peers answered", self.answers.len(), members);
        hold("peers led", self.led.len(), members);
    }

    pub(super) fn next_wakeup(&self) -> Timestamp {
        self.wants.values().map(|fetch| fetch.at).min().unwrap_or(Timestamp(u64::MAX))
    }

    /// A message was parked that misses this. Whoever said it holds what it cites, so that it is the first to ask, also
    /// where the same is asked for already and the wait has grown; but it draws requests to itself once in
    /// [`LONGEST_WAIT_MS`] at most.
    pub(super) fn lacks(&mut self, missing: &Missing<Blocks>, from: Member, now: Timestamp) {
        self.next = from;
        let Some(fetch) = Want::of(missing).and_then(|want| self.wants.get_mut(&want)) else { return };
        let rests = self.aimed.get(&from).is_some_and(|at| now < at.plus(LONGEST_WAIT_MS));
        if fetch.aim.is_some() || fetch.owed || rests {
            return;
        }
        self.aimed.insert(from, now);
        let at = fetch.at.min(now.plus(self.delay_ms / 2));
        *fetch = Fetch { at, tries: 0, aim: Some(from), owed: true, ..*fetch };
    }

    /// Messages came. If they answer a request and something was new, the want is met, and where there may be more the
    /// same peer is asked for the rest at once. An answer that brings nothing leaves the want to others.
    pub(super) fn answered(&mut self, from: Member, news: bool, more: bool, now: Timestamp) {
        if self.asked != Some(from) || !news {
            return;
        }
        self.asked = None;
        self.wants.remove(&Want::Since);
        if more {
            self.begin(Want::Since, from, now, Some(from));
        }
    }

    pub(super) fn tell(&mut self, want: Want, from: Member, now: Timestamp) {
        let told = self.wants.values().filter(|fetch| fetch.told == Some(from)).count();
        if told < TOLD {
            self.begin(want, from, now, Some(from));
        }
    }

    fn begin(&mut self, want: Want, to: Member, at: Timestamp, told: Option<Member>) {
        if self.wants.contains_key(&want) {
            return;
        }
        self.orders += 1;
        let fetch = Fetch { at, tries: 0, aim: Some(to), owed: false, order: self.orders, turn: 0, told };
        self.wants.insert(want, fetch);
    }

    /// Whether this peer may have one more answer now.
    pub(super) fn may_answer(&mut self, to: Member, now: Timestamp) -> bool {
        let second = now.0 / 1000;
        if second != self.second {
            (self.second, self.answers) = (second, BTreeMap::new());
        }
        let given = self.answers.entry(to).or_default();
        *given = given.saturating_add(1);
        *given <= ANSWERS_A_SECOND
    }

    /// How many earlier messages of its thread to give to a peer with what a message cites: twice as many as before to
    /// one that goes on where the last answer ended, because then it lacked all of those.
    pub(super) fn depth(&self, to: Member, message: &MessageId) -> usize {
        const FIRST: usize = 4;
        const MOST: usize = 64;
        self.led.get(&to).filter(|(end, _)| end == message).map_or(FIRST, |(_, depth)| (2 * depth).min(MOST))
    }

    pub(super) fn led_to(&mut self, to: Member, end: MessageId, depth: usize) {
        self.led.insert(to, (end, depth));
    }

    /// Asks for all of this, and for what peers told of for some tries; what is due now.
    pub(super) fn due(&mut self, missing: BTreeSet<Want>, now: Timestamp) -> Vec<Want> {
        self.wants.retain(|want, fetch| (fetch.told.is_some() && fetch.tries < 4) || missing.contains(want));
        for want in missing {
            // What a message cites is most often under way from somebody else.
            self.begin(want, self.next, now.plus(self.delay_ms / 2), None);
        }
        self.wants.iter().filter(|(_, fetch)| fetch.at <= now).map(|(want, _)| *want).collect()
    }

    /// Whom to ask now, and how many requests went before since the wait was the shortest.
    pub(super) fn turn(&mut self, want: Want, asker: Asker, now: Timestamp) -> Option<(Member, u32)> {
        let fetch = self.wants.get_mut(&want)?;
        let tries = fetch.tries;
        let wait = self.delay_ms.saturating_mul(2 << tries.min(16)).min(LONGEST_WAIT_MS);
        (fetch.at, fetch.tries) = (now.plus(wait), tries.saturating_add(1));
        let aim = fetch.aim.take().filter(|to| Some(*to) != asker.me);
        let to = aim.or_else(|| {
            fetch.owed = false;
            fetch.turn = fetch.turn.saturating_add(1);
            asker.nth(fetch.order, fetch.turn - 1)
        })?;
        if want == Want::Since {
            self.asked = Some(to);
        }
        Some((to, tries))
    }
}

impl Asker {
    /// Whom to ask at a turn. In each round of turns everybody else has one. Where rounds begin and how far they step
    /// differs by chain, asker, order and round: members that are silent side by side are not asked one after the other.
    fn nth(self, order: u64, turn: u64) -> Option<Member> {
        let me = self.me.filter(|me| me.index() < self.members);
        let others = (self.members - usize::from(me.is_some())) as u64;
        let (round, place) = (turn.checked_div(others)?, turn.checked_rem(others)?);
        let seed = Hash::of(&[&codec::encode(&(self.chain, me.map(|me| me.0), order, round))]).0;
        let number = |at: usize| seed[at..at + 4].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let mut step = 1 + number(0) % others;
        while common_divisor(step, others) != 1 {
            step += 1;
        }
        let index = u16::try_from((number(4) + step * place) % others).ok()?;
        // The own place is left out.
        Some(Member(if me.is_some_and(|me| index >= me.0) { index + 1 } else { index }))
    }
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn orders(me: Option<u16>, members: usize) -> Vec<Vec<u16>> {
        let asker = Asker { chain: ChainId::Beacon, me: me.map(Member), members };
        let others = (members - usize::from(me.is_some())) as u64;
        (0..200).map(|order| (0..others).map(|turn| asker.nth(order, turn).unwrap().0).collect()).collect()
    }

    #[test]
    fn everybody_else_has_one_turn_in_a_round() {
        for (me, members) in [(Some(0), 2), (Some(3), 4), (Some(7), 16), (None, 1), (None, 100), (Some(99), 100)] {
            for mut order in orders(me, members) {
                order.sort_unstable();
                assert!(order.into_iter().eq((0..members as u16).filter(|member| Some(*member) != me)));
            }
        }
        let alone = Asker { chain: ChainId::Beacon, me: Some(Member(0)), members: 1 };
        assert_eq!(alone.nth(0, 0), None);
    }

    #[test]
    fn a_run_of_silent_members_is_seldom_asked_one_after_the_other() {
        // A third is silent, side by side. In random order less than half a one of them is asked before another.
        let silent = |order: Vec<u16>| order.iter().take_while(|member| (1..34).contains(*member)).count();
        let waits: Vec<usize> = orders(Some(0), 100).into_iter().map(silent).collect();
        let (sum, most) = (waits.iter().sum::<usize>(), waits.iter().max().unwrap());
        assert!(sum <= 160 && *most <= 33, "{sum} in vain in 200 orders, {most} at worst");
        assert_ne!(orders(Some(0), 16)[0], orders(Some(1), 16)[0]);
    }
}
