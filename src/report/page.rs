//! The page itself: no external requests, light and dark, for phones and desktops.

use super::cost::{self, seconds};
use super::drawing::draw;
use super::plot::{escape, number};
use super::plots::{self, Titled};
use super::{Case, RunResults, Timings};
use crate::prediction::metric;
use ofa_space::listing;
use std::fmt::Write;

const PLOT_STYLE: &str = include_str!("plot.css");
const STYLE: &str = include_str!("style.css");
const HOVER: &str = include_str!("hover.js");

/// The report as one HTML page.
pub fn render(results: &RunResults, timings: &Timings) -> String {
    let cases = results.cases.len();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"icon\" href=\"data:,\">\
         <title>Once-for-all: {space}</title><style>{PLOT_STYLE}{STYLE}</style></head><body><main>\
         <h1>One training, {cases} network{s}</h1>\
         <p>The supernet <b>{space}</b> holds {subnets} subnets at each of {resolutions} pixels. It was trained once; \
         every network below was cut out of it {how}.</p>\
         <p class=\"note\">{data}. {classes}.</p>",
        s = if cases == 1 { "" } else { "s" },
        how = match results.reference {
            Some(_) => "and fine-tuned for a few epochs",
            None => "without retraining",
        },
        space = escape(&results.space),
        subnets = grouped(&results.subnets),
        resolutions = results.resolutions.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        data = escape(&results.data),
        classes = escape(&classes(&results.class_names)),
    );
    ship_this(&mut page, results);
    tiles(&mut page, results, timings);
    page.push_str(
        "<h2>Accuracy against cost</h2><p class=\"note\">The line is the best accuracy that the predictor promises \
         within a latency or another cost; rings are the networks chosen for the dashed limits, dots the same networks on \
         test images.</p>",
    );
    figures(&mut page, &plots::fronts(results));
    networks(&mut page, results, timings);
    page.push_str(&super::classes::page(results));
    cost::panel(&mut page, results, timings);
    page.push_str(
        "<h2>Progressive shrinking</h2><p class=\"note\">Training opens the choices phase by phase, from the largest \
         network to all of them.</p>",
    );
    figures(&mut page, &plots::training(results));
    phases(&mut page, results, timings);
    predictor(&mut page, results);
    if let Some(host) = plots::host(results, timings) {
        page.push_str(
            "<h2>This machine</h2><p class=\"note\">Measured run time; the devices above are tables and models.</p>",
        );
        figures(&mut page, &[host]);
    }
    let checks = plots::latency_checks(timings);
    if !checks.is_empty() {
        page.push_str(
            "<h2>Predicted latency on this machine</h2><p class=\"note\">Every block of the space was timed here; the \
             profile is <code>work/host.toml</code>, a device for <code>--device</code>. The networks are random ones that \
             took no part in the profile. Beside it, a shipped roofline as it is.</p>",
        );
        figures(&mut page, &checks);
    }
    let _ = writeln!(page, "</main><div id=\"tip\" role=\"status\"></div><script>{HOVER}</script></body></html>");
    page
}

/// Limits as `latency ≤ 3 ms`; the full network has none.
pub fn limits(constraint: &serde_json::Value) -> String {
    let Some(limits) = constraint.as_object() else { return constraint.to_string() };
    if limits.is_empty() {
        return "none: the full network".to_owned();
    }
    let each = limits.iter().map(|(name, value)| {
        let value = value.as_f64().map_or_else(|| value.to_string(), number);
        match name.strip_suffix("_ms") {
            Some("latency") => format!("≤ {value} ms"),
            Some(name) => format!("{name} ≤ {value} ms"),
            None => match (name.as_str(), value.parse::<f64>()) {
                ("macs", Ok(macs)) if macs >= 1e5 => format!("≤ {} M MACs", number(macs / 1e6)),
                _ => format!("{name} ≤ {value}"),
            },
        }
    });
    each.collect::<Vec<_>>().join(", ")
}

