//! Randomness: a RANDAO over SHA-256 hash chains. A proposer of the beacon reveals the link below its commitment, and
//! each link revealed enters the mix that later committees are drawn by.
//!
//! ```text
//!   secret ─SHA-256─> link 1 ─SHA-256─> link 2 ─ ... ─> link 65,536 = the commitment in the genesis file
//!                                                <─ revealed one by one, from the right; each becomes the commitment
//! ```
//!
//! What was revealed follows from the parent state alone: the producer looks up that state's commitment in its chain and
//! never counts for itself, so that a proposal on another branch, or after a restore, reveals what belongs there.
//!
//! A link enters the mix hashed together with whose it is. Were it mixed in as it is, whoever copies another's commitment
//! could reveal the same link after its owner and take it out again.
//!
//! **Recommitment.** A reveal may name the end of a new chain; it takes the old one's place at once, but can be revealed
//! from in later epochs only. So a proposer cannot choose a chain in view of the reveals that its links will be mixed
//! with: that choice would be worth as many bits as it can try hashes, where withholding is worth one. Nobody can see how
//! long a chain is, so any reveal may recommit; a producer does when its chain is used up.
//!
//! **Bias.** The last k revealers of an epoch, if they are one, choose among 2^k mixes by withholding. `docs/committees.md`
//! states what that buys, `bias.rs` measures it.

use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    codec,
    hash::{Hash, Tag},
    units::{Epoch, ValidatorId},
};
use std::collections::BTreeMap;
use thiserror::Error;

/// Links from a chain's secret to its end.
pub const CHAIN_LINKS: u32 = 65_536;

/// Links from one checkpoint to the next: time and memory of a look-up are both about the root of the chain's length.
const STRIDE: u32 = 256;

/// All that was revealed, mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Mix(pub Hash);

impl Mix {
    /// Before anything is revealed: the network's seed.
    pub fn genesis(seed: Hash) -> Mix {
        Mix(seed)
    }

    /// With one more link: `mix xor SHA-256(seed tag ‖ "reveal" ‖ validator ‖ link)`.
    #[must_use]
    pub fn with(self, validator: ValidatorId, link: Hash) -> Mix {
        let part = Hash::of(&[Tag::SEED.bytes(), b"reveal", &codec::encode(&validator), &link.0]);
        let mut mixed = self.0;
        mixed.0.iter_mut().zip(part.0).for_each(|(byte, other)| *byte ^= other);
        Mix(mixed)
    }
}

pub use kakera_chain::crosslink::Reveal;

/// What a validator has promised to reveal: part of the beacon's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Commitment {
    /// The link that was revealed last; before the first one, the end of the chain.
    pub link: Hash,
    /// The first epoch in which the chain may be revealed from.
    pub from: Epoch,
    /// How many times the validator has recommitted: by it the producer knows its chain again.
    pub chain: u32,
}

/// Why a reveal is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidReveal {
    /// Its hash is not the commitment.
    #[error("the link does not hash to the commitment {commitment}")]
    NotBelow {
        /// What it must hash to.
        commitment: Hash,
    },
    /// The chain was committed to in this epoch.
    #[error("the chain may be revealed from in epoch {from} at the earliest, not in epoch {epoch}")]
    TooEarly {
        /// The first epoch in which it may.
        from: Epoch,
        /// The block's.
        epoch: Epoch,
    },
}

/// Whether a link lies directly below a commitment.
pub fn is_below(link: Hash, commitment: Hash) -> bool {
    Hash::of(&[&link.0]) == commitment
}

impl Commitment {
    /// Of a validator that has revealed nothing: the end of its chain, which it may reveal from in this epoch.
    pub fn new(end: Hash, from: Epoch) -> Commitment {
        Commitment { link: end, from, chain: 0 }
    }

