//! Following a chain: one stream of certified blocks from any node that holds it, left for the next node's when it brings
//! nothing new. What comes is checked and executed by the process's own replica, which takes no other part in that era.
//!
//! A member of a committee follows nothing; it begins to when its era is over without it, and ends when the next one
//! begins that it has a seat in. Members of the beacon chain learn of the end of their era here, too: nobody else could
//! name them the next one.

use crate::{
    api::chains::Served,
    checked::Way,
    core::{ChainEvent, Core},
    forward::Forwarder,
    hosts::Hosts,
    peers::FRAME_BYTES,
};
use kakera_chain::{
    BlockId, Member, Slot,
    application::CertifiedBlocks,
    codec,
    genesis::Timing,
    replica::{ClosedEra, InvalidBlocks, Phase},
    units::{ChainId, Height, ShardId},
};
use kakera_proto::v1::{ChainName, FollowChainRequest, GetClosedEraRequest, sync_client::SyncClient};
use kakera_shard::Following;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::Status;

/// How often a member is looked at that needs no stream.
const LOOK: Duration = Duration::from_millis(500);
/// How often a member that does not get on asks whether its era is over.
const ASK: Duration = Duration::from_secs(2);
/// How long that answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Before blocks are asked for again whose era, or whose reference, is not known here yet.
const EARLY: Duration = Duration::from_millis(50);
/// How often in a row the same node is asked for them.
const EARLIES: u32 = 40;

/// Why a stream was left.
#[derive(Debug, Error)]
enum Ended {
    #[error("no node is known that holds the chain")]
    NoNode,
    #[error("{}", .0.message())]
    Status(#[from] Status),
    #[error("nothing new for {0:?}")]
    Silent(Duration),
    #[error("it sent blocks up to height {last}, but {due} was due")]
    Repeats { last: Height, due: Height },
    #[error("what is past comes too slowly")]
    Slow,
    #[error("the stream ended")]
    Closed,
    #[error("what it sent is refused: {0}")]
    Refused(String),
    #[error("it is ahead of what is known here: {0}")]
    Early(InvalidBlocks),
    #[error("this node takes part now")]
    Seated,
    #[error("the core has stopped")]
    Stopped,
}

/// What is followed, and by whom.
pub struct Followed<A: Served> {
    /// The chain.
    pub chain: ChainId,
    /// Its timing.
    pub timing: Timing,
    /// Its replica here.
    pub core: Core<A>,
    /// The ways to whoever holds it.
    pub forwarder: Arc<Forwarder>,
    /// Which of them is read first, so that not all read the same one.
    pub spread: u16,
    /// Set while this process has a seat and speaks.
    pub seated: Arc<AtomicBool>,
    /// The shards that have to be read each beacon block before the next is taken; none for a shard's chain.
    pub readers: Option<Hosts>,
}

impl<A: Served> Clone for Followed<A> {
    fn clone(&self) -> Self {
        Followed {
            chain: self.chain,
            timing: self.timing,
            core: self.core.clone(),
            forwarder: Arc::clone(&self.forwarder),
            spread: self.spread,
            seated: Arc::clone(&self.seated),
            readers: self.readers.clone(),
        }
    }
}

/// A chain's name on the wire.
pub(crate) fn name(chain: ChainId) -> ChainName {
    match chain {
        ChainId::Beacon => ChainName { beacon: true, shard: 0 },
        ChainId::Shard(shard) => ChainName { beacon: false, shard: shard.0.into() },
    }
}

/// Follows a chain whenever that is needed, until the core stops.
pub async fn follow<A: Served>(followed: Followed<A>) {
    let mut following = Following::new(ShardId(0), Member(followed.spread), followed.timing);
    let (mut events, mut early, mut useless) = (followed.core.events(), 0u32, 0usize);
    loop {
        let Ok(phase) = followed.core.query(|replica, _| replica.phase()).await else { return };
        followed.seated.store(phase != Phase::Observer, Ordering::Release);
        if phase != Phase::Observer {
            // An era may have begun or ended.
            let event = timeout(LOOK, async { while !matches!(events.recv().await, Ok(ChainEvent::Entered(_))) {} });
            let _looked = event.await;
            if !followed.core.is_running() {
                return;
            }
            continue;
        }
        // From the committee, as long as any of it answers: those who only follow may be following each other.
        let (index, chain, forwarder) = (following.index(), followed.chain, &followed.forwarder);
        let member = (useless < forwarder.count(chain)).then(|| forwarder.member(chain, index)).flatten();
        let (source, mut blocks) = (member.or_else(|| forwarder.channel(chain, index)), 0);
        let endpoint = source.as_ref().map(|(endpoint, _)| endpoint.clone());
        let ended = match followed.take(source, &mut following, &mut blocks).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        };
        match ended {
            Ended::Stopped => return,
            Ended::Seated => continue,
            // The same node again: it is not to blame, unless this goes on.
            Ended::Early(reason) if early < EARLIES => {
                tracing::trace!(chain = %followed.chain, %reason, "blocks have come early");
                early = if blocks > 0 { 0 } else { early + 1 };
                sleep(EARLY).await;
                continue;
            }
            _ => {}
        }
        (early, useless) = (0, if blocks > 0 { 0 } else { useless + 1 });
        tracing::info!(chain = %followed.chain, ?endpoint, reason = %ended, "a stream of certified blocks is left for the next node's");
        sleep(Duration::from_millis(following.left(blocks > 0))).await;
    }
}

