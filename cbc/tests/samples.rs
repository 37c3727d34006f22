//! The sample cases, replayed against figures computed elsewhere.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kakera_cbc::lab::{Case, CaseError, CaseResult, ViewResult, replay};
use serde_json::{Value, json};

fn samples() -> Vec<Value> {
    let text = include_str!("../samples/cbc-cases.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn overclaim() -> Value {
    serde_json::from_str(include_str!("../samples/overclaim.json")).unwrap()
}

fn run(case: &Value) -> CaseResult {
    replay(&serde_json::from_value::<Case>(case.clone()).unwrap()).unwrap()
}

/// Every figure of a view, as the sample names it; the head where no rule for ties decides.
fn compare(label: &str, expected: &Value, found: &ViewResult) {
    let found_json = serde_json::to_value(found).unwrap();
    for field in ["equivocators", "fault_weight", "honest_latest", "candidates"] {
        assert_eq!(expected[field], found_json[field], "{label}: {field}");
    }
    if expected["tie"].is_null() {
        assert_eq!(expected["head"], found_json["head"], "{label}: head");
    }
}

/// Whether `block` is `ancestor` or below it.
fn descends(case: &Value, block: &str, ancestor: &str) -> bool {
    let mut at = block.to_owned();
    loop {
        if at == ancestor {
            return true;
        }
        let messages = case["messages"].as_array().unwrap();
        match messages.iter().find(|message| message["id"] == at.as_str()) {
            Some(message) => at = message["parent"].as_str().unwrap().to_owned(),
            None => return false,
        }
    }
}

#[test]
fn all_forty_cases_give_the_expected_figures() {
    let cases = samples();
    assert_eq!(cases.len(), 40);
    let mut ties = 0;
    for case in &cases {
        let found = run(case);
        let mut unjustified: Vec<&str> = case["messages"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|message| message["estimate_follows"] == false)
            .map(|message| message["id"].as_str().unwrap())
            .collect();
        unjustified.sort_unstable();
        assert_eq!(found.unjustified, unjustified, "{}", case["id"]);
        for (view, found) in case["views"].as_array().unwrap().iter().zip(&found.views) {
            let label = format!("{} {}", case["id"], view["name"]);
            compare(&label, &view["expected"], found);
            if let Some(children) = view["expected"]["tie"]["children"].as_array() {
                ties += 1;
                let highest = children.iter().map(|child| child.as_str().unwrap()).max().unwrap();
                assert!(descends(case, &found.head, highest), "{label}: the higher id wins");
            }
        }
    }
    assert_eq!(ties, 5);
}

#[test]
fn the_clique_overclaim_is_not_repeated() {
    let case = overclaim();
    let found = run(&case);
    let total = 415u128;
    for (view, found) in case["views"].as_array().unwrap().iter().zip(&found.views) {
        compare(view["name"].as_str().unwrap(), &view["expected"], found);
    }
    let e0 = &found.views[0].candidates["e0"];
    assert!(!e0.summit.is_empty());
    for summit in e0.summit.values() {
        let [numerator, denominator] = summit.ft;
        assert!(numerator * 2 <= 195 * denominator, "the sound tolerance is at most 97.5");
    }
    let clique = u128::from(e0.clique_weight.unwrap());
    assert!(2 * clique - total <= 195, "clique weight - W/2, as [2 clique - W, 2]");
}

fn refused(change: impl Fn(&mut Value)) -> CaseError {
    let mut case = overclaim();
    change(&mut case);
    replay(&serde_json::from_value::<Case>(case).unwrap()).unwrap_err()
}

#[test]
fn malformed_cases_are_refused_with_a_reason() {
    let unknown = |id: &str| CaseError::UnknownMessage { id: id.to_owned() };
    assert_eq!(refused(|c| c["messages"][3]["parent"] = json!("zz")), unknown("zz"));
    assert_eq!(refused(|c| c["messages"][3]["parent"] = json!("b0")), unknown("b0"));
    assert_eq!(refused(|c| c["messages"][0]["justification"] = json!({"0": "a4"})), unknown("a4"));
    assert_eq!(refused(|c| c["views"][0]["delivery_order"][0] = json!("zz")), unknown("zz"));
    assert_eq!(refused(|c| c["views"][0]["candidates"][0] = json!("zz")), unknown("zz"));
    let twice = CaseError::MessageTwice { id: "e0".to_owned() };
    assert_eq!(refused(|c| c["messages"][1]["id"] = json!("e0")), twice);
    assert!(matches!(refused(|c| c["messages"][1]["id"] = json!("G")), CaseError::MessageTwice { .. }));
    let nobody = CaseError::UnknownValidator { name: "9".to_owned() };
    assert_eq!(refused(|c| c["messages"][0]["sender"] = json!(9)), nobody);
    assert!(matches!(refused(|c| c["validators"][1]["name"] = json!(0)), CaseError::ValidatorTwice { .. }));
    assert!(matches!(
        refused(|c| c["messages"][2]["justification"] = json!({"1": "e0"})),
        CaseError::WrongSender { .. }
    ));
    assert!(matches!(refused(|c| c["validators"] = json!([])), CaseError::Committee(_)));
}
