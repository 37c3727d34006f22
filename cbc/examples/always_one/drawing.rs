//! The lattice as a drawing: one column a rank, one box a state, in each box its messages.

use super::{Final, Lattice, State};
use std::fmt::Write;

const BOX_WIDTH: usize = 132;
const BOX_HEIGHT: usize = 54;
const COLUMN: usize = 290;
const ROW: usize = 64;
const LEFT: usize = 30;
const TOP: usize = 118;
/// Height that a drawing has at least: a title and a legend need it.
const LEAST: usize = 300;

/// Colour, meaning, and what a box says.
const COLOURS: [(&str, &str, &str); 5] = [
    ("#ffffff", "1 is not final for anybody", ""),
    ("#e4e4e4", "final for a bystander, not for A or B", "bystander"),
    ("#cfe3f7", "final for A", "final: A"),
    ("#fbdcc4", "final for B", "final: B"),
    ("#c9ebc5", "final for A and B", "final: A, B"),
];

fn look(final_for: Final) -> (&'static str, &'static str, &'static str) {
    let place = match (final_for.validators, final_for.bystander) {
        ([true, true], _) => 4,
        ([false, true], _) => 3,
        ([true, false], _) => 2,
        (_, true) => 1,
        _ => 0,
    };
    COLOURS[place]
}

/// A whole SVG document.
pub(crate) fn svg(lattice: &Lattice) -> String {
    let widest = (0..lattice.ranks.len()).map(|rank| lattice.rank(rank).len()).max().unwrap_or(1);
    let height = (TOP + widest * ROW + 40).max(LEAST);
    let width = (LEFT * 2 + (lattice.ranks.len() - 1) * COLUMN + BOX_WIDTH).max(960);
    let mut places = vec![(0, 0); lattice.states.len()];
    for rank in 0..lattice.ranks.len() {
        let states = lattice.rank(rank);
        let step = (height - TOP - 20) / states.len();
        for (place, number) in states.enumerate() {
            places[number] = (LEFT + rank * COLUMN, TOP + place * step + (step - BOX_HEIGHT) / 2);
        }
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fdfdfb\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"17\">Two validators that always say 1: protocol states by \
         number of messages</text>\n\
         <text x=\"{LEFT}\" y=\"49\" fill=\"#555\">A dot is a message, A's above B's, later ones to the right; a line \
         leads left to what it cites; a curve leads to the states that one more message makes.</text>\n"
    );
    for (place, (colour, meaning, _)) in COLOURS.into_iter().enumerate() {
        let x = LEFT + [0, 210, 500, 620, 740][place];
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"64\" width=\"16\" height=\"16\" fill=\"{colour}\" stroke=\"#555\"/>\
             <text x=\"{}\" y=\"77\">{meaning}</text>",
            x + 22
        );
    }
    for rank in 0..lattice.ranks.len() {
        let _ = writeln!(svg, "<text x=\"{}\" y=\"108\" fill=\"#555\">rank {rank}</text>", LEFT + rank * COLUMN);
    }
    for (from, state) in lattice.states.iter().enumerate() {
        for to in &state.next {
            svg.push_str(&transition(places[from], places[*to]));
        }
    }
    for (number, state) in lattice.states.iter().enumerate() {
        svg.push_str(&boxed(number, state, places[number]));
    }
    svg.push_str("</svg>\n");
    svg
}

fn transition(from: (usize, usize), to: (usize, usize)) -> String {
    let (x, y) = (from.0 + BOX_WIDTH, from.1 + BOX_HEIGHT / 2);
    let (end, at) = (to.0, to.1 + BOX_HEIGHT / 2);
    let bend = (end - x) / 2;
    format!(
        "<path d=\"M{x} {y}C{} {y} {} {at} {end} {at}\" fill=\"none\" stroke=\"#9a9a9a\" stroke-width=\"0.9\"/>\n",
        x + bend,
        end - bend
    )
}

/// Where a message is drawn in its box: later to the right, A above B.
fn dot(state: &State, speaker: usize, seq: usize) -> (usize, usize) {
    let depth = seq + state.threads[speaker][seq];
    (34 + depth * 18, if speaker == 0 { 27 } else { 45 })
}

fn boxed(number: usize, state: &State, (x, y): (usize, usize)) -> String {
    let (colour, _, label) = look(state.final_for);
    let mut svg = format!(
        "<g transform=\"translate({x} {y})\"><title>{}</title>\
         <rect width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"5\" fill=\"{colour}\" stroke=\"#555\"/>\
         <text x=\"6\" y=\"14\" font-size=\"11\" fill=\"#555\">s{number}</text>\
         <text x=\"{}\" y=\"14\" font-size=\"11\" text-anchor=\"end\">{label}</text>\
         <text x=\"10\" y=\"31\" font-size=\"12\">A</text><text x=\"10\" y=\"49\" font-size=\"12\">B</text>\n",
        state.describe(),
        BOX_WIDTH - 6
    );
    let line = |(x1, y1): (usize, usize), (x2, y2): (usize, usize)| {
        format!("<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"#222\"/>")
    };
    for speaker in 0..2 {
        let mut before = 0;
        for (seq, seen) in state.threads[speaker].iter().enumerate() {
            let at = dot(state, speaker, seq);
            if seq > 0 {
                svg.push_str(&line(dot(state, speaker, seq - 1), at));
            }
            if *seen > before {
                svg.push_str(&line(dot(state, 1 - speaker, seen - 1), at));
            }
            before = *seen;
        }
    }
    for speaker in 0..2 {
        for seq in 0..state.threads[speaker].len() {
            let (cx, cy) = dot(state, speaker, seq);
            let _ = write!(svg, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"4\" fill=\"#222\"/>");
        }
    }
    svg.push_str("</g>\n");
    svg
}
