//! Long cases: time that grows with their length.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this test compares times")]

use kakera_cbc::lab::*;
use std::collections::BTreeMap;
use std::time::Instant;

fn chain(validators: u64, messages: usize, weights: u64) -> Case {
    let name = |at: usize| format!("m{at}");
    let message = |at: usize| CaseMessage {
        id: name(at),
        // The last validator says the first message, and nothing after it.
        sender: Name::Number(if at == 0 { validators - 1 } else { 0 }),
        seq: 0,
        parent: if at == 0 { "G".to_owned() } else { name(at - 1) },
        justification: if at == 0 {
            BTreeMap::new()
        } else {
            BTreeMap::from([((validators - 1).to_string(), name(0)), ("0".to_owned(), name(at - 1))])
                .into_iter()
                .filter(|(_, cited)| at > 1 || cited == "m0")
                .filter(|(validator, _)| at > 1 || *validator == (validators - 1).to_string())
                .collect()
        },
    };
    Case {
        id: "chain".to_owned(),
        family: None,
        validators: (0..validators).map(|at| CaseValidator { name: Name::Number(at), weight: weights }).collect(),
        messages: (0..messages).map(message).collect(),
        views: vec![CaseView {
            name: "all".to_owned(),
            delivery_order: (0..messages).map(name).collect(),
            candidates: vec![name(0), name(messages / 2), name(messages - 1)],
        }],
    }
}

#[test]
fn a_long_case_loads_in_time_that_grows_with_its_length() {
    let mut times = Vec::new();
    for messages in [5_000, 40_000] {
        let case = chain(2, messages, u64::MAX / 2);
        let start = Instant::now();
        let result = replay(&case).unwrap();
        times.push(start.elapsed());
        assert_eq!(result.unjustified, Vec::<String>::new());
    }
    assert!(times[1] < times[0] * 32, "eight times as long a case takes {times:?}");
}
