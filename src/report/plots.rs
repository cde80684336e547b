//! The plots of a report: what is drawn against what.

use super::plot::{Band, Mark, Plot, Series, number};
use super::{Case, Front, RunResults, Timings};
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

/// Accuracy against latency, one plot a device, with the chosen networks and the limits.
pub fn fronts(results: &RunResults) -> Vec<Titled<'_>> {
    let amount = |front: &Front, case: &Case| match front.quantity.as_str() {
        "latency_ms" => case.latency_ms,
        "macs" => Some(case.macs as f64),
        "params" => Some(case.params as f64),
        other => case.values.get(other).copied(),
    };
    let here = |front: &Front| -> Vec<&Case> {
        let of_front = |case: &&Case| case.device == front.device && !case.constraint[&front.quantity].is_null();
        results.cases.iter().filter(of_front).collect()
    };
    let of = |front: &Front, value: fn(&Case) -> Option<f64>| -> Vec<(f64, f64)> {
        here(front).into_iter().filter_map(|case| Some((amount(front, case)?, 100.0 * value(case)?))).collect()
    };
    let plot = |front: &Front| {
        let Front { device, source, quantity, points } = front;
        let mut limits: Vec<(f64, String)> = here(front)
            .into_iter()
            .filter_map(|case| case.constraint[quantity].as_f64())
            .map(|limit| (limit, format!("limit: {}", in_unit(quantity, limit))))
            .collect();
        limits.dedup_by(|a, b| a.0 == b.0);
        let front_points = points.iter().map(|(x, y)| (*x, 100.0 * y)).collect();
        let name = device.as_deref().unwrap_or(quantity);
        let series = vec![
            Series { name: "best predicted", points: front_points, mark: Mark::Line, colour: 0 },
            Series {
                name: "chosen, predicted",
                points: of(front, |c| c.predicted_accuracy),
                mark: Mark::Rings,
                colour: 1,
            },
            Series {
                name: "chosen, test images",
                points: of(front, |c| Some(c.accuracy)),
                mark: Mark::Dots,
                colour: 2,
            },
        ];
        Titled {
            file: format!("front-{}", file_name(name)),
            title: match source {
                Some(source) => format!("{name} ({source} latency)"),
                None => format!("within limits on {quantity}"),
            },
            plot: Plot { x: axis(quantity), y: TOP1, series, bands: Vec::new(), limits },
        }
    };
    let mut plots: Vec<Titled<'_>> = results.fronts.iter().map(plot).collect();
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

/// Label of the axis of a limited quantity.
fn axis(quantity: &str) -> &'static str {
    match quantity {
        "latency_ms" => "latency, ms",
        "macs" => "multiply-accumulates",
        "params" => "parameters",
        "sram_kb" => "activation memory, kB",
        "flash_kb" => "weights, kB",
        _ => "cost",
    }
}

fn in_unit(quantity: &str, value: f64) -> String {
    match quantity {
        "latency_ms" => format!("{} ms", number(value)),
        _ => format!("{} {quantity}", number(value)),
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
    let mut accuracy =
        vec![Series { name: "sampled subnets, training images", points: on_training, mark: Mark::Line, colour: 3 }];
    for (colour, label) in ["max", "mid", "min"].into_iter().enumerate() {
        let ended = results.phases.iter().zip(&ends).filter_map(|(phase, end)| {
            let subnet = phase.subnets.iter().find(|s| s.label == label)?;
            Some((*end, 100.0 * subnet.top1))
        });
        let points = ended.collect();
        accuracy.push(Series { name: label, points, mark: Mark::DottedLine, colour });
    }
    vec![
        Titled {
            file: "training-loss".to_owned(),
            title: "Training loss; from the second phase on it includes the teacher's term".to_owned(),
            plot: Plot {
                x: "step",
                y: "loss",
                series: vec![Series { name: "loss", points: loss, mark: Mark::Line, colour: 0 }],
                bands: phase_bands(results),
                limits: Vec::new(),
            },
        },
        Titled {
            file: "training-accuracy".to_owned(),
            title: "Accuracy: largest, middle and smallest opened subnet on validation images, after each phase"
                .to_owned(),
            plot: Plot { x: "step", y: TOP1, series: accuracy, bands: phase_bands(results), limits: Vec::new() },
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
                    Series { name: "equal", points: equal, mark: Mark::Guide, colour: 3 },
                    Series { name, points, mark: Mark::Dots, colour },
                ],
                bands: Vec::new(),
                limits: Vec::new(),
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
        .filter_map(|case| Some((case.macs as f64 / 1e6, *host.median_ms.get(&case.onnx)?)))
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
            series: vec![Series { name: "chosen networks", points, mark: Mark::Dots, colour: 2 }],
            bands: Vec::new(),
            limits: Vec::new(),
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
                Series {
                    name: "equal",
                    points: vec![(smallest, smallest), (largest, largest)],
                    mark: Mark::Guide,
                    colour: 3,
                },
                Series {
                    name: "networks",
                    points: nets.iter().map(|net| (net.measured_ms, of(net))).collect(),
                    mark: Mark::Dots,
                    colour: 0,
                },
            ],
            bands: Vec::new(),
            limits: Vec::new(),
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
        let mut text = String::from("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"880\" height=\"580\" ");
        let (head, body) = inside.split_once('>')?;
        let _ = write!(text, "{head}><style>{COLOURS}text{{font-family:sans-serif}}</style>{body}");
        Some(text)
    }
}

/// Every plot as a file of its own: name and SVG text.
pub fn files(results: &RunResults, timings: &Timings) -> Vec<(String, String)> {
    let mut all = fronts(results);
    all.extend(training(results));
    all.extend(predictor(results));
    all.extend(host(results, timings));
    all.extend(latency_checks(timings));
    all.into_iter().filter_map(|titled| Some((format!("{}.svg", titled.file), titled.svg_file()?))).collect()
}

/// A device's name as part of a file name.
fn file_name(device: &str) -> String {
    device.chars().map(|c| if c.is_alphanumeric() || matches!(c, '-' | '.' | '_') { c } else { '_' }).collect()
}
