//! Single commands that are cut off, or end worse than they began.

use crate::program::{Outcome, program, run, run_line, train};
use crate::small_run::{SmallRun, assert_refused, copy_folder, draw, sha256};
use ofa::space::Model;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Starts the program, waits until `ready`, interrupts it as Ctrl-C does, and returns its outcome.
fn interrupted(arguments: &[&str], ready: impl Fn() -> bool) -> Outcome {
    let mut child = program(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(180);
    while !ready() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be interrupted");
        assert!(Instant::now() < deadline, "it was not ready within three minutes");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/5257198").join(name)
}

struct Collecting {
    run: SmallRun,
    pairs: PathBuf,
}

impl Collecting {
    /// Cut off after its first pair.
    fn cut_off() -> Self {
        let run = SmallRun::finished();
        let pairs = run.root().join("collected.jsonl");
        let this = Self { run, pairs };
        let supernet = this.supernet();
        let part = this.part();
        let arguments = this.arguments(&supernet, &this.run.data(), &["--count", "1200"]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let begun = || std::fs::read_to_string(&part).is_ok_and(|text| text.contains('\n'));
        let outcome = interrupted(&arguments, begun);
        assert_eq!(outcome.code, Some(130), "{outcome:#?}");
        this
    }

    fn supernet(&self) -> PathBuf {
        self.run.at("train/supernet.safetensors")
    }

    fn part(&self) -> PathBuf {
        self.run.root().join("collected.jsonl.part")
    }

    fn arguments(&self, model: &Path, data: &Path, more: &[&str]) -> Vec<String> {
        let paths = [("--model", model), ("--data", data), ("-o", &self.pairs)];
        let mut arguments = vec!["collect".to_owned(), "--calibration-images".to_owned(), "8".to_owned()];
        for (option, path) in paths {
            arguments.extend([option.to_owned(), path.to_str().unwrap().to_owned()]);
        }
        arguments.extend(more.iter().map(|option| (*option).to_owned()));
        arguments
    }

    fn resume(&self, model: &Path, data: &Path, more: &[&str]) -> Outcome {
        let count = std::fs::read_to_string(self.part()).unwrap().lines().count() + 2;
        let count = count.to_string();
        run(&self.arguments(model, data, &[&["--resume", "--count", &count], more].concat()))
    }
}

#[test]
fn pairs_of_another_seed_model_or_data_set_are_not_gone_on_with() {
    let collecting = Collecting::cut_off();
    let (supernet, data) = (collecting.supernet(), collecting.run.data());
    let before = sha256(&collecting.part());

    let seed = collecting.resume(&supernet, &data, &["--seed", "5"]);
    assert_refused(&seed, &["collected.jsonl.part", "`seed` was 0, is 5", "remove it to start afresh"]);
    let calibration = collecting.resume(&supernet, &data, &["--validation-images", "6"]);
    assert_refused(&calibration, &["`scored_images`"]);

    let other_model = collecting.run.root().join("other.safetensors");
    let mut model = Model::load(&supernet).unwrap();
    let name = model.weights.iter().last().unwrap().0.clone();
    model.weights.get_mut(&name).unwrap().data[0] += 0.001;
    model.save(&other_model).unwrap();
    assert_refused(&collecting.resume(&other_model, &data, &[]), &["`model` was sha256"]);

    let other_data = collecting.run.root().join("other");
    copy_folder(&data, &other_data);
    draw(&other_data.join("val/pear/03.png"), 1, 777);
    assert_refused(&collecting.resume(&supernet, &other_data, &[]), &["`validation_images` was 18 images"]);
    assert_eq!(sha256(&collecting.part()), before);

    // The same model and images elsewhere are the same.
    let moved = collecting.run.root().join("moved");
    std::fs::rename(&data, &moved).unwrap();
    let resumed = collecting.resume(&supernet, &moved, &[]);
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    let left: Vec<String> = std::fs::read_dir(collecting.run.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .filter(|name| name.starts_with("collected"))
        .collect();
    assert_eq!(left, ["collected.jsonl"]);

    // A finished file of another seed does not count as done, nor does it grow.
    for count in ["1", "2000"] {
        let finished = run(&collecting.arguments(&supernet, &moved, &["--resume", "--count", count, "--seed", "9"]));
        assert_refused(&finished, &["collected.jsonl", "another seed"]);
    }
}

#[test]
fn pairs_without_a_record_are_compared_with_the_model() {
    let collecting = Collecting::cut_off();
    std::fs::remove_file(collecting.run.root().join("collected.jsonl.part.key")).unwrap();
    let (supernet, data) = (collecting.supernet(), collecting.run.data());
    let seed = collecting.resume(&supernet, &data, &["--seed", "5"]);
    assert_refused(&seed, &["another seed", "remove it to start afresh"]);
    // The first pair, as if of another model.
    let text = std::fs::read_to_string(collecting.part()).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    let other = json!({ "arch": first["arch"], "top1": 0.98765 });
    std::fs::write(collecting.part(), format!("{other}\n{rest}")).unwrap();
    assert_refused(&collecting.resume(&supernet, &data, &[]), &["98.77 %", "remove it to start afresh"]);
    std::fs::write(collecting.part(), text).unwrap();
    assert_eq!(collecting.resume(&supernet, &data, &[]).code, Some(0));
}

#[test]
fn an_interrupted_search_exits_130_and_marks_what_it_shows() {
    let (space, predictor) = (fixture("spaces/mobile.toml"), fixture("predictors/ridge.json"));
    let (space, predictor) = (space.to_str().unwrap(), predictor.to_str().unwrap());
    let line = ["search", "--space", space, "--accuracy", predictor, "--max-macs", "60%", "--strategy", "random"];
    let started = Instant::now();
    let ready = || started.elapsed() > Duration::from_millis(1500);
    let outcome = interrupted(&[&line[..], &["--seconds", "50", "--json"]].concat(), ready);
    assert_eq!(outcome.code, Some(130), "{outcome:#?}");
    assert_eq!(outcome.json()["interrupted"], true);
    assert!(outcome.stderr.contains("interrupted"), "{outcome:#?}");
    let whole = run(&[&line[..], &["--evaluations", "50", "--json"]].concat()).ok();
    assert!(whole.json().get("interrupted").is_none(), "{whole:#?}");
}

#[test]
fn an_interrupted_profile_names_the_file_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let space = fixture("spaces/mobile.toml");
    let profile = |name: &str, ready: &dyn Fn(&Path) -> bool| {
        let (output, partial) =
            (folder.path().join(format!("{name}.toml")), folder.path().join(format!("{name}.toml.partial")));
        let line = ["profile", "--space", space.to_str().unwrap(), "--rounds", "60", "-o", output.to_str().unwrap()];
        let outcome = interrupted(&line, || ready(&partial));
        assert_eq!(outcome.code, Some(130), "{outcome:#?}");
        let named = outcome.stderr.contains(partial.to_str().unwrap());
        assert_eq!(named, partial.exists(), "{outcome:#?}");
        named
    };
    assert!(profile("late", &|partial| partial.exists()));
    let started = Instant::now();
    profile("early", &|_| started.elapsed() > Duration::from_millis(150));
}

#[test]
fn fine_tuning_that_ends_worse_keeps_the_weights_before() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), "");
    let at = |name: &str| folder.path().join(name);
    let (supernet, good) = (at("run/supernet.safetensors"), at("good.safetensors"));
    let line = "finetune --arch max --data bundled --epochs 0.3 --learning-rate 0.05 --model {} -o {}";
    let first = run_line(line, &[&supernet, &good]).ok().json();
    assert_eq!(first["kept"], true);
    assert!(first["top1_after"].as_f64().unwrap() > 0.5, "{first}");

    // So high a learning rate destroys what was learnt.
    let bad = "finetune --data bundled --epochs 0.03 --learning-rate 1 --warmup 0 --gradient-clip 5 --model {} -o {}";
    let second = run_line(bad, &[&good, &at("kept.safetensors")]).ok();
    let report = second.json();
    assert!(report["top1_after"].as_f64().unwrap() < report["top1_before"].as_f64().unwrap(), "{report}");
    assert_eq!(report["kept"], false);
    let top1 = |model: &Path| {
        let line = "eval --data bundled --split validation --model {}";
        run_line(line, &[model]).ok().json()["top1"].as_f64().unwrap()
    };
    assert_eq!(top1(&at("kept.safetensors")), report["top1_before"].as_f64().unwrap());
    let in_words =
        program(&["finetune", "--data", "bundled", "--epochs", "0.03", "--learning-rate", "1", "--warmup", "0"])
            .args([
                "--gradient-clip",
                "5",
                "--model",
                good.to_str().unwrap(),
                "-o",
                at("words.safetensors").to_str().unwrap(),
            ])
            .output()
            .unwrap();
    let text = String::from_utf8(in_words.stdout).unwrap();
    assert!(text.contains("the weights before were better and are kept"), "{text}");

    let last = run_line(&format!("{bad} --keep-last"), &[&good, &at("last.safetensors")]).ok().json();
    assert_eq!(last["kept"], true);
    assert_eq!(top1(&at("last.safetensors")), last["top1_after"].as_f64().unwrap());
}
