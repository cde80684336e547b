//! The first section of the page: the networks to ship, how sure that is, what comes next, and what the user was warned of.

use super::bars::{Bar, Row, rows};
use super::svg_plot::{escape, number};
use super::{Case, RunResults, Timings, notes};
use crate::measured_accuracy::Difference;
use std::fmt::Write;

/// Networks in the picture of intervals at most; of more, only those that decide.
const MOST_INTERVALS: usize = 12;

/// The first section of the page.
pub fn section(page: &mut String, results: &RunResults, timings: &Timings) {
    page.push_str("<section id=\"ship\" class=\"two\">");
    let recommended: Vec<&Case> = results.cases.iter().filter(|case| case.recommended).collect();
    if !recommended.is_empty() {
        page.push_str("<div class=\"panel\"><h2>Ship this</h2>");
        for case in recommended {
            pick(page, case, results);
        }
        page.push_str("</div>");
    }
    sureness(page, results, timings);
    let commands = super::next_commands(results, "RUN");
    if !commands.is_empty() {
        page.push_str("<div class=\"panel\"><h2>Next</h2><ul class=\"next\">");
        for (command, about) in commands {
            let _ = write!(page, "<li>{}<code>{}</code></li>", escape(about), wrapping(&command));
        }
        page.push_str("</ul><p class=\"note\">RUN is the folder of this report.</p></div>");
    }
    if !results.warnings.is_empty() {
        page.push_str("<div class=\"panel warnings\"><h2>Warnings</h2><ul>");
        for warning in &results.warnings {
            let _ = write!(page, "<li>{}</li>", escape(warning));
        }
        page.push_str("</ul></div>");
    }
    page.push_str("</section>");
}

/// A command whose options are not divided at their hyphens where a line ends.
fn wrapping(command: &str) -> String {
    let word = |word: &str| match word.contains('-') {
        true => format!("<span>{}</span>", escape(word)),
        false => escape(word).into_owned(),
    };
    command.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// A network to ship.
fn pick(page: &mut String, case: &Case, results: &RunResults) {
    let accuracy = results.on_test_images(case.accuracy);
    let _ = write!(
        page,
        "<article class=\"pick\"><h3>{}</h3><p class=\"file\"><a href=\"{}\">{}</a></p>\
         <p class=\"big\"><b>{}</b> top-1 on test images; 95 % interval {}</p><dl class=\"facts\">",
        escape(case.device()),
        escape(&case.onnx),
        escape(case.file()),
        accuracy.percent(),
        accuracy.interval_number()
    );
    let resolution = case.arch.resolution.map(|r| format!("{r} px"));
    let kilobytes = |bytes: u64| (bytes > 0).then(|| format!("{} kB", number(bytes as f64 / 1024.0)));
    let facts = [
        ("top-1 in f32", case.accuracy_f32.map(|one| results.on_test_images(one).percent())),
        ("latency", case.latency_ms.map(|_| case.latency())),
        ("MACs", Some(format!("{} M", number(case.macs as f64 / 1e6)))),
        ("parameters", Some(format!("{} k", number(case.params as f64 / 1e3)))),
        ("file", kilobytes(case.onnx_bytes)),
        ("activations, f32", kilobytes(case.peak_activation_bytes)),
        ("input", resolution),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            let _ = write!(page, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
        }
    }
    let _ = write!(page, "</dl><p class=\"note\">{}</p></article>", escape(&reason(case, results)));
}

/// Why this network and no other of its device.
fn reason(case: &Case, results: &RunResults) -> String {
    let here = || results.cases.iter().filter(|other| other.device == case.device);
    let best = here().reduce(|best, other| if other.accuracy > best.accuracy { other } else { best }).unwrap_or(case);
    if here().all(|other| other.arch == case.arch) {
        return "The only network that was chosen here.".to_owned();
    }
    if best.accuracy <= case.accuracy {
        return "The most accurate one here; no cheaper network's 95 % interval reaches its accuracy.".to_owned();
    }
    let accuracy = results.on_test_images(best.accuracy);
    let mut text = format!(
        "The cheapest network whose 95 % interval reaches the accuracy of the best one here, {} ({}).",
        best.name(),
        accuracy.percent()
    );
    if let Some(difference) = results.against_best(case) {
        let Difference { mean, error } = difference;
        let (mean, error) = (accuracy.written_like_it(-mean), accuracy.written_like_it(error));
        let _ = write!(text, " On the same images it is {mean} points behind, with a standard error of {error}");
        text.push_str(match difference.is_noise() {
            true => ": within the noise.",
            false => ": more than noise. Take the best one if its cost does not matter.",
        });
    }
    text
}

fn sureness(page: &mut String, results: &RunResults, timings: &Timings) {
    let _ = write!(
        page,
        "<div class=\"panel\"><h2>How sure is this?</h2><p class=\"note\">Top-1 of the delivered files on {} test images, on \
         which nothing was trained, calibrated or chosen, with 95 % intervals.</p>{}<ul class=\"note\">",
        results.images[2],
        rows(&intervals(results))
    );
    for note in notes::assessment(results, timings) {
        let _ = write!(page, "<li>{}</li>", escape(&note));
    }
    let off = results.cases.iter().map(|case| case.max_abs_diff / case.max_abs_logit.max(f64::MIN_POSITIVE));
    if !results.cases.is_empty() {
        let _ = write!(
            page,
            "<li>Every file was run in an inference runtime; its logits differ from the trained network's by at most {:.0e} of \
             the largest.</li>",
            off.fold(0.0, f64::max)
        );
    }
    page.push_str("</ul></div>");
}

/// A row for each network; of many, for those to ship, the best of each device, and the full network.
fn intervals(results: &RunResults) -> Vec<Row> {
    let is_best = |case: &Case| results.against_best(case).is_none();
    let shows_all = results.cases.len() <= MOST_INTERVALS;
    let cases = results.cases.iter().filter(|case| shows_all || case.recommended || is_best(case));
    cases.chain(&results.reference).map(|case| interval(case, results)).collect()
}

fn interval(case: &Case, results: &RunResults) -> Row {
    let accuracy = results.on_test_images(case.accuracy);
    let is_full = case.predicted_accuracy.is_none();
    Row {
        name: if is_full { "full network".to_owned() } else { case.name().to_owned() },
        bar: Bar::Interval {
            value: 100.0 * case.accuracy,
            interval: accuracy.interval().map(|end| 100.0 * end),
            colour: match (case.recommended, is_full) {
                (true, _) => 3,
                (_, true) => 1,
                _ => 2,
            },
        },
        value: accuracy.with_interval(),
        tip: format!("{}, {}", case.device(), case.limits()),
        class: if case.recommended { "strong" } else { "" },
    }
}
