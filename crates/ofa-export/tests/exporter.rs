//! One recipe for every precision: what is compared with what, on which images, and what is refused.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_export::{
    Batch, ExportError, ExportOptions, Exporter, OnnxFile, Precision, Preprocessing, Reference, SessionOptions,
    export_net, runtime,
};
use ofa_space::{InputFormat, NetSpec, Resize, Weights, initialisation, registry};
use std::collections::BTreeMap;

fn network(space: &str) -> (NetSpec, Weights) {
    let space = registry::named(space).unwrap();
    let weights = initialisation::supernet_weights(space.as_ref(), 7).unwrap();
    (space.resolve(&space.min_arch()).unwrap(), weights)
}

fn batch(net: &NetSpec, images: usize, seed: u64) -> Batch {
    let [c, h, w] = net.input;
    Batch::random([images, c, h, w], seed)
}

fn in_graph(net: &NetSpec) -> Preprocessing {
    let values = |first: f32| (0..net.input[0]).map(|c| first + 0.05 * c as f32).collect();
    Preprocessing::InGraph(InputFormat { mean: values(0.4), std: values(0.2), resize: Resize::Stretch })
}

#[test]
fn every_precision_is_verified_against_the_f32_file() {
    for name in ["tiny-28", "cifar-32"] {
        let (net, weights) = network(name);
        let images = batch(&net, 64, 1);
        for preprocessing in [Preprocessing::Outside, in_graph(&net)] {
            let options = ExportOptions { preprocessing, ..ExportOptions::default() };
            let exporter = Exporter::new(net.clone(), &weights).options(options).calibration(&images).verified();
            for precision in [Precision::F32, Precision::F16 { tolerance: 0.01 }, Precision::Int8] {
                let exported = exporter.clone().precision(precision).export().unwrap();
                let found = exported.report.verification.clone().unwrap();
                assert_eq!(found.reference, Reference::F32File);
                assert!(found.runtime.starts_with("rten") && found.agreement.max_abs_logit > 0.0, "{found:?}");
                let share = found.agreement.max_abs_diff / found.agreement.max_abs_logit;
                let (least, most) = match precision {
                    Precision::F32 => (0.0, 1e-4),
                    Precision::F16 { .. } => (1e-6, 0.02),
                    Precision::Int8 => (1e-4, 0.5),
                };
                assert!((least..=most).contains(&share), "{name} {precision:?}: {share}");
                assert_eq!(exported.report.bytes, exported.onnx.len());
                let metadata = OnnxFile::read(&exported.onnx).unwrap().metadata;
                assert_eq!(metadata["precision"], precision.name());
                let in_f32 = exported.report.in_f32.map(|cut| cut.operations_in_f32.to_string());
                assert_eq!(metadata.get("operations_in_f32"), in_f32.as_ref());
            }
        }
    }
}

#[test]
fn the_f32_file_is_that_of_export_net_but_for_metadata() {
    let (net, weights) = network("tiny-28");
    let entries = BTreeMap::from([("precision".to_owned(), "f32".to_owned())]);
    let exported = Exporter::new(net.clone(), &weights).export().unwrap();
    assert_eq!(exported.onnx, export_net(&net, &weights, &entries).unwrap());
    assert_eq!((exported.report.verification, exported.report.output), (None, None));
}

#[test]
fn logits_of_the_caller_decide() {
    let (net, weights) = network("tiny-28");
    let images = batch(&net, 3, 2);
    let onnx = export_net(&net, &weights, &BTreeMap::new()).unwrap();
    let mut logits = runtime::load(&onnx, &SessionOptions::default()).unwrap().logits(&images).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    let report = Exporter::new(net.clone(), &weights).verified_against(&images, &logits).write(&path).unwrap();
    assert_eq!(report.verification.unwrap().reference, Reference::Given);
    assert_eq!(report.output.as_deref(), Some(path.as_path()));
    assert_eq!(std::fs::metadata(&path).unwrap().len(), report.bytes as u64);

    std::fs::remove_file(&path).unwrap();
    logits[4] += 0.1;
    let refused = Exporter::new(net.clone(), &weights).verified_against(&images, &logits).write(&path);
    assert!(matches!(refused, Err(ExportError::Disagreement { .. })), "{refused:?}");
    let refused = Exporter::new(net, &weights).verified_against(&images, &logits[1..]).write(&path);
    assert!(matches!(refused, Err(ExportError::LogitCount { found: 30, expected: 29 })), "{refused:?}");
    assert!(!path.exists(), "a file that failed verification was written");
}

