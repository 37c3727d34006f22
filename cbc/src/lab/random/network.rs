//! Validators that gossip: who has heard what, and what each says next.

use super::seeded::Seeded;
use super::{Family, Settled};
use crate::arena::{FAULTY, NOTHING};
use crate::committee::Committee;
use crate::ids::Member;
use crate::lab::free::{FreeDag, ROOT_BLOCK, block_of, ranked};
use std::collections::BTreeMap;

/// One face of a validator: an equivocator has two.
struct Face {
    member: Member,
    /// The half of the network it is in while that is split.
    half: bool,
    row: Vec<u32>,
    /// The last message heard of everybody: what is cited of an equivocator.
    last: Vec<u32>,
    held: Vec<bool>,
    /// What was heard, in order.
    heard: Vec<u32>,
    own: u32,
    /// The next own message's place in its thread.
    seq: u64,
    /// Messages on their way, by the step at which they arrive.
    coming: BTreeMap<usize, Vec<u32>>,
    /// Whether it votes for any block it likes.
    free_vote: bool,
}

/// All faces and what they have said.
pub(super) struct Network {
    pub(super) free: FreeDag,
    /// Claimed place in the thread, by message.
    pub(super) seqs: Vec<u64>,
    faces: Vec<Face>,
    /// The last message of every validator, whichever face said it.
    said: Vec<u32>,
    /// Ids of messages, so that they order like their names.
    ids: Vec<[u8; 32]>,
}

impl Network {
    pub(super) fn new(committee: Committee, settled: &Settled, seeded: &mut Seeded) -> Self {
        let mut names: Vec<(String, usize)> = (0..settled.messages).map(|nth| (format!("m{nth}"), nth)).collect();
        names.sort();
        let mut ids = vec![[0; 32]; settled.messages];
        (1..).zip(&names).for_each(|(rank, (_, nth))| ids[*nth] = ranked(rank));
        let mut order: Vec<Member> = committee.members().collect();
        seeded.shuffle(&mut order);
        let half = order.len() / 2;
        let mut faces = Vec::new();
        for (nth, member) in order.iter().enumerate() {
            faces.push(Face::new(*member, nth < half, committee.len(), settled.messages));
        }
        for (nth, member) in order.iter().take(settled.equivocators).enumerate() {
            let mut twin = Face::new(*member, nth >= half, committee.len(), settled.messages);
            twin.free_vote = settled.family == Family::EquivocationPaper;
            faces.push(twin);
        }
        let said = vec![NOTHING; committee.len()];
        Self { free: FreeDag::new(committee), seqs: Vec::new(), faces, said, ids }
    }

    /// All messages in order.
    pub(super) fn all(&self) -> impl Iterator<Item = u32> + use<> {
        1..=u32::try_from(self.free.len()).expect("MESSAGES bounds them")
    }

    /// What a validator's first face has heard, in order.
    pub(super) fn heard(&self, member: usize) -> Vec<u32> {
        let face = self.faces.iter().find(|face| face.member.index() == member);
        face.map(|face| face.heard.clone()).unwrap_or_default()
    }

