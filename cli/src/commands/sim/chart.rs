//! A line chart as one self-contained SVG document, readable on light and dark pages.

use crate::commands::lab::svg::{escaped, px};
use std::fmt::Write;

/// A chart: one value of each series at each place.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// Above it.
    pub(super) title: String,
    /// Under the horizontal axis.
    pub(super) across: String,
    /// Over the vertical axis: the unit.
    pub(super) up: String,
    /// The places from left to right; equally far from each other.
    pub(super) places: Vec<String>,
    /// The lines.
    pub(super) series: Vec<Series>,
}

/// A line.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// In the legend.
    pub(super) name: String,
    /// At each place; what is not finite is left out.
    pub(super) values: Vec<f64>,
}

const WIDTH: f64 = 640.0;
const PLOT: (f64, f64, f64, f64) = (70.0, 70.0, 610.0, 330.0);
/// Colours of lines: told apart on white and on black, and with any kind of colour blindness.
const COLOURS: [&str; 4] = ["#2f7ed8", "#e07b00", "#12936f", "#c2449b"];
const DASHES: [&str; 4] = ["", "7 4", "2 3", "9 3 2 3"];

const STYLE: &str = "svg{background:#fff}.bg{fill:#fff}text{font-family:ui-sans-serif,system-ui,'DejaVu Sans',Helvetica,\
Arial,sans-serif;font-size:12px;fill:#374151}.t{font-size:16px;font-weight:600;fill:#111827}.e{text-anchor:end}\
.m{text-anchor:middle}.grid{stroke:#e5e7eb}.axis{stroke:#6b7280}path{fill:none;stroke-width:2}\
@media (prefers-color-scheme:dark){svg{background:#111827}.bg{fill:#111827}text{fill:#d1d5db}.t{fill:#f9fafb}\
.grid{stroke:#374151}.axis{stroke:#9ca3af}}";

impl Chart {
    /// The document.
    pub(super) fn svg(&self) -> String {
        let (left, top, right, bottom) = PLOT;
        let height = bottom + 62.0 + 20.0 * self.series.len() as f64;
        let values = self.series.iter().flat_map(|series| &series.values).copied().filter(|value| value.is_finite());
        let step = nice_step(values.fold(0.0, f64::max));
        let most = 5.0 * step;
        let y = |value: f64| bottom - (bottom - top) * (value / most);
        let x = |place: usize| match self.places.len() {
            0 | 1 => (left + right) / 2.0,
            places => left + 20.0 + (right - left - 40.0) * place as f64 / (places - 1) as f64,
        };
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\">\n\
             <title>{}</title>\n<style>{STYLE}</style>\n<rect class=\"bg\" width=\"100%\" height=\"100%\"/>\n\
             <text class=\"t\" x=\"20\" y=\"30\">{}</text>\n<text x=\"20\" y=\"52\">{}</text>\n",
            escaped(&self.title),
            escaped(&self.title),
            escaped(&self.up),
            w = px(WIDTH),
            h = px(height),
        );
        for line in 0..=5 {
            let value = f64::from(line) * step;
            let class = if line == 0 { "axis" } else { "grid" };
            let _ = writeln!(
                text,
                "<line class=\"{class}\" x1=\"{}\" x2=\"{}\" y1=\"{at}\" y2=\"{at}\"/><text class=\"e\" x=\"{}\" y=\"{}\">{}</text>",
                px(left),
                px(right),
                px(left - 8.0),
                px(y(value) + 4.0),
                number(value, step),
                at = px(y(value)),
            );
        }
        for (place, name) in self.places.iter().enumerate() {
            let _ = writeln!(
                text,
                "<line class=\"axis\" x1=\"{at}\" x2=\"{at}\" y1=\"{}\" y2=\"{}\"/><text class=\"m\" x=\"{at}\" y=\"{}\">{}</text>",
                px(bottom),
                px(bottom + 5.0),
                px(bottom + 19.0),
                escaped(name),
                at = px(x(place)),
            );
        }
        let middle = px((left + right) / 2.0);
        let _ = writeln!(
            text,
            "<text class=\"m\" x=\"{middle}\" y=\"{}\">{}</text>",
            px(bottom + 38.0),
            escaped(&self.across)
        );
        for (at, series) in self.series.iter().enumerate() {
            text.push_str(&self.line(at, series, &x, &y, step));
            text.push_str(&legend(at, &series.name, bottom + 62.0 + 20.0 * at as f64));
        }
        text.push_str("</svg>\n");
        text
    }

    fn line(
        &self,
        at: usize,
        series: &Series,
        x: &impl Fn(usize) -> f64,
        y: &impl Fn(f64) -> f64,
        step: f64,
    ) -> String {
        let points: Vec<(usize, f64)> =
            series.values.iter().copied().enumerate().filter(|(_, value)| value.is_finite()).collect();
        let mut path = String::new();
        for (nth, (place, value)) in points.iter().enumerate() {
            let _ = write!(path, "{}{},{} ", if nth == 0 { 'M' } else { 'L' }, px(x(*place)), px(y(*value)));
        }
        let colour = COLOURS[at % COLOURS.len()];
        let mut text = stroke(at, path.trim_end());
        for (place, value) in points {
            let name = self.places.get(place).map_or("", String::as_str);
            let _ = writeln!(
                text,
                "<g><title>{}: {} at {}</title>{}</g>",
                escaped(&series.name),
                number(value, step / 10.0),
                escaped(name),
                mark(at, colour, x(place), y(value))
            );
        }
        text
    }
}