#[test]
fn calibration_images_come_first_among_those_compared() {
    let (net, weights) = network("tiny-28");
    let given = batch(&net, 2, 3);
    let exporter = Exporter::new(net.clone(), &weights).calibration(&given).seed(9);
    let images = exporter.verification_images();
    let (shown, filled) = images.floats().unwrap().split_at(2 * 20 * 20);
    assert_eq!((shown, images.len()), (given.floats().unwrap(), 16));
    assert_eq!(filled, &batch(&net, 16, 9).floats().unwrap()[2 * 20 * 20..]);
    let options = ExportOptions { batch: Some(3), preprocessing: in_graph(&net), ..ExportOptions::default() };
    assert_eq!(exporter.options(options).verification_images(), Batch::random_bytes([3, 20, 20, 1], 9));
}

#[test]
fn bytes_are_normalised_plane_by_plane() {
    let format = InputFormat { mean: vec![0.5, 0.0], std: vec![0.5, 1.0], resize: Resize::Stretch };
    let bytes = Batch::of_bytes(vec![0, 255, 255, 0], [1, 1, 2, 2]).unwrap();
    let normalised = bytes.normalised(&format);
    assert_eq!((normalised.shape(), normalised.floats()), ([1, 2, 1, 2], Some(&[-1.0, 1.0, 1.0, 0.0][..])));
    assert_eq!((bytes.image(), normalised.normalised(&format)), ([2, 1, 2], normalised.clone()));
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let (net, weights) = network("tiny-28");
    let exporter = Exporter::new(net.clone(), &weights);
    let int8 = exporter.clone().precision(Precision::Int8);
    assert!(matches!(int8.export(), Err(ExportError::NoCalibrationImages)));
    let other = Batch::random([2, 3, 20, 20], 0);
    let refused = int8.clone().calibration(&other).export();
    assert!(matches!(refused, Err(ExportError::ImageShape { found: [3, 20, 20], expected: [1, 20, 20], .. })));
    let bytes = Batch::random_bytes([2, 20, 20, 1], 0);
    assert!(matches!(int8.calibration(&bytes).export(), Err(ExportError::ImageType { .. })));
    for tolerance in [0.0, -1.0, f64::NAN] {
        match exporter.clone().precision(Precision::F16 { tolerance }).export() {
            Err(ExportError::Setting(setting)) => assert_eq!(setting.field, "tolerance"),
            other => panic!("{other:?}"),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("absent").join("net.onnx");
    assert!(matches!(exporter.write(&nowhere), Err(ExportError::Write { path, .. }) if path == nowhere));
}

#[test]
fn a_report_has_a_field_for_everything() {
    let (net, weights) = network("tiny-28");
    let exporter = Exporter::new(net, &weights);
    let json = |exporter: &Exporter<'_>| serde_json::to_value(exporter.export().unwrap().report).unwrap();
    let plain = json(&exporter);
    for field in ["output", "runtime", "reference", "max_abs_diff", "max_abs_logit"] {
        assert!(plain.as_object().unwrap().contains_key(field) && plain[field].is_null(), "{field}");
    }
    let verified = json(&exporter.precision(Precision::f16()).verified());
    assert_eq!((&verified["precision"], &verified["reference"]), (&"f16".into(), &"f32 file".into()));
    assert!(verified["operations_in_f32"].is_u64() && verified["max_abs_diff"].is_f64(), "{verified}");
}
