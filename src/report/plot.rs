//! Small SVG plots with axes, units and hover values, coloured by the page's style sheet.

use std::fmt::Write;

/// One series of a plot.
pub struct Series<'a> {
    /// Name in the legend.
    pub name: &'a str,
    /// Points (x, y).
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub mark: Mark,
    /// Number of its colour, 0–5.
    pub colour: usize,
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A line.
    Line,
    /// Dots.
    Dots,
    /// Large ringed dots.
    Rings,
}

/// A plot's titles.
pub struct Axes<'a> {
    /// Name and unit of x.
    pub x: &'a str,
    /// Name and unit of y.
    pub y: &'a str,
}

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;

/// An SVG plot of these series; a note instead if there is nothing to show.
pub fn plot(axes: &Axes<'_>, series: &[Series<'_>]) -> String {
    let points: Vec<(f64, f64)> = series.iter().flat_map(|s| s.points.iter().copied()).collect();
    let finite: Vec<(f64, f64)> = points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    if finite.is_empty() {
        return "<p class=\"note\">no data</p>".to_owned();
    }
    let x = Scale::over(finite.iter().map(|p| p.0), LEFT, WIDTH - RIGHT);
    let y = Scale::over(finite.iter().map(|p| p.1), HEIGHT - BOTTOM, TOP);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
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
         <text class=\"axis\" transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0,
        escape(axes.x),
        (TOP + HEIGHT - BOTTOM) / 2.0,
        escape(axes.y)
    );
    for one in series {
        draw(&mut svg, axes, one, &x, &y);
    }
    svg.push_str("</svg>");
    if series.len() > 1 {
        svg.push_str("<p class=\"legend\">");
        for one in series {
            let _ = write!(svg, "<span class=\"key c{}\"></span>{} ", one.colour, escape(one.name));
        }
        svg.push_str("</p>");
    }
    svg
}

fn draw(svg: &mut String, axes: &Axes<'_>, series: &Series<'_>, x: &Scale, y: &Scale) {
    let colour = series.colour;
    if series.mark == Mark::Line && series.points.len() > 1 {
        let path: Vec<String> =
            series.points.iter().map(|(px, py)| format!("{:.1},{:.1}", x.at(*px), y.at(*py))).collect();
        let _ = write!(svg, "<polyline class=\"line c{colour}\" points=\"{}\"/>", path.join(" "));
    }
    let (radius, class) = match series.mark {
        Mark::Line => (2.0, "dot"),
        Mark::Dots => (3.2, "dot"),
        Mark::Rings => (6.0, "ring"),
    };
    for (px, py) in &series.points {
        let _ = write!(
            svg,
            "<circle class=\"{class} c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\">\
             <title>{}: {} {}, {} {}</title></circle>",
            x.at(*px),
            y.at(*py),
            escape(series.name),
            escape(axes.x),
            number(*px),
            escape(axes.y),
            number(*py)
        );
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
        for value in values {
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
    let digits = if magnitude >= 1000.0 || magnitude == 0.0 {
        0
    } else {
        (3 - magnitude.log10().floor() as i32).clamp(0, 8) as usize
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Text safe inside HTML and its attributes.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
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
    }

    #[test]
    fn degenerate_data_still_draws() {
        let axes = Axes { x: "x", y: "y" };
        let series = |points| Series { name: "s", points, mark: Mark::Line, colour: 0 };
        assert!(plot(&axes, &[series(vec![(1.0, 1.0)])]).contains("<circle"));
        assert!(plot(&axes, &[series(vec![])]).contains("no data"));
        assert!(!plot(&axes, &[series(vec![(0.0, 0.0), (0.0, 0.0)])]).contains("NaN"));
    }
}
