//! What is cut off goes on: the files are the same, byte for byte, as if nothing had happened.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

mod program;

use program::{TRAINING, program, run_line, train};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A training run that nobody disturbed.
fn undisturbed() -> &'static Path {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let folder = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        train(folder.path(), "");
        folder
    });
    folder.path()
}

fn model(folder: &Path) -> PathBuf {
    folder.join("run/supernet.safetensors")
}

fn assert_same(a: &Path, b: &Path) {
    let (left, right) = (std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    let difference = left.iter().zip(&right).position(|(l, r)| l != r);
    assert!(left == right, "{} and {} differ, first at byte {difference:?}", a.display(), b.display());
}

/// Waits until `ready`, while the process is still at work.
fn wait_until(child: &mut Child, ready: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !ready() {
        assert!(child.try_wait().unwrap().is_none(), "the program ended before it could be cut off");
        assert!(Instant::now() < deadline, "the program saved nothing within two minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(arguments: &[&str]) -> Child {
    program(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Starts a training run and waits for its first checkpoint.
fn training_with_a_checkpoint(folder: &Path) -> Child {
    let config = folder.join("training.toml");
    std::fs::write(&config, TRAINING).unwrap();
    let out = folder.join("run");
    let mut child = start(&["train", config.to_str().unwrap(), "--out", out.to_str().unwrap()]);
    wait_until(&mut child, || out.join("checkpoint.ofa").exists());
    child
}

#[test]
fn training_killed_after_its_first_checkpoint_goes_on_to_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = training_with_a_checkpoint(folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!model(folder.path()).exists(), "it was killed too late to show anything");

    let (config, out) = (folder.path().join("training.toml"), folder.path().join("run"));
    let refused = run_line("train {} --out {}", &[&config, &out]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("--resume"), "{refused:#?}");

    let resumed = train(folder.path(), "--resume");
    assert!(resumed.stderr.contains("resuming from the checkpoint"), "{resumed:#?}");
    for file in ["supernet.safetensors", "best.safetensors", "metrics.jsonl", "checkpoint.ofa"] {
        assert_same(&folder.path().join("run").join(file), &undisturbed().join("run").join(file));
    }
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_it_used() {
    for damage in ["cut off", "a bit flipped"] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let mut child = training_with_a_checkpoint(folder.path());
        wait_until(&mut child, || out.join("checkpoint.1.ofa").exists() && out.join("checkpoint.ofa").exists());
        child.kill().unwrap();
        child.wait().unwrap();
        let newest = out.join("checkpoint.ofa");
        let mut bytes = std::fs::read(&newest).unwrap();
        match damage {
            "cut off" => bytes.truncate(bytes.len() / 3),
            _ => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
        }
        std::fs::write(&newest, bytes).unwrap();
        let resumed = train(folder.path(), "--resume");
        assert!(resumed.stderr.contains("is damaged") && resumed.stderr.contains("checkpoint.1.ofa"), "{resumed:#?}");
        assert_same(&model(folder.path()), &model(undisturbed()));
    }
}

#[test]
fn interrupted_training_saves_a_checkpoint_exits_130_and_goes_on_to_the_same_model() {
    // Ctrl-C, and what `kill` and service managers send.
    for signal in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = training_with_a_checkpoint(folder.path());
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}");
        assert!(!model(folder.path()).exists());
        train(folder.path(), "--resume");
        assert_same(&model(folder.path()), &model(undisturbed()));
    }
}

#[test]
fn training_repeats_bit_for_bit_whatever_the_number_of_threads() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = train(folders[0].path(), "--threads 1").json();
    let two = train(folders[1].path(), "--threads 2").json();
    assert_eq!(one["phases"], two["phases"]);
    assert_same(&model(folders[0].path()), &model(folders[1].path()));
    assert_same(&model(folders[0].path()), &model(undisturbed()));
}

#[test]
fn an_explicit_seed_comes_before_the_configuration_s() {
    let folder = tempfile::tempdir().unwrap();
    // One step a phase.
    let short = TRAINING.replace("epochs = 0.01", "epochs = 0.0001").replace("epochs = 0.005", "epochs = 0.0001");
    let trained = |name: &str, seed: u64, options: &str| {
        let (config, out) = (folder.path().join(format!("{name}.toml")), folder.path().join(name));
        std::fs::write(&config, format!("seed = {seed}\n{short}")).unwrap();
        run_line(&format!("train {{}} --out {{}} {options}"), &[&config, &out]).ok();
        out.join("supernet.safetensors")
    };
    let (zero, seven) = (trained("zero", 0, ""), trained("seven", 7, ""));
    assert_ne!(std::fs::read(&zero).unwrap(), std::fs::read(&seven).unwrap(), "the seed changes nothing");
    assert_same(&trained("seven-over-zero", 0, "--seed 7"), &seven);
    assert_same(&trained("zero-over-seven", 7, "--seed 0"), &zero);
}

const COLLECT: &str = "collect --data bundled --count 8 --calibration-images 300 --model {} -o {}";

#[test]
fn collecting_killed_after_its_first_pair_goes_on_to_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(undisturbed());
    let (whole, cut) = (folder.path().join("whole.jsonl"), folder.path().join("cut.jsonl"));
    run_line(COLLECT, &[&model, &whole]).ok();

    let command = COLLECT.replacen("{}", model.to_str().unwrap(), 1).replacen("{}", cut.to_str().unwrap(), 1);
    let mut child = start(&command.split_whitespace().collect::<Vec<_>>());
    let part = folder.path().join("cut.jsonl.part");
    wait_until(&mut child, || std::fs::read_to_string(&part).is_ok_and(|text| text.contains('\n')));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!cut.exists(), "it was killed too late to show anything");
    // As if the power had failed in the middle of a line.
    let mut text = std::fs::read_to_string(&part).unwrap();
    text.push_str("{\"arch\":{\"ks\":[3,");
    std::fs::write(&part, text).unwrap();

    let refused = run_line(COLLECT, &[&model, &cut]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    let resumed = run_line(&format!("{COLLECT} --resume"), &[&model, &cut]).ok();
    assert_eq!(resumed.lines().len(), 8);
    assert_same(&cut, &whole);
}

