//! The fourth member of the family: consensus on the order of a few items, by ranked pairs.

mod pairwise;
mod ranking;
#[cfg(test)]
mod tests;

use crate::forkchoice::{CertifyError, Claim, InvalidEstimate, Protocol, Standing, Value};
use crate::ids::Slot;
use pairwise::Pairwise;
use ranking::Numbers;
pub use ranking::{InvalidRanking, Ranking};
use thiserror::Error;

/// How many items can be ordered: 13 have more orders than 32 bits have numbers.
pub const ITEMS: usize = 12;

/// Why items cannot be ordered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidItems {
    /// There are none.
    #[error("there is nothing to order")]
    None,
    /// There are more than [`ITEMS`].
    #[error("{items} items are more than {ITEMS}")]
    TooMany {
        /// How many.
        items: usize,
    },
    /// Two have one name.
    #[error("two items are called {name}")]
    Twice {
        /// The name.
        name: String,
    },
}

/// The empty ranking's number.
const UNDECIDED: Value = 1;

/// Consensus on the order of a fixed set of at most [`ITEMS`] named items.
///
/// An estimate is a [`Ranking`] of all items. The estimator is *ranked pairs* over the latest honest
/// votes (T. N. Tideman, "Independence of clones as a criterion for voting rules", 1987): of each pair
/// of items the direction that more weight votes for is taken, heaviest first, unless what was taken
/// before says the contrary. Between equals a direction that puts the item of lower index first comes
/// first, then the one with the lower second item. From no votes any order may be said.
///
/// # Candidates
///
/// A candidate is a [`Ranking`] of any length: "the list begins with these items in this order". The
/// list is finalized from its top, place by place, each candidate one item longer than the one
/// before; the ranking of all items is a whole order.
///
/// # Why not the sum of positions
///
/// The reference implementation of the paper's family sorts items by the sum of weight times position.
/// Then a majority does not decide: of five equal votes let three say `a b c` and two `b c a`; the
/// sums are a = 4, b = 3, c = 8, so `b` comes first against the three. The engine's argument for
/// safety needs that latest votes of more than W/2 for a candidate make the estimator agree with it.
/// Here it holds: when votes for a ranking p weigh more than W/2, each pair that p settles (two items of
/// p, or one of p and one outside) has its heavier direction as p says. If one of these were refused,
/// what was taken before would lead from its second item to its first; that way has to go against p
/// somewhere, by a pair that p settles, but in the lighter direction, which is never taken. So p
/// comes out.
///
/// "a before b" alone is no candidate: thirds of the weight may say `a b c`, `b c a` and `c a b`, and
/// then two thirds support each of a before b, b before c, c before a.
///
/// # Bounds
///
/// Nothing is remembered of a vote but its number. Moving a weight in the own view, and the estimate
/// of any votes, cost some hundreds of steps for 12 items.
///
/// # Example
///
/// Two members of three agree from the start; the third is heard and outvoted.
///
/// ```
/// use kakera_cbc::*;
/// let order = Order::new(["tea", "milk", "sugar"])?;
/// let committee = Committee::new(vec![1; 3])?;
/// let mut engines: Vec<_> = committee
///     .members()
///     .map(|me| Engine::new(committee.clone(), Some(me), Limits::default(), order.clone()))
///     .collect();
/// let likes = [["milk", "tea", "sugar"], ["milk", "tea", "sugar"], ["sugar", "milk", "tea"]];
/// for round in 0..3u8 {
///     let mut said = Vec::new();
///     for engine in &mut engines {
///         let (message, _) = engine.say(Slot(round.into()), (), &engine.view(), |draft| {
///             let me = draft.sender;
///             let liked = order.ranking(&likes[me.index()]).expect("known names");
///             let estimate = if order.is_whole(&draft.value) { draft.value } else { liked };
///             (MessageId([round * 3 + me.0 as u8; 32]), estimate)
///         })?;
///         said.push(message);
///     }
///     for engine in &mut engines {
///         for message in &said {
///             // The own message is known already.
///             if let Verdict::Valid(checked) = engine.check(message.slot, message) {
///                 engine.insert(checked);
///             }
///         }
///         assert_eq!(order.names(&engine.head()), ["milk", "tea", "sugar"]);
///     }
/// }
/// assert!(engines.iter().all(|engine| order.names(&engine.finalized()) == ["milk", "tea", "sugar"]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Order {
    names: Vec<String>,
    numbers: Numbers,
    own: Pairwise,
    head: Value,
}

