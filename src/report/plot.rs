//! Small SVG plots with axes, units and hover values, coloured by the page's style sheet.

use std::fmt::Write;

/// Text safe inside HTML and its attributes.
pub use html_escape::encode_double_quoted_attribute as escape;

/// A plot of one or more series.
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
}

/// One series of a plot.
pub struct Series<'a> {
    /// Name in the legend.
    pub name: &'a str,
    /// Points (x, y).
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub mark: Mark,
    /// Number of its colour, 0–3.
    pub colour: usize,
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
    /// A line with a dot at every point.
    DottedLine,
    /// A dashed line without values of its own.
    Guide,
    /// Dots.
    Dots,
    /// Large rings.
    Rings,
}

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 42.0;

impl Plot<'_> {
    /// The plot as an SVG element, or a note if there is nothing to show.
    pub fn svg(&self, label: &str) -> String {
        let finite = || self.series.iter().flat_map(Series::finite);
        if finite().next().is_none() {
            return "<p class=\"note\">no data</p>".to_owned();
        }
        let limits = self.limits.iter().map(|(at, _)| *at);
        let ends = self.bands.iter().flat_map(|band| [band.from, band.to]);
        let x = Scale::over(finite().map(|p| p.0).chain(limits).chain(ends), LEFT, WIDTH - RIGHT);
        let y = Scale::over(finite().map(|p| p.1), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
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
                let shape = match one.mark {
                    Mark::Rings => " ring",
                    Mark::Dots => " round",
                    Mark::Guide => " dashed",
                    Mark::Line | Mark::DottedLine => "",
                };
                let (colour, name) = (one.colour, escape(one.name));
                let _ = write!(html, "<span class=\"item\"><span class=\"key{shape} c{colour}\"></span>{name}</span> ");
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
                HEIGHT - BOTTOM + 15.0,
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
             <text class=\"axis\" transform=\"translate(13 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 8.0,
            escape(self.x),
            (TOP + HEIGHT - BOTTOM) / 2.0,
            escape(self.y)
        );
    }

    /// Invisible, finger-sized targets that carry the values.
    fn draw_targets(&self, svg: &mut String, one: &Series<'_>, x: &Scale, y: &Scale) {
        for (px, py) in one.finite() {
            let _ = write!(
                svg,
                "<circle class=\"hit\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"8\" data-tip=\"{}: {} {}, {} {}\"/>",
                x.at(px),
                y.at(py),
                escape(one.name),
                escape(self.x),
                number(px),
                escape(self.y),
                number(py)
            );
        }
    }
}

impl Series<'_> {
    fn finite(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
    }

    fn draw(&self, svg: &mut String, x: &Scale, y: &Scale) {
        let colour = self.colour;
        let is_line = matches!(self.mark, Mark::Line | Mark::DottedLine | Mark::Guide);
        if is_line && self.points.len() > 1 {
            let path: Vec<String> = self.finite().map(|(px, py)| format!("{:.1},{:.1}", x.at(px), y.at(py))).collect();
            let dashed = if self.mark == Mark::Guide { " dashed" } else { "" };
            let _ = write!(svg, "<polyline class=\"line c{colour}{dashed}\" points=\"{}\"/>", path.join(" "));
        }
        let (radius, class) = match self.mark {
            Mark::DottedLine | Mark::Dots => (3.2, "dot"),
            Mark::Rings => (6.0, "ring"),
            // A single point would leave no line to see.
            Mark::Line if self.points.len() == 1 => (3.2, "dot"),
            Mark::Line | Mark::Guide => return,
        };
        for (px, py) in self.finite() {
            let (cx, cy) = (x.at(px), y.at(py));
            let _ = write!(svg, "<circle class=\"{class} c{colour}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{radius}\"/>");
        }
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

    /// Four to eight round values within the scale.
    fn ticks(&self) -> Vec<f64> {
        let raw = (self.high - self.low) / 6.0;
        let magnitude = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * magnitude).find(|s| *s >= raw).unwrap_or(raw);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }
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
        let plot = |points| Plot {
            x: "x",
            y: "y",
            series: vec![Series { name: "s", points, mark: Mark::Line, colour: 0 }],
            bands: Vec::new(),
            limits: Vec::new(),
        };
        assert!(plot(vec![(1.0, 1.0)]).svg("s").contains("<circle"));
        assert!(plot(vec![]).svg("s").contains("no data"));
        assert!(!plot(vec![(0.0, 0.0), (0.0, 0.0), (f64::NAN, 1.0)]).svg("s").contains("x=\"NaN"));
    }
}
