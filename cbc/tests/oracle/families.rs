//! Pictures drawn by chance: the eight families of the samples, and mutations that no polite member makes.

use crate::common::Chance;
use crate::oracle::reference::{Closures, Look, Picture, Said, Set};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const FAMILIES: [&str; 8] =
    ["in-order", "delays", "partition", "swing", "equivocates-to-peers", "forgets-itself", "zero-weights", "ties"];

/// One face of a validator: what it knows, and which group it talks to.
struct Face {
    validator: usize,
    group: usize,
    knows: Set,
}

struct Painter {
    chance: Chance,
    family: usize,
    /// Percent of messages that break manners.
    rude: usize,
    picture: Picture,
    faces: Vec<Face>,
}

/// A picture of a family.
pub(crate) fn picture(family: usize, seed: u64) -> Picture {
    let mut chance = Chance(seed);
    let validators = match chance.below(12) {
        0 => 1,
        1 => 2,
        _ => 3 + chance.below(4),
    };
    let weights = weights(&mut chance, family, validators);
    let mut names: Vec<u64> =
        (0..validators as u64).map(|at| if seed.is_multiple_of(3) { at * 7 + 5 } else { at }).collect();
    chance.shuffle(&mut names);
    let rude = [0, 0, 0, 15, 50][chance.below(5)];
    let picture = Picture {
        id: format!("{}-{seed}", FAMILIES[family]),
        validators: names.into_iter().zip(weights).collect(),
        ..Picture::default()
    };
    let twins = if family == 4 { 1 + chance.below(2) } else { usize::from(chance.percent(10)) };
    let mut faces = Vec::new();
    for validator in 0..validators {
        let many = if validator < twins { 2 + chance.below(2) } else { 1 };
        for face in 0..many {
            faces.push(Face { validator, group: (validator + face) % 2, knows: Set::new() });
        }
    }
    let mut painter = Painter { chance, family, rude, picture, faces };
    painter.paint();
    painter.picture
}

fn weights(chance: &mut Chance, family: usize, n: usize) -> Vec<u64> {
    let mut weights: Vec<u64> = match (family, chance.below(10)) {
        (7, _) => (0..n).map(|_| 1 + chance.next() % 2).collect(),
        (_, 0) => vec![u64::MAX / n as u64; n],
        (_, 1) => (0..n).map(|_| u64::MAX / n as u64 - chance.next() % 5).collect(),
        (_, 2) => {
            let rich = chance.below(n);
            (0..n).map(|at| if at == rich { 1000 } else { chance.next() % 2 }).collect()
        }
        (_, 3) => vec![1; n],
        (_, 4) => (0..n).map(|_| 1 + chance.next() % 4).collect(),
        _ => (0..n).map(|_| 1 + chance.next() % 400).collect(),
    };
    if family == 6 {
        let kept = chance.below(n);
        for (at, weight) in weights.iter_mut().enumerate() {
            if at != kept && chance.percent(50) {
                *weight = 0;
            }
        }
    }
    if weights.iter().all(|weight| *weight == 0) {
        weights[0] = 7;
    }
    weights
}

impl Painter {
    fn paint(&mut self) {
        let length = 1 + self.chance.below(25);
        for step in 0..length {
            let face = self.chance.below(self.faces.len());
            self.listen(face, step * 3 < length * 2);
            self.say(face);
        }
        for view in 0..1 + self.chance.below(3) {
            let look = self.observer(view);
            self.picture.views.push(look);
        }
    }

    /// The face receives what its family lets through.
    fn listen(&mut self, face: usize, early: bool) {
        let group = self.faces[face].group;
        for at in 0..self.picture.messages.len() {
            let sender = self.picture.messages[at].sender;
            let from = self.faces.iter().find(|face| face.knows.contains(&at)).map_or(0, |face| face.group);
            let through = match self.family {
                0 | 6 => true,
                2 | 3 => (!early || from == group) && self.chance.percent(80),
                4 => (from == group || !early) && self.chance.percent(70),
                _ => self.chance.percent(45),
            };
            let own = self.picture.validators[self.faces[face].validator].0 == sender;
            if through && !own {
                let closure = Closures::new(&self.picture).of[at].clone();
                self.faces[face].knows.extend(closure);
            }
        }
    }

