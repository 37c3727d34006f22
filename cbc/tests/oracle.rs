//! The engine's figures against a naive reference written from the definitions, on pictures of all kinds.
//!
//! `KAKERA_ORACLE_CASES=200000 cargo test --release -p kakera-cbc --test oracle` runs a long campaign.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod oracle {
    pub(crate) mod compare;
    pub(crate) mod families;
    pub(crate) mod reference;
}

use oracle::compare::{difference, line, picture, smallest};
use oracle::families::{self, FAMILIES};
use oracle::reference::{Closures, Picture};
use serde_json::Value;

fn samples() -> Vec<Value> {
    let text = include_str!("../samples/cbc-cases.jsonl");
    text.lines()
        .chain([include_str!("../samples/overclaim.json")])
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long a campaign runs is the caller's wish, and no verdict depends on it"
)]
fn cases(usual: u64) -> u64 {
    std::env::var("KAKERA_ORACLE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

#[track_caller]
fn agree(picture: &Picture) {
    if difference(picture).is_some() {
        let smallest = smallest(picture.clone());
        let difference = difference(&smallest).unwrap();
        panic!("{difference}\nof {}:\n{}", picture.id, line(&smallest));
    }
}

/// The reference itself against figures computed by others.
#[test]
fn the_reference_gives_the_expected_figures_of_the_samples() {
    for case in samples() {
        let picture = picture(&case);
        let closures = Closures::new(&picture);
        let messages = case["messages"].as_array().unwrap();
        if !messages[0]["estimate_follows"].is_null() {
            let wrong = messages.iter().filter(|message| message["estimate_follows"] == false);
            let wrong = wrong.map(|message| message["id"].as_str().unwrap().to_owned()).collect();
            assert_eq!(closures.unjustified(), wrong, "{}", picture.id);
        }
        for (view, look) in case["views"].as_array().unwrap().iter().zip(&picture.views) {
            let (seen, wanted) = (closures.look(look), &view["expected"]);
            let label = format!("{} {}", picture.id, look.name);
            let numbers = |list: &Value| list.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
            assert_eq!(seen.equivocators, numbers(&wanted["equivocators"]), "{label}");
            assert_eq!(Some(seen.fault_weight as u64), wanted["fault_weight"].as_u64(), "{label}");
            let latest: Vec<(String, &str)> =
                seen.honest_latest.iter().map(|(name, id)| (name.to_string(), id.as_str())).collect();
            let wanted_latest: Vec<(String, &str)> = wanted["honest_latest"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(n, id)| (n.clone(), id.as_str().unwrap()))
                .collect();
            assert_eq!(latest, wanted_latest, "{label}");
            match wanted.get("tie").filter(|tie| !tie.is_null()) {
                None => assert_eq!(Some(seen.head.as_str()), wanted["head"].as_str(), "{label}"),
                Some(tie) => {
                    let (parent, children, score) = seen.tie.unwrap();
                    assert_eq!(Some(parent.as_str()), tie["parent"].as_str(), "{label}");
                    assert_eq!(serde_json::json!(children), tie["children"], "{label}");
                    assert_eq!(Some(score as u64), tie["score"].as_u64(), "{label}");
                }
            }
            for (id, figures) in wanted["candidates"].as_object().unwrap() {
                let judged = &seen.candidates[id];
                assert_eq!(Some(judged.clique as u64), figures["clique_weight"].as_u64(), "{label} {id}");
                let summit = figures["summit"].as_object().unwrap();
                assert_eq!(judged.summit.len(), summit.len(), "{label} {id}");
                for (k, (q, ft)) in &judged.summit {
                    let wanted = &summit[&k.to_string()];
                    assert_eq!(Some(*q as u64), wanted["q"].as_u64(), "{label} {id} {k}");
                    assert_eq!(serde_json::json!(ft.map(|part| part as u64)), wanted["ft"], "{label} {id} {k}");
                }
            }
        }
    }
}

#[test]
fn the_engine_agrees_with_the_reference_on_the_samples() {
    samples().iter().for_each(|case| agree(&picture(case)));
}

#[test]
fn the_engine_agrees_with_the_reference_on_pictures_of_every_family() {
    for seed in 0..cases(4000) {
        agree(&families::picture(seed as usize % FAMILIES.len(), seed));
    }
}

/// A says two first messages; B cites one of them; A's third cites B and the other, and so tells of both. C cites only
/// that third: in the closure of C's message A equivocates, and the fork choice of the rest is B's block.
#[test]
fn an_equivocator_that_convicts_itself_is_dropped_where_only_it_is_cited() {
    let case = serde_json::json!({
        "id": "confession",
        "validators": [{"name": 0, "weight": 1}, {"name": 1, "weight": 1}, {"name": 2, "weight": 1}],
        "messages": [
            {"id": "a1", "sender": 0, "parent": "G", "justification": {}},
            {"id": "a2", "sender": 0, "parent": "G", "justification": {}},
            {"id": "b1", "sender": 1, "parent": "a1", "justification": {"0": "a1"}},
            {"id": "a3", "sender": 0, "parent": "b1", "justification": {"0": "a2", "1": "b1"}},
            {"id": "c1", "sender": 2, "parent": "b1", "justification": {"0": "a3"}},
        ],
        "views": [],
    });
    agree(&picture(&case));
    let found = kakera_cbc::lab::replay(&serde_json::from_value(case).unwrap()).unwrap();
    assert_eq!(found.unjustified, [""; 0]);
}

/// What the pictures hold: the statements above are about something.
#[test]
fn pictures_hold_summits_cliques_ties_equivocators_and_estimates_that_do_not_follow() {
    let mut counts = [0; 6];
    for seed in 0..800 {
        let picture = families::picture(seed as usize % FAMILIES.len(), seed);
        let closures = Closures::new(&picture);
        counts[0] += usize::from(!closures.unjustified().is_empty());
        for look in &picture.views {
            let seen = closures.look(look);
            counts[1] += usize::from(seen.tie.is_some());
            counts[2] += usize::from(!seen.equivocators.is_empty());
            for judged in seen.candidates.values() {
                counts[3] += usize::from(judged.clique > 0);
                counts[4] += usize::from(judged.summit.contains_key(&1));
                counts[5] += usize::from(judged.summit.contains_key(&4) && picture.validators.len() > 2);
            }
        }
    }
    assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
}

/// Committees as greatest fixpoints are no weaker than the best of all nested committees.
#[test]
fn a_summit_exists_exactly_when_some_nested_committees_make_one() {
    let (mut found, mut none) = (0, 0);
    for seed in 0..cases(1600) / 4 {
        let picture = families::picture(seed as usize % FAMILIES.len(), seed ^ 0x5eed_0000);
        if picture.validators.len() > 5 {
            continue;
        }
        let closures = Closures::new(&picture);
        let view = (0..picture.messages.len()).collect();
        let total: u128 = picture.validators.iter().map(|(_, weight)| u128::from(*weight)).sum();
        for block in [0, picture.messages.len() / 3] {
            let ends = closures.agreeing_ends(&view, block);
            for q in [total / 2 + 1, total * 2 / 3 + 1, total] {
                for k in 1..=3 {
                    let exists = closures.summit_by_search(&ends, q, k);
                    assert_eq!(closures.summit(&ends, q, k), exists, "{} q {q} k {k}", line(&picture));
                    *if exists { &mut found } else { &mut none } += 1;
                }
            }
        }
    }
    assert!(found > 100 && none > 100, "{found} summits, {none} times none");
}
