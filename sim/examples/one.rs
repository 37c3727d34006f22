//! Runs one scenario file with one seed and prints what it measured.
use kakera_sim::{scenario::Scenario, world::World};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let scenario = Scenario::parse(&std::fs::read_to_string(&args[1]).unwrap()).unwrap();
    let from: u64 = args.get(2).map_or(1, |s| s.parse().unwrap());
    let to: u64 = args.get(3).map_or(from + 1, |s| s.parse().unwrap());
    let quiet = args.get(4).is_some();
    let begin = std::time::Instant::now();
    let mut failed = 0;
    for seed in from..to {
        let outcome = World::new(&scenario, seed, false).run(|_| {});
        if !quiet { println!("{}", serde_json::to_string_pretty(&outcome.measures).unwrap()); }
        if let Some(violation) = &outcome.violation { failed += 1; println!("{seed}: {violation}"); }
        if !quiet { println!("{} events", outcome.events); }
    }
    println!("{} seeds, {failed} failed, {:?}", to - from, begin.elapsed());
}
