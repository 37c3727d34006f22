//! Files of cases, one JSON object a line.

use crate::failure::{Failure, Result};
use anyhow::Context;
use kakera_cbc::lab::Case;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read},
    path::Path,
};

/// Bytes that one line may have.
const LINE_BYTES: u64 = 256 * 1024 * 1024;

/// A refusal of what stands in a line.
pub(super) fn refuse(number: usize, reason: &str) -> Failure {
    Failure::refused("BAD_CASE", format!("line {number}: {}", super::printable(reason)))
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(BufReader::new(file))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::NotFound(format!("there is no file {}", path.display())))
        }
        Err(error) => Err(anyhow::anyhow!(error).context(format!("cannot read {}", path.display())).into()),
    }
}

/// Hands over each case of a file (`-`: standard input) with the number of its line.
pub(super) fn each(path: &Path, mut take: impl FnMut(usize, Case) -> Result<()>) -> Result<()> {
    let mut reader = open(path)?;
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES).read_line(&mut line);
        let read = read.with_context(|| format!("cannot read {}", path.display()))?;
        if read == 0 {
            break;
        }
        if read as u64 == LINE_BYTES && !line.ends_with('\n') {
            return Err(refuse(number, &format!("it is longer than {LINE_BYTES} bytes")));
        }
        if line.trim().is_empty() {
            continue;
        }
        take(number, serde_json::from_str(&line).map_err(|error| refuse(number, &error.to_string()))?)?;
    }
    Ok(())
}

/// The case of a file with this name, or the first one, and the number of its line.
pub(super) fn pick(path: &Path, id: Option<&str>) -> Result<(usize, Case)> {
    let mut found = None;
    let mut known = Vec::new();
    let stop = || Failure::Usage(String::new());
    let ended = each(path, |number, case| {
        if id.is_none_or(|id| id == case.id) {
            found = Some((number, case));
            // Whatever follows need not be read, and may not even end.
            return Err(stop());
        }
        known.push(super::printable(&case.id));
        Ok(())
    });
    match (found, ended) {
        (Some(found), _) => Ok(found),
        (None, Err(failure)) => Err(failure),
        (None, Ok(())) => Err(Failure::NotFound(match id {
            None => format!("there is no case in {}", path.display()),
            Some(id) => {
                let shown: Vec<&str> = known.iter().map(String::as_str).take(16).collect();
                format!("there is no case {id} in {}; it has {}: {}", path.display(), known.len(), shown.join(", "))
            }
        })),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn cases_are_found_by_name_and_refused_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cases.jsonl");
        let case = |id: &str| format!("{{\"id\":\"{id}\",\"validators\":[],\"messages\":[],\"views\":[]}}\n");
        fs::write(&path, format!("{}\n{}nonsense\n", case("a"), case("b"))).unwrap();
        assert_eq!(pick(&path, None).unwrap().1.id, "a");
        let (line, found) = pick(&path, Some("b")).unwrap();
        assert_eq!((line, found.id.as_str()), (3, "b"));
        let failure = pick(&path, Some("c")).unwrap_err();
        assert!(failure.to_string().contains("line 4"), "{failure}");
        fs::write(&path, case("a")).unwrap();
        assert_eq!(pick(&path, Some("c")).unwrap_err().exit_code(), 5);
        fs::write(&path, "").unwrap();
        assert_eq!(pick(&path, None).unwrap_err().exit_code(), 5);
        assert_eq!(pick(&dir.path().join("none"), None).unwrap_err().exit_code(), 5);
    }
}
