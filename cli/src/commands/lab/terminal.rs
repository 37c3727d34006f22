//! A drawing for terminals: a line a thread, a column a message, and lines to what it cites.

use super::{printable, shortened};
use kakera_cbc::lab::{Drawn, Picture};

/// Letters of a name.
const LETTERS: usize = 12;
/// Letters before a message's name: the way, how far back, the upright line, and the way to the name.
const GAP: usize = 4;
/// Colours of branches (of the 256), the last one for small branches.
const COLOURS: [u8; 8] = [33, 208, 35, 135, 205, 37, 136, 245];

/// Where the drawing's lines are: of each lane the first, and how many there are.
struct Lines {
    first: Vec<usize>,
    count: usize,
}

impl Lines {
    fn of(picture: &Picture) -> Lines {
        let mut count = 0;
        let next = |lane: &kakera_cbc::lab::Lane| {
            count += lane.rows;
            count - lane.rows
        };
        Lines { first: picture.lanes.iter().map(next).collect(), count }
    }

    fn at(&self, message: &Drawn) -> usize {
        self.first[message.lane] + message.row
    }
}

/// One message's column: a cell a line, all of one width.
struct Column {
    cells: Vec<String>,
    width: usize,
}

/// Draws a picture within `width` columns, with or without colour.
pub(super) fn drawing(picture: &Picture, width: usize, colour: bool) -> String {
    let lines = Lines::of(picture);
    let labels = labels(picture, &lines);
    let margin = labels.iter().map(|label| console::measure_text_width(label)).max().unwrap_or(0) + 1;
    let columns = columns(picture, &lines, colour);
    let mut text = title(picture);
    let mut open = columns.as_slice();
    while !open.is_empty() {
        let mut used = margin;
        let fits = |column: &&Column| {
            used += column.width;
            used <= width
        };
        let (band, rest) = open.split_at(open.iter().take_while(fits).count().max(1));
        open = rest;
        text.push('\n');
        for (line, label) in labels.iter().enumerate() {
            let pad = margin - console::measure_text_width(label);
            let cells: String = band.iter().map(|column| column.cells[line].as_str()).collect();
            text.push_str(format!("{label}{}{cells}", " ".repeat(pad)).trim_end());
            text.push('\n');
        }
    }
    text.push('\n');
    text.push_str(&legend(picture, colour));
    text
}

fn name(text: &str) -> String {
    shortened(&printable(text), LETTERS)
}

fn title(picture: &Picture) -> String {
    let place = |message: Option<usize>| message.map_or("G".to_owned(), |at| name(&picture.messages[at].id));
    let view = picture.view.as_deref().map_or(String::new(), |view| format!(", view {}", printable(view)));
    let mut text = format!(
        "{}{view}: head {}, final up to {}",
        printable(&picture.id),
        place(picture.head),
        place(picture.finalized)
    );
    if let (Some(candidate), Some((level, quorum))) = (picture.candidate, picture.target) {
        let id = name(&picture.messages[candidate].id);
        text.push_str(&format!("; small digits: level for {id} at quorum {quorum} (final at {level})"));
    }
    text.push('\n');
    text
}

/// What stands before each line: the validator's name and weight once.
fn labels(picture: &Picture, lines: &Lines) -> Vec<String> {
    let mut labels = vec![String::new(); lines.count];
    for (lane, first) in picture.lanes.iter().zip(&lines.first) {
        labels[*first] = format!("{}{} {}", name(&lane.name), if lane.equivocates { "!" } else { "" }, lane.weight);
    }
    labels
}

fn columns(picture: &Picture, lines: &Lines, colour: bool) -> Vec<Column> {
    // Per line: what was drawn there so far, and the last message there or about what is there.
    let mut drawn: Vec<Vec<usize>> = vec![Vec::new(); lines.count];
    let mut last = vec![0; lines.count];
    for (at, message) in picture.messages.iter().enumerate() {
        last[lines.at(message)] = at;
        message.cites.iter().for_each(|cited| last[lines.at(&picture.messages[*cited])] = at);
    }
    let mut columns = Vec::with_capacity(picture.messages.len());
    for (at, message) in picture.messages.iter().enumerate() {
        let own = lines.at(message);
        // Of every line that is cited: how many messages back.
        let mut back = vec![None; lines.count];
        for cited in &message.cites {
            let line = lines.at(&picture.messages[*cited]);
            let behind = drawn[line].iter().rev().take_while(|drawn| *drawn != cited).count();
            if line != own || behind > 0 {
                back[line] = Some(behind);
            }
        }
        let involved = || (0..lines.count).filter(|line| *line == own || back[*line].is_some());
        let (top, bottom) = (involved().min().unwrap_or(own), involved().max().unwrap_or(own));
        let label = label(picture, at, colour);
        let size = console::measure_text_width(&label);
        let cells = (0..lines.count).map(|line| {
            let goes_on = !drawn[line].is_empty() && last[line] > at;
            let way = if goes_on { '─' } else { ' ' };
            let (up, down) = (line > top && line <= bottom, line < bottom && line >= top);
            if line == own {
                let from = if message.previous.is_some() && !drawn[line].is_empty() { '─' } else { ' ' };
                let to = if message.cites.is_empty() { ' ' } else { '─' };
                return format!(
                    "{from}{from}{}{to}{}",
                    corner(from == '─', true, up, down, to),
                    painted(message, &label, colour)
                );
            }
            let first = match back[line] {
                Some(0) => '─',
                Some(behind) => char::from_digit(u32::try_from(behind).unwrap_or(10), 10).unwrap_or('+'),
                None => way,
            };
            let before = if back[line].is_some() { '─' } else { way };
            let upright = match back[line] {
                Some(_) => corner(true, goes_on, up, down, way),
                None if up || down => '│',
                None => way,
            };
            format!("{before}{first}{upright}{}", way.to_string().repeat(size + 1))
        });
        columns.push(Column { cells: cells.collect(), width: GAP + size });
        drawn[own].push(at);
    }
    columns
}

