//! The `node.toml` of a validator's directory, held against what a later call asks of it.
//!
//! What its operator changed stays. While its process has never run, where it listens and where it begins may be replaced,
//! which is said; after that a difference is refused.

use crate::failure::{Failure, Result};
use anyhow::{Context, anyhow};
use kakera_chain::{BlockId, keys::parse_hex};
use std::{
    fs,
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// What a call asks of a `node.toml`.
#[derive(Clone, Debug)]
pub(super) struct Asked<'a> {
    /// Where the process listens.
    pub(super) listen: SocketAddr,
    /// Whether that was named; otherwise it follows from the endpoint, which says no more than the port.
    pub(super) exactly: bool,
    /// The root of an era that it begins at.
    pub(super) checkpoint: Option<BlockId>,
    /// A node that may have it.
    pub(super) from: &'a str,
}

/// What a directory's `node.toml` says.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    path: PathBuf,
    text: String,
    table: Table,
}

/// A setting that a call asks otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    field: &'static str,
    there: String,
    asked: String,
}

impl Settings {
    /// Those in a directory; nothing where there are none.
    pub(super) fn read(dir: &Path) -> Result<Option<Settings>> {
        let path = dir.join("node.toml");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(anyhow!(error).context(format!("cannot read {}", path.display())).into()),
        };
        let table = text.parse::<Table>().map_err(|reason| {
            let message = format!("{}: {}: correct it, its process would not start", path.display(), reason.message());
            Failure::refused("SETTINGS", message)
        })?;
        Ok(Some(Settings { path, text, table }))
    }

    /// Whether the process has left anything in its data directory.
    pub(super) fn has_run(&self) -> bool {
        let data = self.table.get("data").and_then(Value::as_str).unwrap_or("data");
        let data = self.path.with_file_name(data);
        fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// The root of an era that the process begins at, and the nodes that it asks.
    pub(super) fn checkpoint(&self) -> Result<Option<(BlockId, Vec<String>)>> {
        let Some(text) = self.root() else { return Ok(None) };
        let root = parse_hex(text).map(BlockId).ok_or_else(|| {
            let message =
                format!("{}: checkpoint.root = {text:?} is no id: 64 hexadecimal digits", self.path.display());
            Failure::refused("SETTINGS", message)
        })?;
        let from = self.table.get("checkpoint").and_then(|checkpoint| checkpoint.get("from")).and_then(Value::as_array);
        let nodes = from.into_iter().flatten().filter_map(|node| node.as_str().map(ToOwned::to_owned));
        Ok(Some((root, nodes.collect())))
    }

    /// What a call asks otherwise.
    pub(super) fn differences(&self, asked: &Asked<'_>) -> Vec<Difference> {
        let there = self.table.get("listen").and_then(Value::as_str);
        let address = there.and_then(|text| text.parse::<SocketAddr>().ok());
        let fits = |there: SocketAddr| there == asked.listen || !asked.exactly && there.port() == asked.listen.port();
        let listen = Difference {
            field: "listen",
            there: there.unwrap_or("nothing").to_owned(),
            asked: asked.listen.to_string(),
        };
        let mut all: Vec<Difference> = Some(listen).filter(|_| !address.is_some_and(fits)).into_iter().collect();
        if let Some(root) = asked.checkpoint {
            let there = self.root();
            if there.and_then(parse_hex) != Some(root.0) {
                let there = there.unwrap_or("nothing").to_owned();
                all.push(Difference { field: "checkpoint.root", there, asked: root.to_string() });
            }
        }
        all
    }

    /// Refuses what cannot be changed any more.
    pub(super) fn check(&self, asked: &Asked<'_>) -> Result<()> {
        let all = self.differences(asked);
        if all.is_empty() || !self.has_run() {
            return Ok(());
        }
        let all: Vec<String> = all.iter().map(Difference::refusal).collect();
        let message = format!("{}: {}", self.path.display(), all.join("; "));
        Err(Failure::refused("SETTINGS", message))
    }

    /// Writes what a call asks otherwise over what is there, and says what was there. All else stays as it is.
    pub(super) fn replace(&self, asked: &Asked<'_>) -> Result<Option<String>> {
        let all = self.differences(asked);
        if all.is_empty() {
            return Ok(None);
        }
        let listen = all.iter().any(|one| one.field == "listen").then(|| asked.listen.to_string());
        let root = all.iter().find(|one| one.field == "checkpoint.root").map(|one| one.asked.clone());
        let text = edited(&self.text, listen.as_deref(), root.as_deref().map(|root| (root, asked.from)));
        let mut wanted = self.table.clone();
        if let Some(listen) = listen {
            wanted.insert("listen".to_owned(), Value::String(listen));
        }
        if let Some(root) = root {
            wanted.insert("checkpoint".to_owned(), Value::Table(checkpoint_table(&root, asked.from)));
        }
        let what: Vec<String> =
            all.iter().map(|one| format!("{} was {}, and is {}", one.field, one.there, one.asked)).collect();
        let what = what.join("; ");
        // A file of an unusual form is its operator's work.
        if text.parse::<Table>().ok() != Some(wanted) {
            let message = format!("{}: this asks for other settings ({what}): change them there", self.path.display());
            return Err(Failure::refused("SETTINGS", message));
        }
        fs::write(&self.path, text).with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(Some(format!("{}: {what}", self.path.display())))
    }

    fn root(&self) -> Option<&str> {
        self.table.get("checkpoint")?.get("root")?.as_str()
    }
}

