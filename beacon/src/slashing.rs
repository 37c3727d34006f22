//! Slashing: whether bytes that somebody submitted convict a validator that can still pay for it.

use kakera_chain::{
    Member,
    codec::InvalidBytes,
    evidence::{Evidence, Guilty, InvalidEvidence},
    hash::NetworkId,
    keys::PublicKey,
    units::{ChainId, Epoch, ValidatorId},
};
use thiserror::Error;

/// Why a report of an offence changes nothing; whoever sent it has paid its fee.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidReport {
    /// Not the canonical bytes of evidence, or too many.
    #[error("the report does not decode: {0}")]
    Bytes(InvalidBytes),
    /// Of an epoch that has not begun.
    #[error("the evidence is of epoch {found}, but it is epoch {current}")]
    Future {
        /// The evidence's.
        found: Epoch,
        /// The one that it is.
        current: Epoch,
    },
    /// Of an epoch whose stakes may be paid out by now.
    #[error("the evidence is of epoch {found}, but only epochs from {oldest} on are judged")]
    Stale {
        /// The evidence's.
        found: Epoch,
        /// The oldest that is judged.
        oldest: Epoch,
    },
    /// Its validator has lost its stake already.
    #[error("validator {validator} is slashed already")]
    Duplicate {
        /// Who.
        validator: ValidatorId,
    },
    /// It proves nothing.
    #[error("the evidence proves nothing: {0}")]
    Evidence(#[from] InvalidEvidence),
}

/// The epochs of which evidence is judged, and what is known of their committees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The network.
    pub network: NetworkId,
    /// The epoch that it is.
    pub current: Epoch,
    /// How many epochs back evidence is taken: as many as a stake stays bound after its last seat.
    pub unbonding: u64,
}

impl Window {
    /// The oldest epoch of which evidence is judged.
    pub fn oldest(&self) -> Epoch {
        Epoch(self.current.0.saturating_sub(self.unbonding))
    }

