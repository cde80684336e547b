//! What a search found as one SVG file: for every device its front with the limits and the chosen networks, and beside
//! it those networks drawn block by block.

use super::DrawnBlock;
use super::drawing::{bar_width, draw};
use super::svg_plot::{Mark, Plot, Series, escape};
use std::fmt::Write;

/// What was found for one device, or without a device.
pub struct SearchSection {
    /// Name of the device; empty if there is but one section.
    pub title: String,
    /// The quantity on the x axis, with its unit.
    pub quantity: String,
    /// The front: (quantity, predicted accuracy as a fraction).
    pub front: Vec<(f64, f64)>,
    /// The chosen networks, on the same axes.
    pub chosen: Vec<(f64, f64)>,
    /// Limits on the quantity.
    pub limits: Vec<f64>,
    /// The chosen networks, to be drawn.
    pub nets: Vec<ChosenNet>,
}

/// A chosen network.
pub struct ChosenNet {
    /// Limit, accuracy, cost and input size, as the reader shall see them.
    pub label: String,
    /// Its blocks.
    pub blocks: Vec<DrawnBlock>,
}

const PLOT_WIDTH: f64 = 462.0;
const PLOT_HEIGHT: f64 = 308.0;
const GAP: f64 = 18.0;
const TITLE: f64 = 20.0;
/// A network with its label.
const NET_HEIGHT: f64 = 78.0;
const KEY: f64 = 26.0;

/// The sections below one another, as the text of an SVG file; `None` if there is nothing to draw. `places` are the
/// blocks of the space's largest network, which every network takes a part of.
pub fn search_page(sections: &[SearchSection], places: &[DrawnBlock]) -> Option<String> {
    if sections.iter().all(|section| section.front.is_empty() && section.chosen.is_empty()) {
        return None;
    }
    let (mut body, mut y, mut width) = (String::new(), 0.0, PLOT_WIDTH);
    let with_nets = sections.iter().any(|section| section.nets.iter().any(|net| !net.blocks.is_empty()));
    if with_nets {
        width = width.max(key(&mut body));
        y += KEY;
    }
    for section in sections {
        if !section.title.is_empty() {
            let _ =
                write!(body, "<text class=\"head\" x=\"8\" y=\"{:.1}\">{}</text>", y + 14.0, escape(&section.title));
            y += TITLE;
        }
        place(&mut body, &front(section), 0.0, y, &format!("width=\"{PLOT_WIDTH}\" height=\"{PLOT_HEIGHT}\""));
        let mut below = y;
        for net in &section.nets {
            let x = PLOT_WIDTH + GAP;
            let _ =
                write!(body, "<text class=\"label\" x=\"{x}\" y=\"{:.1}\">{}</text>", below + 13.0, escape(&net.label));
            let drawing = draw(&net.blocks, places, &net.label);
            // Letters of 12 pixels are about 6.5 wide.
            width = width.max(x + width_of(&drawing)).max(x + 6.5 * net.label.chars().count() as f64);
            place(&mut body, &drawing, x, below + 18.0, "");
            below += NET_HEIGHT;
        }
        y = below.max(y + PLOT_HEIGHT) + GAP;
    }
    let width = width + 8.0;
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {y:.0}\" width=\"{width:.0}\" \
         height=\"{y:.0}\" role=\"img\"><style>{}text{{font-family:sans-serif}}\
         .head{{fill:var(--fg);font-size:14px;font-weight:bold}}.label{{fill:var(--fg);font-size:12px}}</style>\
         <rect width=\"100%\" height=\"100%\" style=\"fill:var(--card)\"/>{body}</svg>",
        include_str!("plot.css")
    ))
}

fn front(section: &SearchSection) -> String {
    let percent = |points: &[(f64, f64)]| points.iter().map(|(x, accuracy)| (*x, 100.0 * accuracy)).collect();
    let plot = Plot {
        x: &section.quantity,
        y: "predicted accuracy (%)",
        series: vec![
            Series::new("front", percent(&section.front), Mark::DottedLine, 0),
            Series::new("chosen", percent(&section.chosen), Mark::Rings, 1),
        ],
        limits: section.limits.iter().map(|limit| (*limit, format!("limit {limit}"))).collect(),
        ..Plot::default()
    };
    plot.svg(&format!("predicted accuracy against {}", section.quantity))
}

/// Puts an SVG element into another at a place; text that is not an SVG (a note that there is no data) is left out.
fn place(body: &mut String, svg: &str, x: f64, y: f64, attributes: &str) {
    if let Some(inside) = svg.strip_prefix("<svg ") {
        let _ = write!(body, "<svg x=\"{x:.1}\" y=\"{y:.1}\" {attributes} {inside}");
    }
}

/// The width that an SVG element states.
fn width_of(svg: &str) -> f64 {
    let stated = svg.split_once(" width=\"").and_then(|(_, rest)| rest.split_once('"'));
    stated.and_then(|(number, _)| number.parse().ok()).unwrap_or(0.0)
}

/// What the drawings mean; returns where it ends.
fn key(body: &mut String) -> f64 {
    let mut x = PLOT_WIDTH + GAP;
    for (class, text, width) in [
        ("k k3", "kernel 3", bar_width(3)),
        ("k k5", "5", bar_width(5)),
        ("k k7", "7", bar_width(7)),
        ("empty", "left out", 10.0),
    ] {
        let _ = write!(
            body,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"7\" width=\"{width:.1}\" height=\"10\" rx=\"2\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"16\">{text}</text>",
            x + 14.0
        );
        x += 26.0 + 6.5 * text.len() as f64;
    }
    let text = "height: expansion · number: depth of the stage";
    let _ = write!(body, "<text class=\"tick\" x=\"{x:.1}\" y=\"16\">{text}</text>");
    x + 6.0 * text.chars().count() as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ofa_space::registry;

    fn section(title: &str, nets: Vec<ChosenNet>) -> SearchSection {
        SearchSection {
            title: title.into(),
            quantity: "latency (ms)".into(),
            front: vec![(1.0, 0.5), (2.0, 0.6)],
            chosen: vec![(2.0, 0.6)],
            limits: vec![2.5],
            nets,
        }
    }

    #[test]
    fn every_chosen_network_is_drawn_with_its_blocks() {
        let space = registry::named("ofa-mbv3-w1.0").unwrap();
        let places = DrawnBlock::of(&space.resolve(&space.max_arch()).unwrap());
        let small = DrawnBlock::of(&space.resolve(&space.min_arch()).unwrap());
        let net = |label: &str| ChosenNet { label: label.into(), blocks: small.clone() };
        let sections = [section("a <b>", vec![net("one"), net("two")]), section("c", vec![net("three")])];
        let text = search_page(&sections, &places).unwrap();
        assert_eq!(text.matches("class=\"net\"").count(), 3);
        assert_eq!(text.matches("class=\"plot\"").count(), 2);
        assert_eq!(text.matches(": kernel ").count(), 3 * small.len());
        assert!(text.contains("a &lt;b&gt;") && text.contains(">three<"));
        assert_eq!(text.matches("<svg ").count(), text.matches("</svg>").count());
        assert!(!text.contains("NaN"));
    }

    #[test]
    fn nothing_found_is_nothing_drawn() {
        let nothing = SearchSection { front: Vec::new(), chosen: Vec::new(), ..section("", Vec::new()) };
        assert!(search_page(&[nothing], &[]).is_none());
    }
}
