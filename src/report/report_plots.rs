//! The plots of a report: what is drawn against what.

use super::svg_plot::{Band, Mark, Plot, Series, number};
use super::{Case, Front, RunResults, Timings};
use crate::file_names::shortened;
use crate::measured_profile;
use crate::prediction::defined;
use ofa_hw::profiling::comparison::Compared;
use std::fmt::Write;

/// A plot with its title and the name of its file.
pub struct Titled<'a> {
    /// File name without extension.
    pub file: String,
    /// Title.
    pub title: String,
    /// The plot.
    pub plot: Plot<'a>,
}

const TOP1: &str = "top-1, %";

/// Accuracy against latency or another cost, one plot a device, with the chosen networks and the limits.
pub fn fronts(results: &RunResults) -> Vec<Titled<'_>> {
    let mut plots: Vec<Titled<'_>> = results.fronts.iter().map(|front| front_plot(results, front)).collect();
    // A device may have several entries in the plan.
    for index in 1..plots.len() {
        let (before, rest) = plots.split_at_mut(index);
        let (name, mut number) = (rest[0].file.clone(), 1);
        while before.iter().any(|other| other.file == rest[0].file) {
            number += 1;
            rest[0].file = format!("{name}-{number}");
        }
    }
    plots
}

fn front_plot<'a>(results: &'a RunResults, front: &'a Front) -> Titled<'a> {
    let Front { device, source, quantity, points } = front;
    let quantity = Quantity::named(quantity);
    let of_front = |case: &&Case| case.device == front.device && !case.constraint[&front.quantity].is_null();
    let here: Vec<(f64, &Case)> = results
        .cases
        .iter()
        .filter(of_front)
        .filter_map(|case| Some((amount(front, case)? * quantity.scale, case)))
        .collect();
    let mut limits: Vec<(f64, String)> = here
        .iter()
        .filter_map(|(_, case)| case.constraint[&front.quantity].as_f64())
        .map(|limit| (limit * quantity.scale, format!("limit: {}", quantity.amount(limit))))
        .collect();
    limits.dedup_by(|a, b| a.0 == b.0);
    let promised = || here.iter().filter_map(|(x, case)| Some((*x, *case, 100.0 * case.predicted_accuracy?)));
    let line: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x * quantity.scale, 100.0 * y)).collect();
    let tips = points.iter().map(|(x, y)| {
        let accuracy = results.on_test_images(*y).percent();
        format!("predicted: at best {accuracy} within {}", quantity.amount(*x))
    });
    let mut series = vec![
        Series { tips: tips.collect(), ..Series::new("best predicted", line, Mark::Line, 0) },
        Series {
            tips: promised().map(|(_, case, _)| tip("predicted", case, &case.predicted(results.images[2]))).collect(),
            ..Series::new("chosen, predicted", promised().map(|(x, _, y)| (x, y)).collect(), Mark::Rings, 1)
        },
    ];
    series.extend(delivered(results, &here));
    if let [Some((first, _)), Some((last, _))] = [points.first(), points.last()] {
        series.splice(1..1, full_network(results, [first * quantity.scale, last * quantity.scale]));
    }
    let name = device.as_deref().unwrap_or(&front.quantity);
    Titled {
        file: format!("front-{}", file_name(name)),
        title: match (device, source, front.quantity.as_str()) {
            (Some(device), Some(source), "latency_ms") => format!("{device}: accuracy against latency ({source})"),
            (Some(device), ..) => format!("{device}: accuracy against {}", quantity.name),
            (None, ..) => format!("accuracy against {}", quantity.name),
        },
        plot: Plot { x: quantity.axis, y: TOP1, range: range(&series, &here), series, limits, ..Plot::default() },
    }
}

