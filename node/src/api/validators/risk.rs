//! The risk of committees on the wire. The exact figure for a whole network takes some tenths of a second: it is worked
//! out once for each question, by one thread, for few who wait.

use super::chain_words;
use crate::errors::ApiError;
use kakera_beacon::{BeaconState, NetworkRisk, adversary_seats, committee_risk, draw::Row, network_risk};
use kakera_chain::{
    genesis::{Network, RiskLimit},
    units::{ChainId, ShardId},
};
use kakera_proto::v1;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::{Mutex, Semaphore};

/// The adversary's share where nobody says, in thousandths.
const USUAL_SHARE: u16 = 250;
/// Who may ask at once.
const LINE: usize = 16;
/// Answers that are remembered.
const KNOWN: usize = 64;

/// Seats in all, the adversary's, a committee's, and how many committees.
type Question = (u64, u64, u64, u64);

/// Answers that took long, and the line of those who wait for one.
#[derive(Clone)]
pub(super) struct Risks {
    line: Arc<Semaphore>,
    known: Arc<Mutex<BTreeMap<Question, NetworkRisk>>>,
}

impl Default for Risks {
    fn default() -> Risks {
        Risks { line: Arc::new(Semaphore::new(LINE)), known: Arc::default() }
    }
}

/// The share that is asked about: the one named, else that of the network's limit, else a quarter.
pub(super) fn share(network: &Network, named: Option<u32>) -> Result<u16, ApiError> {
    let limit = network.genesis.risk.map(|limit| limit.adversary_per_mille);
    let Some(named) = named else { return Ok(limit.unwrap_or(USUAL_SHARE)) };
    let share = u16::try_from(named).ok().filter(|share| *share <= 1000);
    share.ok_or(ApiError::OutOfRange { field: "adversary_per_mille", found: named.into(), most: 1000 })
}

/// What is asked of one state.
pub(super) struct Asked {
    share: u16,
    limit: Option<RiskLimit>,
    /// Seats that the shards' committees are drawn from.
    seats: u64,
    /// The beacon's, then the shards': seats in it, and seats that it is drawn from.
    committees: Vec<(ChainId, u64, u64)>,
}

impl Asked {
    pub(super) fn of(network: &Network, state: &BeaconState, share: u16) -> Asked {
        let seating = &state.seating;
        let sum = |row: &Row| row.iter().map(|(_, seats)| u64::from(*seats)).sum::<u64>();
        let size = |bench: usize| u64::try_from(bench).unwrap_or(u64::MAX);
        let seated: u64 = state.shards.iter().map(|record| size(record.bench.0.len())).sum();
        // Who sits and may not be drawn any more is in no row.
        let seats = sum(&seating.shards).max(seated);
        let beacon = sum(&seating.current.beacon);
        let shards = (0..).map(ShardId).zip(&state.shards);
        let shards = shards.map(|(shard, record)| (ChainId::Shard(shard), size(record.bench.0.len()), seats));
        let first = (ChainId::Beacon, beacon, sum(&seating.beacon).max(beacon));
        let committees = std::iter::once(first).chain(shards).collect();
        Asked { share, limit: network.genesis.risk, seats, committees }
    }

    fn question(&self) -> Question {
        let shards = self.committees.iter().filter(|(chain, ..)| *chain != ChainId::Beacon);
        let size = shards.clone().map(|(_, size, _)| *size).max().unwrap_or(0);
        let count = u64::try_from(shards.count()).unwrap_or(u64::MAX);
        (self.seats, adversary_seats(self.seats, self.share), size, count)
    }

    fn risk(&self, some: NetworkRisk) -> v1::Risk {
        // Committees of one size have one risk, and working it out takes as many steps as they have seats.
        let mut known = BTreeMap::new();
        let committee = |(chain, size, total): &(ChainId, u64, u64)| {
            let adversary = adversary_seats(*total, self.share);
            let one = *known.entry((*total, *size)).or_insert_with(|| committee_risk(*total, adversary, *size));
            let (role, shard) = chain_words(*chain);
            let count = |seats: u64| u32::try_from(seats).unwrap_or(u32::MAX);
            v1::CommitteeRisk {
                role,
                shard,
                seats: count(*size),
                total_seats: *total,
                adversary_seats: adversary,
                stall_seats: count(size.div_ceil(3)),
                capture_seats: count(size * 2 / 3 + 1),
                stall: one.stall,
                capture: one.capture,
            }
        };
        let limit = self.limit.map(|limit| v1::RiskLimit {
            adversary_per_mille: limit.adversary_per_mille.into(),
            stall: limit.stall,
            capture: limit.capture,
        });
        v1::Risk {
            adversary_per_mille: self.share.into(),
            seats: self.seats,
            adversary_seats: adversary_seats(self.seats, self.share),
            committees: self.committees.iter().map(committee).collect(),
            some_stall: some.stall,
            some_capture: some.capture,
            exact: some.exact,
            limit,
        }
    }
}

impl Risks {
    pub(super) async fn answer(&self, asked: Asked) -> Result<v1::Risk, ApiError> {
        let busy = |_| ApiError::Busy { what: "questions about risk", limit: LINE };
        let _place = self.line.try_acquire().map_err(busy)?;
        let mut known = self.known.lock().await;
        let question = asked.question();
        if let Some(some) = known.get(&question) {
            return Ok(asked.risk(*some));
        }
        let (seats, adversary, size, count) = question;
        let work = tokio::task::spawn_blocking(move || network_risk(seats, adversary, size, count));
        // It ends early only with the process.
        let some = work.await.map_err(|_| ApiError::Stopped)?;
        while known.len() >= KNOWN {
            known.pop_first();
        }
        known.insert(question, some);
        Ok(asked.risk(some))
    }
}
