//! Item 15: a subnet without batch-norm statistics of its own is never taken for one that has them.

use crate::fruit::{FRUIT, photos, supernet, trained};
use crate::program::{Outcome, run, run_line};
use std::path::Path;

fn warns(outcome: &Outcome) -> bool {
    outcome.stderr.lines().any(|line| line.starts_with("warning:"))
}

/// The metadata of a model file: the head of a safetensors file.
fn head(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    String::from_utf8(bytes[8..8 + length].to_vec()).unwrap()
}

#[test]
fn what_keeps_shared_statistics_warns_and_is_marked() {
    let scratch = tempfile::tempdir().unwrap();
    let (net, onnx) = (scratch.path().join("net.safetensors"), scratch.path().join("net.onnx"));
    let (model, data) = (supernet(), trained().join("photos"));
    let photo = data.join("apple/0.png");

    let extracted = run_line("extract --model {} --arch min -o {}", &[&model, &net]).ok();
    assert!(warns(&extracted) && extracted.json()["calibrated"] == false, "{extracted:#?}");
    assert!(head(&net).contains("calibrated"), "{}", head(&net));
    let exported = run_line("export --model {} --arch min -o {}", &[&model, &onnx]).ok();
    assert!(warns(&exported) && exported.json()["calibrated"] == false, "{exported:#?}");
    let metadata = ofa::export::OnnxFile::read(&std::fs::read(&onnx).unwrap()).unwrap().metadata;
    assert_eq!(metadata.get("calibrated").map(String::as_str), Some("false"));
    let classified = run_line("classify --model {} --arch min {}", &[&model, &photo]).ok();
    assert!(warns(&classified) && classified.json()["calibrated"] == false, "{classified:#?}");
    // The mark goes with the file.
    let again = run_line("export --model {} -o {}", &[&net, &onnx]).ok();
    assert!(warns(&again) && again.json()["calibrated"] == false, "{again:#?}");

    for line in ["extract --model {} --arch min -o {}", "export --model {} --arch min -o {}"] {
        let silenced = run_line(&format!("{line} --no-calibrate"), &[&model, &net]).ok();
        assert!(!warns(&silenced) && silenced.json()["calibrated"] == false, "{silenced:#?}");
        let calibrated = run_line(&format!("{line} --calibrate {{}}"), &[&model, &net, &data]).ok();
        assert!(!warns(&calibrated) && calibrated.json()["calibrated"] == true, "{calibrated:#?}");
    }
    let line = "classify --model {} --arch min {} --calibrate {}";
    let calibrated = run_line(line, &[&model, &photo, &data]).ok();
    assert!(!warns(&calibrated) && calibrated.json()["calibrated"] == true, "{calibrated:#?}");
}

#[test]
fn few_images_warn_and_none_calibrate_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let net = scratch.path().join("net.safetensors");
    let (model, data) = (supernet(), trained().join("photos"));
    let line = "extract --model {} --arch min -o {} --calibrate {} --calibration-images";
    let few = run_line(&format!("{line} 1"), &[&model, &net, &data]).ok();
    assert!(warns(&few) && few.stderr.contains("1 images") && few.json()["calibrated"] == true, "{few:#?}");
    let none = run_line(&format!("{line} 0"), &[&model, &net, &data]).ok();
    assert!(warns(&none) && none.json()["calibrated"] == false, "{none:#?}");
    let eval = run_line("eval --model {} --arch min --data {} --calibrate-images 1", &[&model, &data]).ok();
    assert!(warns(&eval), "{eval:#?}");
    let collect = "collect --model {} --data {} -o {} --count 1 --calibration-images 0";
    let refused = run_line(collect, &[&model, &data, &scratch.path().join("pairs.jsonl")]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
}

#[test]
fn a_whole_network_is_no_subnet() {
    let scratch = tempfile::tempdir().unwrap();
    photos(scratch.path(), FRUIT[0].1, 1);
    let photo = scratch.path().join("0.png");
    let onnx = scratch.path().join("net.onnx");
    let classified = run(&["classify", "--model", "mcunet", photo.to_str().unwrap(), "--json"]).ok();
    assert!(!warns(&classified) && classified.json().get("calibrated").is_none(), "{classified:#?}");
    let exported = run_line("export --model mcunet -o {}", &[&onnx]).ok();
    assert!(!warns(&exported) && exported.json()["calibrated"] == true, "{exported:#?}");
    // Its largest subnet is the network itself; a smaller one is not.
    let largest = run_line("export --model mcunet --arch max -o {}", &[&onnx]).ok();
    assert!(!warns(&largest), "{largest:#?}");
    let smaller = run_line("export --model mcunet --arch min -o {}", &[&onnx]).ok();
    assert!(warns(&smaller) && smaller.json()["calibrated"] == false, "{smaller:#?}");
}
