//! Peers that lie, frame others, say nothing or say nothing new.

use super::network::{End, Net, Peer, config, id, state, target};
use crate::{handover::*, testing::MemoryStore, trie::Run};
use kakera_chain::{
    BlockId, codec,
    codec::InvalidBytes,
    units::{ShardId, Timestamp, ValidatorId},
};

#[test]
fn corrupt_parts_at_every_position_are_refused_and_cost_their_sender_its_place() {
    let wanted = state(12, 5);
    let head = codec::encode(&Answer::to(&Ask::Head, Some(&wanted))).len();
    for bit in 0..8 * head {
        let mut net = Net::new(wanted.clone(), vec![Peer::Bit(bit), Peer::Honest]);
        let end = net.run();
        net.assert_complete(end);
        assert_eq!(net.convicted(), vec![0], "bit {bit}");
    }
    // Parts only: the head comes from the honest peer first.
    for bit in (0..8 * 600).step_by(3) {
        let mut net = Net::new(wanted.clone(), vec![Peer::Honest, Peer::Bit(bit)]);
        let end = net.run();
        net.assert_complete(end);
        assert_eq!(net.convicted(), vec![1], "bit {bit}");
        assert!(matches!(net.dropped[0].1, Fault::Part(_) | Fault::Answer(_) | Fault::Head(_)));
    }
}

#[test]
fn a_third_of_the_peers_corrupt_parts_at_random() {
    let peers: Vec<Peer> = (0..10).map(|n| if n % 3 == 1 { Peer::Random } else { Peer::Honest }).collect();
    let mut net = Net::new(state(2_000, 5), peers);
    let end = net.run();
    net.assert_complete(end);
    assert_eq!(net.convicted(), vec![1, 4, 7]);
    assert_eq!(net.dropped.len(), 3, "nobody else is left out");
}

#[test]
fn valid_but_empty_answers_for_ever_are_bad_answers() {
    let wanted = state(200, 5);
    let nothing = Answer::Part(Part { run: Run::default() });
    let from = network_key(3);
    let one = Answer::Part(wanted.part(&Wanted { from, until: from, limit: 1 }));
    for empty in [nothing, one] {
        let mut net = Net::new(wanted.clone(), vec![Peer::Honest, Peer::Always(empty), Peer::Drip]);
        let end = net.run();
        net.assert_complete(end);
        assert_eq!(net.convicted(), vec![1, 2]);
        // Not one of their answers was taken: each asked for in vain once.
        assert!(net.asked <= 1 + 200 / 16 + 2 * 8 + 4, "{}", net.asked);
    }
}

fn network_key(number: u64) -> kakera_chain::address::Address {
    super::network::key(number)
}

#[test]
fn a_trie_of_nothing_is_not_believed_where_there_is_something() {
    let empty = state(0, 0);
    let mut net = Net::new(state(30, 5), vec![Peer::Old(Box::new(empty)), Peer::Honest]);
    let end = net.run();
    net.assert_complete(end);
    assert!(matches!(net.dropped[..], [(ValidatorId(0), Fault::Head(InvalidHead::StateRoot { .. }))]));
}

#[test]
fn nobody_can_answer_in_anothers_name() {
    let wanted = state(150, 5);
    let mut net = Net::new(wanted.clone(), vec![Peer::Honest; 3]);
    for peer in 0..3 {
        net.give(Input::Peer(id(peer)));
    }
    let garbage = vec![0xee; 100];
    let mut end = None;
    for _ in 0..1_000 {
        if end.is_some() {
            break;
        }
        // Peer 2 sends bad answers with every ticket there may be, and strangers do so too; replays follow.
        for ticket in 0..net.asked as u64 + 3 {
            let owner = net.events.values().find_map(|event| match event {
                Input::Answered { peer, ticket: asked, .. } if *asked == ticket => Some(*peer),
                _ => None,
            });
            for peer in [ValidatorId(2), ValidatorId(77)] {
                if owner != Some(peer) {
                    net.give(Input::Answered { peer, ticket, bytes: garbage.clone() });
                    net.give(Input::Lost { peer, ticket });
                }
            }
        }
        net.now = net.now.plus(1);
        let event = net.events.pop_first().map(|(_, input)| input);
        if let Some(input) = event.clone() {
            end = net.give(input);
        }
        // The same answer again.
        let again = net.give(event.unwrap_or(Input::Tick));
        end = end.or(again);
    }
    net.assert_complete(end.unwrap());
    assert!(net.dropped.is_empty(), "{:?}", net.dropped);
}

