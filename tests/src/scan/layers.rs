//! Who may depend on whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};
use toml::{Table, Value};

/// A member's dependencies, of all kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its directory in the workspace.
    pub member: String,
    /// Names of the packages it depends on, for building and testing too.
    pub dependencies: BTreeSet<String>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// The parser's words.
    pub fn parse(member: &str, text: &str) -> Result<Manifest, toml::de::Error> {
        let table: Table = toml::from_str(text)?;
        let mut dependencies = BTreeSet::new();
        collect(&table, &mut dependencies);
        for target in table.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values) {
            target.as_table().into_iter().for_each(|target| collect(target, &mut dependencies));
        }
        Ok(Manifest { member: member.to_owned(), dependencies })
    }

    /// What this member depends on and may not.
    pub fn breaches(&self) -> Vec<String> {
        let Some(allowed) = allowed(&self.member) else {
            return vec![format!("{}: say in tests/src/scan/layers.rs what this member may depend on", self.member)];
        };
        let forbidden = |name: &String| match name.strip_prefix("kakera-") {
            Some(member) => !allowed.members.contains(&member),
            None => SHELL.contains(&name.as_str()) && !allowed.shell.contains(&name.as_str()),
        };
        let broken = self.dependencies.iter().filter(|name| forbidden(name));
        broken.map(|name| format!("{} must not depend on {name}", self.member)).collect()
    }
}

fn collect(table: &Table, into: &mut BTreeSet<String>) {
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (key, value) in table.get(kind).and_then(Value::as_table).into_iter().flatten() {
            // A renamed dependency is what its `package` says.
            let package = value.get("package").and_then(Value::as_str);
            into.insert(package.unwrap_or(key).to_owned());
        }
    }
}

/// What a member may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Members of the workspace.
    pub members: &'static [&'static str],
    /// Of the crates that touch the world: those it may use.
    pub shell: &'static [&'static str],
}

/// Crates that touch the world, or bring those that do.
const SHELL: [&str; 22] = [
    "async-trait",
    "axum",
    "chrono",
    "fastrand",
    "futures",
    "futures-util",
    "getrandom",
    "hyper",
    "mio",
    "nix",
    "rand",
    "rayon",
    "rocksdb",
    "tempfile",
    "time",
    "tokio",
    "tokio-stream",
    "tonic",
    "tonic-health",
    "tonic-reflection",
    "tonic-types",
    "tower",
];

/// The arrows: for each member the members below it, and what of the world it may touch.
pub fn allowed(member: &str) -> Option<Allowed> {
    const BELOW_PROTO: &[&str] = &["cbc", "chain", "beacon", "shard"];
    let (members, shell): (&[&str], &[&str]) = match member {
        "cbc" => (&[], &[]),
        "chain" => (&["cbc"], &[]),
        "beacon" | "shard" => (&["cbc", "chain"], &[]),
        "sim" => (BELOW_PROTO, &[]),
        "proto" => (&["chain", "beacon", "shard"], &["tonic"]),
        "node" => (&["cbc", "chain", "beacon", "shard", "proto"], &SHELL),
        "deploy" => (&["cbc", "chain", "beacon"], &["getrandom", "nix", "tempfile", "tokio"]),
        "cli" => (&["cbc", "chain", "beacon", "shard", "proto", "deploy", "sim"], &SHELL),
        "tests/fuzz" => (&["cbc", "chain", "beacon", "shard", "proto", "deploy"], &["tonic"]),
        "tests/fuzz/driver" => (&["fuzz"], &[]),
        "tests" => (&["cbc", "chain", "beacon", "shard", "proto", "node", "deploy", "cli", "sim"], &SHELL),
        _ => return None,
    };
    Some(Allowed { members, shell })
}

/// The manifests of all members of the workspace in `root`.
pub fn manifests(root: &Path) -> Vec<Manifest> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let workspace: Table = toml::from_str(&read(&root.join("Cargo.toml"))).expect("the workspace's manifest parses");
    let members = workspace["workspace"]["members"].as_array().expect("members are listed");
    let manifest = |member: &Value| {
        let member = member.as_str().expect("a member is a path");
        Manifest::parse(member, &read(&root.join(member).join("Cargo.toml"))).expect("a member's manifest parses")
    };
    members.iter().map(manifest).collect()
}

/// Every package that a lock file says `package` is built with, itself included.
///
/// # Panics
/// When the text is no lock file.
pub fn closure(lock: &str, package: &str) -> BTreeSet<String> {
    let lock: Table = toml::from_str(lock).expect("a lock file parses");
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in lock["package"].as_array().expect("a lock file lists packages") {
        let name = entry["name"].as_str().expect("a package has a name").to_owned();
        let listed = entry.get("dependencies").and_then(Value::as_array).into_iter().flatten();
        // "name" or "name version"
        let names = listed.filter_map(|text| text.as_str()?.split(' ').next()).map(str::to_owned);
        edges.entry(name).or_default().extend(names);
    }
    let mut found = BTreeSet::new();
    let mut waiting = vec![package.to_owned()];
    while let Some(name) = waiting.pop() {
        if found.insert(name.clone()) {
            waiting.extend(edges.get(&name).into_iter().flatten().cloned());
        }
    }
    found
}
