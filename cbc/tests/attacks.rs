//! The attacks, each over several seeds: what is claimed holds, and can fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kakera_cbc::attacks::{Report, UnknownAttack, all, run};

/// Runs an attack with the first seeds; its claim must hold with each.
#[track_caller]
fn holds(name: &str, seeds: u64) -> Vec<Report> {
    let reports: Vec<Report> = (1..=seeds).map(|seed| run(name, seed).unwrap()).collect();
    for report in &reports {
        let Report { seed, claim, figures, log, .. } = report;
        assert!(report.held, "{name} with seed {seed}: {claim}\n{figures:?}\n{}", log.join("\n"));
        assert!(!log.is_empty(), "{name} says what happened");
    }
    reports
}

/// A figure of a report.
fn figure<'a>(report: &'a Report, name: &str) -> &'a str {
    let found = report.figures.iter().find(|(of, _)| of == name);
    &found.unwrap_or_else(|| panic!("{} has no figure {name}: {:?}", report.name, report.figures)).1
}

/// The sum of a figure over all reports.
fn sum(reports: &[Report], name: &str) -> u64 {
    reports.iter().map(|report| figure(report, name).parse::<u64>().unwrap()).sum()
}

#[test]
fn balancing_ends_with_the_first_honest_leader_as_members_cite_its_view() {
    let reports = holds("balancing", 8);
    assert!(sum(&reports, "slots delayed") <= 2);
}

#[test]
fn balancing_stalls_finality_without_view_merge() {
    let reports = holds("balancing-without-view-merge", 6);
    assert!(sum(&reports, "slots delayed") >= 4, "without a defence this is an attack");
}

#[test]
fn an_avalanche_of_equivocating_blocks_displaces_nothing() {
    holds("avalanche", 4);
}

#[test]
fn a_split_equivocation_convicts_and_finality_goes_on() {
    holds("split-equivocation", 6);
}

#[test]
fn more_than_the_threshold_breaks_agreement_and_is_named() {
    holds("split-beyond-threshold", 4);
}

#[test]
fn an_ex_ante_reorganisation_fails_and_costs_one_block_without_view_merge() {
    holds("ex-ante-reorg", 16);
    let reports = holds("ex-ante-reorg-without-view-merge", 12);
    let displaced = reports.iter().filter(|report| figure(report, "the honest block") == "displaced").count();
    assert!(displaced > 0, "without a defence this is an attack");
}

#[test]
fn a_late_leader_fails_and_costs_its_successor_one_block_without_view_merge() {
    holds("late-leader", 8);
    let reports = holds("late-leader-without-view-merge", 6);
    let displaced = reports.iter().filter(|report| figure(report, "the honest block") == "displaced").count();
    assert!(displaced > 0, "without a defence this is an attack");
}

#[test]
fn saved_votes_move_no_head() {
    holds("saved-votes", 3);
}

#[test]
fn a_greedy_leader_gets_one_block_a_slot() {
    holds("greedy-leader", 3);
}

#[test]
fn a_fork_bomb_stays_bounded_and_finality_comes_back() {
    let reports = holds("fork-bomb", 3);
    for report in &reports {
        let held: u64 = figure(report, "most of them held by one node").parse().unwrap();
        let different: u64 = figure(report, "different ones").parse().unwrap();
        assert!(held <= 4 * 20 && different > 8 * held, "{held} of {different}");
    }
}

#[test]
fn twenty_branches_become_one() {
    holds("twenty-branches", 4);
}

#[test]
fn a_member_that_was_cut_off_is_heard_again() {
    holds("cut-off-member", 4);
    holds("cut-off-member-speaking", 4);
}

#[test]
fn the_same_seed_gives_the_same_report() {
    for name in ["avalanche", "late-leader", "twenty-branches", "cut-off-member-speaking"] {
        assert_eq!(run(name, 5), run(name, 5), "{name}");
        assert_ne!(run(name, 5).unwrap().log, Vec::<String>::new());
    }
}

#[test]
fn attacks_have_names_words_and_reports_that_serialize() {
    let mut names: Vec<&str> = all().iter().map(|attack| attack.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all().len(), "names are unique");
    for attack in all() {
        assert!(attack.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", attack.name);
        assert!(attack.about.ends_with('.') && !attack.claim.is_empty(), "{}", attack.name);
    }
    let text = serde_json::to_string(&run("late-leader", 1).unwrap()).unwrap();
    assert!(text.contains("\"held\":true") && text.contains("\"name\":\"late-leader\""), "{text}");
    assert_eq!(run("nothing", 1), Err(UnknownAttack { name: "nothing".to_owned() }));
}
