//! What the signs on a message mean, and the legend that says so.

use super::{colour, escaped, px, shown};
use kakera_cbc::lab::{Drawn, Picture};
use std::fmt::Write;

/// Where the legend goes on in the next line.
const LEGEND_WIDTH: f64 = 1000.0;

/// Rings and frames around a message: the head, the candidate, an equivocation.
pub(super) fn around(picture: &Picture, at: usize, (x, y): (f64, f64), radius: f64) -> String {
    let mut text = String::new();
    let ring = |by: f64, style: &str| {
        format!("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"none\" {style}/>", px(x), px(y), px(radius + by))
    };
    if picture.messages[at].equivocates {
        text.push_str(&ring(3.0, "stroke=\"#dc2626\" stroke-width=\"2\" stroke-dasharray=\"4 2.5\""));
    }
    if picture.head == Some(at) {
        text.push_str(&ring(
            if picture.messages[at].equivocates { 6.0 } else { 3.5 },
            "stroke=\"#111827\" stroke-width=\"3\"",
        ));
    }
    if picture.candidate == Some(at) {
        let side = 2.0 * radius + 8.0;
        let _ = write!(
            text,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\" fill=\"#fef08a\" stroke=\"#a16207\" \
             stroke-width=\"1.5\"/>",
            px(x - side / 2.0),
            px(y - side / 2.0),
            px(side),
            px(side)
        );
    }
    text
}

/// The circle itself: full when final.
pub(super) fn body(message: &Drawn, (x, y): (f64, f64), radius: f64) -> String {
    let colour = colour(message.branch);
    let fill = if message.is_final { colour } else { "#ffffff" };
    let dashes = if message.received { "" } else { " stroke-dasharray=\"3 2\"" };
    let mut text = format!("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{fill}\"", px(x), px(y), px(radius));
    let _ = write!(text, " stroke=\"{colour}\" stroke-width=\"2.2\"{dashes}/>");
    if !message.is_final {
        let (cx, cy, r) = (px(x), px(y), px(radius));
        let _ = write!(text, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"{r}\" fill=\"{colour}\" fill-opacity=\"0.14\"/>");
    }
    text
}

/// Small signs beside a message: its level, and that it does not follow.
pub(super) fn badges(message: &Drawn, (x, y): (f64, f64), radius: f64) -> String {
    let mut text = String::new();
    if let Some(level) = message.level {
        let (cx, cy) = (x + radius * 0.85, y + radius * 0.85);
        let _ = write!(
            text,
            "<circle cx=\"{}\" cy=\"{}\" r=\"6\" fill=\"#111827\"/><text class=\"n\" x=\"{}\" y=\"{}\" \
             style=\"font-size:9px;fill:#ffffff\">{level}</text>",
            px(cx),
            px(cy),
            px(cx),
            px(cy + 3.2)
        );
    }
    if !message.follows {
        let (cx, cy) = (x + radius * 0.85, y - radius * 0.85);
        let _ = write!(
            text,
            "<circle cx=\"{}\" cy=\"{}\" r=\"6\" fill=\"#ea580c\"/><text class=\"n\" x=\"{}\" y=\"{}\" \
             style=\"font-size:9px;font-weight:700;fill:#ffffff\">?</text>",
            px(cx),
            px(cy),
            px(cx),
            px(cy + 3.2)
        );
    }
    text
}

/// One line of the legend: a sign and its meaning.
struct Entry {
    sign: String,
    text: String,
}

/// The legend from a place on; its text, and the width and height that it takes.
pub(super) fn legend(picture: &Picture, left: f64, top: f64) -> (String, f64, f64) {
    let mut text = String::from("<g>\n");
    let mut widest = 0.0f64;
    let (mut x, mut y) = (left, top);
    for entries in [branches(picture), signs(picture)] {
        for entry in entries {
            let width = 34.0 + 6.9 * console::measure_text_width(&entry.text) as f64 + 18.0;
            if x + width > LEGEND_WIDTH && x > left {
                (x, y) = (left, y + 26.0);
            }
            let (at, level) = (px(x + 10.0), px(y));
            let _ = writeln!(
                text,
                "<g transform=\"translate({at},{level})\">{}</g><text class=\"s\" x=\"{}\" y=\"{}\">{}</text>",
                entry.sign,
                px(x + 24.0),
                px(y + 4.0),
                escaped(&entry.text)
            );
            x += width;
            widest = widest.max(x);
        }
        (x, y) = (left, y + 26.0);
    }
    text.push_str("</g>\n");
    (text, widest, y - top)
}

fn branches(picture: &Picture) -> Vec<Entry> {
    let entry = |(nth, branch): (usize, &kakera_cbc::lab::Branch)| {
        let what =
            if branch.is_rest { "other branches".to_owned() } else { format!("branch of {}", shown(&branch.tip)) };
        let fill = colour(nth);
        let sign = format!("<rect x=\"-8\" y=\"-8\" width=\"16\" height=\"16\" rx=\"4\" fill=\"{fill}\"/>");
        let is_head = picture.head.is_some_and(|head| picture.messages[head].branch == nth);
        let head = if is_head { ", with the head" } else { "" };
        Entry { sign, text: format!("{what}{head} ({})", branch.messages) }
    };
    picture.branches.iter().enumerate().map(entry).collect()
}

fn signs(picture: &Picture) -> Vec<Entry> {
    let ink = "#374151";
    let any = |holds: &dyn Fn(&Drawn) -> bool| picture.messages.iter().any(holds);
    let circle = |more: &str| format!("<circle r=\"8\" stroke=\"{ink}\" stroke-width=\"2\" {more}/>");
    let badge = |fill: &str, sign: &str| {
        format!(
            "<circle r=\"6\" fill=\"{fill}\"/><text class=\"n\" y=\"3.2\" style=\"font-size:9px;fill:#ffffff\">{sign}</text>"
        )
    };
    let arrow = "<path class=\"cite\" marker-end=\"url(#tip)\" d=\"M10,0 L-10,0\"/>".to_owned();
    let all = [
        (any(&|message| message.is_final), circle(&format!("fill=\"{ink}\"")), "final"),
        (any(&|message| !message.is_final), circle("fill=\"#f3f4f6\""), "not final"),
        (
            picture.head.is_some(),
            "<circle r=\"8\" fill=\"#f3f4f6\" stroke=\"#111827\" stroke-width=\"3\"/>".to_owned(),
            "head of the view",
        ),
        (
            any(&|message| message.equivocates),
            "<circle r=\"8\" fill=\"none\" stroke=\"#dc2626\" stroke-width=\"2\" stroke-dasharray=\"4 2.5\"/>"
                .to_owned(),
            "equivocation",
        ),
        (
            any(&|message| !message.received),
            format!("<g class=\"away\">{}</g>", circle("fill=\"#f3f4f6\" stroke-dasharray=\"3 2\"")),
            "not received by the view",
        ),
        (any(&|message| !message.follows), badge("#ea580c", "?"), "does not follow from what it cites"),
        (picture.target.is_some(), badge("#111827", "1"), "level for the candidate"),
        (
            picture.candidate.is_some(),
            "<rect x=\"-8\" y=\"-8\" width=\"16\" height=\"16\" rx=\"4\" fill=\"#fef08a\" stroke=\"#a16207\"/>"
                .to_owned(),
            "the candidate",
        ),
        (any(&|message| !message.cites.is_empty()), arrow, "cites (only what nothing else cited implies)"),
    ];
    let shown = all.into_iter().filter(|(holds, ..)| *holds);
    shown.map(|(_, sign, text)| Entry { sign, text: text.to_owned() }).collect()
}
