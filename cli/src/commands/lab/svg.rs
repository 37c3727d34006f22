//! A picture as one self-contained SVG document.

mod marks;

use super::{printable, shortened};
use kakera_cbc::lab::{Drawn, Lane, Picture};
use marks::legend;
use std::fmt::Write;

/// Colours of branches, the last one for small branches. Red is left to equivocations.
const COLOURS: [&str; 8] = ["#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777", "#0e7490", "#854d0e", "#6b7280"];
/// Columns above which everything is drawn smaller.
const MANY_COLUMNS: usize = 60;
/// Messages above which arrows are fainter.
const MANY_MESSAGES: usize = 120;
/// Letters of a message's name.
const LETTERS: usize = 14;
/// Letters of a validator's name.
const LANE_LETTERS: usize = 18;

const STYLE: &str = "text{font-family:ui-sans-serif,system-ui,'DejaVu Sans',Helvetica,Arial,sans-serif;fill:#111827}\
.t{font-size:16px;font-weight:600}.s{font-size:12px;fill:#4b5563}.l{font-size:13px;font-weight:600}\
.bad{fill:#dc2626}.lane{stroke:#e5e7eb;stroke-width:1}.thread{stroke:#9ca3af;stroke-width:2.2;fill:none}\
.cite{stroke:#6b7280;stroke-width:1;fill:none;opacity:.6}.many .cite{opacity:.32}.away{opacity:.28}.n{text-anchor:middle}";

/// Sizes, in pixels.
struct Sizes {
    left: f64,
    top: f64,
    /// From column to column and from row to row.
    step: f64,
    row: f64,
    radius: f64,
    font: f64,
    /// Whether names stand below their circles.
    below: bool,
    /// The top of every lane, and the end of the last one.
    lanes: Vec<f64>,
}

impl Sizes {
    fn of(picture: &Picture) -> Sizes {
        let letters = |text: &str| console::measure_text_width(&shown(text));
        let longest = picture.messages.iter().map(|message| letters(&message.id)).max().unwrap_or(0);
        let (below, many) = (longest > 4, picture.columns > MANY_COLUMNS);
        let (radius, font) = match (below, many) {
            (false, false) => (14.0, if longest > 3 { 9.5 } else { 10.5 }),
            (false, true) => (11.0, 8.0),
            (true, _) => (8.0, 9.0),
        };
        let step = if below { (longest as f64 * font * 0.6 + 8.0).max(36.0) } else { radius * 3.7 };
        let row = radius * 2.0 + if below { 26.0 } else { 14.0 };
        let names = picture.lanes.iter().map(|lane| console::measure_text_width(&lane_name(lane)));
        let left = 34.0 + 8.5 * names.max().unwrap_or(0).max(8) as f64;
        let top = 74.0;
        let mut lanes = vec![top];
        for lane in &picture.lanes {
            let end = lanes.last().copied().unwrap_or(top);
            lanes.push(end + row * lane.rows as f64 + 10.0);
        }
        Sizes { left, top, step, row, radius, font, below, lanes }
    }

    fn x(&self, message: &Drawn) -> f64 {
        self.left + self.radius + 12.0 + self.step * message.column as f64
    }

    fn y(&self, message: &Drawn) -> f64 {
        self.lanes[message.lane] + self.row * (message.row as f64 + 0.5)
    }

    fn bottom(&self) -> f64 {
        self.lanes.last().copied().unwrap_or(self.top)
    }
}

/// A number with one digit after the point, so that pictures are the same everywhere.
pub(crate) fn px(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), ToOwned::to_owned)
}

/// Text as it may stand in a document.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in printable(text).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

fn shown(text: &str) -> String {
    shortened(text, LETTERS)
}

fn lane_name(lane: &Lane) -> String {
    shortened(&lane.name, LANE_LETTERS)
}

fn colour(branch: usize) -> &'static str {
    COLOURS[branch.min(COLOURS.len() - 1)]
}

/// Draws a picture.
pub(super) fn svg(picture: &Picture) -> String {
    let sizes = Sizes::of(picture);
    let (legend, legend_width, legend_height) = legend(picture, 20.0, sizes.bottom() + 24.0);
    let drawn = sizes.left + sizes.step * picture.columns as f64 + 2.0 * sizes.radius + 24.0;
    let (width, height) = (drawn.max(legend_width).max(560.0), sizes.bottom() + legend_height + 40.0);
    let (width, height) = (px(width.ceil()), px(height.ceil()));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" \
         refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0,0.8 L8,4 L0,7.2 z\" \
         fill=\"#6b7280\"/></marker></defs>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escaped(&picture.id)
    );
    text.push_str(&title(picture));
    text.push_str(&lanes(picture, &sizes, &width));
    text.push_str(if picture.messages.len() > MANY_MESSAGES { "<g class=\"many\">\n" } else { "<g>\n" });
    for message in &picture.messages {
        text.push_str(&arrows(picture, &sizes, message));
    }
    text.push_str("</g>\n");
    for at in 0..picture.messages.len() {
        text.push_str(&circle(picture, &sizes, at));
    }
    text.push_str(&legend);
    text.push_str("</svg>\n");
    text
}

fn title(picture: &Picture) -> String {
    let place = |at: Option<usize>| at.map_or("the root".to_owned(), |at| picture.messages[at].id.clone());
    let view = picture.view.as_deref().map_or("everything".to_owned(), |view| format!("view {view}"));
    let mut facts = format!("head {}, final up to {}", place(picture.head), place(picture.finalized));
    if let (Some(candidate), Some((level, quorum))) = (picture.candidate, picture.target) {
        let id = &picture.messages[candidate].id;
        let _ = write!(facts, "; candidate {id}: small digits are levels at quorum {quorum}, final at level {level}");
    }
    format!(
        "<text class=\"t\" x=\"20\" y=\"30\">{}</text>\n<text class=\"s\" x=\"20\" y=\"50\">{}</text>\n",
        escaped(&format!("{} · {view}", picture.id)),
        escaped(&facts)
    )
}

