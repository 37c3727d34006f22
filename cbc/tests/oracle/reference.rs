//! The definitions, word for word and slow: messages, closures as sets, and nothing of the crate's code.

use std::collections::{BTreeMap, BTreeSet};

/// A case as plain data: what a file of cases says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) id: String,
    /// (name, weight).
    pub(crate) validators: Vec<(u64, u64)>,
    pub(crate) messages: Vec<Said>,
    pub(crate) views: Vec<Look>,
}

/// One message, which is a block too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) id: String,
    pub(crate) sender: u64,
    /// Nothing: the root.
    pub(crate) parent: Option<String>,
    pub(crate) cites: BTreeMap<u64, String>,
}

/// One observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) name: String,
    pub(crate) delivered: Vec<String>,
    pub(crate) candidates: Vec<String>,
}

/// Parent, children and score.
pub(crate) type Tie = (String, Vec<String>, u128);

/// What follows from the definitions for one observer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) head: String,
    /// Parent, children and score of the first tie on the way to the head.
    pub(crate) tie: Option<Tie>,
    pub(crate) equivocators: BTreeSet<u64>,
    pub(crate) fault_weight: u128,
    pub(crate) honest_latest: BTreeMap<u64, String>,
    pub(crate) candidates: BTreeMap<String, Judged>,
}

/// What follows for one candidate: the clique's weight, and q and tolerance by level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) clique: u128,
    pub(crate) summit: BTreeMap<u32, (u128, [u128; 2])>,
}

pub(crate) type Set = BTreeSet<usize>;
/// Messages by validator.
type Layer = BTreeMap<u64, Set>;

/// The closures of a picture's messages; message i is named by its place.
pub(crate) struct Closures<'a> {
    pub(crate) picture: &'a Picture,
    pub(crate) of: Vec<Set>,
    weights: BTreeMap<u64, u128>,
    parents: Vec<Option<usize>>,
}

impl<'a> Closures<'a> {
    pub(crate) fn new(picture: &'a Picture) -> Self {
        let place = |id: &String| picture.messages.iter().position(|said| said.id == *id).expect("a known id");
        let mut of: Vec<Set> = Vec::new();
        for (at, said) in picture.messages.iter().enumerate() {
            let mut closure = Set::from([at]);
            for cited in said.cites.values() {
                closure.extend(&of[place(cited)]);
            }
            of.push(closure);
        }
        let parents = picture.messages.iter().map(|said| said.parent.as_ref().map(place)).collect();
        let weights = picture.validators.iter().map(|(name, weight)| (*name, u128::from(*weight))).collect();
        Self { picture, of, weights, parents }
    }

    fn id(&self, at: usize) -> &str {
        &self.picture.messages[at].id
    }

    fn sender(&self, at: usize) -> u64 {
        self.picture.messages[at].sender
    }

    fn total(&self) -> u128 {
        self.weights.values().sum()
    }

    /// B is later than A when A is in B's justification, directly or through others.
    fn is_later(&self, b: usize, a: usize) -> bool {
        a != b && self.of[b].contains(&a)
    }

    fn said_by(&self, view: &Set, validator: u64) -> Vec<usize> {
        view.iter().copied().filter(|at| self.sender(*at) == validator).collect()
    }

    /// Two messages of one sender, neither later than the other.
    fn equivocates(&self, view: &Set, validator: u64) -> bool {
        let said = self.said_by(view, validator);
        said.iter().any(|a| said.iter().any(|b| a != b && !self.is_later(*a, *b) && !self.is_later(*b, *a)))
    }

    /// The one message of a validator than which none is later.
    fn latest(&self, view: &Set, validator: u64) -> Option<usize> {
        let said = self.said_by(view, validator);
        said.iter().copied().find(|at| said.iter().all(|other| !self.is_later(*other, *at)))
    }

    pub(crate) fn honest_latest(&self, view: &Set) -> BTreeMap<u64, usize> {
        let honest = self.weights.keys().filter(|validator| !self.equivocates(view, **validator));
        honest.filter_map(|validator| Some((*validator, self.latest(view, *validator)?))).collect()
    }

    /// Whether a block is `ancestor` (nothing: the root) or built on it.
    fn descends(&self, block: usize, ancestor: Option<usize>) -> bool {
        let mut at = Some(block);
        while at.is_some() && at != ancestor {
            at = self.parents[at.expect("some block")];
        }
        at == ancestor
    }

