//! True time of a world, and the clocks that its nodes read.

use kakera_chain::units::Timestamp;
use std::fmt;

/// Microseconds of true time since the world began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// What a right clock shows when the world begins: far enough from 0 that clocks can be behind.
pub const EPOCH_MS: u64 = 1_000_000_000_000;

impl Moment {
    /// So many milliseconds after the beginning.
    pub fn ms(ms: u64) -> Moment {
        Moment(ms.saturating_mul(1_000))
    }

    /// Later by so many microseconds.
    #[must_use]
    pub fn plus(self, us: u64) -> Moment {
        Moment(self.0.saturating_add(us))
    }

    /// Microseconds since an earlier moment; 0 if that is not earlier.
    pub fn since(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A node's clock: wrong by an offset, and running fast or slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds ahead of true time (behind, if negative) when the world begins.
    pub offset_ms: i64,
    /// Microseconds gained each second.
    pub drift_ppm: i64,
}

impl Clock {
    /// What it shows.
    pub fn read(&self, now: Moment) -> Timestamp {
        let gained = i128::from(now.0) * i128::from(self.drift_ppm) / 1_000_000;
        let us = i128::from(EPOCH_MS) * 1_000 + i128::from(now.0) + gained + i128::from(self.offset_ms) * 1_000;
        Timestamp(u64::try_from(us.max(0) / 1_000).unwrap_or(u64::MAX))
    }

    /// The first moment, not before `now`, at which it shows `time` or later.
    pub fn when(&self, time: Timestamp, now: Moment) -> Moment {
        if self.read(now) >= time {
            return now;
        }
        let ahead = i128::from(EPOCH_MS) * 1_000 + i128::from(self.offset_ms) * 1_000;
        let wanted = i128::from(time.0) * 1_000 - ahead;
        let us = wanted * 1_000_000 / (1_000_000 + i128::from(self.drift_ppm));
        let mut moment = Moment(u64::try_from(us.max(0)).unwrap_or(u64::MAX)).max(now);
        // Rounding loses a microsecond or two.
        while self.read(moment) < time && moment.0 < u64::MAX {
            moment = moment.plus(1);
        }
        moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_a_time_at_the_first_moment_that_it_says() {
        for offset_ms in [-5_000, 0, 137] {
            for drift_ppm in [-300, 0, 450] {
                let clock = Clock { offset_ms, drift_ppm };
                for ms in [1u64, 999, 86_400_000] {
                    let time = Timestamp(EPOCH_MS + ms);
                    let moment = clock.when(time, Moment(0));
                    assert!(clock.read(moment) >= time);
                    assert!(moment.0 == 0 || clock.read(Moment(moment.0 - 1)) < time, "{clock:?} {ms}");
                }
            }
        }
        assert_eq!(Clock::default().when(Timestamp(5), Moment(77)), Moment(77), "what is past is now");
        assert_eq!(Clock::default().when(Timestamp(u64::MAX), Moment(0)), Moment(u64::MAX), "never");
    }
}
