//! The lab on cases made to be awkward: it answers or refuses, and never panics or hangs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kakera_cbc::lab::{Case, CaseError, CaseResult, Family, RandomCase, explain, picture, replay};
use kakera_cbc::{Hold, Member, Stand, decimal};
use serde_json::{Value, json};

/// A case from weights and messages "sender id parent cited,cited"; a view of everything, all judged.
fn case(weights: &[u64], messages: &[&str]) -> Case {
    let names: Vec<String> = (0..weights.len()).map(|nth| char::from(b'a' + nth as u8).to_string()).collect();
    let validators: Vec<Value> =
        names.iter().zip(weights).map(|(name, weight)| json!({"name": name, "weight": weight})).collect();
    let mut senders = std::collections::BTreeMap::new();
    let mut built = Vec::new();
    for line in messages {
        let words: Vec<&str> = line.split(' ').collect();
        senders.insert(words[1].to_owned(), words[0].to_owned());
        let cited = words.get(3).map_or_else(Vec::new, |cited| cited.split(',').collect());
        let justification: Value =
            cited.iter().map(|id| (senders[*id].clone(), json!(id))).collect::<serde_json::Map<_, _>>().into();
        built.push(json!({"id": words[1], "sender": words[0], "parent": words[2], "justification": justification}));
    }
    let ids: Vec<&str> = built.iter().map(|message| message["id"].as_str().unwrap()).collect();
    let views = json!([{"name": "all", "delivery_order": ids, "candidates": ids}]);
    let value = json!({"id": "made", "validators": validators, "messages": built, "views": views});
    serde_json::from_value(value).unwrap()
}

fn run(case: &Case) -> CaseResult {
    replay(case).unwrap()
}

fn says(case: &Case, candidate: &str) -> String {
    let found = explain(case, Some("all"), candidate).unwrap();
    found.sentence(|member: Member| case.validators[member.index()].name.to_string())
}

#[test]
fn a_single_validator_is_a_quorum_and_no_clique() {
    let found = run(&case(&[5], &["a x G", "a y x x"]));
    let view = &found.views[0];
    assert_eq!((view.head.as_str(), found.unjustified.len()), ("y", 0));
    assert_eq!(view.candidates["x"].clique_weight, Some(0));
    assert_eq!(view.candidates["x"].summit[&4].q, 5);
    assert!(says(&case(&[5], &["a x G"]), "x").starts_with("final: a summit of level 1 and quorum 5"));
}

#[test]
fn weightless_validators_speak_and_do_not_count() {
    let messages = ["b x G", "a y G", "c z y x,y", "b w y x,y,z"];
    let found = run(&case(&[3, 0, 0], &messages));
    assert_eq!(found.unjustified, Vec::<String>::new());
    assert_eq!(found.views[0].head, "y");
    assert!(found.views[0].candidates["x"].summit.is_empty());
    assert_eq!(found.views[0].candidates["y"].summit[&1].q, 3);
    let nobody = case(&[0, 0], &["a x G"]);
    assert!(matches!(replay(&nobody), Err(CaseError::Committee(_))));
}

#[test]
fn leaving_out_the_own_previous_message_is_an_equivocation() {
    let skipped = case(&[1, 1, 1], &["a x G", "b y x x", "a z G"]);
    let view = &run(&skipped).views[0];
    assert_eq!((view.fault_weight, view.head.as_str()), (1, "y"));
    // It is none when the closure holds it through somebody else.
    let through = case(&[1, 1, 1], &["a x G", "b y x x", "a z y y"]);
    assert_eq!(run(&through).views[0].fault_weight, 0);
    let through = explain(&through, Some("all"), "x").unwrap();
    assert!(matches!(through.members[0].stand, Stand::Supports { .. }));
}

#[test]
fn who_proves_itself_an_equivocator_weighs_nothing_in_what_builds_on_it() {
    // a forks (x, y) and says w on top of both, which b passed on; c cites w alone: its closure still
    // holds the fork, so a is dropped there and b's vote for y alone decides.
    let messages = ["a x G", "a y G", "b u y y", "d v x x", "b t y u,v", "a w t t,x", "c s y w"];
    let found = run(&case(&[9, 2, 1, 1], &messages));
    let own = found.unjustified.iter().filter(|id| *id == "s").count();
    assert_eq!(own, 1, "t is the fork choice there, by b alone: {:?}", found.unjustified);
    let messages = ["a x G", "a y G", "b u y y", "d v x x", "b t u u,v", "a w t t,x", "c s t w"];
    assert!(!run(&case(&[9, 2, 1, 1], &messages)).unjustified.contains(&"s".to_owned()));
}

