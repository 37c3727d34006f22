//! `kakera lab shuffle`: the shuffle that committees are drawn by, to compare with the specification.

use crate::{args::ShuffleArgs, failure::Result, output::Output};
use kakera_beacon::Shuffle;
use serde_json::json;
use std::fmt::Write;

/// Indices a line, for people.
const A_LINE: usize = 10;

/// Prints where each index goes.
pub(super) fn run(args: &ShuffleArgs, output: Output) -> Result<()> {
    let shuffled = Shuffle::new(args.count, args.seed).first(args.count);
    output.data(&json!({ "shuffled": shuffled }), || text(&shuffled));
    Ok(())
}

/// Ten a line, after the first one's index.
fn text(shuffled: &[u64]) -> String {
    let width = shuffled.len().to_string().len();
    let mut text =
        format!("where each of {} indices goes, {A_LINE} a line after the first one's index\n", shuffled.len());
    for (line, indices) in shuffled.chunks(A_LINE).enumerate() {
        let _ = write!(text, "{:>width$}:", line * A_LINE);
        indices.iter().for_each(|index| {
            let _ = write!(text, " {index:>width$}");
        });
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_written_ten_a_line() {
        let text = text(&[9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11, 10]);
        assert!(text.ends_with(" 0:  9  8  7  6  5  4  3  2  1  0\n10: 11 10\n"), "{text}");
    }

    #[test]
    fn nothing_is_shuffled_to_nothing() {
        assert_eq!(text(&[]).lines().count(), 1);
    }
}
