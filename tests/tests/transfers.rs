//! Transfers within and across shards, submitted to any node and followed to their end.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_chain::units::{ChainId, ShardId};
use kakera_deploy::Profile;
use kakera_proto::v1::{
    ReceiptRef, ReceiptStatus, Stage, TrackReceiptRequest, TransactionStatus, transactions_client::TransactionsClient,
};
use kakera_tests::{
    facts,
    net::Net,
    orders::{CROSS_FEE, FEE, Signed, Wallet},
    random::Random,
    wait::{PATIENCE, check, until},
};
use tokio::time::timeout;

const GIFT: u64 = 10_000_000;

fn stages(steps: &[TransactionStatus]) -> Vec<Stage> {
    steps.iter().map(TransactionStatus::stage).collect()
}

/// Each step later than the one before, cursors growing, only the last terminal. A block that loses its fork may lead
/// back from included to accepted; from shard-final on there is no way back.
fn check_life(steps: &[TransactionStatus], signed: &Signed, expected: &[Stage]) {
    let seen = stages(steps);
    let first = |stage: &Stage| seen.iter().position(|other| other == stage);
    let firsts: Vec<Option<usize>> = expected.iter().map(first).collect();
    assert!(firsts.iter().all(Option::is_some) && firsts.is_sorted(), "{seen:?}, not {expected:?}");
    let settled = first(&Stage::ShardFinal).unwrap();
    assert_eq!(seen[settled..], expected[2..], "no way back from shard-final");
    assert!(seen[..settled].iter().all(|stage| expected[..2].contains(stage)), "{seen:?}");
    for pair in steps.windows(2) {
        assert!(pair[0].cursor < pair[1].cursor && !pair[0].terminal, "{steps:?}");
        assert!(pair[0].at_ms <= pair[1].at_ms, "{steps:?}");
    }
    for step in steps {
        assert_eq!(step.transaction_id, signed.id.0);
        if step.stage() as i32 >= Stage::Included as i32 {
            assert!(step.height > 0 && step.block_id.len() == 32, "{step:?}");
        }
        if matches!(step.stage(), Stage::Recorded | Stage::Delivered) {
            assert!(step.beacon_height > 0, "{step:?}");
        }
    }
    assert!(steps.last().unwrap().terminal);
}

/// A life without the steps that a fast network may have passed before the stream was opened.
fn check_order(steps: &[TransactionStatus], expected: &[Stage]) {
    let seen = stages(steps);
    let mut expected = expected.iter();
    for stage in &seen {
        assert!(expected.any(|next| next == stage), "{stage:?} is out of order in {seen:?}");
    }
}

const INTRA: [Stage; 4] = [Stage::Accepted, Stage::Included, Stage::ShardFinal, Stage::Recorded];
const CROSS: [Stage; 5] = [Stage::Accepted, Stage::Included, Stage::ShardFinal, Stage::Recorded, Stage::Delivered];