    /// After a reveal in a block of `epoch`: the link revealed, or the new chain.
    pub fn revealed(&self, reveal: &Reveal, epoch: Epoch) -> Result<Commitment, InvalidReveal> {
        if epoch < self.from {
            return Err(InvalidReveal::TooEarly { from: self.from, epoch });
        }
        if !is_below(reveal.link, self.link) {
            return Err(InvalidReveal::NotBelow { commitment: self.link });
        }
        Ok(match reveal.next {
            None => Commitment { link: reveal.link, ..*self },
            Some(end) => {
                Commitment { link: end, from: Epoch(epoch.0.saturating_add(1)), chain: self.chain.wrapping_add(1) }
            }
        })
    }
}

/// One hash chain, of which every 256th link is remembered: 10 KB for 65,536 links.
///
/// The secret itself is never revealed: later chains follow from it.
#[derive(Clone)]
struct Chain {
    number: u32,
    /// Every [`STRIDE`]th link, the secret first and the end last.
    checkpoints: Vec<Hash>,
    /// Which checkpoint a link is.
    places: BTreeMap<Hash, usize>,
}

impl Chain {
    /// Chain 0 begins with the secret; a later one with `SHA-256(seed tag ‖ "chain" ‖ secret ‖ number)`.
    fn new(secret: &[u8; 32], number: u32) -> Chain {
        let first = match number {
            0 => Hash(*secret),
            _ => Hash::of(&[Tag::SEED.bytes(), b"chain", secret, &codec::encode(&number)]),
        };
        let next = |link: &Hash| Some(climb(*link, STRIDE));
        let count = usize::try_from(CHAIN_LINKS / STRIDE + 1).expect("257");
        let checkpoints: Vec<Hash> = std::iter::successors(Some(first), next).take(count).collect();
        let places = checkpoints.iter().copied().zip(0..).collect();
        Chain { number, checkpoints, places }
    }

    fn end(&self) -> Hash {
        self.checkpoints[self.checkpoints.len() - 1]
    }

    /// The link below this one and how many lie below that, the secret apart; nothing if it is the lowest or no link of
    /// this chain. At most 511 hashes.
    fn below(&self, link: Hash) -> Option<(Hash, u32)> {
        let mut at = link;
        let (place, above) = (0..STRIDE).find_map(|above| {
            let found = self.places.get(&at).map(|place| (*place, above));
            at = Hash::of(&[&at.0]);
            found
        })?;
        let number = u32::try_from(place).expect("at most 256") * STRIDE - above;
        let wanted = number.checked_sub(1).filter(|wanted| *wanted > 0)?;
        let from = self.checkpoints[usize::try_from(wanted / STRIDE).expect("at most 256")];
        Some((climb(from, wanted % STRIDE), wanted - 1))
    }
}

fn climb(link: Hash, links: u32) -> Hash {
    (0..links).fold(link, |link, _| Hash::of(&[&link.0]))
}

/// The producing side: what a validator reveals, from its secret.
///
/// Nothing is remembered between proposals but checkpoints of the chain in use, so nothing can go out of step. A change
/// of chain, once in 65,535 reveals, costs 65,536 hashes for each of the two.
#[derive(Clone)]
pub struct Links {
    secret: [u8; 32],
    chain: Chain,
}

impl Links {
    /// From the secret, whose chain's end is the commitment in the registry.
    pub fn new(secret: [u8; 32]) -> Links {
        Links { chain: Chain::new(&secret, 0), secret }
    }

    /// The end of the first chain: what is registered.
    pub fn commitment(&self) -> Hash {
        match self.chain.number {
            0 => self.chain.end(),
            _ => Chain::new(&self.secret, 0).end(),
        }
    }

    /// What to reveal in a block of `epoch` on a state with this commitment; it recommits with the last link. Nothing if
    /// the commitment may not be revealed from yet, or is of another secret.
    pub fn reveal(&mut self, commitment: &Commitment, epoch: Epoch) -> Option<Reveal> {
        if epoch < commitment.from {
            return None;
        }
        if self.chain.number != commitment.chain {
            self.chain = Chain::new(&self.secret, commitment.chain);
        }
        let (link, left) = self.chain.below(commitment.link)?;
        let next = (left == 0).then(|| Chain::new(&self.secret, commitment.chain.wrapping_add(1)).end());
        Some(Reveal { link, next })
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("chain", &self.chain.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
