//! The page itself: no external requests, light and dark, for phones and desktops.

use super::drawing::draw;
use super::plot::{Axes, Mark, Series, escape, number, plot};
use super::{Case, RunResults};
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

/// The report as one HTML page.
pub fn render(results: &RunResults) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Once-for-all: {space}</title><style>{STYLE}</style></head><body><main>\
         <h1>One training, {cases} networks</h1>\
         <p class=\"lead\">Supernet <b>{space}</b>: {subnets} subnets at each resolution, trained once. \
         Data: {data}.</p>",
        space = escape(&results.space),
        cases = results.cases.len(),
        subnets = escape(&results.subnets),
        data = escape(&results.data),
    );
    fronts(&mut page, results);
    cases(&mut page, results);
    training(&mut page, results);
    predictor(&mut page, results);
    cost(&mut page, results);
    page.push_str("</main></body></html>\n");
    page
}

fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

fn fronts(page: &mut String, results: &RunResults) {
    page.push_str("<h2>Accuracy against latency</h2><div class=\"plots\">");
    for front in &results.fronts {
        let in_percent = |points: &[(f64, f64)]| points.iter().map(|(x, y)| (*x, 100.0 * y)).collect();
        let of_device = |case: &&Case| case.device == front.device;
        let chosen: Vec<(f64, f64)> =
            results.cases.iter().filter(of_device).map(|c| (c.latency_ms, c.predicted_accuracy)).collect();
        let measured: Vec<(f64, f64)> =
            results.cases.iter().filter(of_device).map(|c| (c.latency_ms, c.accuracy)).collect();
        let series = [
            Series { name: "front, predicted", points: in_percent(&front.points), mark: Mark::Line, colour: 0 },
            Series { name: "chosen, predicted", points: in_percent(&chosen), mark: Mark::Rings, colour: 1 },
            Series { name: "chosen, test images", points: in_percent(&measured), mark: Mark::Dots, colour: 2 },
        ];
        let _ = write!(
            page,
            "<figure><figcaption>{}</figcaption>{}</figure>",
            escape(&front.device),
            plot(&Axes { x: "latency, ms", y: "top-1, %" }, &series)
        );
    }
    page.push_str("</div>");
}

fn cases(page: &mut String, results: &RunResults) {
    page.push_str(
        "<h2>Chosen networks</h2><p class=\"note\">Bars are blocks: height the middle channels, colour the kernel size \
         (<span class=\"key k3\"></span>3 <span class=\"key k5\"></span>5 <span class=\"key k7\"></span>7). \
         Accuracy is on test images that nothing was trained, calibrated or chosen on.</p><div class=\"scroll\"><table>\
         <tr><th>device</th><th>limit</th><th>network</th><th>px</th><th>top-1</th><th>predicted</th>\
         <th>latency</th><th>MACs</th><th>params</th><th>this machine</th><th>ONNX</th></tr>",
    );
    let widest = results.cases.iter().flat_map(|c| &c.blocks).map(|b| b.middle).max().unwrap_or(1);
    for case in &results.cases {
        let limit = match case.constraint.as_object() {
            Some(limits) => {
                let each = limits.iter().map(|(name, value)| {
                    let value = value.as_f64().map_or_else(|| value.to_string(), number);
                    match name.strip_suffix("_ms") {
                        Some(name) => format!("{name} ≤ {value} ms"),
                        None => format!("{name} ≤ {value}"),
                    }
                });
                each.collect::<Vec<_>>().join(", ")
            }
            None => case.constraint.to_string(),
        };
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td><b>{}</b></td><td>{}</td><td>{} ms</td>\
             <td>{} M</td><td>{} k</td><td>{}</td><td><a href=\"{onnx}\">{onnx}</a><br>\
             <small>off by {:.1e} of {}</small></td></tr>",
            escape(&case.device),
            escape(&limit),
            draw(&case.blocks, widest),
            case.arch.resolution.map_or_else(String::new, |r| r.to_string()),
            percent(case.accuracy),
            percent(case.predicted_accuracy),
            number(case.latency_ms),
            number(case.macs as f64 / 1e6),
            number(case.params as f64 / 1e3),
            case.host_ms.map_or_else(|| "–".to_owned(), |ms| format!("{} ms", number(ms))),
            case.max_abs_diff,
            number(case.max_abs_logit),
            onnx = escape(&case.onnx),
        );
    }
    page.push_str("</table></div>");
    if !results.extremes.is_empty() {
        page.push_str("<p class=\"note\">For scale: ");
        let each = results.extremes.iter().map(|e| {
            let macs = number(e.macs as f64 / 1e6);
            format!("the {} subnet has {} on test images at {macs} M MACs", escape(&e.label), percent(e.test_top1))
        });
        page.push_str(&each.collect::<Vec<_>>().join("; "));
        page.push_str(".</p>");
    }
}

