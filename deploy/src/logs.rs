//! What processes printed: the last lines, and what comes after them.

use anyhow::{Context, Result};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// How much of a log's end is looked at for its last lines.
const TAIL_BYTES: u64 = 256 * 1024;

/// The last `lines` lines of a file, from at most its last 256 KiB; empty when there is no file.
pub fn tail(path: &Path, lines: usize) -> String {
    let Ok(mut file) = File::open(path) else { return String::new() };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).is_err() || file.read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Reads what is appended to a file.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    position: u64,
}

impl Follower {
    /// Follows `path` from its present end.
    pub fn at_end(path: &Path) -> Follower {
        let position = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Follower { path: path.to_owned(), position }
    }

    /// What was appended since the last call, at most 1 MiB of it; from the beginning again if the file shrank.
    pub fn read(&mut self) -> Result<String> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(String::new()) };
        let context = || format!("cannot read {}", self.path.display());
        if file.metadata().with_context(context)?.len() < self.position {
            self.position = 0;
        }
        file.seek(SeekFrom::Start(self.position)).with_context(context)?;
        let mut bytes = Vec::new();
        file.take(1 << 20).read_to_end(&mut bytes).with_context(context)?;
        self.position += bytes.len() as u64;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use std::{fs, io::Write};

    #[test]
    fn the_tail_is_the_end_and_the_follower_goes_on_from_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.txt");
        assert_eq!(tail(&path, 3), "");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&path, 2), "two\nthree");
        assert_eq!(tail(&path, 9), "one\ntwo\nthree");
        let mut follower = Follower::at_end(&path);
        assert_eq!(follower.read().unwrap(), "");
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"four\n").unwrap();
        assert_eq!(follower.read().unwrap(), "four\n");
        fs::write(&path, "new\n").unwrap();
        assert_eq!(follower.read().unwrap(), "new\n");
    }
}
