//! When a witness reports what it holds evidence of: one of the witnesses first, the others in turn while nothing comes
//! of it, and never anything new before the beacon has judged what this one reported last, or can do so no more.
//!
//! A schedule, outside validity: whoever reports, and when, the beacon judges the same evidence; each report costs a fee.

use kakera_chain::{
    Member,
    genesis::Timing,
    units::{Timestamp, ValidatorId},
};
use std::collections::BTreeMap;

/// Slots until a report has come to the beacon and back here: it is included, certified and handed over, recorded,
/// certified and read.
const TURN_SLOTS: u64 = 12;
/// The longest time between two attempts, in ms.
const MOST_MS: u64 = 300_000;

/// Decides for one witness.
#[derive(Clone, Debug)]
pub struct Schedule {
    turn_ms: u64,
    cases: BTreeMap<ValidatorId, Case>,
    pending: Option<Pending>,
}

/// One whom there is evidence against, and who has its stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    /// When it is reported.
    at: Timestamp,
    /// Attempts that came to nothing.
    attempts: u32,
}

/// What is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    validator: ValidatorId,
    /// Until when the beacon may hear of it.
    until: Timestamp,
}

/// What a look at what is due leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Was reported by this witness and is due no more.
    pub settled: Option<ValidatorId>,
    /// To be reported now.
    pub report: Option<ValidatorId>,
}

impl Schedule {
    /// For a network whose chains have these timings.
    pub fn new(shard: Timing, beacon: Timing) -> Schedule {
        Schedule { turn_ms: TURN_SLOTS * shard.slot_ms.max(beacon.slot_ms), cases: BTreeMap::new(), pending: None }
    }

    /// Looks at whom there is evidence against that the beacon would believe now, each with this witness's turn.
    pub fn look(&mut self, due: &BTreeMap<ValidatorId, u32>, now: Timestamp) -> Look {
        self.cases.retain(|validator, _| due.contains_key(validator));
        for (validator, turn) in due {
            let at = now.plus(self.turn_ms.saturating_mul((*turn).into()));
            self.cases.entry(*validator).or_insert(Case { at, attempts: 0 });
        }
        let mut look = Look::default();
        if let Some(pending) = self.pending {
            if !due.contains_key(&pending.validator) {
                look.settled = Some(pending.validator);
            } else if now < pending.until {
                return look;
            } else {
                self.put_off(pending.validator, now);
            }
            self.pending = None;
        }
        let ready = self.cases.iter().filter(|(_, case)| case.at <= now);
        look.report = ready.min_by_key(|(validator, case)| (case.at, **validator)).map(|(validator, _)| *validator);
        look
    }

    /// It is reported, and the beacon may hear of it until then.
    pub fn reported(&mut self, validator: ValidatorId, until: Timestamp) {
        self.pending = Some(Pending { validator, until });
    }

    /// How often a report of this validator came to nothing.
    pub fn attempts(&self, validator: ValidatorId) -> u32 {
        self.cases.get(&validator).map_or(0, |case| case.attempts)
    }

    /// It could not be reported, or nothing came of it: later, and later each time.
    pub fn put_off(&mut self, validator: ValidatorId, now: Timestamp) {
        if let Some(case) = self.cases.get_mut(&validator) {
            case.attempts = case.attempts.saturating_add(1);
            let factor = 1u64.checked_shl(case.attempts - 1).unwrap_or(u64::MAX);
            case.at = now.plus(self.turn_ms.saturating_mul(factor).min(MOST_MS.max(self.turn_ms)));
        }
    }
}