fn stroke(at: usize, path: &str) -> String {
    let (colour, dashes) = (COLOURS[at % COLOURS.len()], DASHES[at % DASHES.len()]);
    let dashes = if dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dashes}\"") };
    format!("<path stroke=\"{colour}\"{dashes} d=\"{path}\"/>\n")
}

/// A point: each line has its own form.
fn mark(at: usize, colour: &str, x: f64, y: f64) -> String {
    let corners = |points: [(f64, f64); 4]| {
        let points: Vec<String> = points.iter().map(|(dx, dy)| format!("{},{}", px(x + dx), px(y + dy))).collect();
        format!("<polygon points=\"{}\" fill=\"{colour}\"/>", points.join(" "))
    };
    match at % 4 {
        0 => format!("<circle cx=\"{}\" cy=\"{}\" r=\"4\" fill=\"{colour}\"/>", px(x), px(y)),
        1 => corners([(-4.0, -4.0), (4.0, -4.0), (4.0, 4.0), (-4.0, 4.0)]),
        2 => corners([(0.0, -5.0), (5.0, 0.0), (0.0, 5.0), (-5.0, 0.0)]),
        _ => corners([(0.0, -5.0), (5.0, 4.0), (0.0, 4.0), (-5.0, 4.0)]),
    }
}

fn legend(at: usize, name: &str, y: f64) -> String {
    let line = stroke(at, &format!("M70,{} L106,{}", px(y), px(y)));
    let mark = mark(at, COLOURS[at % COLOURS.len()], 88.0, y);
    format!("{line}{mark}<text x=\"116\" y=\"{}\">{}</text>\n", px(y + 4.0), escaped(name))
}

/// A step of 1, 2, 2.5 or 5 times a power of ten, of which five reach `most`.
fn nice_step(most: f64) -> f64 {
    if !most.is_finite() || most <= 0.0 {
        return 1.0;
    }
    let least = most / 5.0;
    let power = 10f64.powf(least.log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
    let enough = |factor: &&f64| **factor * power >= least * 0.999_999;
    factors.iter().find(enough).map_or(10.0 * power, |factor| factor * power)
}

/// With as many digits as steps of this size need.
fn number(value: f64, step: f64) -> String {
    let digits = if step >= 10.0 || step.fract() == 0.0 {
        0
    } else if step >= 0.5 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_five_are_enough() {
        for (most, step) in
            [(0.0, 1.0), (5.0, 1.0), (5.1, 2.0), (11.0, 2.5), (480.0, 100.0), (0.03, 0.01), (26.0, 10.0)]
        {
            assert!((nice_step(most) - step).abs() < step * 1e-9, "{most}: {}", nice_step(most));
        }
        assert!((nice_step(f64::NAN) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_chart_has_axes_a_unit_a_legend_and_both_colour_schemes() {
        let chart = Chart {
            title: "Latency <by> size".to_owned(),
            across: "shards".to_owned(),
            up: "ms".to_owned(),
            places: vec!["1".to_owned(), "2".to_owned(), "4".to_owned()],
            series: vec![
                Series { name: "half".to_owned(), values: vec![1.0, 2.5, f64::NAN] },
                Series { name: "most".to_owned(), values: vec![4.0, 8.0, 9.5] },
            ],
        };
        let svg = chart.svg();
        assert_eq!(svg, chart.svg(), "the same bytes");
        for part in
            ["Latency &lt;by&gt; size", ">ms<", ">shards<", ">half<", ">most<", ">10<", "prefers-color-scheme:dark"]
        {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!(svg.matches("<g><title>").count(), 5, "what is no number is left out");
        assert!(!svg.contains("NaN"));
        assert!(Chart { places: Vec::new(), series: Vec::new(), ..chart }.svg().ends_with("</svg>\n"));
    }
}
