//! Measuring with criterion, and the medians of all measurements as one plain table at the end.

use criterion::{
    Criterion,
    measurement::{Measurement, WallTime},
};
use std::{hint::black_box, time::Duration};

/// Samples a measurement: criterion's least.
const SAMPLES: usize = 10;

/// Measurements made so far.
pub(crate) struct Figures {
    criterion: Criterion,
    rows: Vec<(String, String)>,
}

impl Figures {
    /// None yet; reads criterion's options from the command line.
    pub(crate) fn new() -> Self {
        let criterion = Criterion::default()
            .sample_size(SAMPLES)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(2))
            .without_plots()
            .configure_from_args();
        Self { criterion, rows: Vec::new() }
    }

    /// Measures `operation`, what it answers and drops included. Answers the median in ns; none if filtered out.
    pub(crate) fn repeat<T>(&mut self, name: &str, mut operation: impl FnMut() -> T) -> Option<f64> {
        let many = |count| {
            let run = || (0..count).for_each(|_| drop(black_box(operation())));
            timed(run).0
        };
        self.measure(name, 1, many)
    }

    /// Measures passes that time themselves, for what has to be set up again each time: the median in ns of one of the
    /// `parts` that a pass consists of; none if filtered out.
    pub(crate) fn passes(&mut self, name: &str, parts: usize, mut pass: impl FnMut() -> Duration) -> Option<f64> {
        self.measure(name, parts, |count| (0..count).map(|_| pass()).sum())
    }

    fn measure(&mut self, name: &str, parts: usize, mut many: impl FnMut(u64) -> Duration) -> Option<f64> {
        let mut samples = Vec::new();
        self.criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let time = many(count);
                samples.push(time.as_secs_f64() * 1e9 / count as f64 / parts as f64);
                time
            });
        });
        // The samples come last; before them is the warm-up.
        let mut samples = samples.split_off(samples.len().saturating_sub(SAMPLES));
        samples.sort_by(f64::total_cmp);
        let (low, high) = (samples.get(samples.len().checked_sub(1)? / 2)?, samples.get(samples.len() / 2)?);
        let median = f64::midpoint(*low, *high);
        self.add(name, readable(median));
        Some(median)
    }

    /// Adds what was measured elsewhere.
    pub(crate) fn add(&mut self, name: &str, value: String) {
        self.rows.push((name.to_owned(), value));
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!("\nMedians; means of the last tenth for check and insert");
        for (name, value) in &self.rows {
            println!("  {name:<95} {value:>12}");
        }
    }
}

/// How long it took, and its answer.
pub(crate) fn timed<T>(operation: impl FnOnce() -> T) -> (Duration, T) {
    let start = WallTime.start();
    let answer = operation();
    (WallTime.end(start), answer)
}

/// A time for people.
pub(crate) fn readable(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns:.1} ns"),
        ..1e6 => format!("{:.2} us", ns / 1e3),
        _ => format!("{:.2} ms", ns / 1e6),
    }
}
