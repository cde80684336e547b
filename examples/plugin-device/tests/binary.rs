//! The binary of this crate knows its devices, by name and by kind.
#![allow(clippy::unwrap_used, missing_docs)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn ofa(arguments: &[&str], device_path: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ofa-with-device"));
    command.args(arguments).arg("--json").env_remove("OFA_DEVICE_PATH");
    if let Some(folder) = device_path {
        command.env("OFA_DEVICE_PATH", folder);
    }
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn latency(device: &str, device_path: Option<&Path>) -> Output {
    ofa(&["latency", "--space", "tiny-28", "--arch", "max", "--device", device], device_path)
}

#[test]
fn plugins_stand_beside_the_built_in_devices() {
    let listed = json(&ofa(&["devices"], None));
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    for name in ["systolic-16", "raspberry-pi-5", "note10", "host"] {
        assert!(names.contains(&name), "{name} is missing: {names:?}");
    }
}

#[test]
fn a_profile_selects_and_configures_the_plugin_s_kind() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("big-array.toml");
    std::fs::write(&profile, "[device]\nkind = \"systolic-array\"\nside = 64\n").unwrap();
    let ms = |output: &Output| json(output)["latency_ms"].as_f64().unwrap();
    let small = ms(&latency("systolic-16", None));
    let big = ms(&latency(profile.to_str().unwrap(), None));
    assert!(0.0 < big && big < small, "{big} {small}");
    // Dropped into a folder, it is found by name, and listed.
    assert_eq!(ms(&latency("big-array", Some(folder.path()))), big);
    let listed = json(&ofa(&["devices"], Some(folder.path())));
    assert!(listed.as_array().unwrap().iter().any(|entry| entry["name"] == "big-array"), "{listed}");
}

#[test]
fn an_impossible_value_names_file_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("bad.toml");
    std::fs::write(&profile, "[device]\nkind = \"systolic-array\"\nside = 0\n").unwrap();
    let refused = latency(profile.to_str().unwrap(), None);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.contains("bad.toml") && message.contains("`side` is 0"), "{message}");
}