/// A witness's turn against an accused: places after it, counted round the committee, from 0. Who has no seat comes last.
pub fn turn(me: Option<Member>, accused: Member, members: u32) -> u32 {
    let members = members.max(1);
    let place = |member: Member| u32::from(member.0) % members;
    me.map_or(members, |me| (place(me) + members - place(accused) + members - 1) % members)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { slot_ms: 100, delay_ms: 20, heartbeat_slots: 5 };
    const TURN: u64 = 1_200;
    const NOW: Timestamp = Timestamp(50_000);
    const A: ValidatorId = ValidatorId(3);
    const B: ValidatorId = ValidatorId(7);

    fn due(cases: &[(ValidatorId, u32)]) -> BTreeMap<ValidatorId, u32> {
        cases.iter().copied().collect()
    }

    fn at(ms: u64) -> Timestamp {
        NOW.plus(ms)
    }

    fn report(validator: ValidatorId) -> Look {
        Look { report: Some(validator), settled: None }
    }

    const NOTHING: Look = Look { report: None, settled: None };

    fn schedule() -> Schedule {
        Schedule::new(TIMING, Timing { slot_ms: 50, ..TIMING })
    }

    #[test]
    fn each_witness_has_a_turn_of_its_own_and_the_accused_the_last_one() {
        for accused in 0..4 {
            let mut turns: Vec<u32> = (0..4).map(|me| turn(Some(Member(me)), Member(accused), 4)).collect();
            assert_eq!(turns[usize::from(accused)], 3);
            turns.sort_unstable();
            assert_eq!(turns, [0, 1, 2, 3]);
        }
        assert_eq!(turn(Some(Member(0)), Member(3), 4), 0, "the one after it, counted round");
        assert_eq!((turn(None, Member(2), 4), turn(Some(Member(9)), Member(1), 0)), (4, 0));
    }

    #[test]
    fn the_first_in_turn_reports_at_once_and_the_others_only_while_nothing_comes_of_it() {
        assert_eq!(schedule().look(&due(&[(A, 0)]), NOW), report(A));
        let mut second = schedule();
        assert_eq!(second.look(&due(&[(A, 1)]), NOW), NOTHING);
        assert_eq!(second.look(&due(&[(A, 1)]), at(TURN - 1)), NOTHING);
        assert_eq!(second.look(&due(&[]), at(TURN - 1)), NOTHING, "the first one's report was believed");
        assert_eq!(second.look(&due(&[(A, 1)]), at(TURN)), NOTHING, "what comes up again waits again");
        assert_eq!(second.look(&due(&[(A, 1)]), at(2 * TURN)), report(A));
    }

    #[test]
    fn never_more_than_one_report_is_pending() {
        let (mut schedule, both) = (schedule(), due(&[(A, 0), (B, 0)]));
        assert_eq!(schedule.look(&both, NOW), report(A));
        schedule.reported(A, at(5_000));
        for ms in [0, 4_999] {
            assert_eq!(schedule.look(&both, at(ms)), NOTHING);
        }
        let settled = Look { settled: Some(A), report: Some(B) };
        assert_eq!(schedule.look(&due(&[(B, 0)]), at(4_999)), settled);
        schedule.reported(B, at(6_000));
        assert_eq!(schedule.look(&due(&[(B, 0)]), at(6_000)), NOTHING, "nothing came of it: later");
        assert_eq!(schedule.look(&due(&[(B, 0)]), at(6_000 + TURN)), report(B));
        assert_eq!(schedule.look(&due(&[]), at(6_000 + TURN)), NOTHING);
    }

    #[test]
    fn attempts_that_fail_are_ever_further_apart_up_to_a_limit_and_hold_nobody_else_up() {
        let (mut schedule, both) = (schedule(), due(&[(A, 0), (B, 0)]));
        assert_eq!(schedule.look(&both, NOW), report(A));
        schedule.put_off(A, NOW);
        assert_eq!(schedule.look(&both, NOW), report(B));
        schedule.put_off(B, NOW);
        let (mut now, mut waits) = (NOW, Vec::new());
        let only = due(&[(A, 0)]);
        for _ in 0..40 {
            let since = now;
            while schedule.look(&only, now) == NOTHING {
                now = now.plus(100);
            }
            waits.push(now.0 - since.0);
            schedule.put_off(A, now);
        }
        assert_eq!(&waits[..4], [TURN, 2 * TURN, 4 * TURN, 8 * TURN]);
        assert_eq!(waits.last(), Some(&MOST_MS));
    }
}