#[test]
fn all_peers_bad_is_a_stall_with_its_reason() {
    for bad in [Peer::Random, Peer::Bit(900), Peer::Drip, Peer::Always(Answer::Part(Part { run: Run::default() }))] {
        let mut net = Net::new(state(500, 5), vec![bad; 6]);
        let end = net.run();
        assert!(matches!(end, End::Stalled(Stall::NoPeers { silent: 0, bad: 6 })), "{end:?}");
        assert_eq!(net.fetch.stalled(), Some(Stall::NoPeers { silent: 0, bad: 6 }));
        assert_eq!(net.fetch.next_wakeup(), None, "it waits for another peer, not in a loop");
        assert!(matches!(net.fetch.fault(id(0)), Some(fault) if fault.is_proof()));
        // Convicted peers do not come back; a new one does.
        assert!(net.give(Input::Peer(id(0))).is_none());
        assert!(net.events.is_empty());
        net.peers.push(Peer::Honest);
        assert!(net.give(Input::Peer(id(6))).is_none());
        let end = net.go_on();
        net.assert_complete(end);
    }
}

#[test]
fn silence_ends_in_a_stall_after_bounded_time() {
    for quiet in [Peer::Silent, Peer::Lost] {
        let mut net = Net::new(state(50, 5), vec![quiet; 4]);
        let end = net.run();
        assert!(matches!(end, End::Stalled(Stall::NoPeers { silent: 4, bad: 0 })), "{end:?}");
        assert!(net.asked <= 4 * 4);
        assert!(net.now < Timestamp(1_000 + 4 * (100 + 16 * 100)), "{:?}", net.now);
        // Silence is forgiven when the peer is heard of again, but not at once.
        net.peers = vec![Peer::Honest; 4];
        assert!(net.give(Input::Peer(id(2))).is_none());
        assert!(net.fetch.stalled().is_some() && net.events.is_empty());
        net.now = net.now.plus(8 * 100);
        assert!(net.give(Input::Peer(id(2))).is_none());
        let end = net.go_on();
        net.assert_complete(end);
    }
}

#[test]
fn what_nobody_holds_any_more_asks_for_another_target() {
    let mut net = Net::new(state(50, 5), vec![Peer::Unavailable, Peer::Unavailable, Peer::Silent, Peer::Random]);
    net.peers[3] = Peer::Bit(8);
    let end = net.run();
    assert!(matches!(end, End::Stalled(Stall::Unavailable { unavailable: 2, silent: 1, bad: 1 })), "{end:?}");
    net.state = state(70, 6);
    net.peers = vec![Peer::Honest; 4];
    assert!(net.give(Input::Target(target(&net.state))).is_none());
    assert_eq!(net.fetch.stalled(), None);
    let end = net.go_on();
    net.assert_complete(end);
}

/// Drives a fetch as a process does: all peers are named again every half second, and whether it wants another target is
/// looked at, too. When it does; nothing if it completes.
fn drive(net: &mut Net) -> Option<Timestamp> {
    let (mut look, begun) = (net.now, net.now);
    while net.now < begun.plus(600_000) {
        let mut inputs = Vec::new();
        if look <= net.now {
            if net.fetch.wants_another(net.now) {
                return Some(net.now);
            }
            look = net.now.plus(500);
            inputs.extend((0..net.peers.len()).map(|peer| Input::Peer(id(peer))));
        }
        let event = net.events.keys().next().map(|(time, _)| *time);
        let next = event.into_iter().chain(net.fetch.next_wakeup()).chain([look]).min();
        net.now = net.now.max(next.unwrap_or(look));
        inputs.push(match event {
            Some(time) if time <= net.now => net.events.pop_first().unwrap().1,
            _ => Input::Tick,
        });
        for input in inputs {
            if let Some(end @ End::Complete(_)) = net.give(input) {
                net.assert_complete(end);
                return None;
            }
        }
    }
    panic!("neither done nor in want of another target");
}

