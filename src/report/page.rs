//! The page itself: no external requests, light and dark, for phones, desktops and paper.

use super::cost::{self, seconds};
use super::report_plots::{self, Titled};
use super::svg_plot::{escape, number};
use super::{RunResults, Timings, first_section, networks};
use crate::prediction::metric;
use ofa_space::listing;
use std::fmt::Write;

const STYLE: &str = concat!(include_str!("plot.css"), include_str!("style.css"), include_str!("print.css"));
const HOVER: &str = include_str!("hover.js");

/// The report as one HTML page.
pub fn render(results: &RunResults, timings: &Timings) -> String {
    let mut body = String::new();
    first_section::section(&mut body, results, timings);
    body.push_str(
        "<section id=\"accuracy\"><h2>Accuracy against cost</h2><p class=\"note\">The line is the best accuracy that the predictor \
         promises within a cost, before any fine-tuning; outlined marks are the networks chosen for the dashed limits. Filled marks \
         are the same networks as delivered, on test images, with 95 % intervals.</p>",
    );
    let mut accuracy = report_plots::fronts(results);
    accuracy.extend(report_plots::accuracy_here(results, timings));
    figures(&mut body, &accuracy);
    body.push_str("</section>");
    networks::section(&mut body, results, timings);
    body.push_str(&super::classes::page(results));
    cost::panel(&mut body, results, timings);
    training(&mut body, results, timings);
    predictor(&mut body, results);
    machine(&mut body, results, timings);
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"icon\" href=\"data:,\"><title>Once-for-all: {space}</title><style>{STYLE}</style></head><body>\
         {header}<main>{body}</main><div id=\"tip\" role=\"status\"></div><script>{HOVER}</script></body></html>\n",
        space = escape(&results.space),
        header = header(results, timings, &body),
    )
}

/// Sections of the page: id, and name in its contents.
const SECTIONS: [(&str, &str); 8] = [
    ("ship", "Ship this"),
    ("accuracy", "Accuracy against cost"),
    ("networks", "Networks"),
    ("classes", "Classes"),
    ("cost", "Cost"),
    ("training", "Training"),
    ("predictor", "Predictor"),
    ("machine", "This machine"),
];

fn header(results: &RunResults, timings: &Timings, body: &str) -> String {
    let cases = results.cases.len();
    let distinct = distinct(results);
    let mut header = format!(
        "<header><h1>One training, {cases} network{s}</h1><div class=\"two\"><p>The supernet <b>{space}</b> holds {subnets} subnets \
         at each of {resolutions} pixels. It was trained once; {every} was cut out of it {how}{time}.</p>\
         <p class=\"note\">{data}. {classes}.</p></div><nav aria-label=\"Sections\">",
        s = if cases == 1 { "" } else { "s" },
        space = escape(&results.space),
        subnets = grouped(&results.subnets),
        resolutions = results.resolutions.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        every = match distinct == cases {
            true => "every network".to_owned(),
            false => format!("every network ({distinct} different ones)"),
        },
        how = match results.reference {
            Some(_) => "and fine-tuned for a few epochs",
            None => "without retraining",
        },
        time = match timings.total() {
            0.0 => String::new(),
            total => format!(", in {} s all together", seconds(total)),
        },
        data = escape(&results.data),
        classes = escape(&classes(&results.class_names)),
    );
    for (id, name) in SECTIONS.iter().filter(|(id, _)| body.contains(&format!("<section id=\"{id}\""))) {
        let _ = write!(header, "<a href=\"#{id}\">{name}</a>");
    }
    header + "</nav></header>"
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

fn training(page: &mut String, results: &RunResults, timings: &Timings) {
    page.push_str(
        "<section id=\"training\"><h2>Progressive shrinking</h2><p class=\"note\">Training opens the choices phase by phase, from \
         the largest network to all of them.</p>",
    );
    figures(page, &report_plots::training(results));
    phases(page, results, timings);
    page.push_str("</section>");
}

/// What was measured on this machine; nothing if nothing was.
fn machine(page: &mut String, results: &RunResults, timings: &Timings) {
    let host = report_plots::host(results, timings);
    let checks = report_plots::latency_checks(timings);
    if host.is_none() && checks.is_empty() {
        return;
    }
    page.push_str("<section id=\"machine\"><h2>This machine</h2>");
    if let Some(host) = host {
        page.push_str("<p class=\"note\">Measured run time; the devices above are tables and models.</p>");
        figures(page, &[host]);
    }
    if !checks.is_empty() {
        page.push_str(
            "<h3>Predicted latency on this machine</h3><p class=\"note\">Every block of the space was timed here; the profile is \
             <code>work/host.toml</code>, a device for <code>--device</code>. The networks are random ones that took no part in the \
             profile. Beside it, a shipped roofline as it is.</p>",
        );
        figures(page, &checks);
    }
    page.push_str("</section>");
}

fn phases(page: &mut String, results: &RunResults, timings: &Timings) {
    page.push_str(
        "<div class=\"panel scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Phases\"><table><thead><tr><th scope=\"col\">phase</th>\
         <th scope=\"col\" class=\"n\">steps</th><th scope=\"col\" class=\"n\">seconds</th><th scope=\"col\" class=\"n\">min</th>\
         <th scope=\"col\" class=\"n\">mid</th><th scope=\"col\" class=\"n\">max</th></tr></thead><tbody>",
    );
    for phase in &results.phases {
        let validated = |top1| results.on_validation_images(top1).percent();
        let of = |label: &str| {
            phase.subnets.iter().find(|s| s.label == label).map_or_else(String::new, |s| validated(s.top1))
        };
        let time = timings.phases.iter().find(|timed| timed.name == phase.name);
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(&phase.name),
            phase.steps,
            time.map_or_else(|| "–".to_owned(), |timed| seconds(timed.seconds)),
            of("min"),
            of("mid"),
            of("max")
        );
    }
    page.push_str("</tbody></table></div>");
}

fn predictor(page: &mut String, results: &RunResults) {
    let fit = &results.predictor;
    let _ = write!(
        page,
        "<section id=\"predictor\"><h2>Accuracy predictor</h2><p class=\"note\">{} fitted on {} measured subnets; on {} others its root mean squared \
         error is {} points, its mean absolute error {} points, and Kendall's tau {}.</p>",
        escape(&fit.kind),
        fit.n_train,
        fit.n_test,
        metric(100.0 * fit.rmse, 2, fit.n_test),
        metric(100.0 * fit.mae, 2, fit.n_test),
        metric(fit.kendall_tau, 3, fit.n_test)
    );
    figures(page, &report_plots::predictor(results));
    page.push_str("</section>");
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