fn lanes(picture: &Picture, sizes: &Sizes, width: &str) -> String {
    let mut text = String::new();
    for (lane, edges) in picture.lanes.iter().zip(sizes.lanes.windows(2)) {
        let middle = (edges[0] + edges[1] - 10.0) / 2.0;
        let weight = format!("weight {}{}", lane.weight, if lane.equivocates { ", faulty" } else { "" });
        let _ = writeln!(
            text,
            "<g><title>{}</title><line class=\"lane\" x1=\"0\" x2=\"{width}\" y1=\"{edge}\" y2=\"{edge}\"/><text \
             class=\"l{bad}\" x=\"20\" y=\"{name}\">{}</text><text class=\"s{bad}\" x=\"20\" y=\"{under}\">{weight}</text></g>",
            escaped(&lane.name),
            escaped(&lane_name(lane)),
            edge = px(edges[1] - 5.0),
            bad = if lane.equivocates { " bad" } else { "" },
            name = px(middle - 1.0),
            under = px(middle + 14.0),
        );
    }
    text
}

/// The thread to the previous message, and arrows to what else is cited and new.
fn arrows(picture: &Picture, sizes: &Sizes, message: &Drawn) -> String {
    let mut text = String::new();
    let (x, y) = (sizes.x(message), sizes.y(message));
    let away = if message.received { "" } else { " away" };
    if let Some(previous) = message.previous.map(|at| &picture.messages[at]) {
        let (from, level) = (sizes.x(previous), sizes.y(previous));
        let _ = writeln!(text, "<path class=\"thread{away}\" d=\"{}\"/>", curve((x, y), (from, level)));
    }
    for cited in message.cites.iter().filter(|cited| message.previous != Some(**cited)) {
        let cited = &picture.messages[*cited];
        let (to_x, to_y) = (sizes.x(cited), sizes.y(cited));
        // From circle to circle along the line between their middles.
        let length = ((to_x - x).powi(2) + (to_y - y).powi(2)).sqrt().max(1.0);
        let along = |from: f64, to: f64, by: f64| from + (to - from) * by / length;
        let (start, end) = (sizes.radius, length - sizes.radius - 2.0);
        let from = (along(x, to_x, start), along(y, to_y, start));
        let to = (along(x, to_x, end), along(y, to_y, end));
        let _ = writeln!(text, "<path class=\"cite{away}\" marker-end=\"url(#tip)\" d=\"{}\"/>", curve(from, to));
    }
    text
}

/// Straight where it can be, else leaving and arriving a little more level than a straight line.
fn curve(from: (f64, f64), to: (f64, f64)) -> String {
    let start = format!("M{},{}", px(from.0), px(from.1));
    if (from.1 - to.1).abs() < 0.5 {
        return format!("{start} L{},{}", px(to.0), px(to.1));
    }
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let first = (from.0 + dx * 0.45, from.1 + dy * 0.25);
    let second = (to.0 - dx * 0.45, to.1 - dy * 0.25);
    format!("{start} C{},{} {},{} {},{}", px(first.0), px(first.1), px(second.0), px(second.1), px(to.0), px(to.1))
}

fn circle(picture: &Picture, sizes: &Sizes, at: usize) -> String {
    let message = &picture.messages[at];
    let (x, y, radius) = (sizes.x(message), sizes.y(message), sizes.radius);
    let away = if message.received { "" } else { " class=\"away\"" };
    let mut text = format!("<g{away}><title>{}</title>", escaped(&about(picture, message)));
    text.push_str(&marks::around(picture, at, (x, y), radius));
    text.push_str(&marks::body(message, (x, y), radius));
    let (place, fill) = match (sizes.below, message.is_final) {
        (true, _) => (y + radius + sizes.font + 3.0, "#111827"),
        (false, true) => (y + sizes.font * 0.36, "#ffffff"),
        (false, false) => (y + sizes.font * 0.36, "#111827"),
    };
    let _ = write!(
        text,
        "<text class=\"n\" x=\"{}\" y=\"{}\" style=\"font-size:{}px;fill:{fill}\">{}</text>",
        px(x),
        px(place),
        px(sizes.font),
        escaped(&shown(&message.id))
    );
    text.push_str(&marks::badges(message, (x, y), radius));
    text.push_str("</g>\n");
    text
}

/// What a pointer that rests on a message shows.
fn about(picture: &Picture, message: &Drawn) -> String {
    let name = |at: usize| picture.messages[at].id.as_str();
    let cites: Vec<&str> = message.cites.iter().map(|at| name(*at)).collect();
    let mut text = format!(
        "{} by {}: extends {}, cites {}",
        message.id,
        picture.lanes[message.lane].name,
        message.parent.map_or("the root", name),
        if cites.is_empty() { "nothing".to_owned() } else { cites.join(", ") }
    );
    for (holds, what) in [
        (message.is_final, "final"),
        (!message.received, "not received"),
        (message.equivocates, "equivocates"),
        (!message.follows, "does not follow from its justification"),
    ] {
        if holds {
            let _ = write!(text, "; {what}");
        }
    }
    if let Some(level) = message.level {
        let _ = write!(text, "; level {level}");
    }
    text
}

#[cfg(test)]
mod tests;
