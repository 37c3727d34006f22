//! What is printed where: data on stdout, for people or as JSON, and everything else on stderr.

use serde_json::Value;
use std::io::{self, Write};

/// Where a command's results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// One JSON value a line instead of text.
    pub(crate) json: bool,
}

impl Output {
    /// Prints a result.
    pub(crate) fn data(self, value: &Value, text: impl FnOnce() -> String) {
        let line = if self.json { value.to_string() } else { text() };
        // A reader that has gone away (`| head`) is no error of ours.
        let _ = writeln!(io::stdout(), "{}", line.trim_end());
    }

    /// Prints a result that has one form for people and programs; false: the reader has gone away.
    pub(crate) fn line(self, text: &str) -> bool {
        writeln!(io::stdout(), "{}", text.trim_end()).is_ok()
    }

    /// Prints something that is not data: for people, on stderr.
    pub(crate) fn note(self, text: &str) {
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// A table with aligned columns; numbers, and what looks like them, to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let columns = head.len();
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .map(|row| cell(row, column).chars().count())
            .chain([head[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let right = |column: usize| {
        !rows.is_empty()
            && rows.iter().all(|row| cell(row, column).starts_with(|c: char| c.is_ascii_digit() || c == '-'))
    };
    let layout: Vec<(usize, bool)> = (0..columns).map(|column| (width(column), right(column))).collect();
    let line = |row: &[String]| {
        let cells: Vec<String> = layout
            .iter()
            .enumerate()
            .map(|(column, &(width, right))| {
                let text = cell(row, column);
                if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|&text| text.to_owned()).collect();
    let mut lines = vec![line(&head)];
    lines.extend(rows.iter().map(|row| line(row)));
    lines.join("\n")
}

/// A number with its digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// A probability as people read it.
pub(crate) fn odds(probability: f64) -> String {
    match probability {
        0.0 => "0".to_owned(),
        p if p >= 0.001 => format!("{p:.3}"),
        p => format!("{p:.1e}"),
    }
}

/// The first eight hexadecimal digits of an id.
pub(crate) fn short(id: &[u8]) -> String {
    hex::encode(&id[..id.len().min(4)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let rows = [vec!["a".to_owned(), "7".to_owned()], vec!["long".to_owned(), "1_234".to_owned()]];
        assert_eq!(table(&["name", "height"], &rows), "name  height\na          7\nlong   1_234");
        assert_eq!(table(&["none"], &[]), "none");
    }

    #[test]
    fn odds_are_short() {
        assert_eq!(
            [0.0, 1.0, 0.859_34, 0.0123, 1e-7, 0.999_999_9].map(odds),
            ["0", "1.000", "0.859", "0.012", "1.0e-7", "1.000"]
        );
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!((grouped(0), grouped(999), grouped(1_000)), ("0".into(), "999".into(), "1_000".into()));
        assert_eq!(grouped(u64::MAX), "18_446_744_073_709_551_615");
        assert_eq!(short(&[0xab; 32]), "abababab");
        assert_eq!(short(&[]), "");
    }
}
