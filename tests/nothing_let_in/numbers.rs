//! Numbers 11 and 13: absurd numbers of options panicked, aborted, hung, or were taken without a word.

use crate::{assert_refused, fixture, line};
use std::path::Path;

#[test]
fn absurd_counts_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mobile, net) = (fixture("models/mobile.safetensors"), fixture("models/net.safetensors"));
    let out = folder.path().join("out.toml");
    let all: [(&str, &str, &[&Path]); 6] = [
        ("spaces --threads", "--threads", &[]),
        ("collect --model {} --data bundled -o {} --count", "--count", &[&mobile, &out]),
        ("profile --space tiny-28 -o {} --nets", "--nets", &[&out]),
        ("profile --space tiny-28 -o {} --rounds", "--rounds", &[&out]),
        ("export --model {} -o {} --static-batch", "--static-batch", &[&net, &out]),
        ("measure --model {} --runs", "--runs", &[&net]),
    ];
    for (command, option, paths) in all {
        for number in ["99999999999999", "18446744073709551615"] {
            assert_refused(&line(&format!("{command} {number}"), paths), &[option]);
        }
    }
    assert_refused(&line("spaces --threads 100000", &[]), &["--threads"]);
    assert!(!out.exists());
}

/// A limit of minus infinity never ended; infinity was taken for a limit.
#[test]
fn limits_are_finite_and_positive() {
    let (predictor, space) = (fixture("predictors/ridge.json"), fixture("spaces/mobile.toml"));
    let device = fixture("devices/roofline.toml");
    for limit in ["-inf", "inf", "1e400", "nan", "0", "-5", "-0.0", "1e308G"] {
        for option in ["--max-latency-ms", "--max-sram-kb", "--max-flash-kb", "--max-macs", "--max-params"] {
            let search = format!("search --accuracy {{}} --space {{}} --device {{}} {option}={limit}");
            let outcome = line(&search, &[&predictor, &space, &device]);
            assert_refused(&outcome, &["limit"]);
        }
    }
}

/// A profile of a device, read by a pipeline or a search.
#[test]
fn a_time_limit_of_a_profile_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("board.toml");
    for seconds in ["1e308", "0", "-1", "inf", "nan", "1e-400"] {
        let text = format!("[device]\nkind = \"command\"\ncommand = [\"true\", \"{{onnx}}\"]\ntimeout_s = {seconds}\n");
        std::fs::write(&path, text).unwrap();
        let outcome = line("latency --allow-commands --space tiny-28 --arch max --device {}", &[&path]);
        assert_refused(&outcome, &["timeout_s"]);
    }
}