/// A network whose times are those of a process.
fn unhurried(peers: Vec<Peer>) -> Net {
    let config = FetchConfig { pieces: 8, part_accounts: 16, in_flight: 4, ..FetchConfig::of(ShardId(0), 1) };
    Net::on(MemoryStore::default(), state(50, 5), peers, config)
}

/// The newest state is another one now.
fn move_on(net: &mut Net, balance: u64) {
    net.state = state(50, balance);
    assert!(net.give(Input::Target(target(&net.state))).is_none());
}

/// One holder has just said that it does not hold the state any more, and the two others are silent by turns: they are
/// never left out within one look.
#[test]
fn the_dead_do_not_keep_a_fetch_at_what_the_living_hold_no_more() {
    let peers = vec![Peer::Unavailable, Peer::Dead(1_000), Peer::Dead(1_000)];
    for patience_ms in [10_000, u64::MAX] {
        let config = FetchConfig { patience_ms, ..FetchConfig::of(ShardId(0), 1) };
        let mut net = Net::on(MemoryStore::default(), state(50, 5), peers.clone(), config);
        let wants = drive(&mut net).unwrap();
        let most = if patience_ms == u64::MAX { 120_000 } else { 11_000 };
        assert!(wants < Timestamp(1_000 + most), "after {} ms", wants.0);
        net.peers[0] = Peer::Honest;
        move_on(&mut net, 6);
        assert_eq!(drive(&mut net), None);
    }
}

#[test]
fn who_lives_is_asked_for_another_target_before_who_is_silent() {
    let mut net = unhurried(vec![Peer::Silent, Peer::Silent, Peer::Unavailable]);
    let wants = drive(&mut net).unwrap();
    // It is served for less time than one who is silent takes.
    net.peers[2] = Peer::Until(wants.plus(4_000));
    move_on(&mut net, 6);
    assert_eq!(drive(&mut net), None);
}

#[test]
fn on_a_slow_link_a_target_that_always_moves_is_fetched_all_the_same() {
    // An answer takes longer than another target is first waited for, and much longer than the time of a request.
    let mut net = unhurried(vec![Peer::Slow(12_000); 3]);
    for balance in 6.. {
        assert!(balance < 10, "it begins anew for ever");
        let Some(_) = drive(&mut net) else { return };
        move_on(&mut net, balance);
    }
}

#[test]
fn an_answer_that_comes_after_its_sender_was_left_out_brings_it_back() {
    let mut net = unhurried(vec![Peer::Silent]);
    net.fetch = Fetch::open(
        FetchConfig { strikes: 1, patience_ms: u64::MAX, ..FetchConfig::of(ShardId(0), 1) },
        target(&net.state),
        &net.store,
    )
    .unwrap();
    assert!(drive(&mut net).is_some(), "nobody is left");
    assert_eq!(net.fetch.fault(id(0)), Some(&Fault::Silent));
    let bytes = codec::encode(&Answer::to(&Ask::Head, Some(&net.state)));
    net.peers[0] = Peer::Honest;
    net.give(Input::Answered { peer: id(0), ticket: 0, bytes });
    assert_eq!((net.fetch.fault(id(0)), net.fetch.stalled()), (None, None));
    assert_eq!(drive(&mut net), None);
}

#[test]
fn that_nobody_holds_a_state_yet_is_said_at_once_and_asked_again() {
    let mut net = Net::new(state(50, 5), vec![Peer::Unavailable; 3]);
    let end = net.run();
    assert!(matches!(end, End::Stalled(Stall::Unavailable { unavailable: 3, silent: 0, bad: 0 })), "{end:?}");
    assert!(net.asked <= 4 && net.now < Timestamp(1_010), "{} asked until {}", net.asked, net.now);
    // One of them comes to hold it.
    net.peers[1] = Peer::Honest;
    let end = net.go_on();
    net.assert_complete(end);
    assert_eq!(net.fetch.stalled(), None);
}

#[test]
fn the_slow_are_asked_last_but_their_answers_count() {
    // Alone, always too late: it is served all the same.
    let mut net = Net::new(state(150, 5), vec![Peer::Slow(150)]);
    let end = net.run();
    net.assert_complete(end);
    assert!(net.dropped.is_empty());
    // Among others it does not hold them up: what it is asked is asked again of them.
    let mut net = Net::new(state(2_000, 5), vec![Peer::Slow(5_000), Peer::Honest, Peer::Honest]);
    let end = net.run();
    net.assert_complete(end);
    assert!(net.now < Timestamp(1_000 + 600), "{:?}", net.now);
    assert!(net.dropped.is_empty());
}

