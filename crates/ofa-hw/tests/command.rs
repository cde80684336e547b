//! A user's command as a device: good output, failures, wrong output, hanging, and results kept on disk.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_hw::{HardwareBackend, HwError, registry};
use std::path::Path;
use std::sync::Arc;

/// A device whose command is this shell script; `$1` is the network's file.
fn device(folder: &Path, script: &str, more: &str) -> Arc<dyn HardwareBackend> {
    let file = folder.join("bench.sh");
    std::fs::write(&file, script).unwrap();
    let text = format!(
        "[device]\nkind = \"command\"\ncommand = [\"sh\", \"{}\", \"{{onnx}}\", \"{{shape}}\"]\ncache = \"{}\"\n{more}\n",
        file.display(),
        folder.join("cache").display()
    );
    registry::from_profile(&text, "phone.toml").unwrap()
}

fn latency(device: &Arc<dyn HardwareBackend>) -> Result<f64, HwError> {
    let space = ofa_space::registry::named("tiny-28").unwrap();
    device.latency_ms(&space.resolve(&space.min_arch()).unwrap())
}

fn calls(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("calls")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_command_is_run_once_for_a_network() {
    let folder = tempfile::tempdir().unwrap();
    let calls_file = folder.path().join("calls");
    let script = format!(
        "test -s \"$1\" || exit 3\necho \"$2\" >> {}\necho connecting …\necho '{{\"latency_ms\": 12.5, \"runs\": 50}}'\n",
        calls_file.display()
    );
    let phone = device(folder.path(), &script, "");
    assert_eq!(latency(&phone).unwrap(), 12.5);
    assert_eq!(latency(&phone).unwrap(), 12.5);
    assert_eq!(std::fs::read_to_string(&calls_file).unwrap(), "1,1,20,20\n");
    // Another field is another measurement.
    let other = device(folder.path(), &script, "field = \"runs\"");
    assert_eq!(latency(&other).unwrap(), 50.0);
    assert_eq!(calls(folder.path()), 2);
}

#[test]
fn a_failure_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let calls_file = folder.path().join("calls");
    let script = format!(
        "echo call >> {0}\ntest $(wc -l < {0}) -ge 3 || {{ echo no device attached >&2; exit 1; }}\n\
         echo '{{\"latency_ms\": 1.5}}'\n",
        calls_file.display()
    );
    assert_eq!(latency(&device(folder.path(), &script, "retries = 2")).unwrap(), 1.5);
    std::fs::remove_file(&calls_file).unwrap();
    std::fs::remove_dir_all(folder.path().join("cache")).unwrap();
    let error = latency(&device(folder.path(), &script, "retries = 1")).unwrap_err().to_string();
    assert!(error.contains("no device attached") && error.contains("2 tries"), "{error}");
}

#[test]
fn wrong_output_says_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("echo fast", "no JSON"),
        ("true", "printed nothing"),
        ("echo '{\"ms\": 3}'", "no number `latency_ms`"),
        ("echo '{\"latency_ms\": -3}'", "`latency_ms` is -3"),
        ("echo '{\"latency_ms\": \"3\"}'", "no number `latency_ms`"),
    ];
    for (script, expected) in cases {
        let error = latency(&device(folder.path(), script, "retries = 0")).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("bench.sh"), "{error}");
    }
}

#[test]
fn a_command_that_hangs_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let started = std::time::Instant::now();
    let hanging = device(folder.path(), "sleep 1000", "timeout_s = 0.2\nretries = 1");
    let error = latency(&hanging).unwrap_err().to_string();
    assert!(error.contains("timeout_s"), "{error}");
    // Not a speed test: only that nobody waited for the sleeper.
    assert!(started.elapsed().as_secs() < 500);
}

#[test]
fn impossible_profiles_name_the_field() {
    let cases = [
        ("command = []", "`command` is empty"),
        ("command = [\"bench\"]", "{onnx}"),
        ("command = [\"bench\", \"{onnx}\"]\ntimeout_s = 0", "timeout_s"),
        ("command = [\"bench\", \"{onnx}\"]\nretries = 99", "retries"),
        ("command = [\"bench\", \"{onnx}\"]\nfield = \"\"", "field"),
    ];
    for (body, place) in cases {
        let text = format!("[device]\nkind = \"command\"\n{body}\n");
        let error = registry::from_profile(&text, "phone.toml").unwrap_err().to_string();
        assert!(error.contains("phone.toml") && error.contains(place), "{error}");
    }
}