    /// LMD-GHOST from the root, and the first tie on the way.
    pub(crate) fn ghost(&self, view: &Set) -> (Option<usize>, Option<Tie>) {
        let latest = self.honest_latest(view);
        let score = |child: usize| -> u128 {
            let votes = latest.iter().filter(|(_, vote)| self.descends(**vote, Some(child)));
            votes.map(|(validator, _)| self.weights[validator]).sum()
        };
        let (mut at, mut tie) = (None, None);
        loop {
            let children = (0..self.parents.len()).filter(|child| self.parents[*child] == at);
            let scored: Vec<(u128, &str, usize)> =
                children.map(|child| (score(child), self.id(child), child)).filter(|scored| scored.0 > 0).collect();
            let Some((best, _, next)) = scored.iter().max().copied() else { return (at, tie) };
            let mut equals: Vec<String> =
                scored.iter().filter(|scored| scored.0 == best).map(|scored| scored.1.to_owned()).collect();
            if equals.len() > 1 && tie.is_none() {
                equals.sort();
                tie = Some((self.name(at), equals, best));
            }
            at = Some(next);
        }
    }

    fn name(&self, block: Option<usize>) -> String {
        block.map_or("G".to_owned(), |at| self.id(at).to_owned())
    }

    /// Messages whose parent is not the fork choice of their own justification's closure.
    pub(crate) fn unjustified(&self) -> BTreeSet<String> {
        let follows = |at: usize| {
            let mut justification = self.of[at].clone();
            justification.remove(&at);
            self.ghost(&justification).0 == self.parents[at]
        };
        (0..self.of.len()).filter(|at| !follows(*at)).map(|at| self.id(at).to_owned()).collect()
    }

    /// What an observer holds: delivered messages whose justifications it holds.
    fn held(&self, look: &Look) -> Set {
        let delivered: Set =
            (0..self.of.len()).filter(|at| look.delivered.iter().any(|id| id == self.id(*at))).collect();
        delivered.iter().copied().filter(|at| self.of[*at].is_subset(&delivered)).collect()
    }

    pub(crate) fn look(&self, look: &Look) -> Seen {
        let view = self.held(look);
        let equivocators: BTreeSet<u64> =
            self.weights.keys().copied().filter(|validator| self.equivocates(&view, *validator)).collect();
        let (head, tie) = self.ghost(&view);
        let latest = self.honest_latest(&view);
        let judged = |id: &String| {
            let block = self.picture.messages.iter().position(|said| said.id == *id).expect("a known id");
            (id.clone(), self.judge(&view, block))
        };
        Seen {
            head: self.name(head),
            tie,
            fault_weight: equivocators.iter().map(|validator| self.weights[validator]).sum(),
            equivocators,
            honest_latest: latest.into_iter().map(|(validator, at)| (validator, self.id(at).to_owned())).collect(),
            candidates: look.candidates.iter().map(judged).collect(),
        }
    }

    fn judge(&self, view: &Set, block: usize) -> Judged {
        let ends = self.agreeing_ends(view, block);
        let summit = (1..=4)
            .filter_map(|k| {
                let q = self.largest_quorum(&ends, k)?;
                let power = 1 << k;
                Some((k, (q, [(2 * q - self.total()) * (power - 1), power])))
            })
            .collect();
        Judged { clique: self.clique(&ends), summit }
    }

    /// Level 0: the unbroken end of each honest thread in which every message votes for the block.
    pub(crate) fn agreeing_ends(&self, view: &Set, block: usize) -> Layer {
        let mut ends = Layer::new();
        for (validator, _) in self.honest_latest(view) {
            let said = self.said_by(view, validator);
            let votes_on = |at: usize| self.descends(at, Some(block));
            let end: Set = said
                .iter()
                .copied()
                .filter(|at| said.iter().all(|other| (other != at && !self.is_later(*other, *at)) || votes_on(*other)))
                .collect();
            if !end.is_empty() {
                ends.insert(validator, end);
            }
        }
        ends
    }

    /// The newest message of a validator that agrees at all.
    fn newest(&self, ends: &Layer, validator: u64) -> usize {
        let end = &ends[&validator];
        let last = end.iter().find(|at| end.iter().all(|other| !self.is_later(*other, **at)));
        *last.expect("an end is not empty")
    }