#[test]
fn a_peer_that_stops_in_the_middle_delays_by_one_timeout() {
    let mut net = Net::new(state(1_000, 5), vec![Peer::Honest; 4]);
    for peer in 0..4 {
        net.give(Input::Peer(id(peer)));
    }
    for _ in 0..30 {
        net.now = net.now.plus(1);
        let event = net.events.pop_first().map_or(Input::Tick, |(_, input)| input);
        net.give(event);
    }
    net.peers[0] = Peer::Silent;
    net.peers[1] = Peer::Silent;
    let end = net.go_on();
    net.assert_complete(end);
    assert!(net.now < Timestamp(1_000 + 30 + 500), "{:?}", net.now);
}

#[test]
fn durations_and_counts_at_their_limits() {
    let extremes = FetchConfig {
        pieces: u16::MAX,
        part_accounts: u32::MAX,
        in_flight: usize::MAX,
        timeout_ms: u64::MAX,
        strikes: u32::MAX,
        ..config()
    };
    let peers = vec![Peer::Honest, Peer::Random, Peer::Lost, Peer::Unavailable];
    let mut net = Net::on(MemoryStore::default(), state(100, 5), peers, extremes);
    let end = net.run();
    net.assert_complete(end);
    // When time itself ends, every request is overdue at once; that ends too.
    let mut net = Net::on(MemoryStore::default(), state(100, 5), vec![Peer::Honest, Peer::Lost], extremes);
    net.now = Timestamp(u64::MAX - 1);
    assert!(matches!(net.run(), End::Stalled(_) | End::Complete(_)));
    let none = FetchConfig { pieces: 0, part_accounts: 0, in_flight: 0, timeout_ms: 0, strikes: 0, ..config() };
    let mut net = Net::on(MemoryStore::default(), state(20, 5), vec![Peer::Honest; 2], none);
    assert!(matches!(net.run(), End::Stalled(_)), "no time at all is too little");
    let mut net = Net::new(state(20, 5), vec![Peer::Honest]);
    for peer in 0..2 * MAX_PEERS {
        net.fetch.handle(net.now, Input::Peer(id(peer + 1)), &net.store).unwrap();
    }
    assert!(net.fetch.fault(id(MAX_PEERS + 1)).is_none());
}

#[test]
fn requests_that_cannot_be_answered_are_refused() {
    let (low, high) = (network_key(1).min(network_key(2)), network_key(1).max(network_key(2)));
    let request = |wanted| Request { block: BlockId([1; 32]), ask: Ask::Part(wanted) };
    let decoded = |wanted| Request::decode(&codec::encode(&request(wanted)));
    let wanted = Wanted { from: low, until: high, limit: 1 };
    assert_eq!(decoded(wanted), Ok(request(wanted)));
    assert_eq!(decoded(Wanted { from: high, until: low, ..wanted }), Err(InvalidRequest::Interval));
    assert_eq!(decoded(Wanted { limit: 0, ..wanted }), Err(InvalidRequest::Limit { limit: 0 }));
    let limit = PART_ACCOUNTS + 1;
    assert_eq!(decoded(Wanted { limit, ..wanted }), Err(InvalidRequest::Limit { limit }));
    let long = vec![0; Request::MAX_BYTES + 1];
    assert!(matches!(Request::decode(&long), Err(InvalidRequest::Bytes(InvalidBytes::TooLong { .. }))));
    let head = codec::encode(&Answer::to(&Ask::Head, Some(&state(1, 1))));
    assert_eq!(Answer::decode(&head, &Ask::Part(wanted)), Err(InvalidAnswer::OtherKind));
    let part = codec::encode(&Answer::to(&Ask::Part(wanted), Some(&state(1, 1))));
    assert_eq!(Answer::decode(&part, &Ask::Head), Err(InvalidAnswer::OtherKind));
    let none = codec::encode(&Answer::to(&Ask::Head, None));
    assert_eq!(Answer::decode(&none, &Ask::Part(wanted)), Ok(Answer::Unavailable));
}