/// What a subnet takes, as `latency 3 ms`.
pub fn amounts(values: &serde_json::Value) -> String {
    let Some(values) = values.as_object() else { return values.to_string() };
    let each = values.iter().map(|(name, value)| {
        let value = value.as_f64().map_or_else(|| value.to_string(), number);
        match name.strip_suffix("_ms") {
            Some(name) => format!("{name} {value} ms"),
            None => format!("{name} {value}"),
        }
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Digits in groups of three.
fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// How many classes there are, and the first of them by name.
pub fn classes(names: &[String]) -> String {
    const SHOWN: usize = 20;
    format!("{} classes: {}", names.len(), listing::beginning(names, SHOWN))
}

/// For every device the network to ship, the commands that come next, and what the user was warned of.
fn ship_this(page: &mut String, results: &RunResults) {
    let recommended: Vec<&Case> = results.cases.iter().filter(|case| case.recommended).collect();
    if !recommended.is_empty() {
        page.push_str("<div class=\"panel ship\"><h2>Ship this</h2><dl>");
        for case in recommended {
            let _ = write!(
                page,
                "<dt>{}</dt><dd><a href=\"{onnx}\">{}.onnx</a>: {}</dd>",
                escape(case.device()),
                escape(case.name()),
                escape(&super::in_short(case, results)),
                onnx = escape(&case.onnx)
            );
        }
        page.push_str(
            "</dl><p class=\"note\">For each device, the cheapest network whose 95 % interval reaches the accuracy of the most \
             accurate one.</p><pre>",
        );
        for (command, about) in super::next_commands(results, "RUN") {
            let _ = writeln!(page, "{}  <span># {}</span>", escape(&command), escape(about));
        }
        page.push_str("</pre></div>");
    }
    if !results.warnings.is_empty() {
        page.push_str("<div class=\"panel warnings\"><h2>Warnings</h2><ul>");
        for warning in &results.warnings {
            let _ = write!(page, "<li>{}</li>", escape(warning));
        }
        page.push_str("</ul></div>");
    }
}

fn tiles(page: &mut String, results: &RunResults, timings: &Timings) {
    let mut tiles: Vec<(String, &str)> = Vec::new();
    let distinct = distinct(results);
    tiles.push((results.cases.len().to_string(), "device × limit cases served"));
    tiles.push((distinct.to_string(), "different networks among them"));
    let accuracies = || results.cases.iter().map(|case| case.accuracy);
    if !results.cases.is_empty() {
        let (low, high) = (accuracies().fold(f64::INFINITY, f64::min), accuracies().fold(0.0, f64::max));
        let (low, high) = (results.on_test_images(low), results.on_test_images(high));
        let range = format!("{}–{}", low.number(), high.percent());
        tiles.push((range, "top-1 of the chosen networks on test images"));
        let off = results.cases.iter().map(|c| c.max_abs_diff / c.max_abs_logit.max(f64::MIN_POSITIVE));
        tiles.push((format!("{:.0e}", off.fold(0.0, f64::max)), "largest deviation of ONNX from our logits, relative"));
    }
    if timings.total() > 0.0 {
        tiles.push((format!("{} s", seconds(timings.total())), "for the whole run"));
    }
    page.push_str("<div class=\"tiles\">");
    for (value, about) in tiles {
        let _ = write!(page, "<div class=\"tile\"><b>{}</b>{about}</div>", escape(&value));
    }
    page.push_str("</div>");
}

/// Number of different networks chosen.
pub fn distinct(results: &RunResults) -> usize {
    let mut archs: Vec<String> = results.cases.iter().map(|case| case.arch.to_string()).collect();
    archs.sort();
    archs.dedup();
    archs.len()
}

fn figures(page: &mut String, plots: &[Titled<'_>]) {
    page.push_str("<div class=\"plots\">");
    for Titled { title, plot, .. } in plots {
        let _ = write!(page, "<figure><figcaption>{}</figcaption>{}</figure>", escape(title), plot.html(title));
    }
    page.push_str("</div>");
}

fn networks(page: &mut String, results: &RunResults, timings: &Timings) {
    page.push_str(
        "<h2>Chosen networks</h2><p class=\"note\">A bar is a block: its height is the expansion ratio, its colour the \
         kernel size (<span class=\"key box k3\"></span>3 <span class=\"key box k5\"></span>5 \
         <span class=\"key box k7\"></span>7 <span class=\"key box empty\"></span>left out); the number below is the \
         depth of the stage. Accuracy is on test images that nothing was trained, calibrated or chosen on.</p>\
         <div class=\"panel scroll\"><table class=\"cards\"><thead><tr><th>device<th>limit<th>network<th class=\"n\">input\
         <th class=\"n\">top-1<th class=\"n\">balanced<th class=\"n\">before fine-tuning<th class=\"n\">predicted<th class=\"n\">latency<th class=\"n\">MACs<th class=\"n\">params\
         <th class=\"n\">fine-tuning<th class=\"n\">this machine<th>file</tr></thead><tbody>",
    );
    for case in results.cases.iter().chain(&results.reference) {
        network(page, case, results, timings);
    }
    for case in &results.infeasible {
        let _ = write!(
            page,
            "<tr><td class=\"head\">{}</td><td data-name=\"limit\">{}</td><td class=\"wide\" colspan=\"12\">{}</td></tr>",
            escape(case.device()),
            escape(&limits(&case.constraint)),
            escape(&case.verdict())
        );
    }
    page.push_str("</tbody></table></div>");
    for note in super::notes(results, timings) {
        let _ = write!(page, "<p class=\"note\">{}</p>", escape(&note));
    }
}

fn network(page: &mut String, case: &Case, results: &RunResults, timings: &Timings) {
    let resolution = case.arch.resolution.map_or_else(|| "–".to_owned(), |r| format!("{r} px"));
    let host = timings.host_ms(&case.onnx).map_or_else(|| "–".to_owned(), |ms| format!("{} ms", number(ms)));
    let tuning = timings.fine_tuning_s(&case.onnx).map_or_else(|| "–".to_owned(), |s| format!("{} s", seconds(s)));
    let limit = case.limits();
    let _ = write!(
        page,
        "<tr><td class=\"head\">{device}</td><td data-name=\"limit\">{limit}</td><td class=\"wide\" data-name=\"network\">\
         {drawing}</td><td class=\"n\" data-name=\"input\">{resolution}</td><td class=\"n\" data-name=\"top-1\"><b>{}</b></td>\
         <td class=\"n\" data-name=\"balanced\">{}</td>\
         <td class=\"n\" data-name=\"before fine-tuning\">{}</td>\
         <td class=\"n\" data-name=\"predicted\">{}</td><td class=\"n\" data-name=\"latency\">{}</td>\
         <td class=\"n\" data-name=\"MACs\">{} M</td><td class=\"n\" data-name=\"params\">{} k</td>\
         <td class=\"n\" data-name=\"fine-tuning\">{tuning}</td>\
         <td class=\"n wide\" data-name=\"this machine\">{host}</td><td class=\"wide\" data-name=\"file\"><a href=\"{onnx}\" \
         data-tip=\"{onnx}: differs from our logits by at most {:.1e} of {}\">ONNX</a></td></tr>",
        results.top1(case),
        super::classes::or_dash(case.balanced_accuracy, results.images[2]),
        results.on_test_images(case.as_cut()).percent(),
        case.predicted(results.images[2]),
        case.latency(),
        number(case.macs as f64 / 1e6),
        number(case.params as f64 / 1e3),
        case.max_abs_diff,
        number(case.max_abs_logit),
        device = escape(case.device()),
        limit = escape(&limit),
        drawing = draw(&case.blocks, &results.places, &format!("{} {limit}: {}", case.device(), case.arch)),
        onnx = escape(&case.onnx),
    );
}

fn phases(page: &mut String, results: &RunResults, timings: &Timings) {
    page.push_str(
        "<div class=\"panel scroll\" style=\"margin-top:14px\"><table><tr><th>phase<th class=\"n\">steps\
         <th class=\"n\">seconds<th class=\"n\">min<th class=\"n\">mid<th class=\"n\">max</tr>",
    );
    for phase in &results.phases {
        let validated = |top1| results.on_validation_images(top1).percent();
        let of = |label: &str| {
            phase.subnets.iter().find(|s| s.label == label).map_or_else(String::new, |s| validated(s.top1))
        };
        let time = timings.phases.iter().find(|timed| timed.name == phase.name);
        let _ = write!(
            page,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}</tr>",
            escape(&phase.name),
            phase.steps,
            time.map_or_else(|| "–".to_owned(), |timed| seconds(timed.seconds)),
            of("min"),
            of("mid"),
            of("max")
        );
    }
    page.push_str("</table></div>");
}

fn predictor(page: &mut String, results: &RunResults) {
    let fit = &results.predictor;
    let _ = write!(
        page,
        "<h2>Accuracy predictor</h2><p class=\"note\">{} fitted on {} measured subnets; on {} others its root mean squared \
         error is {} points, its mean absolute error {} points, and Kendall's tau {}.</p>",
        escape(&fit.kind),
        fit.n_train,
        fit.n_test,
        metric(100.0 * fit.rmse, 2, fit.n_test),
        metric(100.0 * fit.mae, 2, fit.n_test),
        metric(fit.kendall_tau, 3, fit.n_test)
    );
    figures(page, &plots::predictor(results));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_grouped_and_long_lists_cut() {
        assert_eq!(grouped("1234567").replace('\u{202f}', " "), "1 234 567");
        assert_eq!(grouped("123"), "123");
        let names: Vec<String> = (0..30).map(|i| format!("c{i}")).collect();
        assert!(classes(&names).starts_with("30 classes: c0, ") && classes(&names).ends_with("c19, …"));
        assert_eq!(limits(&serde_json::json!({ "latency_ms": 2.5, "macs": 3 })), "≤ 2.5 ms, macs ≤ 3");
    }
}
