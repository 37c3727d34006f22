//! Places for states, while somebody asks for all of them.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::testing::Chains;
use kakera_chain::units::Height;
use kakera_shard::handover::Ask;
use std::future::ready;

/// The ids of the certified blocks 1 to `count`, once there are so many.
async fn certified(core: &Core<Shard>, count: u64) -> Vec<BlockId> {
    let began = Instant::now();
    loop {
        let ids =
            core.query(move |replica, _| (1..=count).map(|height| replica.certified_id(Height(height))).collect());
        let ids: Option<Vec<BlockId>> = ids.await.unwrap();
        if let Some(ids) = ids {
            return ids;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "the chain stands still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_for_all_states_at_once_takes_the_last_recorded_one_from_nobody() {
    let chains = Chains::start();
    let mut others = certified(&chains.shard.core, 2 + KEPT as u64).await;
    let recorded = others.pop().unwrap();
    let versions = Versions::new(chains.shard.core.clone());
    let served = async |block: BlockId| {
        let request = Request { block, ask: Ask::Head };
        matches!(versions.answer(&request, ready(Some(recorded))).await, Answer::Head(_))
    };
    let kept = || versions.lock().iter().map(|kept| kept.block).collect::<Vec<_>>();
    for other in &others[..KEPT] {
        assert!(served(*other).await);
    }
    assert_eq!(kept(), others[..KEPT]);
    assert!(served(others[KEPT]).await, "there is no place for it, but it was found");
    assert_eq!(kept(), others[..KEPT], "one stranger's state takes no place from another's");
    assert!(served(recorded).await);
    for other in &others {
        assert!(served(*other).await);
    }
    assert_eq!(kept().len(), KEPT);
    assert_eq!(kept().last(), Some(&recorded), "it stays, whoever asks for others");
    assert!(!served(BlockId([9; 32])).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_recorded_state_takes_the_place_of_strangers_first_and_of_the_oldest_recorded_then() {
    let chains = Chains::start();
    let blocks = certified(&chains.shard.core, 2 + KEPT as u64).await;
    let versions = Versions::new(chains.shard.core.clone());
    let ask = async |block: BlockId, recorded: bool| {
        let request = Request { block, ask: Ask::Head };
        let named = ready(recorded.then_some(block));
        assert!(matches!(versions.answer(&request, named).await, Answer::Head(_)));
    };
    let kept = || versions.lock().iter().map(|kept| (kept.block, kept.recorded)).collect::<Vec<_>>();
    ask(blocks[0], false).await;
    ask(blocks[0], true).await;
    assert_eq!(kept(), [(blocks[0], true)], "kept before it was recorded");
    ask(blocks[1], false).await;
    for block in &blocks[2..] {
        ask(*block, true).await;
    }
    let newest: Vec<_> = blocks[2..].iter().map(|block| (*block, true)).collect();
    assert_eq!(kept(), newest);
}
