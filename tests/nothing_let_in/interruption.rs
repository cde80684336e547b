//! Number 15: Ctrl-C is answered within a second, whatever goes on.
#![cfg(unix)]

use crate::fixture;
use crate::program::program;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Starts a command, sends SIGINT once it is at work, and returns exit code and seconds until it ended.
fn interrupted(arguments: &[&std::ffi::OsStr], work: Duration) -> (Option<i32>, f64) {
    let mut child =
        program(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(work);
    assert!(child.try_wait().unwrap().is_none(), "it was to take longer");
    let sent = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    while sent.elapsed() < Duration::from_secs(20) {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), sent.elapsed().as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    (None, f64::INFINITY)
}

/// Drawing very many subnets did not look at the request; a long fit neither.
#[test]
fn long_work_ends_at_the_first_request() {
    /// A busy machine takes its time to start a thread.
    const AT_MOST: f64 = 3.0;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (mobile, space) = (fixture("models/mobile.safetensors"), fixture("spaces/mobile.toml"));
    let text = std::fs::read_to_string(fixture("pairs.jsonl")).unwrap();
    std::fs::write(at("pairs.jsonl"), text.repeat(100_000 / text.lines().count())).unwrap();
    let (pairs, out) = (at("pairs.jsonl"), at("out"));
    let collect = ["collect", "--data", "bundled", "--count", "100000", "--model"];
    let fit = ["fit", "--predictor", "elastic-net", "--space"];
    let commands: [(Vec<&std::ffi::OsStr>, u64); 2] = [
        (collect.iter().map(|w| (*w).as_ref()).chain([mobile.as_ref(), "-o".as_ref(), out.as_ref()]).collect(), 1500),
        (
            fit.iter()
                .map(|w| (*w).as_ref())
                .chain([space.as_ref(), "--pairs".as_ref(), pairs.as_ref(), "-o".as_ref(), out.as_ref()])
                .collect(),
            2500,
        ),
    ];
    for (arguments, work) in commands {
        let (code, seconds) = interrupted(&arguments, Duration::from_millis(work));
        assert_eq!(code, Some(130), "{arguments:?}");
        assert!(seconds < AT_MOST, "{arguments:?} ended after {seconds} s");
    }
}
