//! Small SVG plots with axes, units and hover values, coloured by the page's style sheet.

use super::marker::{Fill, mark};
use std::fmt::Write;

/// Text safe inside HTML and its attributes.
pub use html_escape::encode_double_quoted_attribute as escape;

/// A plot of one or more series.
#[derive(Default)]
pub struct Plot<'a> {
    /// Name and unit of x.
    pub x: &'a str,
    /// Name and unit of y.
    pub y: &'a str,
    /// What is drawn, later ones on top.
    pub series: Vec<Series<'a>>,
    /// Shaded stretches of the x axis.
    pub bands: Vec<Band<'a>>,
    /// Dashed upright lines: where, and what for.
    pub limits: Vec<(f64, String)>,
    /// Values of y that the axis covers. Lines are cut where they leave it; without it, it covers every point.
    pub range: Vec<f64>,
}

/// One series of a plot.
pub struct Series<'a> {
    /// Name in the legend.
    pub name: &'a str,
    /// Points (x, y).
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub mark: Mark,
    /// Number of its colour and shape, 0–3.
    pub colour: usize,
    /// An interval of y for every point; may be empty.
    pub intervals: Vec<[f64; 2]>,
    /// What hovering over a point shows instead of its coordinates; may be empty.
    pub tips: Vec<String>,
}

/// A shaded stretch of the x axis.
pub struct Band<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A line whose points show only on hovering.
    Line,
    /// A line with a mark at every point.
    DottedLine,
    /// A dashed line without values of its own.
    Guide,
    /// Marks.
    Dots,
    /// Large outlined marks.
    Rings,
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 44.0;
/// Distances in pixels, along both axes, below which the next point of a line is left out, and the next target of a line.
const NEAR: [f64; 2] = [0.6, 5.0];

impl Plot<'_> {
    /// The plot as an SVG element, or a note if there is nothing to show.
    pub fn svg(&self, label: &str) -> String {
        let finite = || self.series.iter().flat_map(Series::finite).map(|(_, point)| point);
        if finite().next().is_none() {
            return "<p class=\"note\">no data</p>".to_owned();
        }
        let limits = self.limits.iter().map(|(at, _)| *at);
        let ends = self.bands.iter().flat_map(|band| [band.from, band.to]);
        let x = Scale::over(finite().map(|p| p.0).chain(limits).chain(ends), LEFT, WIDTH - RIGHT);
        let range: Vec<f64> = match self.range.iter().any(|value| value.is_finite()) {
            true => self.range.clone(),
            false => finite()
                .map(|p| p.1)
                .chain(self.series.iter().flat_map(|one| one.intervals.iter().flatten().copied()))
                .collect(),
        };
        let y = Scale::over(range.into_iter(), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" tabindex=\"0\" aria-label=\"{}\">",
            escape(label)
        );
        self.draw_bands(&mut svg, &x);
        self.draw_axes(&mut svg, &x, &y);
        for (at, name) in &self.limits {
            let at = x.at(*at);
            let _ = write!(
                svg,
                "<line class=\"limit\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\"/>\
                 <line class=\"hit\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\" data-tip=\"{}\"/>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM,
                escape(name)
            );
        }
        for one in &self.series {
            one.draw(&mut svg, &x, &y);
        }
        for one in self.series.iter().filter(|one| one.mark != Mark::Guide) {
            self.draw_targets(&mut svg, one, &x, &y);
        }
        svg.push_str("</svg>");
        svg
    }

    /// The plot with its legend.
    pub fn html(&self, label: &str) -> String {
        let mut html = self.svg(label);
        if self.series.len() > 1 {
            html.push_str("<p class=\"legend\">");
            for one in &self.series {
                let _ = write!(html, "<span class=\"item\">{}{}</span> ", one.key(), escape(one.name));
            }
            html.push_str("</p>");
        }
        html
    }

    fn draw_bands(&self, svg: &mut String, x: &Scale) {
        for (index, band) in self.bands.iter().enumerate() {
            let (from, to) = (x.at(band.from), x.at(band.to));
            if index % 2 == 0 {
                let _ = write!(
                    svg,
                    "<rect class=\"band\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                    to - from,
                    HEIGHT - BOTTOM - TOP
                );
            }
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                (from + to) / 2.0,
                TOP - 7.0,
                escape(&shortened(band.name, ((to - from) / 6.5) as usize))
            );
        }
    }

    fn draw_axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        for tick in x.ticks() {
            let at = x.at(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 16.0,
                number(tick)
            );
        }
        for tick in y.ticks() {
            let at = y.at(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0,
                number(tick)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"axis\" transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 7.0,
            escape(self.x),
            (TOP + HEIGHT - BOTTOM) / 2.0,
            escape(self.y)
        );
    }

    /// Invisible, finger-sized targets that carry the values.
    fn draw_targets(&self, svg: &mut String, one: &Series<'_>, x: &Scale, y: &Scale) {
        let mut last = [f64::NEG_INFINITY; 2];
        for (index, (px, py)) in one.finite() {
            let at = [x.at(px), y.at(py)];
            if !y.covers(py) || (one.mark == Mark::Line && is_near(at, last, NEAR[1])) {
                continue;
            }
            last = at;
            let tip = match one.tips.get(index) {
                Some(tip) => tip.clone(),
                None => format!("{}: {} {}, {} {}", one.name, self.x, number(px), self.y, number(py)),
            };
            let [x, y] = at;
            let _ = write!(
                svg,
                "<circle class=\"hit\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\" data-tip=\"{}\"/>",
                escape(&tip)
            );
        }
    }
}

