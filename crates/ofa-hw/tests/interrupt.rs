//! A measurement by a user's command, cancelled. Alone in its program, since the request reaches every command.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_hw::devices::command;
use ofa_hw::{HwError, registry};
use std::process::Command;
use std::time::Duration;

#[test]
fn running_commands_are_ended_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let script = folder.path().join("bench.sh");
    std::fs::write(&script, format!("sleep 1000 &\necho $! >> {0}\necho $$ >> {0}\nwait\n", pids.display())).unwrap();
    let profile = format!(
        "[device]\nkind = \"command\"\ncommand = [\"sh\", \"{}\", \"{{onnx}}\"]\ncache = \"\"\nretries = 5\n",
        script.display()
    );
    ofa_hw::devices::command::allow();
    let board = registry::from_profile(&profile, "board.toml").unwrap();
    let measuring = std::thread::spawn(move || {
        let space = ofa_space::registry::named("tiny-28").unwrap();
        board.latency_ms(&space.resolve(&space.min_arch()).unwrap())
    });
    let numbers = || std::fs::read_to_string(&pids).unwrap_or_default();
    while numbers().lines().count() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    command::end_all();
    assert!(matches!(measuring.join().unwrap(), Err(HwError::Interrupted)));
    // No further try was made, and nothing is left.
    assert_eq!(numbers().lines().count(), 2);
    let is_running = |pid: &str| {
        let ps = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
        let state = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
        !state.is_empty() && !state.starts_with('Z')
    };
    let mut waits = 0;
    while numbers().lines().any(is_running) {
        assert!(waits < 500, "still running");
        waits += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
}