/// The accuracy of chosen networks on test images, those to ship apart, each at its place on the x axis.
fn delivered(results: &RunResults, at: &[(f64, &Case)]) -> Vec<Series<'static>> {
    let mut series = Vec::new();
    for (name, is_recommended, colour) in [("chosen, on test images", false, 2), ("ship this, on test images", true, 3)]
    {
        let shown = || at.iter().filter(move |(_, case)| case.recommended == is_recommended);
        let interval = |case: &Case| results.on_test_images(case.accuracy).interval().map(|end| 100.0 * end);
        if shown().next().is_some() {
            series.push(Series {
                intervals: shown().map(|(_, case)| interval(case)).collect(),
                tips: shown().map(|(_, case)| tip("on test images", case, &results.top1(case))).collect(),
                ..Series::new(name, shown().map(|(x, case)| (*x, 100.0 * case.accuracy)).collect(), Mark::Dots, colour)
            });
        }
    }
    series
}

/// The accuracy of the full network as a line, if there is one.
fn full_network(results: &RunResults, ends: [f64; 2]) -> Option<Series<'static>> {
    let full = results.reference.as_ref()?;
    let points = ends.map(|x| (x, 100.0 * full.accuracy)).to_vec();
    Some(Series::new("full network, on test images", points, Mark::Guide, 3))
}

/// Accuracy against the time measured on this machine; nothing if it was not measured.
pub fn accuracy_here<'a>(results: &'a RunResults, timings: &Timings) -> Option<Titled<'a>> {
    let host = timings.host.as_ref()?;
    let at: Vec<(f64, &Case)> =
        results.cases.iter().filter_map(|case| Some((timings.host_ms(case.f32_file())?, case))).collect();
    let of = |one: fn(f64, f64) -> f64, start| at.iter().map(|(x, _)| *x).fold(start, one);
    let mut series = delivered(results, &at);
    if !at.is_empty() {
        series.splice(0..0, full_network(results, [of(f64::min, f64::INFINITY), of(f64::max, 0.0)]));
    }
    Some(Titled {
        file: "accuracy-this-machine".to_owned(),
        title: format!("this machine: accuracy against measured time ({}, one image)", host.runtime),
        plot: Plot { x: "measured, ms", y: TOP1, series, ..Plot::default() },
    })
}

fn amount(front: &Front, case: &Case) -> Option<f64> {
    match front.quantity.as_str() {
        "latency_ms" => case.latency_ms,
        "macs" => Some(case.macs as f64),
        "params" => Some(case.params as f64),
        other => case.values.get(other).copied(),
    }
}

fn tip(what: &str, case: &Case, accuracy: &str) -> String {
    format!("{} ({}): {accuracy} {what}", case.name(), case.limits())
}

/// What the axis of accuracy covers: the chosen networks, and what is predicted from the cheapest of them on. The start of a front
/// may be much less accurate, and would leave little of the axis to the networks that matter.
fn range(series: &[Series<'_>], chosen: &[(f64, &Case)]) -> Vec<f64> {
    let cheapest = chosen.iter().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    if cheapest.is_infinite() {
        return Vec::new();
    }
    let points = series.iter().flat_map(|one| &one.points).filter(|(x, _)| *x >= cheapest).map(|(_, y)| *y);
    let full = series.iter().filter(|one| one.mark == Mark::Guide).flat_map(|one| &one.points).map(|(_, y)| *y);
    points.chain(full).chain(series.iter().flat_map(|one| one.intervals.iter().flatten().copied())).collect()
}

/// How a limited quantity is written.
struct Quantity {
    /// In words.
    name: &'static str,
    /// Label of its axis.
    axis: &'static str,
    /// From its own unit to that of the axis.
    scale: f64,
    /// Its unit behind a number on the axis.
    unit: &'static str,
}

impl Quantity {
    fn named(quantity: &str) -> Self {
        let (name, axis, scale, unit) = match quantity {
            "latency_ms" => ("latency", "latency, ms", 1.0, "ms"),
            "macs" => ("multiply-accumulates", "multiply-accumulates, millions", 1e-6, "M MACs"),
            "params" => ("parameters", "parameters, thousands", 1e-3, "k parameters"),
            "sram_kb" => ("activation memory", "activation memory, kB", 1.0, "kB"),
            "flash_kb" => ("weights", "weights, kB", 1.0, "kB"),
            _ => ("cost", "cost", 1.0, ""),
        };
        Self { name, axis, scale, unit }
    }

    fn amount(&self, value: f64) -> String {
        format!("{} {}", number(value * self.scale), self.unit).trim_end().to_owned()
    }
}

/// The phases of training over its steps.
fn phase_bands(results: &RunResults) -> Vec<Band<'_>> {
    let mut done = 0.0;
    let mut bands = Vec::with_capacity(results.phases.len());
    for phase in &results.phases {
        let from = done;
        done += phase.steps as f64;
        bands.push(Band { name: &phase.name, from, to: done });
    }
    bands
}

