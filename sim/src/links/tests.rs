//! What links do to what passes them.

use super::*;

fn wires(links: Links) -> Wires {
    Wires::new(links, 10, Random::new(5))
}

#[test]
fn latency_stays_in_its_range_and_order_holds() {
    let mut wires = wires(Links::default());
    let mut last = Moment(0);
    for n in 0..1_000u64 {
        let at = Moment(n * 100);
        let arrived = wires.send(at, 1, 2, 100);
        assert_eq!(arrived.len(), 1);
        assert!(arrived[0] >= last && arrived[0].since(at) >= 300, "in order, not too soon");
        last = arrived[0];
    }
}

#[test]
fn without_order_something_overtakes() {
    let mut wires = wires(Links { ordered: false, ..Links::default() });
    let arrivals: Vec<Moment> = (0..100).map(|n| wires.send(Moment(n), 1, 2, 1)[0]).collect();
    assert!(arrivals.windows(2).any(|pair| pair[1] < pair[0]));
}

#[test]
fn loss_and_duplicates_come_as_often_as_said() {
    let mut wires = wires(Links { loss_ppm: 200_000, duplicate_ppm: 100_000, ..Links::default() });
    let copies: Vec<usize> = (0..10_000).map(|n| wires.send(Moment(n), 0, 1, 1).len()).collect();
    let lost = copies.iter().filter(|copies| **copies == 0).count();
    let twice = copies.iter().filter(|copies| **copies == 2).count();
    assert!((1_800..2_200).contains(&lost) && (700..900).contains(&twice), "{lost} {twice}");
}

#[test]
fn a_cut_has_a_direction_and_an_end() {
    let mut wires = wires(Links::default());
    wires.cut(3, 4);
    assert!(wires.send(Moment(0), 3, 4, 1).is_empty());
    assert_eq!(wires.send(Moment(0), 4, 3, 1).len(), 1);
    wires.mend(3, 4);
    assert_eq!(wires.send(Moment(0), 3, 4, 1).len(), 1);
}

#[test]
fn bandwidth_is_shared_by_all_that_a_node_sends() {
    let fixed = Latency::Uniform { least_us: 1_000, most_us: 1_000 };
    let mut wires = wires(Links { bandwidth: 1_000_000, latency: fixed, ..Links::default() });
    let arrivals: Vec<Moment> = (1..5).map(|to| wires.send(Moment(0), 0, to, 500)[0]).collect();
    assert_eq!(arrivals, [Moment(1_500), Moment(2_000), Moment(2_500), Moment(3_000)]);
}

#[test]
fn regions_are_symmetric_and_within_the_world() {
    for from in 0..REGIONS.len() {
        for to in 0..REGIONS.len() {
            assert_eq!(region_latency_us(from, to), region_latency_us(to, from));
            assert!(region_latency_us(from, to) < 200_000);
            assert_eq!(from == to, region_latency_us(from, to) < 1_000);
        }
    }
}
