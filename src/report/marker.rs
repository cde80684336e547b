//! The marks of a series: a shape of its own beside a colour of its own, so that either of them is enough to distinguish the series.

use std::fmt::Write;

/// Colours and shapes of a series; also the number of its classes in the style sheet.
pub const SERIES: usize = 4;

/// How the shape of a mark is filled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// In the colour of the series.
    Full,
    /// Only its outline.
    Outline,
}

/// A mark with its centre at a place, `radius` large: a circle, a square, a triangle or a diamond, by the number of the
/// series.
pub fn mark(svg: &mut String, series: usize, fill: Fill, [x, y]: [f64; 2], radius: f64) {
    let class = match fill {
        Fill::Full => "dot",
        Fill::Outline => "ring",
    };
    let series = series % SERIES;
    let _ = match series {
        0 => write!(svg, "<circle class=\"{class} c0\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>"),
        1 => {
            let half = 0.9 * radius;
            let (left, top, side) = (x - half, y - half, 2.0 * half);
            write!(
                svg,
                "<rect class=\"{class} c1\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side:.1}\" height=\"{side:.1}\"/>"
            )
        }
        2 => polygon(
            svg,
            class,
            series,
            [[x, y - 1.2 * radius], [x + 1.1 * radius, y + radius], [x - 1.1 * radius, y + radius]],
        ),
        _ => {
            let far = 1.25 * radius;
            polygon(svg, class, series, [[x, y - far], [x + far, y], [x, y + far], [x - far, y]])
        }
    };
}

fn polygon<const N: usize>(svg: &mut String, class: &str, series: usize, corners: [[f64; 2]; N]) -> std::fmt::Result {
    let corners: Vec<String> = corners.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
    write!(svg, "<polygon class=\"{class} c{series}\" points=\"{}\"/>", corners.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_series_has_a_shape_and_a_colour_of_its_own() {
        let drawn = |series| {
            let mut svg = String::new();
            mark(&mut svg, series, Fill::Full, [10.0, 10.0], 4.0);
            svg
        };
        let shapes: BTreeSet<String> =
            (0..SERIES).map(|series| drawn(series).replace(&format!(" c{series}\""), "\"")).collect();
        assert_eq!(shapes.len(), SERIES);
        assert!((0..SERIES).all(|series| drawn(series).contains(&format!(" c{series}\""))));
    }
}