    /// Latest message of each validator in what the face knows; of one with two, the highest place.
    fn justification(&mut self, face: usize) -> BTreeMap<u64, usize> {
        let mut cites = BTreeMap::new();
        let Face { validator, knows, .. } = &self.faces[face];
        for at in knows {
            cites.insert(self.picture.messages[*at].sender, *at);
        }
        let own = self.picture.validators[*validator].0;
        let rude = self.chance.percent(self.rude) || (self.family == 5 && self.chance.percent(20));
        if !rude || cites.is_empty() {
            return cites;
        }
        let somebody = *cites.keys().nth(self.chance.below(cites.len())).unwrap_or(&own);
        match self.chance.below(6) {
            0 => drop(cites.remove(&own)),
            1 => drop(cites.remove(&somebody)),
            2 => {
                let keep = self.chance.below(cites.len());
                let kept = cites.keys().nth(keep).copied();
                cites.retain(|validator, _| Some(*validator) == kept);
            }
            3 => cites.clear(),
            // An old message of somebody, perhaps of oneself: a fork then.
            kind => {
                let whose = if kind == 4 { own } else { somebody };
                let old: Vec<usize> =
                    (0..self.picture.messages.len()).filter(|at| self.picture.messages[*at].sender == whose).collect();
                if !old.is_empty() {
                    cites.insert(whose, old[self.chance.below(old.len())]);
                }
            }
        }
        cites
    }

    fn say(&mut self, face: usize) {
        let cites = self.justification(face);
        let closures = Closures::new(&self.picture);
        let closure: Set = cites.values().flat_map(|at| &closures.of[*at]).copied().collect();
        let mut parent = closures.ghost(&closure).0;
        let swings = self.chance.percent(if self.family == 3 { 40 } else { self.rude / 2 });
        if swings && !self.picture.messages.is_empty() {
            let many = self.picture.messages.len() + 1;
            parent = Some(self.chance.below(many)).filter(|at| at + 1 < many);
        }
        let place = self.picture.messages.len();
        let letter = char::from(b'a' + self.chance.below(26) as u8);
        let name = |at: usize| self.picture.messages[at].id.clone();
        let said = Said {
            id: format!("{letter}{place}"),
            sender: self.picture.validators[self.faces[face].validator].0,
            parent: parent.map(name),
            cites: cites.iter().map(|(validator, at)| (*validator, name(*at))).collect(),
        };
        self.picture.messages.push(said);
        self.faces[face].knows.extend(closure);
        self.faces[face].knows.insert(place);
    }

    /// Somebody who receives some of it, in any order, some of it twice.
    fn observer(&mut self, view: usize) -> Look {
        let mut delivered: Vec<String> = self.picture.messages.iter().map(|said| said.id.clone()).collect();
        let all = delivered.clone();
        match self.chance.below(4) {
            0 => {}
            1 => delivered.truncate(1 + self.chance.below(all.len())),
            _ => delivered.retain(|_| self.chance.percent(92)),
        }
        if self.chance.percent(50) {
            let again: Vec<String> = delivered.iter().filter(|_| self.chance.percent(30)).cloned().collect();
            delivered.extend(again);
        }
        if self.chance.percent(70) {
            self.chance.shuffle(&mut delivered);
        }
        let candidates: BTreeSet<String> = (0..4).map(|_| all[self.chance.below(all.len())].clone()).collect();
        let name = format!("v{view}");
        Look { name, delivered, candidates: candidates.into_iter().collect() }
    }
}
