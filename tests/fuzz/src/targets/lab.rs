//! Cases of the lab: any JSON is refused or replayed to a result, twice the same.

use crate::Target;
use kakera_cbc::lab::{Case, DRAWN_MESSAGES, RandomCase, explain, picture, replay};

pub(super) const TARGET: Target = Target {
    name: "lab",
    about: "case files: refused, or replayed, explained and drawn without a panic, twice the same",
    run,
    seeds,
    max_bytes: 8 * 1024,
    rounds: 1_500,
};

fn run(bytes: &[u8]) {
    let Ok(case) = serde_json::from_slice::<Case>(bytes) else { return };
    let written = serde_json::to_vec(&case).unwrap();
    assert_eq!(serde_json::from_slice::<Case>(&written).unwrap(), case, "written and read");
    // The clique oracle alone is exponential, and refuses after its steps: a fuzzer has no time for many of those.
    let candidates: usize = case.views.iter().map(|view| view.candidates.len()).sum();
    if candidates > 16 {
        return;
    }
    let result = replay(&case);
    assert_eq!(result, replay(&case), "replayed twice");
    if let Ok(result) = &result {
        assert_eq!(result.views.len(), case.views.len());
    }
    for view in &case.views {
        for candidate in view.candidates.iter().take(4) {
            let why = explain(&case, Some(&view.name), candidate);
            assert_eq!(why, explain(&case, Some(&view.name), candidate));
            drop(picture(&case, Some(&view.name), Some(candidate)));
        }
    }
    let drawn = picture(&case, None, None);
    assert!(result.is_err() || drawn.is_ok() || case.messages.len() > DRAWN_MESSAGES, "replayed, but not drawn");
}

fn seeds() -> Vec<Vec<u8>> {
    let random = (0..8).map(|seed| {
        let case = RandomCase { seed, validators: Some(4), messages: Some(12), ..RandomCase::default() };
        serde_json::to_vec(&case.make().unwrap()).unwrap()
    });
    let texts = [
        r#"{"id":"x","validators":[],"messages":[],"views":[]}"#,
        r#"{"id":"x","validators":[{"name":1,"weight":1}],"messages":[{"id":"a","sender":1,"parent":"G"}],"views":[{"name":"v","delivery_order":["a"],"candidates":["a"]}]}"#,
        r#"{"id":"x","validators":[{"name":1,"weight":18446744073709551615},{"name":"1","weight":2}],"messages":[],"views":[]}"#,
        r#"{"id":"x","validators":[{"name":1,"weight":1}],"messages":[{"id":"a","sender":1,"parent":"a","justification":{"1":"a"}}],"views":[]}"#,
    ];
    random.chain(texts.map(|text| text.as_bytes().to_vec())).collect()
}