impl Difference {
    fn refusal(&self) -> String {
        let Difference { field, there, asked } = self;
        let advice = match *field {
            "listen" => format!("its process has run, so it stays; change the file, or give --listen {there}"),
            _ => "its process has run, and a checkpoint is heeded by an empty data directory only: leave --checkpoint out"
                .to_owned(),
        };
        format!("{field} is {there}, and this asks for {asked}: {advice}")
    }
}

fn checkpoint_table(root: &str, from: &str) -> Table {
    let nodes = Value::Array(vec![Value::String(from.to_owned())]);
    Table::from_iter([("root".to_owned(), Value::String(root.to_owned())), ("from".to_owned(), nodes)])
}

/// The text with other values, line by line, so that comments stay.
fn edited(text: &str, listen: Option<&str>, checkpoint: Option<(&str, &str)>) -> String {
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let begin = checkpoint.map(|(root, from)| format!("root = {}\nfrom = [{}]", quoted(root), quoted(from)));
    let (mut lines, mut section, mut begun) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        let key = line.split('=').next().unwrap_or_default().trim();
        match (section.as_str(), key, listen, &begin) {
            ("", "listen", Some(listen), _) => lines.push(format!("listen = {}", quoted(listen))),
            ("[checkpoint]", "root" | "from", _, Some(_)) => {}
            _ => lines.push(line.to_owned()),
        }
        if line.trim_start().starts_with('[') {
            line.trim().clone_into(&mut section);
            if let ("[checkpoint]", Some(begin)) = (section.as_str(), &begin) {
                (lines, begun) = (with(lines, begin.clone()), true);
            }
        }
    }
    if let Some(begin) = begin.filter(|_| !begun) {
        lines = with(lines, format!("\n[checkpoint]\n{begin}"));
    }
    lines.join("\n") + "\n"
}

fn with(mut lines: Vec<String>, line: String) -> Vec<String> {
    lines.push(line);
    lines
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    const FILE: &str =
        "genesis = 'genesis.toml'\n# on the inner network\nlisten = '10.0.0.1:7000' # me\nlog = 'debug'\n";

    fn settings(dir: &Path, text: &str) -> Settings {
        fs::write(dir.join("node.toml"), text).unwrap();
        Settings::read(dir).unwrap().unwrap()
    }

    fn asked(listen: &str, exactly: bool, checkpoint: Option<u8>) -> Asked<'static> {
        let checkpoint = checkpoint.map(|byte| BlockId([byte; 32]));
        Asked { listen: listen.parse().unwrap(), exactly, checkpoint, from: "node.example:7" }
    }

    #[test]
    fn an_endpoint_asks_for_a_port_and_an_address_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let there = settings(dir.path(), FILE);
        for same in [asked("0.0.0.0:7000", false, None), asked("10.0.0.1:7000", true, None)] {
            assert_eq!(there.differences(&same), []);
        }
        for other in [asked("0.0.0.0:7001", false, None), asked("0.0.0.0:7000", true, None)] {
            assert_eq!(there.differences(&other).len(), 1, "{other:?}");
        }
    }

    #[test]
    fn before_the_first_start_settings_are_replaced_and_all_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let there = settings(dir.path(), FILE);
        let wish = asked("0.0.0.0:7001", false, Some(0xab));
        there.check(&wish).unwrap();
        let said = there.replace(&wish).unwrap().unwrap();
        assert!(said.contains("listen was 10.0.0.1:7000, and is 0.0.0.0:7001"), "{said}");
        assert!(said.contains("checkpoint.root was nothing"), "{said}");
        let now = Settings::read(dir.path()).unwrap().unwrap();
        assert!(now.text.contains("# on the inner network\n") && now.text.contains("log = 'debug'"), "{}", now.text);
        assert_eq!(now.checkpoint().unwrap(), Some((BlockId([0xab; 32]), vec!["node.example:7".to_owned()])));
        assert_eq!(now.replace(&wish).unwrap(), None, "once more changes nothing");
        let newer = asked("0.0.0.0:7001", true, Some(0xcd));
        now.replace(&newer).unwrap();
        let now = Settings::read(dir.path()).unwrap().unwrap();
        assert_eq!(now.checkpoint().unwrap().unwrap().0, BlockId([0xcd; 32]));
        assert_eq!(now.text.matches("[checkpoint]").count(), 1, "{}", now.text);
    }

    #[test]
    fn after_it_they_stay_and_the_difference_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let there = settings(dir.path(), &format!("{FILE}data = 'store'\n"));
        assert!(!there.has_run());
        fs::create_dir_all(dir.path().join("store/beacon")).unwrap();
        assert!(there.has_run());
        there.check(&asked("0.0.0.0:7000", false, None)).unwrap();
        let refused = there.check(&asked("0.0.0.0:7001", false, Some(0xab))).unwrap_err();
        let said = refused.to_string();
        assert_eq!(refused.exit_code(), 4);
        for part in
            ["node.toml", "listen is 10.0.0.1:7000, and this asks for 0.0.0.0:7001", "checkpoint.root is nothing"]
        {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn a_file_of_an_unusual_form_is_left_to_its_operator() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{FILE}checkpoint = {{ root = '{}', from = [] }}\n", "01".repeat(32));
        let there = settings(dir.path(), &text);
        let refused = there.replace(&asked("0.0.0.0:7000", false, Some(2))).unwrap_err().to_string();
        assert!(refused.contains("change them there"), "{refused}");
        assert_eq!(fs::read_to_string(dir.path().join("node.toml")).unwrap(), text);
        fs::write(dir.path().join("node.toml"), "changed").unwrap();
        assert_eq!(Settings::read(dir.path()).unwrap_err().exit_code(), 4);
    }
}
