//! The chosen networks: in a line, and as a table, block by block and figure by figure.

use super::cost::seconds;
use super::drawing::{bar_width, draw};
use super::page::limits;
use super::svg_plot::{escape, number};
use super::{Case, Infeasible, RunResults, Timings, notes};
use std::fmt::Write;

/// Columns of the table: name, and whether it holds numbers.
const COLUMNS: [(&str, bool); 6] = [
    ("network", false),
    ("blocks", false),
    ("top-1 (test)", true),
    ("before fine-tuning", true),
    ("latency", true),
    ("MACs", true),
];

/// A network in a line: accuracy, latency, size, memory.
pub fn in_short(case: &Case, results: &RunResults) -> String {
    let mut parts = vec![format!("top-1 {}", results.on_test_images(case.accuracy).with_interval())];
    if let Some(accuracy) = case.accuracy_f32 {
        parts.push(format!("in {} (f32: {})", case.file_precision(), results.on_test_images(accuracy).percent()));
    }
    if case.latency_ms.is_some() {
        parts.push(case.latency());
    }
    parts.push(format!("{} M MACs", number(case.macs as f64 / 1e6)));
    if case.onnx_bytes > 0 {
        parts.push(format!("file {} kB", number(case.onnx_bytes as f64 / 1024.0)));
    }
    if case.peak_activation_bytes > 0 {
        parts.push(format!("activations {} kB in f32", number(case.peak_activation_bytes as f64 / 1024.0)));
    }
    parts.join(", ")
}

/// The mark behind the name of a network to ship, as HTML; empty for any other.
pub fn mark(case: &Case) -> &'static str {
    if case.recommended { " <span class=\"mark\">ship this</span>" } else { "" }
}

/// The section of the page.
pub fn section(page: &mut String, results: &RunResults, timings: &Timings) {
    page.push_str("<section id=\"networks\"><h2>Chosen networks</h2><p class=\"note\">A bar is a block: its height is the expansion ratio, its width and colour the kernel size (");
    for kernel in [3, 5, 7] {
        let _ = write!(
            page,
            "<span class=\"item\"><span class=\"box k{kernel}\" style=\"width:{}px\"></span>{kernel}</span> ",
            bar_width(kernel)
        );
    }
    page.push_str(
        "<span class=\"item\"><span class=\"box empty\"></span>left out</span>); the number below is the depth of the stage.</p>\
         <div class=\"panel scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Chosen networks\"><table class=\"cards\"><thead><tr>",
    );
    for (name, is_number) in COLUMNS {
        let _ = write!(page, "<th scope=\"col\"{}>{name}</th>", if is_number { " class=\"n\"" } else { "" });
    }
    page.push_str("</tr></thead><tbody>");
    for case in results.cases.iter().chain(&results.reference) {
        network(page, case, results, timings);
    }
    for case in &results.infeasible {
        unfound(page, case);
    }
    page.push_str("</tbody></table></div>");
    for note in notes::marks(results) {
        let _ = write!(page, "<p class=\"note\">{}</p>", escape(&note));
    }
    page.push_str("</section>");
}

/// A figure with what belongs to it below.
fn cell(row: &mut String, column: usize, value: &str, below: &[Option<String>]) {
    let (name, is_number) = COLUMNS[column];
    let class = if is_number { "n" } else { "drawn" };
    let _ = write!(row, "<td class=\"{class}\" data-name=\"{name}\"><div>{value}");
    for line in below.iter().flatten() {
        let _ = write!(row, "<small>{}</small>", escape(line));
    }
    row.push_str("</div></td>");
}

fn network(page: &mut String, case: &Case, results: &RunResults, timings: &Timings) {
    let images = results.images[2];
    let limit = case.limits();
    let mark = mark(case);
    let _ = write!(
        page,
        "<tr{}><td class=\"head\"><a href=\"{onnx}\" data-tip=\"{onnx}: differs from our logits by at most {:.1e} of \
         {}\">{}</a>{mark}<small>{}, {}</small></td>",
        if case.recommended { " class=\"chosen\"" } else { "" },
        case.max_abs_diff,
        number(case.max_abs_logit),
        escape(case.name()),
        escape(case.device()),
        escape(&limit),
        onnx = escape(&case.onnx),
    );
    let drawing = draw(&case.blocks, &results.places, &format!("{} {limit}: {}", case.device(), case.arch));
    cell(page, 1, &drawing, &[case.arch.resolution.map(|r| format!("input {r} px"))]);
    let balanced = case.balanced_accuracy.map(|share| format!("balanced {}", results.on_test_images(share).percent()));
    cell(page, 2, &format!("<b>{}</b>", results.top1(case)), &[balanced]);
    let predicted = case.predicted_accuracy.map(|_| format!("predicted {}", case.predicted(images)));
    let tuned = timings.fine_tuning_s(case.f32_file()).map(|s| format!("fine-tuned for {} s", seconds(s)));
    cell(page, 3, &results.on_test_images(case.as_cut()).percent(), &[predicted, tuned]);
    let here = timings.host_ms(case.f32_file()).map(|ms| format!("this machine {} ms", number(ms)));
    cell(page, 4, &escape(&case.latency()), &[here]);
    let params = format!("{} k parameters", number(case.params as f64 / 1e3));
    cell(page, 5, &format!("{} M", number(case.macs as f64 / 1e6)), &[Some(params)]);
    page.push_str("</tr>");
}

fn unfound(page: &mut String, case: &Infeasible) {
    let _ = write!(
        page,
        "<tr><td class=\"head\">none<small>{}, {}</small></td><td class=\"verdict\" colspan=\"{}\">{}</td></tr>",
        escape(case.device()),
        escape(&limits(&case.constraint)),
        COLUMNS.len() - 1,
        escape(&case.verdict())
    );
}