/// Loss and accuracy over the steps of training.
pub fn training(results: &RunResults) -> Vec<Titled<'_>> {
    let ends: Vec<f64> = phase_bands(results).iter().map(|band| band.to).collect();
    let loss = results.steps.iter().map(|s| (s.step as f64, f64::from(s.loss))).collect();
    let on_training = results.steps.iter().map(|s| (s.step as f64, 100.0 * f64::from(s.train_top1))).collect();
    let mut accuracy = vec![Series::new("sampled subnets, training images", on_training, Mark::Line, 3)];
    for (colour, label) in ["max", "mid", "min"].into_iter().enumerate() {
        let ended = results.phases.iter().zip(&ends).filter_map(|(phase, end)| {
            let subnet = phase.subnets.iter().find(|s| s.label == label)?;
            Some((*end, 100.0 * subnet.top1))
        });
        let points = ended.collect();
        accuracy.push(Series::new(label, points, Mark::DottedLine, colour));
    }
    vec![
        Titled {
            file: "training-loss".to_owned(),
            title: "Training loss; from the second phase on it includes the teacher's term".to_owned(),
            plot: Plot {
                x: "step",
                y: "loss",
                series: vec![Series::new("loss", loss, Mark::Line, 0)],
                bands: phase_bands(results),
                ..Plot::default()
            },
        },
        Titled {
            file: "training-accuracy".to_owned(),
            title: "Accuracy: largest, middle and smallest opened subnet on validation images, after each phase"
                .to_owned(),
            plot: Plot { x: "step", y: TOP1, series: accuracy, bands: phase_bands(results), ..Plot::default() },
        },
    ]
}

/// Predicted against measured accuracy: held-out subnets, and the chosen networks on test images.
pub fn predictor(results: &RunResults) -> Vec<Titled<'_>> {
    let fit = &results.predictor;
    let held_out: Vec<(f64, f64)> = fit.held_out.iter().map(|(m, p)| (100.0 * m, 100.0 * p)).collect();
    let chosen: Vec<(f64, f64)> =
        results.cases.iter().filter_map(|c| Some((100.0 * c.as_cut(), 100.0 * c.predicted_accuracy?))).collect();
    let plot = |file: &str, title: String, x, name, points: Vec<(f64, f64)>, colour| {
        let all = || points.iter().flat_map(|p| [p.0, p.1]);
        let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        let equal = if points.is_empty() { Vec::new() } else { vec![(low, low), (high, high)] };
        Titled {
            file: file.to_owned(),
            title,
            plot: Plot {
                x,
                y: "predicted top-1, %",
                series: vec![
                    Series::new("equal", equal, Mark::Guide, 3),
                    Series::new(name, points, Mark::Dots, colour),
                ],
                ..Plot::default()
            },
        }
    };
    vec![
        plot(
            "predictor",
            format!("{} subnets that the predictor was not fitted on, validation images", fit.n_test),
            "measured top-1, %",
            "held-out subnets",
            held_out,
            0,
        ),
        plot(
            "chosen",
            "The chosen subnets, before any fine-tuning: predicted for validation images, measured on test images"
                .to_owned(),
            "top-1 on test images, %",
            "chosen networks",
            chosen,
            2,
        ),
    ]
}