/// The sign where an upright line meets a level one.
fn corner(left: bool, right: bool, up: bool, down: bool, way: char) -> char {
    match (left, right, up, down) {
        (_, _, false, false) => way,
        (true, true, true, true) => '┼',
        (true, true, true, false) => '┴',
        (true, true, false, true) => '┬',
        (true, false, true, true) => '┤',
        (true, false, true, false) => '┘',
        (true, false, false, true) => '┐',
        (false, true, true, true) => '├',
        (false, true, true, false) => '└',
        (false, true, false, true) => '┌',
        (false, false, ..) => '│',
    }
}

/// A message's name with its marks.
fn label(picture: &Picture, at: usize, colour: bool) -> String {
    let message = &picture.messages[at];
    let mut text = name(&message.id);
    if let Some(level) = message.level {
        text.push(['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'].get(level as usize).copied().unwrap_or('⁺'));
    }
    if !colour && message.branch > 0 {
        text.push(':');
        text.push(letter(message.branch));
    }
    for (mark, holds) in [('*', message.is_final), ('!', message.equivocates), ('?', !message.follows)] {
        if holds {
            text.push(mark);
        }
    }
    match () {
        () if picture.head == Some(at) => format!("[{text}]"),
        () if picture.candidate == Some(at) => format!("<{text}>"),
        () if !message.received => format!("({text})"),
        () => text,
    }
}

fn letter(branch: usize) -> char {
    char::from(b'a' + u8::try_from(branch.min(25)).unwrap_or(25))
}

fn painted(message: &Drawn, label: &str, colour: bool) -> String {
    if !colour {
        return label.to_owned();
    }
    let number = COLOURS[message.branch.min(COLOURS.len() - 1)];
    let style = match (message.received, message.is_final) {
        (false, _) => "2;",
        (true, true) => "1;",
        (true, false) => "",
    };
    format!("\u{1b}[{style}38;5;{number}m{label}\u{1b}[0m")
}

fn legend(picture: &Picture, colour: bool) -> String {
    let branches = picture.branches.iter().enumerate().map(|(nth, branch)| {
        let what = if branch.is_rest { "other branches".to_owned() } else { format!("up to {}", name(&branch.tip)) };
        let text = format!("{} {what} ({})", letter(nth), branch.messages);
        if colour { format!("\u{1b}[38;5;{}m{text}\u{1b}[0m", COLOURS[nth.min(COLOURS.len() - 1)]) } else { text }
    });
    let branches: Vec<String> = branches.collect();
    let marks = "marks     [head] <candidate> (not received) * final  ! equivocates  ? does not follow\n\
                 lines     from what is cited (a digit: so many messages back) to the message that cites it; what \
                 others imply is left out";
    format!("branches  {}\n{marks}", branches.join("   "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use kakera_cbc::lab::{Case, RandomCase, picture};

    fn case(text: &str) -> Case {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_small_case_looks_like_this() {
        let case = case(
            r#"{"id":"small","validators":[{"name":"a","weight":1},{"name":"b","weight":2},{"name":"c","weight":3}],
            "messages":[{"id":"x","sender":"a","parent":"G"},{"id":"y","sender":"c","parent":"x","justification":{"a":"x"}},
            {"id":"z","sender":"a","parent":"x","justification":{"a":"x"}},
            {"id":"w","sender":"b","parent":"y","justification":{"a":"x","c":"y"}}],
            "views":[{"name":"v","delivery_order":["x","y","w"]}]}"#,
        );
        let drawn = drawing(&picture(&case, None, None).unwrap(), 80, false);
        let lines: Vec<&str> = drawn.lines().take(5).collect();
        let expected = [
            "small, view v: head w, final up to G",
            "",
            "a 1     x──┬──────(z:b)",
            "b 2        │             ┌─[w]",
            "c 3        └─y───────────┘",
        ];
        assert_eq!(lines, expected, "\n{drawn}");
    }

    #[test]
    fn no_line_is_wider_than_asked_and_nothing_steers_the_terminal() {
        for seed in 0..40 {
            let mut case = RandomCase { seed, ..RandomCase::default() }.make().unwrap();
            case.id = "evil\u{1b}[2J\u{202e}".to_owned();
            for width in [40, 100] {
                let drawn = drawing(&picture(&case, None, Some("m2")).unwrap(), width, false);
                assert!(!drawn.contains('\u{1b}') && !drawn.contains('\u{202e}'));
                let body =
                    drawn.lines().skip(1).filter(|line| !line.starts_with("marks") && !line.starts_with("lines"));
                let widest = body.filter(|line| !line.starts_with("branches")).map(|line| line.chars().count()).max();
                assert!(widest.unwrap() <= width, "seed {seed}:\n{drawn}");
                for message in &case.messages {
                    assert!(drawn.contains(&message.id), "{} is drawn", message.id);
                }
            }
        }
    }

    #[test]
    fn colours_are_escapes_around_names_only() {
        let case = RandomCase { seed: 7, ..RandomCase::default() }.make().unwrap();
        let drawn = drawing(&picture(&case, None, None).unwrap(), 100, true);
        assert!(drawn.contains("\u{1b}[38;5;33m") || drawn.contains("\u{1b}[1;38;5;33m"));
        assert_eq!(drawn.matches("\u{1b}[0m").count() * 2, drawn.matches('\u{1b}').count());
    }
}
