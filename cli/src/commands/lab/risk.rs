//! `kakera lab risk`: how likely a drawn committee is to be an adversary's, by its size.

use crate::{
    args::RiskArgs,
    commands::sim::chart::{Chart, Scale, Series},
    failure::{Failure, Result},
    output::{Output, grouped, odds, table},
};
use anyhow::Context;
use kakera_beacon::{CommitteeRisk, NetworkRisk, adversary_seats, committee_risk, network_risk, size_that_would_do};
use kakera_chain::genesis::RiskLimit;
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Probabilities of a captured committee for which the smallest size is named.
const LIMITS: [f64; 3] = [1e-3, 1e-6, 1e-9];
/// The largest committee that a genesis file allows.
const LARGEST: u64 = 1024;
/// The lowest power of ten in the plot.
const LEAST_POWER: i32 = -12;

/// The risk of committees of one size.
struct Size {
    seats: u64,
    one: CommitteeRisk,
    some: NetworkRisk,
}

/// Prints a row a size, or writes the plot.
pub(super) fn run(args: &RiskArgs, output: Output) -> Result<()> {
    let to_stdout = args.svg.as_deref() == Some(Path::new("-"));
    if to_stdout && output.json {
        return Err(Failure::Usage(
            "--svg - and --json both want standard output: name a file for the plot".to_owned(),
        ));
    }
    let room = (args.seats / u64::from(args.shards)).min(LARGEST);
    let wanted = u64::from(args.committee.unwrap_or(1));
    if wanted > room {
        return Err(Failure::Usage(format!(
            "{} committees of {wanted} need {} seats, and there are {}; give more --seats, or fewer --shards",
            args.shards,
            wanted * u64::from(args.shards),
            args.seats
        )));
    }
    let adversary = adversary_seats(args.seats, args.adversary);
    let risk = |size: u64| Size {
        seats: size,
        one: committee_risk(args.seats, adversary, size),
        some: network_risk(args.seats, adversary, size, args.shards.into()),
    };
    let sizes: Vec<Size> = match args.committee {
        Some(size) => vec![risk(size.into())],
        None => doublings(room).into_iter().map(risk).collect(),
    };
    let limits = LIMITS.map(|capture| {
        let limit = RiskLimit { adversary_per_mille: args.adversary, capture, stall: 1.0 };
        (capture, size_that_would_do(&limit, args.seats, args.shards))
    });
    if let Some(path) = args.svg.as_deref() {
        let svg = plot(args, &sizes).svg();
        if to_stdout {
            output.line(&svg);
        } else {
            fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?;
            output.note(&format!("wrote {}", path.display()));
        }
    }
    if !to_stdout {
        output.data(&value(args, adversary, &sizes, &limits), || text(args, adversary, &sizes, &limits));
    }
    Ok(())
}

/// 1, 2, 4, ... and the greatest one.
fn doublings(room: u64) -> Vec<u64> {
    let mut sizes: Vec<u64> =
        std::iter::successors(Some(1), |size| Some(size * 2)).take_while(|size| *size < room).collect();
    sizes.push(room);
    sizes
}

fn value(args: &RiskArgs, adversary: u64, sizes: &[Size], limits: &[(f64, Option<u32>)]) -> Value {
    let size = |size: &Size| {
        json!({
            "size": size.seats,
            "stall": size.one.stall,
            "capture": size.one.capture,
            "some_stall": size.some.stall,
            "some_capture": size.some.capture,
            "some_exact": size.some.exact,
        })
    };
    json!({
        "seats": args.seats,
        "adversary_seats": adversary,
        "shards": args.shards,
        "committees": sizes.iter().map(size).collect::<Vec<_>>(),
        "would_do": limits.iter().map(|(capture, size)| json!({"some_capture": capture, "size": size})).collect::<Vec<_>>(),
    })
}

