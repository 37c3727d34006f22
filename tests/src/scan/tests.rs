//! Each scanner against samples that it must refuse and samples that it must not.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;

fn impure_in(source: &str) -> Vec<String> {
    impure(&without_tests(&tokens(source)))
}

#[test]
fn code_is_told_from_comments_text_and_characters() {
    let source = r##"
        // HashMap in a comment, /* even so
        /* HashMap /* nested */ HashSet */
        let a = "HashMap \" Instant"; let b = r#"Mutex " File"#; let c = b"async"; let d = '"'; let e = '\'';
        fn f<'a>(x: &'a str) -> &'static str { x }
    "##;
    assert_eq!(impure_in(source), Vec::<String>::new());
    let words = tokens("a::b \"c\"'d'e");
    assert_eq!(words, ["a", "::", "b", "\"\"", "e"]);
}

#[test]
fn what_touches_the_world_is_found_in_every_form() {
    for (bad, name) in [
        ("use std::collections::HashMap;", "HashMap"),
        ("let x: std::collections::HashSet<u8>;", "HashSet"),
        ("let t = Instant::now();", "Instant"),
        ("use std::fs;", "std::fs"),
        ("use std::{collections::BTreeMap, fs, sync::Arc};", "std::fs"),
        ("use std::{fmt, net::{IpAddr, SocketAddr}};", "std::net"),
        ("std::thread::spawn(|| ());", "std::thread"),
        ("async fn f() {}", "async"),
        ("static COUNT: AtomicU64 = AtomicU64::new(0);", "static"),
        ("println!(\"x\");", "println"),
        ("#[cfg(test)] mod tests { use std::fs; } fn f() { std::env::var(\"x\"); }", "std::env"),
        ("#[cfg(not(test))] fn f() { let m = Mutex::new(1); }", "Mutex"),
    ] {
        assert!(impure_in(bad).iter().any(|found| found == name), "{bad}: {:?}", impure_in(bad));
    }
}

#[test]
fn tests_and_innocent_names_are_no_breach() {
    for good in [
        "#[cfg(test)] mod tests { use std::fs; fn f() { if x { Instant::now(); } } } fn g() {}",
        "#[cfg(test)] #[allow(dead_code, reason = \"r\")] mod tests { async fn f() {} }",
        "#[cfg(test)] use std::collections::HashMap; fn g() {}",
        "use std::{collections::{BTreeMap, BTreeSet}, fmt, sync::Arc};",
        "mod store { pub fn fs() {} } fn net() {}",
    ] {
        assert_eq!(impure_in(good), Vec::<String>::new(), "{good}");
    }
    let source = "mod a; #[cfg(test)] mod tests; #[cfg(test)] pub(crate) mod testing; #[cfg(test)] mod b { }";
    assert_eq!(excluded_modules(&tokens(source)), ["tests", "testing"]);
}

#[test]
fn an_allow_without_a_reason_is_found() {
    for bad in ["#[allow(dead_code)] fn f() {}", "#![allow(clippy::all)]", "#[cfg_attr(test, allow(unused))] fn f() {}"]
    {
        assert_eq!(unreasoned_allows(&tokens(bad)).len(), 1, "{bad}");
    }
    for good in
        ["#[allow(dead_code, reason = \"why\")] fn f() {}", "x.expect(\"why\"); allow(3);", "let a = [expect(1)];"]
    {
        assert!(unreasoned_allows(&tokens(good)).is_empty(), "{good}");
    }
}

#[test]
fn the_arrows_are_enforced() {
    let breaches = |member: &str, text: &str| Manifest::parse(member, text).unwrap().breaches();
    let chain = "kakera-chain = { workspace = true }";
    assert_eq!(breaches("cbc", &format!("[dependencies]\n{chain}")), ["cbc must not depend on kakera-chain"]);
    assert_eq!(breaches("beacon", "[dev-dependencies]\nkakera-shard = \"1\"").len(), 1, "siblings");
    assert_eq!(breaches("chain", "[build-dependencies]\ntokio = \"1\"").len(), 1);
    assert_eq!(breaches("shard", "[target.'cfg(unix)'.dependencies]\nrocksdb = \"1\"").len(), 1);
    assert_eq!(
        breaches("shard", "[dependencies]\nstore = { package = \"rocksdb\", version = \"1\" }").len(),
        1,
        "renamed"
    );
    assert_eq!(breaches("proto", "[dependencies]\nkakera-node = \"1\"\ntonic = \"1\"").len(), 1);
    assert_eq!(breaches("deploy", "[dependencies]\nkakera-proto = \"1\"\ntonic = \"1\"").len(), 2);
    assert_eq!(breaches("upstart", "").len(), 1, "an unknown member must be thought about");
    assert!(breaches("node", &format!("[dependencies]\n{chain}\ntokio = \"1\"\nrocksdb = \"1\"")).is_empty());
}

#[test]
fn the_closure_follows_the_lock_file() {
    let lock = "[[package]]\nname = \"a\"\ndependencies = [\"b\", \"c 1.0.0\"]\n[[package]]\nname = \"c\"\ndependencies = \
                [\"rocksdb\"]\n[[package]]\nname = \"other\"\ndependencies = [\"tokio\"]";
    let found = closure(lock, "a");
    assert!(found.contains("rocksdb") && !found.contains("tokio"), "{found:?}");
}

#[test]
fn debts_and_strangers_are_found_as_words() {
    let note = format!("// {}: later", concat!("TO", "DO"));
    assert_eq!(debts(&note).len(), 1);
    assert_eq!(debts(concat!("#[ig", "nore = \"slow\"] fn f() {}")).len(), 1);
    assert_eq!(debts(concat!("fn f() { to", "do!() }")).len(), 1);
    assert!(debts(concat!("Mas", "TO", "DON and auto", "do!x")).is_empty());
    assert_eq!(strangers(concat!("see /wo", "rk/x")).len(), 1);
    assert!(strangers("the work is done; an issue").is_empty());
}

#[test]
fn a_file_begins_with_a_sentence() {
    assert!(begins_with_sentence("//! What this file is about.\nfn f() {}"));
    for bad in
        ["", "fn f() {}", "//!\n//! Late.", "// A plain comment, not the module's.", "\n//! Not on the first line."]
    {
        assert!(!begins_with_sentence(bad), "{bad}");
    }
}
