//! A training is never deleted or repeated silently: another one is refused with what differs, or moved aside on request.

use crate::program::program;
use crate::small_run::{SmallRun, assert_redone, assert_refused, draw, sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Digests of the files of a training.
fn training(run: &SmallRun, folder: &str) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(run.at(folder)).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), sha256(&file))).collect()
}

#[test]
fn other_epochs_are_refused_with_what_differs_and_retraining_moves_the_old_one_aside() {
    let run = SmallRun::finished();
    let before = training(&run, "train");
    let plan = std::fs::read(run.at("pipeline.toml")).unwrap();
    run.configure(|text| text.replace("epochs = 1.6", "epochs = 2.2").replace("batch_size = 6", "batch_size = 5"));
    let refused = run.start(&["--resume"]);
    assert_refused(
        &refused,
        &[
            "`train.batch_size` was 6, is 5",
            "`train.phases[0].epochs` was 1.6, is 2.2",
            "--retrain",
            "choose another --out",
        ],
    );
    assert_eq!(training(&run, "train"), before);
    assert_eq!(std::fs::read(run.at("pipeline.toml")).unwrap(), plan, "what was refused was written");
    assert_redone(&run.resume(&[]).ok(), &["train", "collect", "fit", "search", "deploy"], &[]);

    let retrained = run.start(&["--retrain"]).ok();
    assert_redone(&retrained, &[], &["train", "collect", "fit", "search", "deploy"]);
    assert!(retrained.stderr.contains("train-aside-1"), "{retrained:#?}");
    assert_eq!(training(&run, "train-aside-1"), before);
    let fresh = SmallRun::prepared();
    fresh.configure(|text| text.replace("epochs = 1.6", "epochs = 2.2").replace("batch_size = 6", "batch_size = 5"));
    fresh.start(&[]).ok();
    assert_eq!(run.results(), fresh.results());
    // And once more: nothing that was set aside is lost.
    run.start(&["--retrain"]).ok();
    assert_eq!(training(&run, "train-aside-1"), before);
    assert!(run.at("train-aside-2/supernet.safetensors").exists());
}

#[test]
fn steps_after_training_are_redone_where_they_depend_on_a_change() {
    let run = SmallRun::finished();
    for (from, to, kept, redone) in [
        ("verify_images = 2", "verify_images = 3", &["train", "collect", "fit", "search"][..], &["deploy"][..]),
        ("evaluations = 60", "evaluations = 90", &["train", "collect", "fit"], &["search", "deploy"]),
        ("holdout = 0.25", "holdout = 0.3", &["train", "collect"], &["fit", "search", "deploy"]),
        ("count = 12", "count = 14", &["train"], &["collect", "fit", "search", "deploy"]),
    ] {
        run.configure(|text| text.replace(from, to));
        assert_redone(&run.start(&["--resume"]).ok(), kept, redone);
        // How the work is done changes nothing.
        run.configure(|text| {
            text.replace(from, to).replace("checkpoint_steps = 2", "checkpoint_steps = 3\nprefetch = 1")
        });
        assert_redone(&run.start(&["--resume"]).ok(), &["train", "collect", "fit", "search", "deploy"], &[]);
    }
}

const ONE_MORE: &str = r#"
[[train.phases]]
name = "once more"
opens = { kernel_size = 2, depth = 1, expansion = 1 }
epochs = 0.6
learning_rate = 0.01

[collect]
"#;

#[test]
fn phases_that_are_appended_extend_a_run_and_give_what_a_whole_run_gives() {
    let longer = |text: String| text.replace("\n[collect]\n", ONE_MORE);
    let run = SmallRun::finished();
    run.configure(longer);
    let extended = run.start(&["--resume"]).ok();
    assert!(extended.stderr.contains("resuming from the checkpoint"), "{extended:#?}");
    let fresh = SmallRun::prepared();
    fresh.configure(longer);
    fresh.start(&[]).ok();
    assert_eq!(run.results(), fresh.results());
    assert_eq!(run.nets(), fresh.nets());
    assert_eq!(run.results()["phases"].as_array().unwrap().len(), 3);

    // Not if a finished phase differs too, nor if one is missing.
    let before = training(&run, "train");
    run.configure(|text| longer(text).replace("epochs = 0.8", "epochs = 1.2"));
    assert_refused(&run.start(&["--resume"]), &["`train.phases[1].epochs` was 0.8, is 1.2", "--retrain"]);
    run.configure(|text| text);
    assert_refused(&run.start(&["--resume"]), &["`train.phases[2].name` was once more, is not there", "--retrain"]);
    assert_eq!(training(&run, "train"), before);
}

