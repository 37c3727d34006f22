//! Random cases: the same everywhere, honest where they should be, and like their family.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::lab::{CaseResult, replay};

fn case(seed: u64, family: Family) -> Case {
    RandomCase { seed, family: Some(family), ..RandomCase::default() }.make().unwrap()
}

/// FNV-1a over a case's text: enough to notice any change.
fn print_of(case: &Case) -> u64 {
    let text = serde_json::to_string(case).unwrap();
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn each(seeds: u64, check: impl Fn(Family, &Case, &CaseResult)) {
    for family in Family::ALL {
        for seed in 0..seeds {
            let case = case(seed, family);
            let result = replay(&case).unwrap_or_else(|error| panic!("{}: {error}", case.id));
            check(family, &case, &result);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for family in Family::ALL {
        assert_eq!(print_of(&case(7, family)), print_of(&case(7, family)));
        assert_ne!(case(7, family).messages, case(8, family).messages);
    }
    let prints = Family::ALL.map(|family| print_of(&case(7, family)));
    assert_eq!(prints, GOLDEN, "a change here changes everybody's cases");
}

const GOLDEN: [u64; 8] = [
    17_007_858_843_852_018_547,
    768_058_966_342_419_214,
    10_536_240_333_153_356_433,
    6_450_834_724_404_021_557,
    16_879_902_719_374_822_845,
    8_493_530_312_765_907_060,
    24_139_370_449_937_185,
    12_611_448_572_129_214_926,
];

#[test]
fn what_honest_validators_say_follows() {
    each(25, |family, case, result| {
        let equivocators = &result.views[0].equivocators;
        for id in &result.unjustified {
            let message = case.messages.iter().find(|message| message.id == *id).unwrap();
            assert_eq!(family, Family::EquivocationPaper, "{}: {id}", case.id);
            assert!(equivocators.contains(&message.sender), "{}: {id} is by an honest validator", case.id);
        }
    });
}

#[test]
fn honest_threads_never_fork_and_never_go_back() {
    each(10, |_, case, result| {
        for validator in &case.validators {
            if result.views[0].equivocators.contains(&validator.name) {
                continue;
            }
            let own: Vec<_> = case.messages.iter().filter(|message| message.sender == validator.name).collect();
            for (seq, pair) in own.windows(2).enumerate() {
                assert_eq!(pair[1].justification.get(&validator.name.to_string()), Some(&pair[0].id), "{}", case.id);
                assert_eq!((pair[0].seq, pair[1].seq), (seq as u64, seq as u64 + 1));
            }
        }
    });
}

#[test]
fn each_family_shows_what_it_is_named_after() {
    let count = |family, belongs: &dyn Fn(&Case, &CaseResult) -> bool| {
        (0..40)
            .filter(|seed| {
                let case = case(*seed, family);
                belongs(&case, &replay(&case).unwrap())
            })
            .count()
    };
    let forks = |case: &Case, _: &CaseResult| {
        let mut parents: Vec<&str> = case.messages.iter().map(|message| message.parent.as_str()).collect();
        parents.sort_unstable();
        parents.windows(2).any(|pair| pair[0] == pair[1])
    };
    assert_eq!(count(Family::InOrder, &forks), 0);
    for family in [Family::Delays, Family::Partitions, Family::Swing, Family::Ties] {
        let found = count(family, &forks);
        assert!(found > 30, "{family:?}: {found} of 40 have forks");
    }
    for family in [Family::EquivocationPeer, Family::EquivocationPaper] {
        let found = count(family, &|_, result| !result.views[0].equivocators.is_empty());
        assert!(found > 30, "{family:?}: {found} of 40 have equivocators");
    }
    let honest = |_: &Case, result: &CaseResult| result.views.iter().all(|view| view.equivocators.is_empty());
    assert_eq!(count(Family::Swing, &honest), 40);
    let skips = |case: &Case, _: &CaseResult| {
        let mut places: Vec<_> = case.messages.iter().map(|message| (&message.sender, message.seq)).collect();
        places.sort_unstable();
        places.windows(2).all(|pair| pair[0] != pair[1])
    };
    assert!(count(Family::EquivocationPeer, &skips) < 10, "two messages of one place");
    let weightless = |case: &Case, _: &CaseResult| case.validators.iter().any(|validator| validator.weight == 0);
    assert!(count(Family::ZeroWeight, &weightless) > 25);
}

#[test]
fn settings_are_kept() {
    let settings = RandomCase {
        seed: 3,
        family: Some(Family::Delays),
        validators: Some(9),
        messages: Some(80),
        equivocators: Some(3),
        partitions: Some(2),
        weights: Some(Weights::Equal),
    };
    let made = settings.make().unwrap();
    assert_eq!((made.validators.len(), made.messages.len(), made.views.len()), (9, 80, 4));
    assert!(made.validators.iter().all(|validator| validator.weight == 1));
    assert_eq!(replay(&made).unwrap().views[0].equivocators.len(), 3);
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |change: &dyn Fn(&mut RandomCase)| {
        let mut settings = RandomCase { validators: Some(4), messages: Some(10), ..RandomCase::default() };
        change(&mut settings);
        settings.make().is_err()
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|settings| settings.validators = Some(0)));
    assert!(refused(&|settings| settings.validators = Some(257)));
    assert!(refused(&|settings| settings.messages = Some(0)));
    assert!(refused(&|settings| settings.messages = Some(20_001)));
    assert!(refused(&|settings| settings.equivocators = Some(5)));
    assert!(refused(&|settings| settings.partitions = Some(11)));
}

#[test]
fn the_smallest_cases_are_cases() {
    for family in Family::ALL {
        for (validators, messages) in [(1, 1), (1, 9), (2, 3), (3, 1)] {
            let settings = RandomCase {
                seed: 5,
                family: Some(family),
                validators: Some(validators),
                messages: Some(messages),
                equivocators: Some(validators),
                partitions: Some(1),
                weights: Some(Weights::Zero),
            };
            replay(&settings.make().unwrap()).unwrap();
        }
    }
}
