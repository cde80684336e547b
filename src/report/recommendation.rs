//! The rule by which one network of every device is recommended.

use super::Case;

/// Of every device, in their order, the cheapest network whose accuracy interval reaches the accuracy of the device's best: a
/// dearer one is not better as far as the test images show. Indices into `cases`, whose intervals are known.
pub fn recommended(cases: &[Case]) -> Vec<usize> {
    let mut devices: Vec<Option<&str>> = Vec::new();
    for case in cases {
        if !devices.contains(&case.device.as_deref()) {
            devices.push(case.device.as_deref());
        }
    }
    devices.into_iter().filter_map(|device| of_device(cases, device)).collect()
}

fn of_device(cases: &[Case], device: Option<&str>) -> Option<usize> {
    let here = || cases.iter().enumerate().filter(move |(_, case)| case.device.as_deref() == device);
    let best = here().map(|(_, case)| case.accuracy).fold(f64::NEG_INFINITY, f64::max);
    let reaches = |case: &Case| case.interval.map_or(case.accuracy, |[_, high]| high) >= best;
    let cost = |case: &Case| (case.latency_ms.unwrap_or(0.0), case.macs, case.params);
    let cheaper = |a: &(usize, &Case), b: &(usize, &Case)| {
        let ((ms_a, macs_a, params_a), (ms_b, macs_b, params_b)) = (cost(a.1), cost(b.1));
        ms_a.total_cmp(&ms_b).then(macs_a.cmp(&macs_b)).then(params_a.cmp(&params_b)).then(a.0.cmp(&b.0))
    };
    here().filter(|(_, case)| reaches(case)).min_by(cheaper).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured_accuracy::MeasuredAccuracy;
    use ofa_space::ArchJson;

    fn case(device: Option<&str>, accuracy: f64, latency_ms: Option<f64>, macs: u64) -> Case {
        Case {
            device: device.map(str::to_owned),
            constraint: serde_json::json!({}),
            precision: None,
            values: std::collections::BTreeMap::new(),
            arch: ArchJson::default(),
            accuracy,
            accuracy_f32: None,
            interval: Some(MeasuredAccuracy::new(accuracy, 505).interval()),
            recommended: false,
            balanced_accuracy: None,
            per_class: Vec::new(),
            confusion: Vec::new(),
            right: None,
            supernet_accuracy: None,
            predicted_accuracy: None,
            predicted_deviation: None,
            extrapolated: false,
            prediction_missed: false,
            latency_ms,
            latency_is_estimate: false,
            macs,
            params: 0,
            onnx: String::new(),
            onnx_f32: None,
            layers_in_f32: Vec::new(),
            onnx_bytes: 0,
            peak_activation_bytes: 0,
            max_abs_diff: 0.0,
            max_abs_logit: 0.0,
            blocks: Vec::new(),
        }
    }

    #[test]
    fn the_cheapest_that_cannot_be_told_from_the_best_is_recommended() {
        // On 505 images, 0.83 reaches 0.860; 0.80 reaches 0.833 only.
        let cases = [
            case(Some("phone"), 0.80, Some(1.0), 9),
            case(Some("phone"), 0.83, Some(2.0), 8),
            case(Some("phone"), 0.855, Some(3.0), 7),
            case(None, 0.9, None, 5),
            case(None, 0.9, None, 4),
        ];
        assert_eq!(recommended(&cases), [1, 4]);
        assert_eq!(recommended(&[]), [] as [usize; 0]);
    }
}