fn training(page: &mut String, results: &RunResults) {
    page.push_str("<h2>Progressive shrinking</h2><div class=\"plots\">");
    let losses = results.steps.iter().map(|s| (s.step as f64, f64::from(s.loss))).collect();
    let loss = [Series { name: "loss", points: losses, mark: Mark::Line, colour: 0 }];
    let _ = write!(
        page,
        "<figure><figcaption>training loss (with distillation from the second phase on)</figcaption>{}</figure>",
        plot(&Axes { x: "step", y: "loss" }, &loss)
    );
    let mut done = 0;
    let ends: Vec<usize> = results
        .phases
        .iter()
        .map(|phase| {
            done += phase.steps;
            done
        })
        .collect();
    let series: Vec<Series<'_>> = ["max", "mid", "min"]
        .into_iter()
        .enumerate()
        .map(|(colour, label)| Series {
            name: label,
            points: results
                .phases
                .iter()
                .zip(&ends)
                .filter_map(|(phase, end)| {
                    let subnet = phase.subnets.iter().find(|s| s.label == label)?;
                    Some((*end as f64, 100.0 * subnet.top1))
                })
                .collect(),
            mark: Mark::Line,
            colour,
        })
        .collect();
    let _ = write!(
        page,
        "<figure><figcaption>validation at the end of each phase: largest, middle and smallest opened subnet</figcaption>\
         {}</figure></div><div class=\"scroll\"><table><tr><th>phase</th><th>steps</th><th>min</th><th>mid</th><th>max</th></tr>",
        plot(&Axes { x: "step", y: "top-1, %" }, &series)
    );
    for phase in &results.phases {
        let of =
            |label: &str| phase.subnets.iter().find(|s| s.label == label).map_or_else(String::new, |s| percent(s.top1));
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&phase.name),
            phase.steps,
            of("min"),
            of("mid"),
            of("max")
        );
    }
    page.push_str("</table></div>");
}

fn predictor(page: &mut String, results: &RunResults) {
    let fit = &results.predictor;
    let points: Vec<(f64, f64)> = fit.held_out.iter().map(|(m, p)| (100.0 * m, 100.0 * p)).collect();
    let low = points.iter().map(|p| p.0).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p.0).fold(f64::NEG_INFINITY, f64::max);
    let series = [
        Series { name: "equal", points: vec![(low, low), (high, high)], mark: Mark::Line, colour: 3 },
        Series { name: "held-out subnets", points, mark: Mark::Dots, colour: 0 },
    ];
    let _ = write!(
        page,
        "<h2>Accuracy predictor</h2><div class=\"plots\"><figure><figcaption>{} fitted on {} subnets, \
         {} held out: RMSE {} points, Kendall tau {:.3}</figcaption>{}</figure></div>",
        escape(&fit.kind),
        fit.n_train,
        fit.n_test,
        number(100.0 * fit.rmse),
        fit.kendall_tau,
        plot(&Axes { x: "measured top-1, %", y: "predicted top-1, %" }, &series)
    );
}

fn cost(page: &mut String, results: &RunResults) {
    page.push_str("<h2>Cost</h2><div class=\"scroll\"><table><tr><th>stage</th><th>seconds</th></tr>");
    let mut total = 0.0;
    for (stage, seconds) in &results.seconds {
        total += seconds;
        let _ = write!(page, "<tr><td>{}</td><td>{seconds:.1}</td></tr>", escape(stage));
    }
    let _ = write!(page, "<tr><td><b>total</b></td><td><b>{total:.1}</b></td></tr></table></div>");
    let training: f64 = results.seconds.iter().filter(|(stage, _)| stage == "train").map(|(_, s)| s).sum();
    let n = results.cases.len();
    if n > 0 && training > 0.0 {
        let _ = write!(
            page,
            "<p class=\"note\">One training of {training:.0} s serves {n} cases ({:.1} s each, everything included); \
             training one supernet of this cost per case would take {:.0} s.</p>",
            total / n as f64,
            training * n as f64
        );
    }
}
