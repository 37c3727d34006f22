//! The library is what its directory holds.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test reads the directory and stops at the first surprise"
)]

use super::*;
use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_file_is_listed_and_bears_its_name() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let files: BTreeSet<String> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let listed: Vec<&str> = HONEST.iter().chain(BYZANTINE).chain(EPOCHS).map(|(name, _)| *name).collect();
    assert_eq!(listed.len(), files.len(), "each once");
    assert_eq!(listed.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), files);
    for (entry, name) in all().iter().zip(&listed) {
        assert_eq!(entry.scenario.name, *name);
        assert_eq!(find(name).as_ref(), Some(entry));
    }
    assert_eq!(find("none of these"), None);
}

#[test]
fn what_a_scenario_is_about_is_a_sentence() {
    for Entry { scenario, .. } in all() {
        let about = &scenario.about;
        let first = about.chars().next().unwrap();
        assert!(first.is_uppercase() && about.ends_with('.') && about.len() > 20, "{}: {about}", scenario.name);
    }
}

#[test]
fn a_scenario_written_is_the_scenario_read() {
    for Entry { scenario, .. } in all() {
        assert_eq!(Scenario::parse(&toml::to_string(&scenario).unwrap()).unwrap(), scenario);
    }
}
