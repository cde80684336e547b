//! A user's command as a device: good output, failures, wrong output, hanging, and results kept on disk.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_hw::{DeviceProfile, HardwareBackend, HwError, registry};
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
    ofa_hw::devices::command::allow();
    DeviceProfile::parse(&text, "phone.toml", folder).unwrap().device
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
        ("echo fast", "not JSON"),
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

/// Waits until none of the processes whose numbers stand in this file runs any more. One that has ended and was not
/// waited for by its new parent counts as gone.
fn all_are_gone(pids: &Path) -> bool {
    let text = std::fs::read_to_string(pids).unwrap();
    assert!(text.lines().count() > 0, "the script wrote no numbers");
    let is_running = |pid: &str| {
        let ps = std::process::Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
        let state = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
        !state.is_empty() && !state.starts_with('Z')
    };
    for _ in 0..500 {
        if !text.lines().any(is_running) {
            return true;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    false
}

/// A script that starts a sleeper of its own, notes the numbers of both, and hangs.
fn hanging_script(pids: &Path) -> String {
    format!("echo $$ >> {0}\nsleep 1000 &\necho $! >> {0}\nwait\n", pids.display())
}

#[test]
fn a_command_that_hangs_is_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let script = hanging_script(&pids);
    let hanging = device(folder.path(), &script, "timeout_s = 0.3\nretries = 1");
    let error = latency(&hanging).unwrap_err().to_string();
    assert!(error.contains("timeout_s") && error.contains("2 tries"), "{error}");
    assert!(all_are_gone(&pids));
    // One that does not want to end is made to.
    std::fs::remove_file(&pids).unwrap();
    let stubborn = device(folder.path(), &format!("trap '' TERM\n{script}"), "timeout_s = 0.3\nretries = 0");
    assert!(latency(&stubborn).is_err());
    assert!(all_are_gone(&pids));
}

#[test]
fn what_a_command_leaves_running_is_ended_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    // The sleeper holds the pipe that the result comes through.
    let script = format!("sleep 1000 &\necho $! >> {}\necho '{{\"latency_ms\": 2.5}}'\n", pids.display());
    assert_eq!(latency(&device(folder.path(), &script, "")).unwrap(), 2.5);
    assert!(all_are_gone(&pids));
}

#[test]
fn a_changed_script_is_another_measurement() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(latency(&device(folder.path(), "echo '{\"latency_ms\": 1}'", "")).unwrap(), 1.0);
    assert_eq!(latency(&device(folder.path(), "echo '{\"latency_ms\": 2}'", "")).unwrap(), 2.0);
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
