//! Number 16 for whole commands: damaged files end with a message, never with a panic. The readers themselves are fuzzed by
//! `tests/readers.rs`.

use crate::small_run::SmallRun;
use crate::{assert_refused, fixture, line, run_in_within};

#[test]
fn a_cut_or_emptied_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mobile = fixture("models/mobile.safetensors");
    for (name, command) in [
        ("models/net.safetensors", "info --model {}"),
        ("models/net.onnx", "eval --data bundled --model {}"),
        ("predictors/mlp.json", "predict --space {mobile} --arch max --predictor {}"),
        ("devices/block-table.toml", "latency --space {mobile} --arch max --device {}"),
        ("devices/published-layout.yaml", "latency --space {mobile} --arch max --device {}"),
        ("spaces/mobile.toml", "info --space {}"),
    ] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let path = at(name.rsplit('/').next().unwrap());
        for keep in [0, 1, bytes.len() / 3] {
            std::fs::write(&path, &bytes[..keep]).unwrap();
            let command = command.replace("{mobile}", "{}");
            let paths: Vec<&std::path::Path> =
                if command.matches("{}").count() == 2 { vec![&mobile, &path] } else { vec![&path] };
            let outcome = line(&command, &paths);
            assert_eq!(outcome.code, Some(2), "{keep} bytes of {name}: {outcome:#?}");
            assert!(!outcome.stderr.contains("panicked"), "{outcome:#?}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_link_in_somebody_elses_run_is_not_followed() {
    use std::os::unix::fs::symlink;
    for (name, words) in [
        ("run/report.html", &["report", "run"][..]),
        ("run/results.json", &["run", "--resume", "--out", "run"]),
        ("run/plots", &["report", "run"]),
        ("run/nets", &["export", "run"]),
    ] {
        let run = SmallRun::finished();
        let (mine, path) = (run.root().join("mine"), run.root().join(name));
        match path.is_dir() {
            true => {
                std::fs::remove_dir_all(&path).unwrap();
                std::fs::create_dir(&mine).unwrap();
            }
            false => {
                std::fs::rename(&path, &mine).unwrap();
                std::fs::write(&mine, "mine").unwrap();
            }
        }
        symlink(&mine, &path).unwrap();
        let outcome = run_in_within(run.root(), 60, words);
        assert_refused(&outcome, &[name.rsplit('/').next().unwrap(), "link"]);
        let is_untouched = match mine.is_dir() {
            true => std::fs::read_dir(&mine).unwrap().count() == 0,
            false => std::fs::read(&mine).unwrap() == b"mine",
        };
        assert!(is_untouched, "{name}");
        // A link to the run itself, whatever it is called, is another name of it.
        std::fs::remove_file(&path).unwrap();
        symlink(run.out(), run.root().join("other name")).unwrap();
        assert_eq!(run_in_within(run.root(), 60, &["run", "--resume", "--out", "other name"]).code, Some(0));
    }
}