#[test]
fn interrupted_fine_tuning_saves_a_checkpoint_exits_130_and_ends_with_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let supernet = model(undisturbed());
    let (whole, cut) = (folder.path().join("whole.safetensors"), folder.path().join("cut.safetensors"));
    let line = "finetune --model {} --arch max --data bundled --epochs 0.3 -o {}";
    let expected = run_line(line, &[&supernet, &whole]).ok().json();
    // Nothing is left beside the output.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let command = line.replacen("{}", supernet.to_str().unwrap(), 1).replacen("{}", cut.to_str().unwrap(), 1);
    let mut child = start(&command.split_whitespace().collect::<Vec<_>>());
    let checkpoints = folder.path().join("cut.safetensors.checkpoint");
    wait_until(&mut child, || checkpoints.join(".lock").exists());
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(checkpoints.join("checkpoint.ofa").exists() && !cut.exists());

    let refused = run_line(line, &[&supernet, &cut]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("--resume"), "{refused:#?}");
    let other = run_line(&format!("{line} --resume --learning-rate 0.001"), &[&supernet, &cut]);
    assert_eq!(other.code, Some(2), "{other:#?}");
    let resumed = run_line(&format!("{line} --resume"), &[&supernet, &cut]).ok();
    assert!(resumed.stderr.contains("resuming from the checkpoint"), "{resumed:#?}");
    assert_same(&cut, &whole);
    for field in ["steps", "top1_before", "top1_after", "images", "kept"] {
        assert_eq!(resumed.json()[field], expected[field]);
    }
    assert!(!checkpoints.exists());
}

/// Numbers that look random and are the same every time (Knuth's congruence).
fn random_milliseconds(from: u64, to: u64) -> impl Iterator<Item = u64> {
    let mut state = 20_261_124u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from + (state >> 33) % (to - from)
    })
}

/// Starts `line` with `--resume` again and again and kills it after a random time, until it ends by itself; returns how
/// often it was killed.
fn kill_until_done(line: &[&str], pauses: impl Iterator<Item = u64>, most: usize) -> usize {
    let mut kills = 0;
    for pause in pauses {
        let mut child = start(&[line, &["--resume"]].concat());
        if kills < most {
            std::thread::sleep(Duration::from_millis(pause));
        } else {
            child.wait().unwrap();
        }
        match child.try_wait().unwrap() {
            Some(status) => {
                assert!(status.success(), "{status}");
                return kills;
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
            }
        }
    }
    unreachable!("the pauses never end")
}

/// The long version of the tests above: `cargo test --release --test resume -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn twenty_kills_of_training_and_ten_of_collecting_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let longer = TRAINING.replace("epochs = 0.01", "epochs = 1.0").replace("epochs = 0.005", "epochs = 0.15");
    let longer = format!("validation_epochs = 0.02\nema_decay = 0.9\nkeep = 3\n{longer}");
    std::fs::write(at("training.toml"), longer).unwrap();
    run_line("train {} --out {}", &[Path::new(&at("training.toml")), Path::new(&at("whole"))]).ok();
    let kills =
        kill_until_done(&["train", &at("training.toml"), "--out", &at("cut")], random_milliseconds(300, 1000), 20);
    eprintln!("training was killed {kills} times");
    for file in [
        "supernet.safetensors",
        "best.safetensors",
        "metrics.jsonl",
        "checkpoint.ofa",
        "checkpoint.1.ofa",
        "checkpoint.2.ofa",
    ] {
        assert_same(Path::new(&at(&format!("cut/{file}"))), Path::new(&at(&format!("whole/{file}"))));
    }
    let whole = at("whole/supernet.safetensors");
    assert!(kills >= 20, "only {kills} kills: make the training longer");

    let collect = |output: &str| {
        let line = format!("collect --data bundled --count 200 --calibration-images 300 --model {whole} -o {output}");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    program(&collect(&at("whole.jsonl"))).stdout(Stdio::null()).status().unwrap();
    let line = collect(&at("cut.jsonl"));
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let kills = kill_until_done(&line, random_milliseconds(300, 1000), 10);
    eprintln!("collecting was killed {kills} times");
    assert_same(Path::new(&at("cut.jsonl")), Path::new(&at("whole.jsonl")));
    assert!(kills >= 10, "only {kills} kills: collect more");
}
