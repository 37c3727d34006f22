//! Pictures are documents: well formed whatever the case, and names stay text.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use kakera_cbc::lab::{Name, RandomCase, picture};

/// Checks tags, attributes and entities as an XML parser would; answers how many elements there are.
fn well_formed(text: &str) -> usize {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    let mut count = 0;
    while let Some(at) = rest.find('<') {
        check_text(&rest[..at]);
        let end = at + rest[at..].find('>').expect("every tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "tags nest");
            continue;
        }
        count += 1;
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(
            ["svg", "title", "style", "defs", "marker", "path", "rect", "g", "line", "text", "circle"].contains(&name)
        );
        assert_eq!(attributes.matches('"').count() % 2, 0, "{attributes}");
        let mut parts = attributes.split('"');
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            assert!(key.trim_start().ends_with('='), "{attributes}");
            check_text(value);
        }
        if !closed {
            open.push(name);
        }
    }
    assert_eq!((open.len(), rest.trim()), (0, ""));
    count
}

fn check_text(text: &str) {
    assert!(!text.contains(['<', '>']) && !text.contains("NaN"), "{text}");
    for part in text.split('&').skip(1) {
        let entity = part.split(';').next().unwrap_or_default();
        assert!(["amp", "lt", "gt", "quot", "#39"].contains(&entity), "{text}");
    }
    assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()), "{text:?}");
}

#[test]
fn pictures_are_well_formed_whatever_the_case() {
    for seed in 0..60 {
        let case = RandomCase { seed, ..RandomCase::default() }.make().unwrap();
        for candidate in [None, Some("m1")] {
            let picture = picture(&case, Some(&case.views[2].name), candidate).unwrap();
            let text = svg(&picture);
            assert!(well_formed(&text) > 4 * case.messages.len());
            assert!(text.starts_with("<svg xmlns=") && text.contains("viewBox"));
            assert!(!text.contains("href") && !text.contains("<script"), "self-contained and without scripts");
        }
    }
}

#[test]
fn hostile_names_stay_text() {
    let mut case = RandomCase { seed: 7, messages: Some(8), ..RandomCase::default() }.make().unwrap();
    let evil = "<script>alert(\"1\")&'\u{0}\u{1b}\u{202e}</script>";
    let text = serde_json::to_string(&case).unwrap().replace("\"m1\"", &serde_json::to_string(evil).unwrap());
    case = serde_json::from_str(&text).unwrap();
    case.id = evil.to_owned();
    let view = case.views[0].name.clone();
    case.views[0].name = format!("{view}]]>{evil}");
    let last = case.validators.len() as u64 - 1;
    case.validators.push(kakera_cbc::lab::CaseValidator { name: Name::Word(evil.to_owned()), weight: last });
    let drawn = svg(&picture(&case, None, Some(evil)).unwrap());
    well_formed(&drawn);
    assert!(!drawn.contains("<script") && drawn.contains("&lt;script&gt;"));
}

#[test]
fn empty_and_large_cases_have_pictures() {
    let mut case = RandomCase { seed: 1, messages: Some(1), ..RandomCase::default() }.make().unwrap();
    case.messages.clear();
    case.views.clear();
    well_formed(&svg(&picture(&case, None, None).unwrap()));
    let settings = RandomCase { seed: 1, validators: Some(16), messages: Some(3_200), ..RandomCase::default() };
    let text = svg(&picture(&settings.make().unwrap(), None, None).unwrap());
    well_formed(&text);
    assert!(text.len() < 4_000_000, "{} bytes", text.len());
}
