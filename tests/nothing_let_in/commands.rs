//! Number 9: a profile ran its program without a question, and kept its results wherever it liked.
#![cfg(unix)]

use crate::program::program;
use crate::{assert_refused, fixture, line};
use std::path::Path;

fn profile(folder: &Path, more: &str) -> std::path::PathBuf {
    let path = folder.join("board.toml");
    let script = format!("touch {}; echo '{{\\\"latency_ms\\\": 5}}'", folder.join("witness").display());
    let text =
        format!("[device]\nkind = \"command\"\ncommand = [\"sh\", \"-c\", \"{script}\", \"{{onnx}}\"]\n{more}\n");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_profile_runs_nothing_until_it_is_allowed_to() {
    let folder = tempfile::tempdir().unwrap();
    let board = profile(folder.path(), "cache = \"\"");
    let witness = folder.path().join("witness");
    let (net, out) = (fixture("models/net.safetensors"), folder.path().join("out.toml"));
    let all: [(&str, Vec<&Path>); 3] = [
        ("latency --space tiny-28 --arch max --device {}", vec![&board]),
        ("measure --model {} --device {}", vec![&net, &board]),
        ("profile --space tiny-28 --nets 0 -o {} --device {}", vec![&out, &board]),
    ];
    for (command, paths) in &all {
        // With the command line, so that it can be judged.
        assert_refused(&line(command, paths), &["board.toml", "sh -c", "touch", "--allow-commands"]);
        assert!(!witness.exists(), "{command}");
    }
    // By name, from a folder of profiles.
    let named = ["latency", "--space", "tiny-28", "--arch", "max", "--device", "board"];
    let output = program(&named).env("OFA_DEVICE_PATH", folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--allow-commands") && !witness.exists());
    let allowed = line("latency --allow-commands --space tiny-28 --arch max --device {}", &[&board]);
    assert_eq!(allowed.code, Some(0), "{allowed:#?}");
    assert!(witness.exists());
}

#[test]
fn results_are_kept_beside_the_profile_or_in_the_users_cache() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let latency = "latency --allow-commands --space tiny-28 --arch max --device {}";
    std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("link")).unwrap();
    let outside = elsewhere.path().join("kept");
    for cache in [outside.to_str().unwrap(), "../kept", "kept/../../kept", "link/kept"] {
        let outcome = line(latency, &[&profile(folder.path(), &format!("cache = {cache:?}"))]);
        assert_refused(&outcome, &["`cache`"]);
    }
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    let outcome = line(latency, &[&profile(folder.path(), "cache = \"kept\"")]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(std::fs::read_dir(folder.path().join("kept")).unwrap().count(), 1);
}