#[test]
fn tokens_move_within_and_across_shards_from_any_node() {
    let mut random = Random::seeded("transfers");
    let net = Net::start(&Profile::demo());
    let shards = [ShardId(0), ShardId(1)];
    let all = net.all();
    let wallets: Vec<Vec<Wallet>> =
        shards.iter().map(|shard| (0..3).map(|index| net.wallet(&format!("w{index}"), *shard)).collect()).collect();
    for group in &wallets {
        net.fund(&group.iter().collect::<Vec<_>>(), GIFT);
    }

    // Followed where the sender's shard lives: the whole life is seen, in order.
    let home = net.members(ChainId::Shard(shards[0]))[0].clone();
    let [a, b] = [&wallets[0][0], &wallets[0][1]];
    let far = &wallets[1][0];
    let within = a.transfer(&net, 0, b.address, 1_000);
    check_life(&net.settle(&home, shards[0], &within), &within, &INTRA);
    let across = a.transfer(&net, 1, far.address, 2_000);
    let steps = net.settle(&home, shards[0], &across);
    check_life(&steps, &across, &CROSS);
    check_resumption(&net, &home, &across);
    let receipt = check_receipt(&net, &steps, 2_000);

    // Through beacon nodes and nodes of the other shard: forwarded, and the order of steps is the same.
    let beacon = net.members(ChainId::Beacon);
    let mut nodes = vec![beacon[0].clone(), net.members(ChainId::Shard(shards[1]))[0].clone()];
    nodes.extend((0..6).map(|_| random.pick(&all).clone()));
    for (nonce, node) in (2..).zip(&nodes) {
        let (to, life) = if nonce % 2 == 0 { (far.address, &CROSS[..]) } else { (b.address, &INTRA[..]) };
        let steps = net.settle(node, shards[0], &a.transfer(&net, nonce, to, 10));
        println!("through {node}: {:?}", stages(&steps));
        check_order(&steps, life);
        assert_eq!(steps.last().unwrap().stage(), *life.last().unwrap());
        assert!(!steps.last().unwrap().receipts.contains(&receipt), "each receipt has its own place");
    }

    let crossed = 2_000 + 4 * 10;
    let kept = 1_000 + 4 * 10;
    let expected =
        [(a, GIFT - crossed - kept - 5 * FEE - 5 * CROSS_FEE, 10), (b, GIFT + kept, 0), (far, GIFT + crossed, 0)];
    for node in &all {
        for (wallet, balance, nonce) in &expected {
            until(&format!("{node} to answer for shard {}", wallet.shard), || {
                let account = net.account(node, &wallet.address).map_err(|status| status.to_string())?;
                assert_eq!(account.shard, u32::from(wallet.shard.0));
                check((account.balance, account.nonce) == (*balance, *nonce), || format!("{account:?}, not {balance}"))
            });
        }
    }
    check_conservation(&net);
}

/// Resuming after each step's cursor yields exactly the later steps; the end is told whatever the cursor.
fn check_resumption(net: &Net, node: &str, signed: &Signed) {
    let follow = |after| {
        let steps = net.follow(node, signed.id, ShardId(0), after).unwrap();
        steps.iter().map(|step| (step.stage(), step.cursor, step.terminal)).collect::<Vec<_>>()
    };
    let whole = follow(0);
    assert_eq!(whole.last().map(|(stage, _, terminal)| (*stage, *terminal)), Some((Stage::Delivered, true)));
    for (index, (_, cursor, _)) in whole.iter().enumerate() {
        let later = &whole[(index + 1).min(whole.len() - 1)..];
        assert_eq!(follow(*cursor), later, "after cursor {cursor}");
    }
}

/// The transaction's one receipt was delivered, as its destination says on any node.
fn check_receipt(net: &Net, steps: &[TransactionStatus], amount: u64) -> ReceiptRef {
    let receipts = &steps.last().unwrap().receipts;
    assert_eq!(receipts.len(), 1, "{steps:?}");
    let receipt = receipts[0];
    assert_eq!((receipt.from_shard, receipt.to_shard, receipt.amount), (0, 1, amount));
    for node in [&net.members(ChainId::Shard(ShardId(1)))[2], &net.members(ChainId::Beacon)[1]] {
        let fate = fate(net, node, receipt);
        assert_eq!(fate.stage(), Stage::Delivered);
        assert!(fate.height > 0);
    }
    receipt
}

fn fate(net: &Net, node: &str, receipt: ReceiptRef) -> ReceiptStatus {
    let request = TrackReceiptRequest { from_shard: receipt.from_shard, to_shard: receipt.to_shard, seq: receipt.seq };
    let channel = net.channel(node);
    net.runtime().block_on(async {
        let follow = async {
            let mut stream = TransactionsClient::new(channel).track_receipt(request).await?.into_inner();
            let mut last = None;
            while let Some(step) = stream.message().await? {
                last = Some(step);
            }
            Ok::<_, tonic::Status>(last)
        };
        timeout(PATIENCE, follow).await.unwrap().unwrap().expect("the receipt's fate")
    })
}

