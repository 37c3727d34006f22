//! Explanations of finality on the wire, and the share of the core's time that they may take.

use crate::{config, errors::ApiError};
use kakera_chain::{
    BlockId, Member, MessageId,
    application::Application,
    replica::{BlockExplanation, MemberFinding, Replica, Stand},
    units::Height,
};
use kakera_proto::v1;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

/// Requests that wait or are answered at most.
const LINE: usize = 16;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// A turn ends after this many times what the answer cost: explanations take a tenth of the core at most.
const REST: u32 = 9;

/// Turns at the core, one at a time.
#[derive(Clone, Debug)]
pub struct Turns {
    line: Arc<Semaphore>,
    core: Arc<Semaphore>,
}

/// A turn, given back some time after its end.
#[derive(Debug)]
pub struct Turn {
    _line: OwnedSemaphorePermit,
    core: OwnedSemaphorePermit,
    runtime: Handle,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { line: Arc::new(Semaphore::new(LINE)), core: Arc::new(Semaphore::new(1)) }
    }
}

impl Turns {
    /// Waits for a turn, with not too many others.
    pub(super) async fn take(&self) -> Result<Turn, ApiError> {
        let busy = || ApiError::Busy { what: "explanations", limit: LINE };
        let line = Arc::clone(&self.line).try_acquire_owned().map_err(|_| busy())?;
        let core = timeout(PATIENCE, Arc::clone(&self.core).acquire_owned()).await;
        let core = core.map_err(|_| busy())?.map_err(|_| ApiError::Stopped)?;
        Ok(Turn { _line: line, core, runtime: Handle::current() })
    }
}

impl Turn {
    fn end(self, spent: Duration) {
        let core = self.core;
        self.runtime.spawn(async move {
            sleep(spent * REST).await;
            drop(core);
        });
    }
}

/// Which block is asked about.
pub(super) enum Wanted {
    /// By height.
    Height(Height),
    /// By id.
    Id(BlockId),
}

/// Explains a block, on the core's thread; none when it is not held.
pub(super) fn explain<A: Application>(
    replica: &Replica<A>,
    wanted: &Wanted,
    turn: Turn,
) -> Option<v1::BlockExplanation> {
    let began = Instant::now();
    let found = match wanted {
        Wanted::Height(height) => replica.explain_at(*height),
        Wanted::Id(id) => replica.explain(id),
    };
    turn.end(began.elapsed());
    found.map(|found| answer(replica, &found))
}

fn answer<A: Application>(replica: &Replica<A>, found: &BlockExplanation) -> v1::BlockExplanation {
    let name = |member: Member| {
        let validator = found.validators.get(member.index()).and_then(|id| config::validator(replica.network(), *id));
        validator.map_or_else(|| format!("member {member}"), |entry| entry.name.clone())
    };
    let head = v1::BlockExplanation {
        block_id: found.id.0.to_vec(),
        height: found.height.0,
        slot: found.slot.0,
        certified: found.certified,
        r#final: found.certified,
        votes_held: found.votes.is_some(),
        reason: found.reason().to_owned(),
        sentence: found.sentence(name),
        conflicts_with: found.conflict().map(|id| id.0.to_vec()).unwrap_or_default(),
        ..v1::BlockExplanation::default()
    };
    let Some(votes) = &found.votes else { return head };
    let levels = votes.levels.iter().map(|level| v1::LevelFinding {
        level: level.level,
        needed: level.needed.unwrap_or(0),
        found: level.found.unwrap_or(0),
    });
    v1::BlockExplanation {
        r#final: votes.is_final,
        total_weight: votes.total,
        threshold: votes.threshold,
        support: votes.support,
        fault_weight: votes.fault_weight,
        levels: levels.collect(),
        target: votes.target,
        members: votes.members.iter().map(|member| finding(member, name(member.member))).collect(),
        ..head
    }
}

fn finding(found: &MemberFinding<BlockId, MessageId>, validator: String) -> v1::MemberFinding {
    let blank = v1::MemberFinding {
        member: found.member.0.into(),
        validator,
        weight: found.weight,
        last_message: found.last.map(|id| id.0.to_vec()).unwrap_or_default(),
        last_slot: found.last_slot.unwrap_or_default().0,
        ..v1::MemberFinding::default()
    };
    let bytes = |id: &BlockId| id.0.to_vec();
    let stand = |word: &str| word.to_owned();
    match &found.stand {
        Stand::Supports { level } => v1::MemberFinding { stand: stand("supports"), level: *level, ..blank },
        Stand::Behind { vote } => {
            v1::MemberFinding { stand: stand("behind"), vote: vote.as_ref().map(bytes).unwrap_or_default(), ..blank }
        }
        Stand::Elsewhere { vote, branch } => {
            v1::MemberFinding { stand: stand("elsewhere"), vote: bytes(vote), branch: bytes(branch), ..blank }
        }
        Stand::Silent => v1::MemberFinding { stand: stand("silent"), ..blank },
        Stand::Faulty { first, second } => {
            v1::MemberFinding { stand: stand("faulty"), evidence: vec![first.0.to_vec(), second.0.to_vec()], ..blank }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_few_in_line() {
        let turns = Turns::default();
        let first = turns.take().await.expect("nobody else is there");
        let waiting: Vec<_> = (1..LINE)
            .map(|_| {
                let turns = turns.clone();
                tokio::spawn(async move { turns.take().await })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(matches!(turns.take().await, Err(ApiError::Busy { limit: LINE, .. })));
        first.end(Duration::from_millis(1));
        for turn in waiting {
            turn.await.expect("no panic").expect("its turn comes").end(Duration::ZERO);
        }
        drop(turns.take().await.expect("the line is free again"));
    }
}