impl<A: Served> Followed<A> {
    async fn take(
        &self,
        source: Option<(String, Way)>,
        following: &mut Following,
        blocks: &mut u64,
    ) -> Result<std::convert::Infallible, Ended> {
        let answer = Duration::from_millis(following.answer_ms());
        let silence = Duration::from_millis(following.silence_ms());
        let mut next = self.progress().await?.next;
        let (_, channel) = source.ok_or(Ended::NoNode)?;
        let mut client = SyncClient::new(channel).max_decoding_message_size(FRAME_BYTES);
        let asked = client.follow(FollowChainRequest { chain: Some(name(self.chain)), from_height: next.0 });
        let mut stream = timeout(answer, asked).await.map_err(|_| Ended::Silent(answer))??.into_inner();
        // What the stream must bring next. The replica may be further: it does not grow by streams alone.
        let (mut due, mut brought) = (next, Instant::now());
        loop {
            let message =
                timeout_at(brought + silence, stream.message()).await.map_err(|_| Ended::Silent(silence))??;
            let bytes = message.ok_or(Ended::Closed)?.canonical;
            let certified: CertifiedBlocks = codec::decode(&bytes, CertifiedBlocks::MAX_BYTES)
                .map_err(|invalid| Ended::Refused(invalid.to_string()))?;
            let last = certified.blocks.last().map_or(Height(0), |block| block.header.height);
            // Blocks that are known are not looked at any more: a stream that repeats them would never be refused.
            if last < due {
                return Err(Ended::Repeats { last, due });
            }
            if let Some(readers) = &self.readers {
                readers.caught_up(Height(next.0.saturating_sub(1))).await;
            }
            match self.core.import(certified).await.map_err(|_| Ended::Stopped)? {
                Ok(()) => {}
                Err(reason @ (InvalidBlocks::Reference { .. } | InvalidBlocks::Linkage { .. })) => {
                    return Err(Ended::Early(reason));
                }
                Err(invalid) => return Err(Ended::Refused(invalid.to_string())),
            }
            let reached = self.progress().await?;
            if reached.phase != Phase::Observer {
                return Err(Ended::Seated);
            }
            due = Height(last.0.saturating_add(1));
            if reached.next > next {
                *blocks += 1;
                brought = Instant::now();
                if following.is_too_slow(reached.slot, reached.clock) {
                    return Err(Ended::Slow);
                }
            }
            next = reached.next;
        }
    }

    async fn progress(&self) -> Result<Progress, Ended> {
        let chain = self.chain;
        let asked = self.core.query(move |replica, now| {
            let certified = replica.certified();
            let clock = replica.network().clock(chain).slot_at(now);
            let (next, slot) = (certified.header.height.next(), certified.header.slot);
            Progress { next, slot, clock, phase: replica.phase() }
        });
        asked.await.map_err(|_| Ended::Stopped)
    }
}

/// How far a replica is.
struct Progress {
    /// The next height wanted.
    next: Height,
    /// The slot of the block below it.
    slot: Slot,
    /// The present one.
    clock: Slot,
    /// The part that is taken.
    phase: Phase,
}

/// Asks, whenever a member does not get on, whether its era is over; until the core stops.
pub async fn notice_the_end<A: Served>(core: Core<A>, forwarder: Arc<Forwarder>, chain: ChainId) {
    let (mut before, mut index) = (None, 0usize);
    loop {
        sleep(ASK).await;
        let asked = core.query(|replica, _| (replica.certified().header.height, replica.era().root, replica.phase()));
        let Ok((height, root, phase)) = asked.await else { return };
        let stands_still = before.replace(height) == Some(height);
        if phase == Phase::Observer || !stands_still {
            continue;
        }
        index = index.wrapping_add(1);
        let Some((endpoint, channel)) = forwarder.channel(chain, index) else { continue };
        match closed_era(channel, chain, root).await {
            Ok(Some(closed)) => match core.close(closed).await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => tracing::warn!(endpoint, %reason, "what should prove the end of an era does not"),
                Err(_) => return,
            },
            Ok(None) => {}
            Err(reason) => tracing::debug!(endpoint, %reason, "a node does not say whether the era is over"),
        }
    }
}

async fn closed_era(channel: Way, chain: ChainId, root: BlockId) -> Result<Option<ClosedEra>, Ended> {
    let mut client = SyncClient::new(channel).max_decoding_message_size(ClosedEra::MAX_BYTES + 64);
    let asked = client.get_closed_era(GetClosedEraRequest { chain: Some(name(chain)), root: root.0.to_vec() });
    let bytes = timeout(ANSWER, asked).await.map_err(|_| Ended::Silent(ANSWER))??.into_inner().canonical;
    if bytes.is_empty() {
        return Ok(None);
    }
    let closed = codec::decode(&bytes, ClosedEra::MAX_BYTES);
    closed.map(Some).map_err(|invalid| Ended::Refused(invalid.to_string()))
}

#[cfg(test)]
mod tests;