    /// Weight of the members of a committee of which a message has seen something in a layer.
    fn seen(&self, at: usize, layer: &Layer, committee: &BTreeSet<u64>) -> u128 {
        let seen = committee.iter().filter(|member| {
            layer.get(member).is_some_and(|said| said.iter().any(|other| self.of[at].contains(other)))
        });
        seen.map(|member| self.weights[member]).sum()
    }

    fn weight(&self, committee: &BTreeSet<u64>) -> u128 {
        committee.iter().map(|member| self.weights[member]).sum()
    }

    /// Whether each member's newest message has seen the layer below in members of this committee weighing q.
    fn stands(&self, ends: &Layer, below: &Layer, committee: &BTreeSet<u64>, q: u128) -> bool {
        self.weight(committee) >= q
            && committee.iter().all(|member| {
                below.contains_key(member) && self.seen(self.newest(ends, *member), below, committee) >= q
            })
    }

    /// The committee's messages of the next level: those of this one that have seen a quorum of this one.
    fn above(&self, below: &Layer, committee: &BTreeSet<u64>, q: u128) -> Layer {
        let climbs = |at: &usize| self.seen(*at, below, committee) >= q;
        let of = |member: &u64| (*member, below[member].iter().copied().filter(climbs).collect::<Set>());
        committee.iter().map(of).filter(|(_, said)| !said.is_empty()).collect()
    }

    /// Whether there is a (q,k)-summit, each committee found by dropping who does not belong.
    pub(crate) fn summit(&self, ends: &Layer, q: u128, k: u32) -> bool {
        let mut layer = ends.clone();
        let mut committee: BTreeSet<u64> = ends.keys().copied().collect();
        for _ in 0..k {
            loop {
                let left: BTreeSet<u64> = committee
                    .iter()
                    .copied()
                    .filter(|member| layer.contains_key(member))
                    .filter(|member| self.seen(self.newest(ends, *member), &layer, &committee) >= q)
                    .collect();
                if left == committee {
                    break;
                }
                committee = left;
            }
            if !self.stands(ends, &layer, &committee, q) {
                return false;
            }
            layer = self.above(&layer, &committee, q);
        }
        true
    }

    /// The same by trying all nested committees.
    pub(crate) fn summit_by_search(&self, ends: &Layer, q: u128, k: u32) -> bool {
        let mut open = vec![(0, ends.keys().copied().collect::<BTreeSet<u64>>(), ends.clone())];
        while let Some((level, committee, layer)) = open.pop() {
            if level == k {
                return true;
            }
            for part in subsets(&committee) {
                if self.stands(ends, &layer, &part, q) {
                    let next = self.above(&layer, &part, q);
                    open.push((level + 1, part, next));
                }
            }
        }
        false
    }

    /// The largest integer q > W/2 with a summit: one by one, or over the sums that subsets have where W is large.
    /// (A condition "this sum is at least q" that holds for q holds up to the next sum.)
    fn largest_quorum(&self, ends: &Layer, k: u32) -> Option<u128> {
        let total = self.total();
        let all: BTreeSet<u64> = self.weights.keys().copied().collect();
        let quorums: BTreeSet<u128> =
            if total <= 64 { (1..=total).collect() } else { subsets(&all).map(|part| self.weight(&part)).collect() };
        quorums.into_iter().rev().filter(|q| 2 * q > total).find(|q| self.summit(ends, *q, k))
    }

    /// The heaviest set of at least two validators that agree and have pairwise seen each other agree; nothing where
    /// all that agree weigh less than half.
    fn clique(&self, ends: &Layer) -> u128 {
        let agreeing: BTreeSet<u64> = ends.keys().copied().collect();
        if 2 * self.weight(&agreeing) < self.total() {
            return 0;
        }
        let sees = |a: u64, b: u64| ends[&b].iter().any(|at| self.of[self.newest(ends, a)].contains(at));
        let friends =
            |part: &BTreeSet<u64>| part.iter().all(|a| part.iter().all(|b| a == b || (sees(*a, *b) && sees(*b, *a))));
        let cliques = subsets(&agreeing).filter(|part| part.len() >= 2 && friends(part));
        cliques.map(|part| self.weight(&part)).max().unwrap_or(0)
    }
}

/// All subsets.
fn subsets(of: &BTreeSet<u64>) -> impl Iterator<Item = BTreeSet<u64>> + use<> {
    let members: Vec<u64> = of.iter().copied().collect();
    (0..1u32 << members.len()).map(move |mask| {
        members.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, member)| *member).collect()
    })
}
