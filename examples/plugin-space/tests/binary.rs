//! The binary of this crate knows its space: counted, costed, trained and exported like a built-in one.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn ofa(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_ofa-with-space")).args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_space_is_listed_counted_and_costed() {
    let listed = ofa(&["spaces"]);
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"separable") && names.contains(&"ofa-mbv3-w1.0"), "{names:?}");
    // Three stages of 1 to 3 blocks, each with two kernel sizes.
    assert_eq!(ofa(&["info", "--space", "separable"])["subnets"], (2u64 + 4 + 8).pow(3).to_string());
    let max = ofa(&["info", "--space", "separable", "--arch", "max"]);
    assert_eq!(max["blocks"].as_array().unwrap().len(), 1 + 9 + 2);
    let min = ofa(&["info", "--space", "separable", "--arch", "min"]);
    assert!(min["macs"].as_u64() < max["macs"].as_u64());
}

#[test]
fn the_space_trains_from_toml_and_a_subnet_leaves_it_as_onnx() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let config = r#"
space = { kind = "separable", channels = [8, 16] }
data = "bundled"
batch_size = 16
validation_images = 100
calibration_images = 64

[[phases]]
name = "all at once"
opens = { kernel_size = 1, depth = 2 }
epochs = 0.005
learning_rate = 0.05
"#;
    std::fs::write(at("train.toml"), config).unwrap();
    let trained = ofa(&["train", text(&at("train.toml")), "--out", text(&at("run"))]);
    assert_eq!(trained["phases"][0]["name"], "all at once");
    let model = at("run/supernet.safetensors");
    let arch = json!({ "ks": [5, 3, 3, 3, 5, 3], "d": [1, 2], "r": 24 }).to_string();
    let onnx = at("net.onnx");
    let exported = ofa(&["export", "--model", text(&model), "--arch", &arch, "-o", text(&onnx), "--verify"]);
    let relative = exported["max_abs_diff"].as_f64().unwrap() / exported["max_abs_logit"].as_f64().unwrap();
    assert!(relative < 1e-4, "{exported}");
}