fn is_near(a: [f64; 2], b: [f64; 2], distance: f64) -> bool {
    (a[0] - b[0]).abs() < distance && (a[1] - b[1]).abs() < distance
}

impl<'a> Series<'a> {
    /// A series without intervals, whose points show their coordinates.
    pub fn new(name: &'a str, points: Vec<(f64, f64)>, mark: Mark, colour: usize) -> Self {
        Self { name, points, mark, colour, intervals: Vec::new(), tips: Vec::new() }
    }

    fn finite(&self) -> impl Iterator<Item = (usize, (f64, f64))> + '_ {
        self.points.iter().copied().enumerate().filter(|(_, (x, y))| x.is_finite() && y.is_finite())
    }

    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let colour = self.colour;
        let is_line = matches!(self.mark, Mark::Line | Mark::DottedLine | Mark::Guide);
        if is_line && self.points.len() > 1 {
            let mut path: Vec<[f64; 2]> = Vec::new();
            for (_, (px, py)) in self.finite() {
                let at = [x.at(px), y.at(py)];
                if path.last().is_none_or(|last| !is_near(at, *last, NEAR[0])) {
                    path.push(at);
                }
            }
            let path: Vec<String> = path.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
            let dashed = if self.mark == Mark::Guide { " dashed" } else { "" };
            // An inner element cuts off what is outside of the axes.
            let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
            let _ = write!(
                svg,
                "<svg x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\" viewBox=\"{LEFT} {TOP} {width} {height}\">\
                 <polyline class=\"line c{colour}{dashed}\" points=\"{}\"/></svg>",
                path.join(" ")
            );
        }
        for ((_, (px, _)), [low, high]) in self.finite().zip(&self.intervals) {
            let (at, low, high) = (x.at(px), y.at(*low), y.at(*high));
            let (left, right) = (at - 4.0, at + 4.0);
            let _ = write!(
                svg,
                "<path class=\"interval c{colour}\" d=\"M{left:.1} {low:.1}H{right:.1}M{at:.1} {low:.1}V{high:.1}M{left:.1} \
                 {high:.1}H{right:.1}\"/>"
            );
        }
        let (radius, fill) = match self.mark {
            Mark::DottedLine | Mark::Dots => (4.2, Fill::Full),
            Mark::Rings => (6.0, Fill::Outline),
            // A single point would leave no line to see.
            Mark::Line if self.points.len() == 1 => (4.2, Fill::Full),
            Mark::Line | Mark::Guide => return,
        };
        for (_, (px, py)) in self.finite().filter(|(_, (_, py))| y.covers(*py)) {
            mark(svg, colour, fill, [x.at(px), y.at(py)], radius);
        }
    }

    /// Its sign in a legend: a piece of it.
    fn key(&self) -> String {
        let mut svg =
            "<svg class=\"key\" viewBox=\"0 0 26 14\" width=\"26\" height=\"14\" aria-hidden=\"true\">".to_owned();
        let colour = self.colour;
        if !matches!(self.mark, Mark::Dots | Mark::Rings) {
            let dashed = if self.mark == Mark::Guide { " dashed" } else { "" };
            let _ = write!(svg, "<path class=\"line c{colour}{dashed}\" d=\"M1 7H25\"/>");
        }
        match self.mark {
            Mark::DottedLine | Mark::Dots => mark(&mut svg, colour, Fill::Full, [13.0, 7.0], 4.2),
            Mark::Rings => mark(&mut svg, colour, Fill::Outline, [13.0, 7.0], 5.0),
            Mark::Line | Mark::Guide => {}
        }
        svg + "</svg>"
    }
}

