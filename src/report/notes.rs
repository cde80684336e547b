//! Notes beside the figures of a report: what the accuracies and latencies are worth, and what the marks mean.

use super::svg_plot::number;
use super::{Case, RunResults, Timings};
use crate::measured_accuracy::Difference;
use crate::measured_profile::{Agreement, agreement};

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
