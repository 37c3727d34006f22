//! A mutant of the order protocol that sorts by the sum of weight times position.

use kakera_cbc::*;

#[derive(Clone, Debug)]
pub(crate) struct Positions(pub(crate) Order);

impl Positions {
    fn ranking(&self, value: Value) -> Ranking {
        self.0.candidate(value).unwrap()
    }
}

impl Protocol for Positions {
    type Base = ();
    type Estimate = Ranking;
    type Candidate = Ranking;

    fn standing(&self, base: &()) -> Standing {
        self.0.standing(base)
    }

    fn newest_base(&self) {}

    fn slot_of(&self, base: Value) -> Slot {
        self.0.slot_of(base)
    }

    fn certify(&mut self, base: (), finalized: Value) -> Result<(), CertifyError> {
        self.0.certify(base, finalized)
    }

    fn agrees(&self, value: Value, candidate: Value) -> bool {
        self.0.agrees(value, candidate)
    }

    fn estimate(&self, _: Value, votes: Vec<(Value, u64)>) -> Value {
        let mut sums = [0; 4];
        for (vote, weight) in votes {
            let places = (0..).zip(self.ranking(vote).items().to_vec());
            places.for_each(|(place, item): (u64, u8)| sums[usize::from(item)] += place * weight);
        }
        let mut items: Vec<u8> = (0..4).collect();
        items.sort_by_key(|item| sums[usize::from(*item)]);
        self.0.value(&Ranking::new(&items).unwrap()).unwrap()
    }

    fn judge(&self, claim: &Claim<'_, Ranking>) -> Result<(), InvalidEstimate> {
        self.0.judge(claim)
    }

    fn proposes(estimate: &Ranking) -> bool {
        Order::proposes(estimate)
    }

    fn admit(&mut self, estimate: &Ranking) -> Value {
        self.0.admit(estimate)
    }

    fn candidate(&self, value: Value) -> Option<Ranking> {
        self.0.candidate(value)
    }

    fn value(&self, candidate: &Ranking) -> Option<Value> {
        self.0.value(candidate)
    }

    fn root(&self) -> Value {
        self.0.root()
    }

    fn toward(&self, from: Value, to: Value) -> Option<Value> {
        self.0.toward(from, to)
    }

    fn shift(&mut self, from: Option<Value>, to: Option<Value>, weight: u64) {
        self.0.shift(from, to, weight);
    }

    fn head(&self) -> Value {
        self.0.head()
    }

    fn prune(&mut self, line: Slot) {
        self.0.prune(line);
    }
}
