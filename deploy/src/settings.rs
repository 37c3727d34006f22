//! What can be set for one node's process to make its life hard: its disk and its clock. It counts from its next start.

use crate::{error::Result, network::Network, process::write_whole};
use anyhow::Context;
use std::fs;
use toml::{Table, Value};

/// Limits the files that a process may write to `bytes`: the first write past it fails, as on a full disk. None: no
/// limit.
pub fn limit_disk(network: &Network, name: &str, bytes: Option<u64>) -> Result<()> {
    let value = bytes.map(|bytes| Value::Integer(i64::try_from(bytes).unwrap_or(i64::MAX)));
    set(network, name, "disk_limit_bytes", value)
}

/// Sets a process's clock ahead (or back) by so many ms. 0: as the machine's.
pub fn offset_clock(network: &Network, name: &str, ms: i64) -> Result<()> {
    set(network, name, "clock_offset_ms", (ms != 0).then_some(Value::Integer(ms)))
}

fn set(network: &Network, name: &str, key: &str, value: Option<Value>) -> Result<()> {
    let path = network.process_dir(&network.process(name)?.name).join("node.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut table: Table = toml::from_str(&text).with_context(|| format!("{} is not TOML", path.display()))?;
    match value {
        Some(value) => table.insert(key.to_owned(), value),
        None => table.remove(key),
    };
    let text = toml::to_string(&table).context("node.toml")?;
    Ok(write_whole(&path, &text)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use crate::{Profile, Wiring, create_wired};

    #[test]
    fn settings_come_and_go_and_leave_the_rest_alone() {
        let dir = tempfile::tempdir().unwrap();
        let network = create_wired(&dir.path().join("net"), &Profile::small(), Wiring::Relayed).unwrap();
        let path = network.process_dir("validator-1").join("node.toml");
        let read = || toml::from_str::<Table>(&fs::read_to_string(&path).unwrap()).unwrap();
        let before = read();
        assert_eq!(before["via"].as_table().unwrap().len(), 7);
        limit_disk(&network, "validator-1", Some(4096)).unwrap();
        offset_clock(&network, "validator-1", -2000).unwrap();
        let set = read();
        assert_eq!(set["disk_limit_bytes"].as_integer(), Some(4096));
        assert_eq!(set["clock_offset_ms"].as_integer(), Some(-2000));
        limit_disk(&network, "validator-1", None).unwrap();
        offset_clock(&network, "validator-1", 0).unwrap();
        assert_eq!(read(), before);
        assert!(limit_disk(&network, "nobody", None).is_err());
    }
}
