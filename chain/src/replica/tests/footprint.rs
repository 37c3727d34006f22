//! What a replica holds is stated, and what is more than stated is found.

use super::{bench::Bench, *};

#[test]
fn what_is_held_stays_within_what_is_stated_and_more_is_found() {
    let mut bench = Bench::new(4, 9);
    for item in 0..20 {
        bench.give(usize::from(item % 4), item);
        bench.run(300);
        if item == 8 {
            bench.crash(2);
        }
        if item == 14 {
            bench.restart(2);
        }
    }
    let replica = bench.replicas[2].as_mut().unwrap();
    let footprint = replica.footprint();
    assert_eq!(footprint.excess(), None);
    assert!(footprint.of("messages") > Some(40) && footprint.of("blocks") > Some(5), "{footprint:?}");
    assert_eq!(footprint.of("what nobody counts"), None);

    replica.voice.offered.extend((0..5).map(|member| (Member(member), 0)));
    let found = replica.footprint();
    let excess = found.excess().expect("five of four");
    assert_eq!((excess.what, excess.count, excess.bound), ("starts that were offered what waits", 5, 4));
}
