//! Rows of a name, a bar and a value, drawn by the style sheet: their text keeps its size on every screen.

use super::svg_plot::{escape, number, ticks};
use std::fmt::Write;

/// A row.
pub struct Row {
    /// What it is of.
    pub name: String,
    /// What is drawn.
    pub bar: Bar,
    /// What it shows, in words.
    pub value: String,
    /// What hovering over it shows.
    pub tip: String,
    /// Classes of the style sheet for its name and value.
    pub class: &'static str,
}

/// What a row draws.
pub enum Bar {
    /// A bar from 0, in the colour of a series.
    Length {
        /// Its end.
        value: f64,
        /// Number of the colour, or the muted one.
        colour: Option<usize>,
    },
    /// A point in its interval.
    Interval {
        /// The point.
        value: f64,
        /// The interval.
        interval: [f64; 2],
        /// Number of its colour and shape.
        colour: usize,
    },
}

/// The rows; with an axis below intervals.
pub fn rows(rows: &[Row]) -> String {
    let has_axis = rows.iter().any(|row| matches!(row.bar, Bar::Interval { .. }));
    let [low, high] = span(rows);
    let place = |value: f64| 100.0 * (value - low) / (high - low);
    let mut html = "<div class=\"rows\">".to_owned();
    for Row { name, bar, value, tip, class } in rows {
        let _ = write!(
            html,
            "<span class=\"name {class}\">{}</span><span class=\"track\" data-tip=\"{}\">",
            escape(name),
            escape(tip)
        );
        let _ = match bar {
            Bar::Length { value, colour } => {
                let colour = colour.map_or_else(|| "muted".to_owned(), |colour| format!("c{colour}"));
                write!(html, "<i class=\"length {colour}\" style=\"width:{:.2}%\"></i>", place(*value).max(0.2))
            }
            Bar::Interval { value, interval: [from, to], colour } => write!(
                html,
                "<i class=\"between c{colour}\" style=\"left:{:.2}%;width:{:.2}%\"></i>\
                 <i class=\"point c{colour}\" style=\"left:{:.2}%\"></i>",
                place(*from),
                place(*to) - place(*from),
                place(*value)
            ),
        };
        let _ = write!(html, "</span><span class=\"n {class}\">{}</span>", escape(value));
    }
    if has_axis {
        html.push_str("<span class=\"name\"></span><span class=\"ticks\" aria-hidden=\"true\">");
        for tick in ticks(low, high) {
            let _ = write!(html, "<i style=\"left:{:.2}%\">{}</i>", place(tick), number(tick));
        }
        html.push_str("</span><span></span>");
    }
    html + "</div>"
}

/// What the bars cover: from 0 for lengths, the range that matters for intervals.
fn span(rows: &[Row]) -> [f64; 2] {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for row in rows {
        let [from, to] = match &row.bar {
            Bar::Length { value, .. } => [0.0, *value],
            Bar::Interval { interval, .. } => *interval,
        };
        (low, high) = (low.min(from), high.max(to));
    }
    let margin = if low == 0.0 { 0.0 } else { 0.03 * (high - low) };
    if high > low { [low - margin, high + margin] } else { [0.0, 1.0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_begin_at_zero_and_intervals_fill_the_track() {
        let row = |bar| Row { name: "a <b>".into(), bar, value: "1 s".into(), tip: String::new(), class: "" };
        let lengths = rows(&[1.0, 4.0].map(|value| row(Bar::Length { value, colour: None })));
        assert!(
            lengths.contains("width:25.00%") && lengths.contains("width:100.00%") && lengths.contains("a &lt;b&gt;")
        );
        assert!(!lengths.contains("ticks"));
        let interval = |low, high| row(Bar::Interval { value: (low + high) / 2.0, interval: [low, high], colour: 1 });
        let intervals = rows(&[interval(80.0, 84.0), interval(82.0, 90.0)]);
        assert!(intervals.contains(">80<") && intervals.contains(">90<") && !intervals.contains(">0<"), "{intervals}");
        assert!(rows(&[]).contains("rows") && !rows(&[row(Bar::Length { value: 0.0, colour: None })]).contains("NaN"));
    }
}
