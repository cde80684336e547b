//! The first part of a report: which network to ship, how certain that is, and the next commands.

use super::plot::number;
use super::{Case, RunResults, Timings};
use crate::measured_accuracy::Difference;
use crate::measured_profile::{Agreement, agreement};

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

/// Commands that come next, with what each does. `run` is the run's folder.
pub fn next_commands(results: &RunResults, run: &str) -> Vec<(String, &'static str)> {
    let Some(case) = results.cases.iter().find(|case| case.recommended) else { return Vec::new() };
    let weights = quoted(&format!("{}/nets/{}.safetensors", run.trim_end_matches('/'), case.name()));
    let run = quoted(run);
    let device = case.device.as_ref().map_or_else(String::new, |device| format!(" --device {}", quoted(device)));
    let mut commands = vec![
        (format!("ofa classify {run} photo.jpg"), "try it on a photo"),
        (
            format!("ofa search {run} --device {} --max-latency-ms 50%,80%", another(results)),
            "networks for another device",
        ),
        (format!("ofa measure --model {weights}"), "its time on this machine"),
    ];
    if case.file_precision() != "int8" {
        commands.push((format!("ofa export {run}{device} --int8"), "an int8 file beside it"));
    }
    commands
}

/// A device that the run has no networks for.
fn another(results: &RunResults) -> &'static str {
    let is_new = |name: &&&str| results.cases.iter().all(|case| case.device.as_deref() != Some(**name));
    DEVICES.iter().find(is_new).unwrap_or(&DEVICES[0])
}

/// Devices to suggest.
const DEVICES: [&str; 3] = ["pixel4-cpu", "stm32f746", "raspberry-pi-4"];

/// An argument as a shell reads it.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:@%".contains(c);
    match !argument.is_empty() && argument.chars().all(is_plain) {
        true => argument.to_owned(),
        false => format!("'{}'", argument.replace('\'', "'\\''")),
    }
}

/// What a reader should know beside the figures, a sentence each.
pub fn notes(results: &RunResults, timings: &Timings) -> Vec<String> {
    let mut notes = assessment(results, timings);
    notes.extend(marks(results));
    notes
}

/// What the marks beside figures mean.
pub fn marks(results: &RunResults) -> Vec<String> {
    let mut notes = Vec::new();
    if results.cases.iter().any(|case| results.against_best(case).is_some_and(Difference::is_noise)) {
        notes.push(
            "≈: on the same test images, the difference from the device's most accurate network is within the noise (95 %)."
                .to_owned(),
        );
    }
    if results.cases.iter().any(|case| case.prediction_missed) {
        notes.push(MISSED.to_owned());
    }
    notes
}

/// What the accuracies and latencies are worth.
pub fn assessment(results: &RunResults, timings: &Timings) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(baseline) = results.baseline {
        let share = results.on_test_images(baseline).percent();
        notes.push(format!(
            "Always answering with the largest class of the test images would be right for {share} of them."
        ));
    }
    let each = results.extremes.iter().map(|extreme| {
        let accuracy = results.on_test_images(extreme.test_top1).percent();
        format!("the {} subnet has {accuracy} at {} M MACs", extreme.label, number(extreme.macs as f64 / 1e6))
    });
    let each: Vec<String> = each.collect();
    if !each.is_empty() {
        notes.push(format!("For scale, as cut: {}.", each.join("; ")));
    }
    notes.extend(results.cases.iter().filter_map(|case| in_device_precision(case, results)));
    notes.extend(estimates(results, timings));
    notes.extend(beaten_by_the_smallest(results));
    notes
}

/// What the mark `(!)` beside a prediction means.
const MISSED: &str = "(!): further from the measured accuracy than three deviations of the predictor and of a count of so many \
                      test images allow; measure more pairs, or do not rely on the ranking.";

/// What a file in the precision of its device costs against f32.
fn in_device_precision(case: &Case, results: &RunResults) -> Option<String> {
    let in_f32 = results.on_test_images(case.accuracy_f32?).percent();
    let kept = match case.layers_in_f32.as_slice() {
        [] => String::new(),
        layers => format!("; in f32 stay {}", layers.join(", ")),
    };
    let (device, file, precision) = (case.device(), case.file(), case.file_precision());
    Some(format!(
        "{device} computes in {precision}: the accuracy is that of {file}, of the f32 file it is {in_f32}{kept}."
    ))
}

/// What is known about latencies that are estimates.
fn estimates(results: &RunResults, timings: &Timings) -> Option<String> {
    let mut devices: Vec<&str> =
        results.cases.iter().filter(|case| case.latency_is_estimate).map(Case::device).collect();
    devices.dedup();
    let seen = match agreement(&timings.latency_check) {
        Agreement { nets, roofline_mape, .. } if nets > 0 => {
            format!(
                " On this machine, such a roofline missed the measured times of {nets} networks by {:.0} % on average.",
                100.0 * roofline_mape
            )
        }
        _ => String::new(),
    };
    (!devices.is_empty()).then(|| {
        format!(
            "Latencies on {} are estimates: rooflines from data sheets, never compared with the device.{seen} `ofa profile`, or \
             `ofa devices calibrate` with some measured networks, makes them figures.",
            devices.join(", ")
        )
    })
}

/// Chosen networks that are no better than the smallest subnet, which costs less.
fn beaten_by_the_smallest(results: &RunResults) -> Option<String> {
    let smallest = results.extremes.iter().find(|extreme| extreme.label == "min")?;
    let beaten = |case: &&Case| case.accuracy < smallest.test_top1 && case.macs > smallest.macs;
    let names: Vec<&str> = results.cases.iter().filter(beaten).map(Case::name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "The smallest subnet, with {} M MACs and {} on the test images, is more accurate than {}: the limits can be lower, \
             or the training was too short.",
            number(smallest.macs as f64 / 1e6),
            results.on_test_images(smallest.test_top1).percent(),
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn arguments_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted("my-run/1"), "my-run/1");
        assert_eq!(quoted("my run's"), "'my run'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
