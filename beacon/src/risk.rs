//! Committee risk: the hypergeometric probability, over seats, that a drawn committee is captured, or some committee of
//! several, and the limit past which a network does not start.

use kakera_chain::genesis::{Network, RiskLimit, Role};
use thiserror::Error;

/// Steps that [`network_risk`] may take for an exact figure: some tenths of a second.
const MOST_STEPS: u64 = 1 << 24;

/// The most seats that a committee may have: a certificate has room for so many signers.
const LARGEST_COMMITTEE: u32 = 1024;

/// What an adversary that holds some of all seats can expect of one committee drawn from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommitteeRisk {
    /// The probability that it holds at least a third of the committee's seats: no certificate without it.
    pub stall: f64,
    /// The probability that it holds more than two thirds: it certifies alone.
    pub capture: f64,
}

/// What it can expect of several committees drawn from the same seats, no seat twice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NetworkRisk {
    /// The probability that it holds at least a third of some committee's seats.
    pub stall: f64,
    /// The probability that it holds more than two thirds of some committee's seats.
    pub capture: f64,
    /// Whether these are exact. Otherwise they are upper bounds: the sums of all committees' probabilities.
    pub exact: bool,
}

/// Why a network may not start: a committee is too likely to be the adversary's.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{}", self.text())]
pub struct TooRisky {
    /// What the genesis file allows.
    pub limit: RiskLimit,
    /// Whose: the shards' committees, or the beacon's where it is drawn.
    pub role: Role,
    /// Seats of that role's validators.
    pub seats: u64,
    /// How many committees are drawn from them.
    pub committees: u16,
    /// Seats a committee.
    pub size: u32,
    /// What was found.
    pub risk: NetworkRisk,
    /// The smallest committee size that would do with these seats.
    pub would_do: Option<u32>,
    /// Where no size would do: the smallest size that would if there were so many seats, and how many.
    pub with_more: Option<(u32, u64)>,
}

impl TooRisky {
    fn text(&self) -> String {
        let TooRisky { limit, role, seats, committees, size, risk, .. } = self;
        let most = if risk.exact { "" } else { "at most " };
        let (whose, field, of) = match role {
            Role::Shard => ("shard", "committee_seats", format!("some of {committees} committees of {size} seats has")),
            Role::Beacon => ("beacon", "epochs.beacon_seats", format!("the beacon's committee of {size} seats has")),
        };
        let advice = match (self.would_do, self.with_more) {
            (Some(size), _) => format!("{field} = {size} is the smallest size that would do"),
            (None, Some((size, more))) => {
                format!("no committee size would do with {seats} seats; {field} = {size} would, with {more} seats")
            }
            (None, None) => "no committee size would do, with any number of seats".to_owned(),
        };
        format!(
            "the committees are too small for the risk that the genesis file allows: of {seats} {whose} seats {} are \
             assumed hostile ({} thousandths), and then {of} a third hostile with probability {most}{} (allowed: {}) and \
             more than two thirds hostile with probability {most}{} (allowed: {}); {advice}",
            adversary_seats(*seats, limit.adversary_per_mille),
            limit.adversary_per_mille,
            odds(risk.stall),
            odds(limit.stall),
            odds(risk.capture),
            odds(limit.capture),
        )
    }
}

/// A probability as people read it.
fn odds(probability: f64) -> String {
    match probability {
        p if p == 0.0 || p == 1.0 => format!("{p}"),
        p if p >= 0.001 => format!("{p:.3}"),
        p => format!("{p:.1e}"),
    }
}

/// Whether that many of a committee's seats can hold up its certificates: at least a third.
pub(crate) fn stalls(held: u64, size: u64) -> bool {
    size > 0 && 3 * u128::from(held) >= u128::from(size)
}

/// Whether that many of a committee's seats certify alone: more than two thirds.
pub(crate) fn captures(held: u64, size: u64) -> bool {
    3 * u128::from(held) > 2 * u128::from(size)
}