/// Run time on this machine against arithmetic; nothing if it was not measured.
pub fn host(results: &RunResults, timings: &Timings) -> Option<Titled<'static>> {
    let host = timings.host.as_ref()?;
    let mut points: Vec<(f64, f64)> = results
        .cases
        .iter()
        .filter_map(|case| Some((case.macs as f64 / 1e6, timings.host_ms(case.f32_file())?)))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points.dedup();
    let threads = if host.threads == 1 { "one thread".to_owned() } else { format!("{} threads", host.threads) };
    Some(Titled {
        file: "host".to_owned(),
        title: format!("This machine: {}, {threads}, one image, median of {} runs", host.runtime, host.runs),
        plot: Plot {
            x: "multiply-accumulates, millions",
            y: "measured, ms",
            series: vec![Series::new("chosen networks", points, Mark::Dots, 2)],
            ..Plot::default()
        },
    })
}

/// Who predicted a latency.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Predicted {
    /// A table of measured blocks.
    ByBlocks,
    /// A roofline that is not calibrated.
    ByRoofline,
}

/// Predicted against measured latency in milliseconds, with the line where they agree; nothing without networks.
pub fn latencies(nets: &[Compared], predicted: Predicted) -> Option<Titled<'static>> {
    let first = nets.first()?;
    let found = measured_profile::agreement(nets);
    let threads = if first.threads == 1 { "one thread".to_owned() } else { format!("{} threads", first.threads) };
    let (file, who, tau, error) = match predicted {
        Predicted::ByBlocks => ("latency", "measured blocks", found.kendall_tau, found.mape),
        Predicted::ByRoofline => {
            ("latency-roofline", "a roofline, not calibrated", found.roofline_kendall_tau, found.roofline_mape)
        }
    };
    let of = |net: &Compared| if predicted == Predicted::ByBlocks { net.predicted_ms } else { net.roofline_ms };
    let smallest = nets.iter().map(|net| net.measured_ms).fold(f64::INFINITY, f64::min);
    let largest = nets.iter().map(|net| net.measured_ms).fold(0.0, f64::max);
    Some(Titled {
        file: file.to_owned(),
        title: format!(
            "By {who}: Kendall tau {}, mean error {:.1} % ({}, {threads}, {} networks)",
            defined(tau, 3),
            100.0 * error,
            first.runtime,
            found.nets
        ),
        plot: Plot {
            x: "measured, ms",
            y: "predicted, ms",
            series: vec![
                Series::new("equal", vec![(smallest, smallest), (largest, largest)], Mark::Guide, 3),
                Series::new("networks", nets.iter().map(|net| (net.measured_ms, of(net))).collect(), Mark::Dots, 0),
            ],
            ..Plot::default()
        },
    })
}

/// Both predictions of a run's random networks.
pub fn latency_checks(timings: &Timings) -> Vec<Titled<'static>> {
    let plot = |predicted| latencies(&timings.latency_check, predicted);
    [Predicted::ByBlocks, Predicted::ByRoofline].into_iter().filter_map(plot).collect()
}

impl Titled<'_> {
    /// The plot as the text of an SVG file; nothing if it has no points.
    pub fn svg_file(&self) -> Option<String> {
        const COLOURS: &str = include_str!("plot.css");
        let svg = self.plot.svg(&self.title);
        let inside = svg.strip_prefix("<svg ")?;
        let mut text = String::from("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"880\" height=\"587\" ");
        let (head, body) = inside.split_once('>')?;
        let _ = write!(text, "{head}><style>{COLOURS}text{{font-family:sans-serif}}</style>{body}");
        Some(text)
    }
}

/// Every plot as a file of its own: name and SVG text.
pub fn files(results: &RunResults, timings: &Timings) -> Vec<(String, String)> {
    let mut all = fronts(results);
    all.extend(accuracy_here(results, timings));
    all.extend(training(results));
    all.extend(predictor(results));
    all.extend(host(results, timings));
    all.extend(latency_checks(timings));
    all.into_iter().filter_map(|titled| Some((format!("{}.svg", titled.file), titled.svg_file()?))).collect()
}

/// A device's name as part of a file name.
fn file_name(device: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '.' | '_') { c } else { '_' };
    shortened(device.chars().map(plain).collect())
}
