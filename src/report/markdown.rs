//! The report in short, as Markdown.

use super::classes::in_cell;
use super::cost::Comparison;
use super::page::{classes, distinct, limits};
use super::svg_plot::number;
use super::{RunResults, Timings, report_plots};
use crate::prediction::metric;
use std::fmt::Write;

/// The summary; pictures are those of [`report_plots::files`] in `plots/`.
pub fn markdown(results: &RunResults, timings: &Timings) -> String {
    let mut text = format!(
        "# One training, {} networks\n\nSupernet `{}`: {} subnets at each of {:?} pixels. {}. {}.\n\n",
        results.cases.len(),
        in_cell(&results.space),
        in_cell(&results.subnets),
        results.resolutions,
        in_cell(&results.data),
        in_cell(&classes(&results.class_names))
    );
    text.push_str(
        "| device | limit | top-1 (test) | balanced | before fine-tuning | predicted | latency | MACs | params | fine-tuning | this machine | ONNX |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for case in results.cases.iter().chain(&results.reference) {
        let tuning = timings.fine_tuning_s(case.f32_file()).map_or_else(|| "–".to_owned(), |s| format!("{s:.0} s"));
        let host = timings.host_ms(case.f32_file()).map_or_else(|| "–".to_owned(), |ms| format!("{} ms", number(ms)));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} M | {} k | {tuning} | {host} | {} |",
            in_cell(case.device()),
            in_cell(&case.limits()),
            results.top1(case),
            super::classes::or_dash(case.balanced_accuracy, results.images[2]),
            results.on_test_images(case.as_cut()).percent(),
            case.predicted(results.images[2]),
            case.latency(),
            number(case.macs as f64 / 1e6),
            number(case.params as f64 / 1e3),
            in_cell(&case.onnx)
        );
    }
    for case in &results.infeasible {
        let _ = writeln!(
            text,
            "| {} | {} | {} | | | | | | | | | |",
            in_cell(case.device()),
            in_cell(&limits(&case.constraint)),
            in_cell(&case.verdict())
        );
    }
    let _ = write!(text, "\n{} different networks.", distinct(results));
    for note in super::notes(results, timings) {
        let _ = write!(text, " {}", sentence(&note));
    }
    for case in results.cases.iter().filter(|case| case.recommended) {
        let _ = write!(
            text,
            "\n\nShip on {}: `{}`: {}.",
            in_cell(case.device()),
            in_cell(&case.onnx),
            super::in_short(case, results)
        );
    }
    for warning in &results.warnings {
        let _ = write!(text, "\n\n**Warning**: {}.", sentence(warning));
    }
    text.push_str("\n\n| phase | steps | min | mid | max |\n|---|--:|--:|--:|--:|\n");
    for phase in &results.phases {
        let validated = |top1| results.on_validation_images(top1).percent();
        let of = |label: &str| {
            phase.subnets.iter().find(|s| s.label == label).map_or_else(String::new, |s| validated(s.top1))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            in_cell(&phase.name),
            phase.steps,
            of("min"),
            of("mid"),
            of("max")
        );
    }
    let fit = &results.predictor;
    let _ = write!(
        text,
        "\nPredictor: {} on {} subnets; {} held out, RMSE {} points, Kendall tau {}.\n\n",
        in_cell(&fit.kind),
        fit.n_train,
        fit.n_test,
        metric(100.0 * fit.rmse, 2, fit.n_test),
        metric(fit.kendall_tau, 3, fit.n_test)
    );
    text.push_str(&super::classes::markdown(results));
    if let Some(comparison) = Comparison::of(results, timings) {
        let _ = write!(text, "{}\n\n", comparison.sentence(timings));
    }
    for (file, _) in report_plots::files(results, timings) {
        let _ = writeln!(text, "![{0}](plots/{0})", file);
    }
    text
}

/// A sentence of ours, in which names may stand: its marks stay, but it holds neither tags nor links.
fn sentence(text: &str) -> String {
    text.replace('<', "&lt;").replace("](", "]\\(")
}