/// The seats that an adversary with this share of all seats holds, rounded up.
pub fn adversary_seats(total_seats: u64, share_per_mille: u16) -> u64 {
    let seats = (u128::from(total_seats) * u128::from(share_per_mille.min(1000))).div_ceil(1000);
    u64::try_from(seats).expect("not more than all seats")
}

/// The risk of one committee of `committee` seats drawn without replacement from `total` seats of which `adversary` are
/// the adversary's. Arguments above `total` count as `total`; of an empty committee nobody holds a part: no risk.
///
/// Every outcome's weight follows from its neighbour's by an exact ratio, starting with 1 at the likeliest outcome, and a
/// probability is the sum of its outcomes over the sum of all. All terms are positive, so nothing cancels: the relative
/// error is below `8 * committee * 2^-53` (4,096 seats: 4e-12). Only + * / are used: every machine gets the same bits.
/// Terms 300 decimal orders below the likeliest count as 0.
pub fn committee_risk(total: u64, adversary: u64, committee: u64) -> CommitteeRisk {
    let size = committee.min(total);
    let (mut all, mut stall, mut capture) = (0.0, 0.0, 0.0);
    for (held, weight) in outcomes(total, adversary, size) {
        all += weight;
        if stalls(held, size) {
            stall += weight;
        }
        if captures(held, size) {
            capture += weight;
        }
    }
    CommitteeRisk { stall: stall / all, capture: capture / all }
}

/// The risk that some of `committees` committees of `committee` seats each, drawn disjointly from `total` seats, is the
/// adversary's. There are at most as many committees as there are seats for.
///
/// Exact up to the error of sums of positive terms, as for one committee: committee after committee, over how many of its
/// seats the adversary has used up while all were sound. Where that would take more than 2^24 steps, Boole's bound
/// takes its place: the sum of the committees' probabilities, never below the true figure.
pub fn network_risk(total: u64, adversary: u64, committee: u64, committees: u64) -> NetworkRisk {
    let (adversary, size) = (adversary.min(total), committee.min(total));
    let committees = committees.min(total.checked_div(size).unwrap_or(0));
    let one = committee_risk(total, adversary, size);
    let steps = committees.saturating_mul(size + 1).saturating_mul(adversary.min(committees.saturating_mul(size)) + 1);
    if committees <= 1 || steps > MOST_STEPS {
        let sum = |p: f64| (p * real(committees)).min(1.0);
        return NetworkRisk { stall: sum(one.stall), capture: sum(one.capture), exact: committees <= 1 };
    }
    let some = |bad: fn(u64, u64) -> bool| some_committee(total, adversary, size, committees, bad);
    NetworkRisk { stall: some(stalls), capture: some(captures), exact: true }
}

/// The probability that some committee is bad: the sum, over all committees, of the probability that it is the first.
fn some_committee(total: u64, adversary: u64, size: u64, committees: u64, bad: fn(u64, u64) -> bool) -> f64 {
    // By seats of the adversary in the sound committees so far, the probability of that.
    let mut sound = vec![1.0];
    let mut found = 0.0;
    for drawn in 0..committees {
        let mut next = Vec::new();
        for (used, probability) in (0..).zip(&sound).filter(|(_, probability)| **probability > 0.0) {
            let outcomes = outcomes(total - drawn * size, adversary - used, size);
            let all: f64 = outcomes.iter().map(|(_, weight)| weight).sum();
            for (held, weight) in outcomes {
                let part = probability * (weight / all);
                if bad(held, size) {
                    found += part;
                    continue;
                }
                let at = usize::try_from(used + held).expect("not more than MOST_STEPS");
                if next.len() <= at {
                    next.resize(at + 1, 0.0);
                }
                next[at] += part;
            }
        }
        sound = next;
    }
    found.min(1.0)
}

/// The smallest size for which a limit holds, of so many committees with so many seats to draw from; none if there is none
/// with these seats.
pub fn size_that_would_do(limit: &RiskLimit, seats: u64, committees: u16) -> Option<u32> {
    let room = seats.checked_div(committees.into()).unwrap_or(0);
    (1..=LARGEST_COMMITTEE).find(|size| u64::from(*size) <= room && holds(limit, seats, committees, *size))
}

