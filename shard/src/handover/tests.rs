//! Fetching among peers of every kind, with kills, changes of target and damaged rows.
#![allow(clippy::unwrap_used, reason = "tests")]

mod hostile;
mod network;

use super::*;
use crate::testing::MemoryStore;
use kakera_chain::{
    address::Address,
    store::{Store, Table, Write},
    units::{ShardId, Timestamp},
};
use network::{End, Net, Peer, config, id, state, target};

#[test]
fn a_state_is_fetched_whole() {
    for accounts in [0, 1, 2, 40, 700] {
        for peers in [1, 3, 9] {
            let mut net = Net::new(state(accounts, 5), vec![Peer::Honest; peers]);
            let end = net.run();
            net.assert_complete(end);
            assert!(net.dropped.is_empty());
        }
    }
}

#[test]
fn every_shard_and_division_covers_all_accounts() {
    for (shard, shards, pieces, part_accounts) in [(0, 64, 64, 1), (63, 64, 0, u32::MAX), (1, 3, u16::MAX, 0)] {
        let config = FetchConfig { shard: ShardId(shard), shards, pieces, part_accounts, ..config() };
        // The accounts are not all of this shard: where they lie must not matter.
        let mut net = Net::on(MemoryStore::default(), state(100, 5), vec![Peer::Honest; 3], config);
        let end = net.run();
        net.assert_complete(end);
    }
}

#[test]
fn other_rows_are_removed_first() {
    let mut store = MemoryStore::default();
    let before = state(9_000, 3);
    let rows = before.accounts.iter().map(|(key, account)| crate::records::account_write(&key, &account));
    store.write(rows.collect());
    store.write(vec![Write::put(Table::Meta, crate::records::META_KEY, kakera_chain::codec::encode(&*before.meta))]);
    let mut net = Net::on(store, state(50, 5), vec![Peer::Honest; 3], config());
    let end = net.run();
    net.assert_complete(end);
}

#[test]
fn a_process_killed_at_any_write_goes_on_where_it_was() {
    let wanted = state(120, 5);
    let mut whole = Net::new(wanted.clone(), vec![Peer::Honest; 3]);
    let end = whole.run();
    whole.assert_complete(end);
    let (writes, requests) = (whole.written, whole.asked);
    assert!(writes > 120);
    // Writes that belong together are cut apart too, which no store does.
    for kill in 0..writes {
        let mut first = Net::new(wanted.clone(), vec![Peer::Honest; 3]);
        first.writes_left = kill;
        assert!(matches!(first.run(), End::Killed));
        assert!(kill == 0 || unfinished(&first.store).unwrap());
        assert!(crate::records::load_state(&first.store).unwrap().is_none());
        let mut second = Net::on(first.store, wanted.clone(), vec![Peer::Honest; 3], config());
        let end = second.run();
        second.assert_complete(end);
        assert_eq!(second.mismatches, 0);
        // What was under way is asked for again, and what was not durable; nothing else.
        assert!(first.asked + second.asked <= requests + 6, "killed at {kill}: {} requests", second.asked);
    }
}

#[test]
fn a_process_killed_again_and_again_ends() {
    let wanted = state(300, 5);
    let (mut store, mut kills) = (MemoryStore::default(), 0);
    loop {
        let mut net = Net::on(store, wanted.clone(), vec![Peer::Random, Peer::Honest], config());
        net.writes_left = 40;
        match net.run() {
            End::Killed => kills += 1,
            end => {
                net.assert_complete(end);
                break;
            }
        }
        store = net.store;
    }
    assert!((5..50).contains(&kills), "{kills}");
}

#[test]
fn a_kill_between_two_targets_mixes_nothing() {
    let (old, new) = (state(120, 5), state(130, 6));
    for kill in (0..160).step_by(7) {
        let mut first = Net::new(old.clone(), vec![Peer::Honest; 3]);
        first.writes_left = kill;
        first.run();
        // Killed once more on the way.
        let mut second = Net::on(first.store, new.clone(), vec![Peer::Honest; 3], config());
        second.writes_left = kill / 2;
        assert!(matches!(second.run(), End::Killed));
        let mut third = Net::on(second.store, new.clone(), vec![Peer::Honest; 3], config());
        let end = third.run();
        third.assert_complete(end);
        assert_eq!(third.mismatches, 0);
    }
}

#[test]
fn another_target_begins_again_and_late_answers_blame_nobody() {
    for after in [0, 3, 20, 60] {
        let mut net = Net::new(state(120, 5), vec![Peer::Slow(30), Peer::Honest, Peer::Honest]);
        for peer in 0..3 {
            net.give(Input::Peer(id(peer)));
        }
        while net.written < after {
            net.now = net.now.plus(1);
            let event = net.events.pop_first().map_or(Input::Tick, |(_, input)| input);
            net.give(event);
        }
        net.state = state(90, 8);
        let target = target(&net.state);
        assert!(net.give(Input::Target(target)).is_none());
        assert_eq!(net.fetch.target(), &target);
        let end = net.go_on();
        net.assert_complete(end);
        assert!(net.dropped.is_empty());
    }
}

#[test]
fn a_damaged_row_is_found_out_and_everything_is_fetched_again_once() {
    for damage in [0, 1] {
        let mut net = Net::new(state(60, 5), vec![Peer::Honest; 2]);
        for peer in 0..2 {
            net.give(Input::Peer(id(peer)));
        }
        while net.fetch.progress().is_none_or(|(done, all)| done < all) {
            net.now = net.now.plus(1);
            let event = net.events.pop_first().map_or(Input::Tick, |(_, input)| input);
            net.give(event);
        }
        let row = net.store.scan(Table::State, &[], 1).unwrap().remove(0);
        net.store.write(vec![match damage {
            0 => Write::Delete { table: Table::State, key: row.0 },
            _ => Write::put(Table::State, Address([9; 32]).0, row.1),
        }]);
        let end = net.go_on();
        net.assert_complete(end);
        assert_eq!(net.mismatches, 1);
    }
}

#[test]
fn a_store_that_loses_what_is_written_is_an_error_in_the_end() {
    let mut net = Net::new(state(60, 5), vec![Peer::Honest; 2]);
    for peer in 0..2 {
        net.give(Input::Peer(id(peer)));
    }
    for _ in 0..10_000 {
        net.store.write(vec![Write::Delete { table: Table::State, key: network::key(3).0.to_vec() }]);
        net.now = net.now.plus(1);
        let input = net.events.pop_first().map_or(Input::Tick, |(_, input)| input);
        let wakes = net.fetch.next_wakeup() == Some(Timestamp(0)) && net.mismatches == 1;
        if wakes && let Err(failure) = net.fetch.clone().handle(net.now, Input::Tick, &net.store) {
            assert_eq!(failure.table, Table::State);
            return;
        }
        net.give(input);
    }
    panic!("it goes on for ever");
}

#[test]
fn the_progress_row_of_another_layout_is_no_damage() {
    let mut store = MemoryStore::default();
    store.write(vec![Write::put(Table::Meta, progress::PROGRESS_KEY, [9, 9, 9])]);
    let mut net = Net::on(store, state(20, 5), vec![Peer::Honest], config());
    let end = net.run();
    net.assert_complete(end);
}