    /// Whom a report convicts. A function of its arguments: `keys` tells who held a seat in an epoch of the window, or in
    /// an older one whose era still goes on, and with which key; `is_slashed` whether a validator has lost its stake. What
    /// costs little is looked at first, the two signatures last.
    ///
    /// # Errors
    /// Why it convicts nobody.
    pub fn judge(
        &self,
        report: &[u8],
        keys: impl Fn(ChainId, Epoch, Member) -> Option<(ValidatorId, PublicKey)>,
        is_slashed: impl Fn(ValidatorId) -> bool,
    ) -> Result<Guilty, InvalidReport> {
        let evidence = Evidence::decode(report).map_err(InvalidReport::Bytes)?;
        let (chain, found, member) = evidence.accused();
        if found > self.current {
            return Err(InvalidReport::Future { found, current: self.current });
        }
        if found < self.oldest() && keys(chain, found, member).is_none() {
            return Err(InvalidReport::Stale { found, oldest: self.oldest() });
        }
        if let Some((validator, _)) = keys(chain, found, member).filter(|(validator, _)| is_slashed(*validator)) {
            return Err(InvalidReport::Duplicate { validator });
        }
        Ok(evidence.verify(self.network, keys)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use kakera_chain::{
        BlockId,
        certificate::{Finality, FinalitySignature},
        codec,
        evidence::{Conflict, Offence},
        hash::Hash,
        keys::SecretKey,
        units::{Height, ShardId},
    };
    use std::cell::Cell;

    const NETWORK: NetworkId = NetworkId(Hash([9; 32]));
    const CHAIN: ChainId = ChainId::Shard(ShardId(1));

    fn key(member: u16, epoch: u64) -> SecretKey {
        SecretKey::from_seed([member as u8 + 10 * epoch as u8; 32])
    }

    /// Another committee every epoch; none is known before epoch 2.
    fn keys(chain: ChainId, epoch: Epoch, member: Member) -> Option<(ValidatorId, PublicKey)> {
        let seated = chain == CHAIN && epoch.0 >= 2 && member.0 < 4;
        let validator = ValidatorId(u32::from(member.0) + 10 * epoch.0 as u32);
        seated.then(|| (validator, key(member.0, epoch.0).public()))
    }

    fn report(member: u16, epoch: u64) -> Vec<u8> {
        let sign = |block: u8| {
            let (height, block) = (Height(7), BlockId([block; 32]));
            let finality = Finality { chain: CHAIN, epoch: Epoch(epoch), root: BlockId([1; 32]), height, block };
            FinalitySignature::sign(finality, Member(member), &key(member, epoch), NETWORK)
        };
        let conflict = Conflict::of(&sign(1), &sign(2), |_| None).unwrap();
        Evidence::Conflict(Box::new(conflict)).to_bytes().unwrap()
    }

    const WINDOW: Window = Window { network: NETWORK, current: Epoch(6), unbonding: 3 };

    #[test]
    fn evidence_is_judged_for_the_whole_unbonding_delay_and_no_longer() {
        for epoch in 3..=6 {
            let guilty = WINDOW.judge(&report(2, epoch), keys, |_| false).unwrap();
            let offence = Offence::ConflictingFinality { low: Height(7), high: Height(7) };
            assert_eq!((guilty.validator, guilty.offence), (ValidatorId(2 + 10 * epoch as u32), offence));
        }
        let stale = InvalidReport::Stale { found: Epoch(2), oldest: Epoch(3) };
        let remembered = |chain, epoch: Epoch, member| keys(chain, epoch, member).filter(|_| epoch.0 >= 3);
        assert_eq!(WINDOW.judge(&report(2, 2), remembered, |_| false), Err(stale));
        let still = WINDOW.judge(&report(2, 2), keys, |_| false).unwrap();
        assert_eq!(still.validator, ValidatorId(22), "of an era that goes on, its committee is remembered");
        let future = InvalidReport::Future { found: Epoch(7), current: Epoch(6) };
        assert_eq!(WINDOW.judge(&report(2, 7), keys, |_| false), Err(future));
        let young = Window { current: Epoch(1), ..WINDOW };
        assert_eq!(young.oldest(), Epoch(0));
        assert!(matches!(young.judge(&report(2, 1), keys, |_| false), Err(InvalidReport::Evidence(_))), "no committee");
    }

    #[test]
    fn duplicates_cost_no_signature_check_and_doctored_reports_convict_nobody() {
        let asked = Cell::new(0);
        let once = |chain, epoch, member| {
            asked.set(asked.get() + 1);
            keys(chain, epoch, member)
        };
        let slashed = ValidatorId(52);
        let again = WINDOW.judge(&report(2, 5), once, |validator| validator == slashed);
        assert_eq!((again, asked.get()), (Err(InvalidReport::Duplicate { validator: slashed }), 1));
        assert!(WINDOW.judge(&report(1, 5), keys, |validator| validator == slashed).is_ok());

        let report = report(2, 5);
        for bit in 0..8 * report.len() {
            let mut doctored = report.clone();
            doctored[bit / 8] ^= 1 << (bit % 8);
            assert!(WINDOW.judge(&doctored, keys, |_| false).is_err(), "bit {bit}");
        }
        let long = codec::encode(&vec![0u8; Evidence::MAX_BYTES]);
        assert!(matches!(
            WINDOW.judge(&long, keys, |_| false),
            Err(InvalidReport::Bytes(InvalidBytes::TooLong { .. }))
        ));
        assert!(matches!(WINDOW.judge(&[], keys, |_| false), Err(InvalidReport::Bytes(_))));
        let another = Window { network: NetworkId(Hash([8; 32])), ..WINDOW };
        assert!(matches!(another.judge(&report, keys, |_| false), Err(InvalidReport::Evidence(_))));
    }
}