/// At the beacon, at every certified height looked at, nothing is lost and nothing printed; and per lane, what was
/// recorded is consumed in the end.
fn check_conservation(net: &Net) {
    for node in net.members(ChainId::Beacon) {
        let state = until("all receipts to be settled", || {
            let state = net.beacon_state(&node).map_err(|status| status.to_string())?;
            assert_eq!(state.conserved_total, state.genesis_supply, "{state:?}");
            let open: Vec<_> = state.lanes.iter().filter(|lane| lane.recorded != lane.consumed).collect();
            check(open.is_empty(), || format!("open lanes: {open:?}")).map(|()| state.clone())
        });
        assert_eq!(state.genesis_supply, net.genesis().supply());
        assert!(state.lanes.iter().all(|lane| lane.pending_amount == 0));
        assert!(state.lanes.iter().any(|lane| lane.recorded > 0));
    }
    for shard in [ShardId(0), ShardId(1)] {
        let blocks = facts::agreed_blocks(net, &net.members(ChainId::Shard(shard)));
        facts::check_supply(net, shard, &blocks);
        facts::check_exactly_once(&blocks, std::iter::empty());
    }
}

#[test]
fn a_receipt_that_expires_while_its_destination_is_dead_comes_back_to_its_sender() {
    let mut profile = Profile::demo();
    profile.lanes.lifetime_slots = 10;
    let net = Net::start(&profile);
    let (here, there) = (ShardId(0), ShardId(1));
    let (alice, bob) = (net.wallet("alice", here), net.wallet("bob", there));
    net.fund(&[&alice], GIFT);
    let home = net.members(ChainId::Shard(here))[0].clone();
    let destination = net.members(ChainId::Shard(there));
    let beacon = net.members(ChainId::Beacon)[0].clone();

    net.kill(&destination);
    let signed = alice.transfer(&net, 0, bob.address, 50_000);
    net.submit(&home, &signed.bytes).unwrap();
    let recorded = until("the receipt to be recorded", || {
        let state = net.beacon_state(&beacon).map_err(|status| status.to_string())?;
        assert_eq!(state.conserved_total, state.genesis_supply, "{state:?}");
        let lane = state.lanes.iter().find(|lane| (lane.from_shard, lane.to_shard) == (0, 1));
        check(lane.is_some_and(|lane| lane.recorded == 1), || format!("{lane:?}")).map(|()| state.height)
    });
    // The destination, once it is back, reads at least up to a beacon block past the receipt's time.
    let slot = |height| net.block(&beacon, height).map(|block| block.slot);
    let expired = slot(recorded).unwrap() + 11;
    until("the receipt to expire", || {
        let height = net.status(&beacon).map_err(|status| status.to_string())?.certified_height;
        let slot = slot(height).map_err(|status| status.to_string())?;
        check(slot > expired, || format!("slot {slot} of {expired}"))
    });
    for name in &destination {
        net.orchestrator().start(name).unwrap();
    }
    net.wait_listening(&destination);

    let steps = net.follow(&home, signed.id, here, 0).unwrap();
    println!("{:?}", stages(&steps));
    let last = steps.last().unwrap();
    assert_eq!((last.stage(), last.terminal), (Stage::Returned, true), "{steps:?}");
    let refusal = last.refusal.as_ref().expect("a return says why");
    assert!(refusal.reason.contains("EXPIRED"), "{refusal:?}");
    assert_eq!(last.receipts.len(), 1);
    let fate = fate(&net, &destination[1], last.receipts[0]);
    assert_eq!(fate.stage(), Stage::Returned);

    let account = net.account(&home, &alice.address).unwrap();
    assert_eq!((account.balance, account.nonce), (GIFT - CROSS_FEE, 1), "the amount came back, the fees did not");
    assert_eq!(net.account(&destination[0], &bob.address).unwrap().balance, 0);
    check_conservation(&net);
}