    /// Messages with all that they cite, in order.
    pub(super) fn closure(&self, mut open: Vec<u32>) -> Vec<u32> {
        let mut inside = vec![false; self.free.len() + 1];
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut inside[at as usize], true) {
                open.extend_from_slice(self.free.cited(at));
            }
        }
        self.all().filter(|at| inside[*at as usize]).collect()
    }

    /// Lets faces speak until everything is said.
    pub(super) fn run(&mut self, settled: &Settled, seeded: &mut Seeded) {
        let mut speaker = seeded.below(self.faces.len());
        for step in 0..settled.messages {
            if !seeded.once_in(8) || settled.family == Family::InOrder {
                speaker = seeded.below(self.faces.len());
            }
            self.hear(speaker, step, settled, seeded);
            if settled.family == Family::EquivocationPaper && seeded.once_in(3) {
                self.fall_back(speaker, seeded);
            }
            self.speak(speaker, step, settled, seeded);
        }
        // What is still on its way stays there: views at the end differ.
    }

    /// Hands a face what is due; in a swing, all that some others have.
    fn hear(&mut self, face: usize, step: usize, settled: &Settled, seeded: &mut Seeded) {
        let later = self.faces[face].coming.split_off(&(step + 1));
        let due = std::mem::replace(&mut self.faces[face].coming, later);
        for at in due.into_values().flatten() {
            self.deliver(face, at);
        }
        if settled.family == Family::Swing {
            for _ in 0..1 + seeded.below(2) {
                let other = seeded.below(self.faces.len());
                if self.faces[other].own != NOTHING && self.faces[other].member != self.faces[face].member {
                    self.deliver(face, self.faces[other].own);
                }
            }
        }
    }

    /// Takes a message with all that it cites, oldest first; an equivocator's face takes nothing that knows of
    /// its other face, or of what it pretends not to have said.
    fn deliver(&mut self, face: usize, at: u32) {
        let (free, face) = (&self.free, &mut self.faces[face]);
        let seen = free.dag.row(at).map_or(NOTHING, |row| row[face.member.index()]);
        if free.sender(at) != face.member && !free.dag.contained(face.member, seen, face.own) {
            return;
        }
        let mut open = vec![at];
        while let Some(at) = open.last().copied() {
            let missing = free.cited(at).iter().copied().find(|cited| !face.held[*cited as usize]);
            if let Some(missing) = missing.filter(|_| !face.held[at as usize]) {
                open.push(missing);
                continue;
            }
            open.pop();
            if !std::mem::replace(&mut face.held[at as usize], true) {
                face.heard.push(at);
                free.join(&mut face.row, at);
                face.last[free.sender(at).index()] = at;
            }
        }
    }

    /// An equivocator's second face forgets its own last messages and all that it heard since.
    fn fall_back(&mut self, face: usize, seeded: &mut Seeded) {
        let face_of = &self.faces[face];
        if !face_of.free_vote || face_of.own == NOTHING {
            return;
        }
        let kept = seeded.below(face_of.heard.len());
        let heard: Vec<u32> = face_of.heard[..kept].to_vec();
        let member = face_of.member;
        let (half, seq, coming) = (face_of.half, face_of.seq, face_of.coming.clone());
        let (members, messages) = (self.free.committee.len(), self.ids.len());
        self.faces[face] = Face { seq, coming, free_vote: true, ..Face::new(member, half, members, messages) };
        for at in heard {
            self.deliver(face, at);
            if self.free.sender(at) == member {
                self.faces[face].own = at;
            }
        }
    }

    fn speak(&mut self, speaker: usize, step: usize, settled: &Settled, seeded: &mut Seeded) {
        let face = &self.faces[speaker];
        let mut cited = Vec::new();
        for member in self.free.committee.members() {
            let at = match face.row[member.index()] {
                _ if member == face.member => face.own,
                FAULTY => face.last[member.index()],
                at => at,
            };
            if at != NOTHING {
                cited.push(at);
            }
        }
        let row = self.free.closure(&cited);
        let follows = self.free.ghost(&row);
        // Who equivocates with this message may vote for anything it has heard of as well.
        let equivocates = self.said[face.member.index()] != face.own;
        let parent = match seeded.below(3) {
            0 if face.free_vote && equivocates && !face.heard.is_empty() => {
                block_of(face.heard[seeded.below(face.heard.len())])
            }
            1 if face.free_vote && equivocates => ROOT_BLOCK,
            _ => follows,
        };
        let (member, half, seq) = (face.member, face.half, face.seq);
        let at = self.free.add(member, self.ids[step], cited, row, parent);
        self.seqs.push(seq);
        self.deliver(speaker, at);
        self.faces[speaker].own = at;
        self.said[member.index()] = at;
        self.faces[speaker].seq += 1;
        for other in (0..self.faces.len()).filter(|other| *other != speaker) {
            if self.faces[other].member == member {
                continue;
            }
            let delay = delay(settled, step, half == self.faces[other].half, self.faces.len(), seeded);
            if let Some(delay) = delay {
                self.faces[other].coming.entry(step + 1 + delay).or_default().push(at);
            }
        }
    }
}

/// How many steps a message takes; none when it is passed on only when others cite it.
fn delay(settled: &Settled, step: usize, same_half: bool, faces: usize, seeded: &mut Seeded) -> Option<usize> {
    let random = seeded.below(2 * faces);
    let split = (2 * settled.partitions).max(1);
    let phase = step * split / settled.messages;
    let heals = settled.messages * (phase + 1) / split;
    let divided = settled.partitions > 0 && phase.is_multiple_of(2) && !same_half;
    match settled.family {
        _ if divided => Some(heals.saturating_sub(step) + random / 2),
        Family::InOrder => Some(0),
        Family::Swing => None,
        Family::Ties if !same_half && step < settled.messages / 2 => Some(settled.messages / 2 - step),
        Family::EquivocationPeer if !same_half => Some(random + faces),
        Family::Partitions | Family::Ties => Some(random / 4),
        _ => Some(random),
    }
}

impl Face {
    fn new(member: Member, half: bool, members: usize, messages: usize) -> Self {
        Self {
            member,
            half,
            row: vec![NOTHING; members],
            last: vec![NOTHING; members],
            held: vec![false; messages + 1],
            heard: Vec::new(),
            own: NOTHING,
            seq: 0,
            coming: BTreeMap::new(),
            free_vote: false,
        }
    }
}
