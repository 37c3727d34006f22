//! A line chart as one self-contained SVG document, readable on light and dark pages.

use crate::commands::lab::svg::{escaped, px};
use std::fmt::Write;

/// A chart: one value of each series at each place.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// Above it.
    pub(crate) title: String,
    /// Under the horizontal axis.
    pub(crate) across: String,
    /// Over the vertical axis: the unit.
    pub(crate) up: String,
    /// The places from left to right; equally far from each other.
    pub(crate) places: Vec<String>,
    /// The lines.
    pub(crate) series: Vec<Series>,
    /// The vertical axis.
    pub(crate) scale: Scale,
}

/// A vertical axis.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scale {
    /// From 0 in five even steps.
    Even,
    /// Powers of ten: from 10^least, an exponent below 0, to 1. Lines run out of the chart below.
    Powers {
        /// The lowest exponent shown.
        least: i32,
    },
}

/// A line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// In the legend.
    pub(crate) name: String,
    /// At each place; what is not finite is left out.
    pub(crate) values: Vec<f64>,
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
    pub(crate) fn svg(&self) -> String {
        let (left, top, right, bottom) = PLOT;
        let height = bottom + 62.0 + 20.0 * self.series.len() as f64;
        let axis = Axis::of(self);
        let y = |value: f64| bottom - (bottom - top) * axis.at(value);
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
        if let Axis::Powers { .. } = axis {
            let (width, height) = (px(right - left), px(bottom - top + 6.0));
            let (x, y) = (px(left), px(top - 6.0));
            let _ = writeln!(
                text,
                "<clipPath id=\"plot\"><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/></clipPath>"
            );
        }
        for (line, (value, name)) in axis.lines().into_iter().enumerate() {
            let class = if line == 0 { "axis" } else { "grid" };
            let _ = writeln!(
                text,
                "<line class=\"{class}\" x1=\"{}\" x2=\"{}\" y1=\"{at}\" y2=\"{at}\"/><text class=\"e\" x=\"{}\" y=\"{}\">{name}</text>",
                px(left),
                px(right),
                px(left - 8.0),
                px(y(value) + 4.0),
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
            text.push_str(&self.line(at, series, &x, &y, &axis));
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
        axis: &Axis,
    ) -> String {
        let points: Vec<(usize, f64)> =
            series.values.iter().copied().enumerate().filter(|(_, value)| axis.can_show(*value)).collect();
        let mut path = String::new();
        for (nth, (place, value)) in points.iter().enumerate() {
            let _ = write!(path, "{}{},{} ", if nth == 0 { 'M' } else { 'L' }, px(x(*place)), px(y(*value)));
        }
        let colour = COLOURS[at % COLOURS.len()];
        let mut text = stroke(at, path.trim_end());
        if let Axis::Powers { .. } = axis {
            text = format!("<g clip-path=\"url(#plot)\">{}</g>\n", text.trim_end());
        }
        for (place, value) in points.into_iter().filter(|(_, value)| axis.at(*value) >= 0.0) {
            let name = self.places.get(place).map_or("", String::as_str);
            let _ = writeln!(
                text,
                "<g><title>{}: {} at {}</title>{}</g>",
                escaped(&series.name),
                axis.exactly(value),
                escaped(name),
                mark(at, colour, x(place), y(value))
            );
        }
        text
    }
}

/// A vertical axis with its numbers.
enum Axis {
    Even { step: f64 },
    Powers { least: i32 },
}

impl Axis {
    fn of(chart: &Chart) -> Axis {
        match chart.scale {
            Scale::Powers { least } => Axis::Powers { least: least.min(-1) },
            Scale::Even => {
                let values = chart.series.iter().flat_map(|series| &series.values).copied();
                Axis::Even { step: nice_step(values.filter(|value| value.is_finite()).fold(0.0, f64::max)) }
            }
        }
    }

    fn can_show(&self, value: f64) -> bool {
        value.is_finite() && (matches!(self, Axis::Even { .. }) || value > 0.0)
    }

    /// 0 at the bottom, 1 at the top.
    fn at(&self, value: f64) -> f64 {
        match self {
            Axis::Even { step } => value / (5.0 * step),
            Axis::Powers { least } => 1.0 - value.log10() / f64::from(*least),
        }
    }

    /// Where lines go, the lowest first, and what is written there.
    fn lines(&self) -> Vec<(f64, String)> {
        match self {
            Axis::Even { step } => (0..=5).map(|line| f64::from(line) * step).map(|v| (v, number(v, *step))).collect(),
            Axis::Powers { least } => {
                let apart = usize::try_from((-least + 5) / 6).unwrap_or(1).max(1);
                let mut powers: Vec<i32> = (*least..=0).rev().step_by(apart).collect();
                if powers.last() != Some(least) {
                    powers.push(*least);
                }
                powers.into_iter().rev().map(|power| (10f64.powi(power), power_of_ten(power))).collect()
            }
        }
    }

    /// A value as a pointer that rests on it is told.
    fn exactly(&self, value: f64) -> String {
        match self {
            Axis::Even { step } => number(value, step / 10.0),
            Axis::Powers { .. } => format!("{value:.2e}"),
        }
    }
}

/// A power of ten as it is written.
fn power_of_ten(power: i32) -> String {
    let raised = |letter: char| match letter {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => digit.to_digit(10).and_then(|digit| char::from_u32(0x2070 + digit)).unwrap_or(digit),
    };
    match power {
        0 => "1".to_owned(),
        power => ['1', '0'].into_iter().chain(power.to_string().chars().map(raised)).collect(),
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
            scale: Scale::Even,
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

    #[test]
    fn powers_of_ten_are_even_steps_and_what_is_below_is_cut_off() {
        let chart = Chart {
            title: "Odds".to_owned(),
            across: "seats".to_owned(),
            up: "probability".to_owned(),
            places: ["4", "8", "16", "32"].map(ToOwned::to_owned).to_vec(),
            series: vec![Series { name: "captured".to_owned(), values: vec![1.0, 1e-4, 1e-30, 0.0] }],
            scale: Scale::Powers { least: -8 },
        };
        let svg = chart.svg();
        for part in [">1</text>", ">10⁻⁸</text>", "M90,70 L", "1.00e-4 at 8", "clip-path=\"url(#plot)\""] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!(svg.matches("<g><title>").count(), 2, "what lies below has no mark");
        assert!(!svg.contains("inf") && !svg.contains("NaN"));
    }
}