impl Order {
    /// No votes yet; ties are broken in the order of these names.
    ///
    /// # Errors
    /// No items, more than [`ITEMS`], or two of one name.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Self, InvalidItems> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.is_empty() {
            return Err(InvalidItems::None);
        }
        if names.len() > ITEMS {
            return Err(InvalidItems::TooMany { items: names.len() });
        }
        if let Some((_, name)) = names.iter().enumerate().find(|(place, name)| names[..*place].contains(*name)) {
            return Err(InvalidItems::Twice { name: name.clone() });
        }
        let items = names.len();
        Ok(Self { names, numbers: Numbers::new(items), own: Pairwise::new(items), head: UNDECIDED })
    }

    /// The ranking of items by name; none when a name is unknown or listed twice.
    #[must_use]
    pub fn ranking(&self, names: &[&str]) -> Option<Ranking> {
        let item = |name: &&str| u8::try_from(self.names.iter().position(|other| other == name)?).ok();
        Ranking::new(&names.iter().map(item).collect::<Option<Vec<u8>>>()?).ok()
    }

    /// The names of a ranking's items, leaving out what is no item here.
    #[must_use]
    pub fn names(&self, ranking: &Ranking) -> Vec<&str> {
        let name = |item: &u8| self.names.get(usize::from(*item)).map(String::as_str);
        ranking.items().iter().filter_map(name).collect()
    }

    /// Whether the ranking lists every item.
    #[must_use]
    pub fn is_whole(&self, ranking: &Ranking) -> bool {
        ranking.items().len() == self.names.len() && self.numbers.number(ranking).is_some()
    }

    fn winner(&self, pairs: &Pairwise) -> Value {
        if pairs.total() == 0 {
            return UNDECIDED;
        }
        let order = Ranking::new(&pairs.order()).expect("an order lists each item once");
        self.numbers.number(&order).expect("an order lists only items")
    }

    /// The order that a vote is for; nothing for what no message can support.
    fn voted(&self, value: Value) -> Option<Ranking> {
        self.numbers.ranking(value).filter(|ranking| self.is_whole(ranking))
    }
}

impl Protocol for Order {
    type Base = ();
    type Estimate = Ranking;
    type Candidate = Ranking;

    fn standing(&self, (): &()) -> Standing {
        Standing::Certified(UNDECIDED)
    }

    fn newest_base(&self) {}

    fn slot_of(&self, _: Value) -> Slot {
        Slot(0)
    }

    fn certify(&mut self, (): (), _: Value) -> Result<(), CertifyError> {
        Ok(())
    }

    fn agrees(&self, value: Value, candidate: Value) -> bool {
        let length = self.numbers.length(candidate);
        length.is_some_and(|length| self.numbers.beginning(value, length) == Some(candidate))
    }

    fn estimate(&self, _: Value, mut votes: Vec<(Value, u64)>) -> Value {
        votes.sort_unstable();
        let mut pairs = Pairwise::new(self.names.len());
        for same in votes.chunk_by(|a, b| a.0 == b.0) {
            if let Some(order) = self.voted(same[0].0) {
                pairs.add(order.items(), same.iter().map(|vote| vote.1).sum());
            }
        }
        self.winner(&pairs)
    }

    fn judge(&self, claim: &Claim<'_, Ranking>) -> Result<(), InvalidEstimate> {
        if !self.is_whole(claim.estimate) {
            return Err(InvalidEstimate::OtherItems);
        }
        if claim.follows == UNDECIDED || self.numbers.number(claim.estimate) == Some(claim.follows) {
            Ok(())
        } else {
            Err(InvalidEstimate::DoesNotFollow)
        }
    }

    fn proposes(_: &Ranking) -> bool {
        false
    }

    fn admit(&mut self, estimate: &Ranking) -> Value {
        self.numbers.number(estimate).expect("judge() admits only orders of the items")
    }

    fn candidate(&self, value: Value) -> Option<Ranking> {
        self.numbers.ranking(value)
    }

    fn value(&self, candidate: &Ranking) -> Option<Value> {
        self.numbers.number(candidate)
    }

    fn root(&self) -> Value {
        UNDECIDED
    }

    fn toward(&self, from: Value, to: Value) -> Option<Value> {
        let length = self.numbers.length(from)?;
        if self.numbers.beginning(to, length)? != from {
            return None;
        }
        self.numbers.beginning(to, length + 1)
    }

    fn shift(&mut self, from: Option<Value>, to: Option<Value>, weight: u64) {
        if from == to || weight == 0 {
            return;
        }
        if let Some(order) = from.and_then(|value| self.voted(value)) {
            self.own.remove(order.items(), weight);
        }
        if let Some(order) = to.and_then(|value| self.voted(value)) {
            self.own.add(order.items(), weight);
        }
        self.head = self.winner(&self.own);
    }

    fn head(&self) -> Value {
        self.head
    }

    fn prune(&mut self, _: Slot) {}
}