fn holds(limit: &RiskLimit, seats: u64, committees: u16, size: u32) -> bool {
    let adversary = adversary_seats(seats, limit.adversary_per_mille);
    let within = |stall: f64, capture: f64| stall <= limit.stall && capture <= limit.capture;
    // One committee's risk is the least that all can have, and most sizes end here.
    let one = committee_risk(seats, adversary, size.into());
    within(one.stall, one.capture) && {
        let all = network_risk(seats, adversary, size.into(), committees.into());
        within(all.stall, all.capture)
    }
}

/// Refuses a network whose committees are too likely to be an adversary's, by the limit in its genesis file: the figures
/// of the first draw, in which all seats of shard validators stand, and of the beacon's committee where it is drawn from
/// more seats than it has. No limit, no refusal.
pub fn check_risk(network: &Network) -> Result<(), TooRisky> {
    let genesis = &network.genesis;
    let Some(limit) = genesis.risk else { return Ok(()) };
    let seats = |role: Role| -> u64 {
        let of_role = genesis.validators.iter().filter(|validator| validator.role == role);
        of_role.map(|validator| u64::from(validator.seats)).sum()
    };
    check_draw(limit, Role::Shard, seats(Role::Shard), genesis.shards, genesis.committee_seats)?;
    let sampled = genesis.epochs.and_then(|epochs| epochs.beacon_seats);
    match sampled.filter(|size| u64::from(*size) < seats(Role::Beacon)) {
        Some(size) => check_draw(limit, Role::Beacon, seats(Role::Beacon), 1, size),
        None => Ok(()),
    }
}

fn check_draw(limit: RiskLimit, role: Role, seats: u64, committees: u16, size: u32) -> Result<(), TooRisky> {
    let adversary = adversary_seats(seats, limit.adversary_per_mille);
    let risk = network_risk(seats, adversary, size.into(), committees.into());
    if risk.stall <= limit.stall && risk.capture <= limit.capture {
        return Ok(());
    }
    let would_do = size_that_would_do(&limit, seats, committees);
    let more = |size: &u32| {
        let needed = u64::from(*size) * u64::from(committees);
        needed > seats && holds(&limit, needed, committees, *size)
    };
    let with_more = match would_do {
        Some(_) => None,
        None => (1..=LARGEST_COMMITTEE).find(more).map(|size| (size, u64::from(size) * u64::from(committees))),
    };
    Err(TooRisky { limit, role, seats, committees, size, risk, would_do, with_more })
}

/// Each number of the adversary's seats that a committee can have, and its weight: the likeliest one first with weight 1,
/// then those above it ascending, then those below it descending. Arguments above `total` count as `total`.
pub(crate) fn outcomes(total: u64, adversary: u64, committee: u64) -> Vec<(u64, f64)> {
    let (adversary, committee) = (adversary.min(total), committee.min(total));
    let honest = total - adversary;
    let (least, most) = (committee.saturating_sub(honest), adversary.min(committee));
    let mode = likeliest(total, adversary, committee).clamp(least, most);
    // weight(k + 1) / weight(k) of drawing exactly k of the adversary's seats.
    let ratio =
        |k: u64| (real(adversary - k) * real(committee - k)) / (real(k + 1) * real(honest - (committee - k - 1)));
    let mut outcomes = vec![(mode, 1.0)];
    let mut weight = 1.0;
    for k in mode..most {
        weight *= ratio(k);
        outcomes.push((k + 1, weight));
    }
    weight = 1.0;
    for k in (least..mode).rev() {
        weight /= ratio(k);
        outcomes.push((k, weight));
    }
    outcomes
}

fn likeliest(total: u64, adversary: u64, committee: u64) -> u64 {
    let mode = (u128::from(adversary) + 1) * (u128::from(committee) + 1) / (u128::from(total) + 2);
    u64::try_from(mode).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "seats are far below 2^53, and a probability is a report, not a rule")]
fn real(seats: u64) -> f64 {
    seats as f64
}

#[cfg(test)]
mod tests;
