//! Replicas in a room: they hear everything that all others say, but for those whose links somebody else decides.

use super::{
    World,
    committee::{Watched, heard, open},
};
use kakera_beacon::Beacon;
use kakera_chain::{
    Member,
    crosslink::Crosslink,
    machine::StateMachine,
    peer::PeerMessage,
    replica::{Input, Refused, Replica},
    units::ChainId,
};
use std::collections::{BTreeMap, VecDeque};

/// When everybody starts.
pub(super) const START: u64 = 1_000;
/// How long everything takes to arrive, in ms.
const HOP: u64 = 3;

/// Replicas of one committee, perhaps two of one member, in virtual time.
pub(crate) struct Room {
    pub(crate) members: Vec<Option<Watched>>,
    /// Whom each of them speaks for.
    who: Vec<Member>,
    pub(crate) now: u64,
    flying: BTreeMap<(u64, u64), (usize, usize, PeerMessage)>,
    count: u64,
    /// All that was said, in order: when, by whom, to whom.
    pub(crate) heard: Vec<(u64, Member, Member, PeerMessage)>,
    /// The replicas from this one on are twins; each message of theirs, or to them, takes as long as the next byte says.
    twins: usize,
    delays: VecDeque<u8>,
}

impl Room {
    /// The committee, of whom those in `absent` are somebody else's to play.
    pub(crate) fn new(absent: &[Member]) -> Room {
        let who: Vec<Member> = World::of_all().seats(ChainId::Beacon).committee.members().collect();
        let members = who.iter().map(|member| (!absent.contains(member)).then(|| open(Some(*member)))).collect();
        Room::of(members, who, VecDeque::new())
    }

    /// The committee, of which one member is two processes; `delays`: how long what they say and hear takes.
    pub(crate) fn twins(member: Member, delays: &[u8]) -> Room {
        let mut who: Vec<Member> = World::of_all().seats(ChainId::Beacon).committee.members().collect();
        who.retain(|other| *other != member);
        who.extend([member; 2]);
        let members = who.iter().map(|member| Some(open(Some(*member)))).collect();
        Room::of(members, who, delays.iter().copied().collect())
    }

    fn of(members: Vec<Option<Watched>>, who: Vec<Member>, delays: VecDeque<u8>) -> Room {
        let twins = World::of_all().seats(ChainId::Beacon).keys.len() - usize::from(who.len() > 4);
        let (flying, heard) = (BTreeMap::new(), Vec::new());
        let mut room = Room { members, who, now: START, flying, count: 0, heard, twins, delays };
        (0..room.members.len()).for_each(|member| drop(room.give(member, Input::Tick)));
        room
    }

    pub(crate) fn give(&mut self, at: usize, input: Input<Crosslink>) -> Vec<Refused> {
        let Some(there) = &mut self.members[at] else { return Vec::new() };
        let said = there.step(self.now, input);
        for (to, message) in said.sent {
            for other in 0..self.who.len() {
                if to.is_none_or(|to| to == self.who[other]) {
                    self.fly(at, other, message.clone());
                }
            }
        }
        said.refused
    }

    fn fly(&mut self, from: usize, to: usize, message: PeerMessage) {
        if self.who[from] == self.who[to] {
            return;
        }
        let mut arrives = self.now + HOP;
        if from.max(to) >= self.twins {
            match self.delays.pop_front() {
                Some(delay @ 0..0xc0) => arrives += u64::from(delay % 16) * u64::from(delay / 16) * 4,
                // Lost, or the twins have ended.
                _ => return,
            }
        }
        self.count += 1;
        self.flying.insert((arrives, self.count), (from, to, message));
    }

    /// Lets `ms` pass; returns what was refused of whom, by whom.
    pub(crate) fn run(&mut self, ms: u64) -> Vec<(Member, usize, Refused)> {
        let end = self.now + ms;
        let mut refused = Vec::new();
        loop {
            let flight = self.flying.first_key_value().map(|((at, _), _)| *at);
            let wakeups = self.members.iter().enumerate();
            let wakeup = wakeups.filter_map(|(at, member)| Some((member.as_ref()?.replica.next_wakeup().0, at))).min();
            let next = flight.into_iter().chain(wakeup.map(|(at, _)| at)).min().unwrap_or(end);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if flight.is_some_and(|at| at <= self.now) {
                let (_, (from, to, message)) = self.flying.pop_first().unwrap();
                let member = self.who[from];
                self.heard.push((self.now, member, self.who[to], message.clone()));
                let reasons = self.give(to, heard(member, message));
                refused.extend(reasons.into_iter().map(|reason| (member, to, reason)));
            } else if let Some((_, at)) = wakeup {
                drop(self.give(at, Input::Tick));
            }
        }
        self.now = end;
        refused
    }

    /// All that are here.
    pub(crate) fn replicas(&self) -> impl Iterator<Item = &Replica<Beacon>> {
        self.members.iter().flatten().map(|member| &member.replica)
    }
}