fn text(args: &RiskArgs, adversary: u64, sizes: &[Size], limits: &[(f64, Option<u32>)]) -> String {
    let row = |size: &Size| {
        vec![
            grouped(size.seats),
            odds(size.one.stall),
            odds(size.some.stall),
            odds(size.one.capture),
            odds(size.some.capture),
            if size.some.exact { "exact" } else { "at most" }.to_owned(),
        ]
    };
    let head = ["committee", "one stalled", "some stalled", "one captured", "some captured", "some is"];
    let mut text = format!(
        "{} of {} seats hostile, {} shards; stalled: a third hostile or more; captured: more than two thirds\n\n{}\n",
        grouped(adversary),
        grouped(args.seats),
        grouped(args.shards.into()),
        table(&head, &sizes.iter().map(row).collect::<Vec<_>>())
    );
    if args.committee.is_none() {
        for (capture, size) in limits {
            let size = match size {
                None => "no size does".to_owned(),
                Some(1) => "1 seat a committee does".to_owned(),
                Some(size) => format!("{} seats a committee do", grouped((*size).into())),
            };
            text.push_str(&format!("\nsome captured at most {capture:e}: {size}"));
        }
    }
    text
}

fn plot(args: &RiskArgs, sizes: &[Size]) -> Chart {
    let series = |name: &str, value: &dyn Fn(&Size) -> f64| Series {
        name: name.to_owned(),
        values: sizes.iter().map(value).collect(),
    };
    let bound = if sizes.iter().all(|size| size.some.exact) { "" } else { " (at most)" };
    let percent = f64::from(args.adversary) / 10.0;
    Chart {
        title: format!("{percent}% of {} seats hostile, {} shards", grouped(args.seats), grouped(args.shards.into())),
        across: "seats a committee".to_owned(),
        up: "probability".to_owned(),
        places: sizes.iter().map(|size| grouped(size.seats)).collect(),
        series: vec![
            series(&format!("some committee is stalled: a third hostile or more{bound}"), &|size| size.some.stall),
            series("one committee is stalled", &|size| size.one.stall),
            series(&format!("some committee is captured: more than two thirds hostile{bound}"), &|size| {
                size.some.capture
            }),
            series("one committee is captured", &|size| size.one.capture),
        ],
        scale: Scale::Powers { least: LEAST_POWER },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large() -> (RiskArgs, Size) {
        let args = RiskArgs { seats: 1_000_000, adversary: 0, shards: 1_024, committee: None, svg: None };
        let size = Size { seats: 1_024, one: committee_risk(5, 0, 1), some: network_risk(5, 0, 1, 1) };
        (args, size)
    }

    #[test]
    fn digits_are_grouped_in_the_plot_as_in_the_table() {
        let (args, size) = large();
        let text = text(&args, 0, std::slice::from_ref(&size), &[(1e-3, Some(1)), (1e-6, Some(1_024))]);
        assert!(text.starts_with("0 of 1_000_000 seats hostile, 1_024 shards;"), "{text}");
        assert!(text.contains(": 1 seat a committee does\n") && text.ends_with("1_024 seats a committee do"), "{text}");
        let plot = plot(&args, &[size]);
        assert_eq!(plot.title, "0% of 1_000_000 seats hostile, 1_024 shards");
        assert_eq!(plot.places, ["1_024"]);
    }

    #[test]
    fn one_standard_output_takes_one_form() {
        let args = RiskArgs { svg: Some("-".into()), ..large().0 };
        assert!(matches!(run(&args, Output { json: true }), Err(Failure::Usage(_))));
    }

    #[test]
    fn sizes_double_up_to_what_there_is_room_for() {
        assert_eq!(doublings(1), [1]);
        assert_eq!(doublings(4), [1, 2, 4]);
        assert_eq!(doublings(250), [1, 2, 4, 8, 16, 32, 64, 128, 250]);
    }

    #[test]
    fn the_figures_of_a_small_testnet_are_plain() {
        let args = RiskArgs { seats: 16, adversary: 250, shards: 4, committee: Some(4), svg: None };
        let size = Size { seats: 4, one: committee_risk(16, 4, 4), some: network_risk(16, 4, 4, 4) };
        let text = text(&args, 4, std::slice::from_ref(&size), &[]);
        let last = text.lines().last().map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(last, Some(vec!["4", "0.245", "0.859", "0.027", "0.108", "exact"]), "{text}");
        let value = value(&args, 4, &[size], &[(1e-6, None)]);
        assert_eq!(value["committees"][0]["some_exact"], true);
        assert_eq!(value["would_do"][0]["size"], Value::Null);
    }
}