#[test]
fn an_unfinished_training_is_kept_too() {
    let run = SmallRun::prepared();
    // Long enough to be cut off.
    let long = |text: String| text.replace("epochs = 1.6", "epochs = 400.0");
    run.configure(long);
    let mut child = program(&["run", "small.toml", "--out", "run"]);
    let mut child = child.current_dir(run.root()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !run.at("train/checkpoint.1.ofa").exists() {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "no checkpoint was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = training(&run, "train");

    run.configure(|text| long(text).replace("seed = 3", "seed = 4"));
    assert_refused(&run.start(&["--resume"]), &["`train.seed` was 3, is 4", "--retrain"]);
    draw(&run.data().join("train/plum/77.png"), 2, 1234);
    run.configure(long);
    assert_refused(&run.start(&["--resume"]), &["`data.training_images` was 30 images", "is 31 images"]);
    assert_eq!(training(&run, "train"), before);
}

#[test]
fn an_empty_folder_starts_afresh_and_one_with_other_files_is_refused() {
    let run = SmallRun::prepared();
    std::fs::create_dir(run.out()).unwrap();
    let started = run.start(&["--resume"]).ok();
    let lines: Vec<&str> = started.stderr.lines().filter(|line| line.contains("starts afresh")).collect();
    assert_eq!(lines.len(), 1, "{started:#?}");
    assert_eq!(run.results(), SmallRun::finished().results());

    let others = tempfile::tempdir().unwrap();
    std::fs::write(others.path().join("thesis.tex"), "precious").unwrap();
    let out = others.path().to_str().unwrap();
    for arguments in [&["run", "--resume", "--out", out][..], &["run", "--resume", "--out", out, "--data", "bundled"]] {
        assert_refused(&run.run(arguments), &["thesis.tex", "pipeline.toml", "choose another --out"]);
    }
    assert_refused(&run.run(&["run", "small.toml", "--resume", "--out", out]), &["thesis.tex", "choose another --out"]);
    let left: Vec<_> = std::fs::read_dir(others.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "thesis.tex" || name == ".lock"), "{left:?}");
}

#[test]
fn a_first_attempt_that_failed_does_not_block_the_second() {
    let run = SmallRun::prepared();
    let bad = run.data().join("train/pear/bad.png");
    std::fs::write(&bad, "no image").unwrap();
    assert_refused(&run.start(&[]), &["bad.png"]);
    std::fs::remove_file(&bad).unwrap();
    run.start(&[]).ok();
    assert_eq!(run.results(), SmallRun::finished().results());

    // A device that cannot be read, and a training that fails at its first step.
    let run = SmallRun::prepared();
    run.configure(|text| text.replace("device = \"pixel4-cpu\"", "device = \"no-such-device\""));
    assert_refused(&run.start(&[]), &["no-such-device"]);
    run.configure(|text| {
        text.replace("learning_rate = 0.05", "learning_rate = 99.0").replace("epochs = 1.6", "epochs = 9.0")
    });
    let diverged = run.start(&[]);
    run.configure(|text| text);
    if diverged.code == Some(0) {
        return;
    }
    assert_eq!(diverged.code, Some(1), "{diverged:#?}");
    let second = run.start(&["--retrain"]).ok();
    assert!(!second.stderr.contains("done before"), "{second:#?}");
    assert_eq!(run.results(), SmallRun::finished().results());
}

/// Killed again and again at any moment, a run ends with the same bytes.
#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let whole = SmallRun::fine_tuned();
    let run = SmallRun::prepared();
    std::fs::copy(whole.config(), run.config()).unwrap();
    let mut kills = 0;
    for round in 0.. {
        let mut child = program(&["run", "small.toml", "--out", "run", "--resume"]);
        let messages = run.root().join("stderr");
        let stderr = std::fs::File::create(&messages).unwrap();
        let mut child = child.current_dir(run.root()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        if kills < 12 {
            std::thread::sleep(Duration::from_millis(90 + 77 * round % 400));
        } else {
            child.wait().unwrap();
        }
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status} after {kills} kills: {}", std::fs::read_to_string(messages).unwrap());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0, "it ended before it could be killed");
    assert_eq!(run.results(), whole.results());
    assert_eq!(run.nets(), whole.nets());
    for file in ["pairs.jsonl", "predictor.json", "steps.json", "train/supernet.safetensors", "train/metrics.jsonl"] {
        assert_eq!(sha256(&run.at(file)), sha256(&whole.at(file)), "{file}");
    }
}

/// `ofa train` tells the same differences.
#[test]
fn another_training_file_is_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    crate::program::train(folder.path(), "");
    let config = folder.path().join("training.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("batch_size = 16", "batch_size = 8");
    std::fs::write(&config, text).unwrap();
    let checkpoint = sha256(&folder.path().join("run/checkpoint.ofa"));
    let refused =
        crate::program::run_line("train {} --out {} --resume", &[&config, Path::new(&folder.path().join("run"))]);
    assert_refused(&refused, &["`train.batch_size` was 16, is 8", "choose another --out"]);
    assert_eq!(sha256(&folder.path().join("run/checkpoint.ofa")), checkpoint);
}