#[test]
fn equivocations_of_both_kinds_name_their_two_messages() {
    for messages in
        [vec!["a x G", "a y G", "b z x x", "c w z x,z"], vec!["a x G", "a q x x", "a y G", "b z x x", "c w z q,z"]]
    {
        let made = case(&[1, 1, 1], &messages);
        let found = explain(&made, Some("all"), "x").unwrap();
        let Stand::Faulty { first, second } = &found.members[0].stand else { panic!("{found:?}") };
        assert!(first.starts_with(['x', 'q']) && second == "y", "{first} {second}");
        assert_eq!((found.fault_weight, run(&made).views[0].fault_weight), (1, 1));
    }
}

#[test]
fn names_may_be_anything_but_the_root() {
    let twice = case(&[1], &["a G G"]);
    assert_eq!(replay(&twice), Err(CaseError::MessageTwice { id: "G".to_owned() }));
    let strange = case(&[1, 1], &["a <script>&\"'] G", "b 欠片\u{202e} <script>&\"'] <script>&\"']"]);
    assert_eq!(run(&strange).views[0].head, "欠片\u{202e}");
    let mut sender = case(&[1], &["a x G"]);
    sender.messages[0].sender = serde_json::from_value(json!("G")).unwrap();
    sender.validators[0].name = serde_json::from_value(json!("G")).unwrap();
    assert_eq!(run(&sender).views[0].honest_latest["G"], "x");
}

#[test]
fn ten_thousand_messages_are_replayed_explained_and_laid_out() {
    for family in [Family::Delays, Family::Swing] {
        let settings = RandomCase {
            seed: 1,
            family: Some(family),
            validators: Some(16),
            messages: Some(10_000),
            ..RandomCase::default()
        };
        let made = settings.make().unwrap();
        assert_eq!(run(&made).unjustified, Vec::<String>::new());
        assert_eq!(picture(&made, None, Some("m0")).unwrap().messages.len(), 10_000);
        explain(&made, None, "m9999").unwrap();
    }
}

#[test]
fn a_fork_ten_thousand_deep_is_no_trouble() {
    let mut lines = vec!["a a0 G".to_owned(), "b b0 G".to_owned()];
    for nth in 1..5_000 {
        for who in ["a", "b"] {
            lines.push(format!("{who} {who}{nth} {who}{} {who}{}", nth - 1, nth - 1));
        }
    }
    let mut made = case(&[1, 1], &lines.iter().map(String::as_str).collect::<Vec<_>>());
    made.views[0].candidates = vec!["a0".to_owned(), "b4999".to_owned()];
    let found = run(&made);
    assert_eq!((found.views[0].head.as_str(), found.unjustified.len()), ("b4999", 0));
    assert_eq!(explain(&made, None, "a0").unwrap().hold, Hold::Votes { quorum: 2, missing: 1 });
}

#[test]
fn weights_up_to_the_limit_of_the_type() {
    let found = run(&case(&[u64::MAX - 1, 1], &["a x G", "b y x x", "a z y x,y"]));
    let summit = &found.views[0].candidates["x"].summit[&1];
    assert_eq!(summit.ft, [u128::from(u64::MAX), 2]);
}

#[test]
fn the_clique_oracle_refuses_in_words_what_is_too_much() {
    let mut validators = Vec::new();
    let mut messages = vec![json!({"id": "r", "sender": 0, "parent": "G"})];
    let mut seen = serde_json::Map::from_iter([("0".to_owned(), json!("r"))]);
    for round in 0..2 {
        for nth in 0..129 {
            if round == 0 {
                validators.push(json!({"name": nth, "weight": 1}));
            }
            let id = format!("m{round}-{nth}");
            let last = messages.last().unwrap()["id"].clone();
            messages.push(json!({"id": id, "sender": nth, "parent": last, "justification": seen}));
            seen.insert(nth.to_string(), json!(id));
        }
    }
    let order: Vec<Value> = messages.iter().map(|message| message["id"].clone()).collect();
    let views = json!([{"name": "all", "delivery_order": order, "candidates": ["r"]}]);
    let made = json!({"id": "many", "validators": validators, "messages": messages, "views": views});
    let found = serde_json::to_value(run(&serde_json::from_value(made).unwrap())).unwrap();
    let candidate = &found["views"][0]["candidates"]["r"];
    assert_eq!(candidate["clique_weight"], Value::Null);
    assert_eq!(candidate["clique_refused"], "129 agreeing members are more than 128");
    assert_eq!(candidate["summit"]["1"]["q"], 129);
}

