//! Rewards: who took part in an epoch, and what that earns.
//!
//! A *round* of a shard is a recorded crosslink; a member was there if it signed the crosslink's certificate or proposed
//! one of its headers. A round of the beacon chain is a certificate that one of its blocks carries. In an epoch of T
//! rounds of a chain, a member that held w seats in each round it was there for earns, of the reward R of a seat,
//!
//! ```text
//!   R x (sum of w over the rounds it was there for) / T        on each chain, rounded down,
//! ```
//!
//! so a seat that was always there earns R, and a committee of W seats at most R x W, however its members change. On the
//! beacon chain this is multiplied by the part of its own proposals with which a member revealed a link of its hash
//! chain: a block without a reveal is valid, and earns less. Everything is exact integer arithmetic.

use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    Member,
    certificate::{Certificate, Seats},
    crosslink::Crosslink,
    units::{ChainId, Height, ValidatorId},
};
use std::collections::{BTreeMap, BTreeSet};

/// Who took part since the last turn of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Attendance {
    rounds: BTreeMap<ChainId, Rounds>,
    presence: BTreeMap<(ValidatorId, ChainId), Presence>,
    proposals: BTreeMap<ValidatorId, Proposals>,
}

/// The rounds of one chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Rounds {
    count: u64,
    /// The highest block whose certificate was counted, so that none counts twice.
    last: Height,
}

/// One validator's part in the rounds of one chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Presence {
    /// Rounds in which it was a member.
    pub opportunities: u64,
    /// Those that it was there for.
    pub participations: u64,
    /// Its seats, summed over these.
    pub seats: u64,
}

/// One validator's beacon blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Proposals {
    made: u64,
    revealing: u64,
}

impl Attendance {
    /// Who was in fewer rounds than this is not called silent: it may have come just before the epoch ended.
    pub const ENOUGH_ROUNDS: u64 = 4;

    /// A recorded crosslink of a shard; `seats`: its era's committee.
    pub fn crosslink(&mut self, seats: &Seats, crosslink: &Crosslink) {
        let proposers: BTreeSet<Member> = crosslink.headers.iter().map(|header| header.proposer).collect();
        self.round(ChainId::Shard(crosslink.shard), seats, &crosslink.certificate, &proposers);
    }

    /// A certificate of the beacon's own chain, with its committee; says whether it counts: it must be of a higher block
    /// than the last one counted.
    pub fn certificate(&mut self, seats: &Seats, certificate: &Certificate) -> bool {
        self.round(certificate.finality.chain, seats, certificate, &BTreeSet::new())
    }

    /// A beacon block's proposer, and whether the block reveals a link of its hash chain.
    pub fn proposal(&mut self, proposer: ValidatorId, reveals: bool) {
        let proposals = self.proposals.entry(proposer).or_default();
        proposals.made += 1;
        proposals.revealing += u64::from(reveals);
    }

    /// Forgets what was counted, so that the next epoch begins; which certificates were counted stays known.
    pub fn restart(&mut self) {
        self.rounds.values_mut().for_each(|rounds| rounds.count = 0);
        self.presence.clear();
        self.proposals.clear();
    }

    /// A validator's part in the rounds of a chain.
    pub fn presence(&self, validator: ValidatorId, chain: ChainId) -> Presence {
        self.presence.get(&(validator, chain)).copied().unwrap_or_default()
    }

    /// How many rounds a chain had.
    pub fn rounds(&self, chain: ChainId) -> u64 {
        self.rounds.get(&chain).map_or(0, |rounds| rounds.count)
    }

    /// Who was a member in [`Attendance::ENOUGH_ROUNDS`] rounds or more, over all chains, and was there for none, nor
    /// proposed a beacon block; ascending.
    pub fn silent(&self) -> Vec<ValidatorId> {
        let mut sums = BTreeMap::<ValidatorId, (u64, u64)>::new();
        for ((validator, _), presence) in &self.presence {
            let sum = sums.entry(*validator).or_default();
            sum.0 = sum.0.saturating_add(presence.opportunities);
            sum.1 = sum.1.saturating_add(presence.participations);
        }
        let silent = sums.into_iter().filter(|(validator, (opportunities, participations))| {
            *opportunities >= Self::ENOUGH_ROUNDS && *participations == 0 && !self.proposals.contains_key(validator)
        });
        silent.map(|(validator, _)| validator).collect()
    }

    /// What each validator earned where a seat's reward is `reward`, in the smallest unit; who earned nothing is left
    /// out.
    pub fn earned(&self, reward: u64) -> BTreeMap<ValidatorId, u64> {
        let mut earned = BTreeMap::<ValidatorId, u64>::new();
        for ((validator, chain), presence) in &self.presence {
            // Below 2^48 x 2^16 seats a round x rounds: far from 2^128.
            let mut share = u128::from(reward) * u128::from(presence.seats) / u128::from(self.rounds(*chain).max(1));
            if let (ChainId::Beacon, Some(proposals)) = (chain, self.proposals.get(validator)) {
                share = share * u128::from(proposals.revealing) / u128::from(proposals.made);
            }
            if share > 0 {
                let sum = earned.entry(*validator).or_default();
                *sum = sum.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
            }
        }
        earned
    }

    fn round(
        &mut self,
        chain: ChainId,
        seats: &Seats,
        certificate: &Certificate,
        proposers: &BTreeSet<Member>,
    ) -> bool {
        let rounds = self.rounds.entry(chain).or_default();
        let height = certificate.finality.height;
        if height <= rounds.last {
            return false;
        }
        (rounds.count, rounds.last) = (rounds.count + 1, height);
        let signers: BTreeSet<Member> = certificate.signatures.iter().map(|(member, _)| *member).collect();
        for (member, validator) in (0..).map(Member).zip(&seats.validators) {
            let presence = self.presence.entry((*validator, chain)).or_default();
            presence.opportunities += 1;
            if signers.contains(&member) || proposers.contains(&member) {
                presence.participations += 1;
                presence.seats += seats.committee.weight(member);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