/// A linear scale from values to pixels.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|v| v.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        let margin = if high > low { 0.05 * (high - low) } else { 0.05 * high.abs().max(1.0) };
        Self { low: low - margin, high: high + margin, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn covers(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Four to eight round values within the scale.
    fn ticks(&self) -> Vec<f64> {
        ticks(self.low, self.high)
    }
}

/// Round values from `low` to `high`, three to eight where these differ.
pub fn ticks(low: f64, high: f64) -> Vec<f64> {
    let raw = (high - low) / 6.0;
    let magnitude = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * magnitude).find(|s| *s >= raw).unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A number with as many digits as it needs.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    let digits = if !(1e-12..1000.0).contains(&magnitude) {
        0
    } else {
        (3 - magnitude.log10().floor() as i32).clamp(0, 8) as usize
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    if text == "-0" { "0".to_owned() } else { text }
}

/// At most `most` characters of a text, with a mark where it was cut; nothing if not even three fit.
fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() <= most {
        true => text.to_owned(),
        false if most < 3 => String::new(),
        false => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale::over([0.93, 0.99].into_iter(), 0.0, 100.0);
        let ticks = scale.ticks();
        assert!((3..=9).contains(&ticks.len()), "{ticks:?}");
        assert!(ticks.iter().all(|t| (scale.low..=scale.high).contains(t)));
    }

    #[test]
    fn numbers_are_short_and_text_is_escaped() {
        assert_eq!([number(0.0), number(1234.5), number(0.125), number(98.0)], ["0", "1234", "0.125", "98"]);
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        assert_eq!(
            [shortened("kernel", 9), shortened("resolution", 6), shortened("depth", 2)],
            ["kernel", "resol…", ""]
        );
    }

    #[test]
    fn degenerate_data_still_draws() {
        let plot =
            |points| Plot { x: "x", y: "y", series: vec![Series::new("s", points, Mark::Line, 0)], ..Plot::default() };
        assert!(plot(vec![(1.0, 1.0)]).svg("s").contains("<circle"));
        assert!(plot(vec![]).svg("s").contains("no data"));
        assert!(!plot(vec![(0.0, 0.0), (0.0, 0.0), (f64::NAN, 1.0)]).svg("s").contains("x=\"NaN"));
    }

    #[test]
    fn an_axis_covers_the_range_that_was_asked_for() {
        let dots = Series::new("dots", vec![(1.0, 10.0), (2.0, 80.0), (3.0, 90.0)], Mark::Dots, 2);
        let plot = |range| Plot {
            x: "x",
            y: "y",
            range,
            series: vec![Series::new("", vec![(0.0, 0.0)], Mark::Guide, 0)],
            ..Plot::default()
        };
        let mut of_all = plot(Vec::new());
        let mut of_some = plot(vec![80.0, 90.0]);
        of_all.series.push(Series { points: dots.points.clone(), ..Series::new("dots", Vec::new(), Mark::Dots, 2) });
        of_some.series.push(dots);
        // The point outside of the range is neither drawn nor a target.
        let marks = |plot: &Plot<'_>| {
            let svg = plot.svg("s");
            (svg.matches("<polygon").count(), svg.matches("class=\"hit\"").count(), svg.contains(">85</text>"))
        };
        assert_eq!((marks(&of_all), marks(&of_some)), ((3, 3, false), (2, 2, false)));
        assert!(of_some.svg("s").contains(">84</text>"));
    }

    #[test]
    fn points_that_nobody_can_tell_apart_are_drawn_once() {
        let points = (0..10_000).map(|i| (f64::from(i), f64::from(i).sqrt())).collect();
        let plot = Plot { x: "x", y: "y", series: vec![Series::new("s", points, Mark::Line, 0)], ..Plot::default() };
        let svg = plot.svg("s");
        assert!(svg.len() < 40_000, "{} bytes", svg.len());
        assert!(svg.matches("class=\"hit\"").count() > 30);
    }
}