#[test]
fn explanations_agree_with_the_figures_of_a_replay() {
    let (mut holds, mut looked) = (std::collections::BTreeMap::new(), 0);
    for seed in 0..120 {
        let made = RandomCase { seed, ..RandomCase::default() }.make().unwrap();
        let total: u64 = made.validators.iter().map(|validator| validator.weight).sum();
        for view in &run(&made).views {
            for (id, figures) in &view.candidates {
                let found = explain(&made, Some(&view.name), id).unwrap();
                looked += 1;
                *holds.entry(found.hold.word()).or_insert(0) += 1;
                assert_eq!((found.total, found.fault_weight), (total, view.fault_weight));
                for level in found.levels.iter().take(4) {
                    let summit = figures.summit.get(&level.level);
                    assert_eq!(level.found, summit.map(|summit| summit.q), "{} {} {id}", made.id, view.name);
                    assert_eq!(level.tolerated(total).map(|(a, b)| [a, b]), summit.map(|summit| summit.ft));
                }
                let shown = found.levels.iter().any(kakera_cbc::LevelFinding::is_reached);
                assert_eq!(shown, found.is_final, "a summit is finality in a case");
                let faulty: Vec<_> =
                    found.members.iter().filter(|member| matches!(member.stand, Stand::Faulty { .. })).collect();
                assert_eq!(faulty.len(), view.equivocators.len());
                let sentence = found.sentence(|member| format!("v{member}"));
                assert_eq!(sentence.starts_with("final"), found.is_final, "{sentence}");
                assert!(sentence.len() > 20 && !sentence.contains('\n'), "{sentence}");
            }
        }
    }
    println!("{looked} explanations: {holds:?}");
    for word in ["FINAL", "CONFLICT", "VOTES", "CLIMB", "FAULTS"] {
        assert!(holds.contains_key(word), "{word} in {holds:?}");
    }
}

#[test]
fn what_holds_a_block_back_is_named() {
    // Four of weight 1: t = 1, q_1 = 4, q_2 = 3, K = 2.
    let silent = case(&[1; 4], &["a x G", "b y x x"]);
    assert_eq!(
        says(&silent, "x"),
        "votes of weight 2 support it, 1 less than the smallest quorum 3; 2 members of weight 2 have not voted: c never \
         heard, d never heard"
    );
    let behind = case(&[1; 4], &["d p G", "a x p p", "b y x x", "c q p p"]);
    assert_eq!(
        says(&behind, "x"),
        "votes of weight 2 support it, 1 less than the smallest quorum 3; 1 member of weight 1 has not voted: d silent \
         since p; 1 member of weight 1 votes elsewhere: c for q"
    );
    let climbing = case(&[1; 4], &["a x G", "b y x x", "c z y x,y"]);
    assert_eq!(says(&climbing, "x"), "level 0 of 2 reached at quorum 3; level 1 needs one more message of a, b");
    let messages = ["a x G", "b y x x", "c z y x,y", "a s z x,y,z", "b t s y,z,s", "c u t z,s,t", "a v u s,t,u"];
    let made = case(&[1; 4], &messages);
    assert_eq!(says(&made, "x"), "final: a summit of level 2 and quorum 3 survives faults of weight below 1.5 of 4");
    let mut conflict = messages.to_vec();
    conflict.push("d w G");
    assert_eq!(says(&case(&[1; 4], &conflict), "w"), "conflicts with x, which is final here");
    let faulty = case(&[1; 4], &["a x G", "a o G", "b y x x", "b p G", "c z y x,y"]);
    let sentence = says(&faulty, "x");
    assert!(sentence.starts_with("fault weight 2 exceeds what is tolerated: the 2 that remain of 4"), "{sentence}");
}

#[test]
fn unknown_views_and_candidates_are_named() {
    let made = case(&[1], &["a x G"]);
    let error = explain(&made, Some("nobody"), "x").unwrap_err();
    assert_eq!(error.to_string(), "there is no view nobody; there are: all");
    assert!(matches!(explain(&made, None, "G"), Err(CaseError::UnknownMessage { .. })));
    assert!(matches!(picture(&made, None, Some("z")), Err(CaseError::UnknownMessage { .. })));
}

#[test]
fn tolerated_weights_are_read_as_decimals() {
    assert_eq!([(3, 2), (0, 4), (195, 2), (7, 8), (5, 1)].map(decimal), ["1.5", "0", "97.5", "0.875", "5"]);
}

#[test]
fn a_picture_keeps_time_to_the_right_and_arrows_new() {
    for seed in 0..60 {
        let made = RandomCase { seed, ..RandomCase::default() }.make().unwrap();
        let drawn = picture(&made, Some(&made.views[2].name), Some("m3")).unwrap();
        assert_eq!(drawn.messages.iter().filter(|m| m.received).count(), made.views[2].delivery_order.len());
        let mut places = std::collections::BTreeSet::new();
        for message in &drawn.messages {
            assert!(places.insert((message.lane, message.row, message.column)), "{}: one place each", made.id);
            assert!(message.row < drawn.lanes[message.lane].rows && message.column < drawn.columns);
            assert!(message.branch < drawn.branches.len());
            for cited in &message.cites {
                assert!(drawn.messages[*cited].column < message.column);
                let implied = message.cites.iter().any(|other| drawn.messages[*other].cites.contains(cited));
                assert!(!implied, "{}: {} is implied", made.id, drawn.messages[*cited].id);
            }
        }
        let sizes: usize = drawn.branches.iter().map(|branch| branch.messages).sum();
        assert_eq!(sizes, drawn.messages.len());
        if let Some(head) = drawn.head {
            assert_eq!(drawn.messages[head].branch, 0);
        }
    }
}
