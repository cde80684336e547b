//! What a command reads, a trained supernet, and files whose names were not given are not replaced.

use crate::small_run::SmallRun;
use crate::workplace::Workplace;

#[test]
fn no_command_writes_over_what_it_reads() {
    let place = Workplace::new();
    for (line, input) in [
        ("extract --model supernet.safetensors --arch min --output supernet.safetensors", "--model"),
        ("export --model net.safetensors --output net.safetensors", "--model"),
        ("export --model net.safetensors --output net.onnx --labels net.safetensors", "--model"),
        ("export --model net.safetensors --output net.onnx --netspec net.json", "net.safetensors"),
        (
            "export --model supernet.safetensors --arch min --output net.onnx --netspec supernet.json",
            "supernet.safetensors",
        ),
        ("finetune --model net.safetensors --data bundled --epochs 0.01 --output net.safetensors", "--model"),
        ("forward --model net.safetensors --input batch.npy --output batch.npy", "--input"),
        ("forward --model net.safetensors --input batch.npy --output net.safetensors", "--model"),
        ("fit --pairs pairs.jsonl --space tiny-28 --predictor ridge --output pairs.jsonl", "--pairs"),
        (
            "search --space tiny-28 --accuracy predictor.json --max-macs 3M --evaluations 30 --plot predictor.json",
            "--accuracy",
        ),
    ] {
        place.assert_refused(line, &[input, "--force"]);
    }
}

#[test]
fn an_input_is_recognised_by_what_it_is_not_by_its_name() {
    let place = Workplace::new();
    std::fs::create_dir(place.at("below")).unwrap();
    std::fs::hard_link(place.at("net.safetensors"), place.at("hard.safetensors")).unwrap();
    std::os::unix::fs::symlink("net.safetensors", place.at("soft.safetensors")).unwrap();
    let absolute = place.at("net.safetensors");
    for spelled in [
        "./net.safetensors",
        "below/../net.safetensors",
        "hard.safetensors",
        "soft.safetensors",
        absolute.to_str().unwrap(),
    ] {
        place.assert_refused(&format!("export --model net.safetensors --output {spelled}"), &["--model", "--force"]);
        place.assert_refused(&format!("export --model {spelled} --output net.safetensors"), &["--model", "--force"]);
    }
}

#[test]
fn a_trained_supernet_is_not_replaced() {
    let place = Workplace::new();
    std::fs::copy(place.at("supernet.safetensors"), place.at("other.safetensors")).unwrap();
    for line in [
        "extract --model supernet.safetensors --arch min --output other.safetensors",
        "fit --pairs pairs.jsonl --space tiny-28 --predictor ridge --output other.safetensors",
        "finetune --model net.safetensors --data bundled --epochs 0.01 --output other.safetensors",
    ] {
        place.assert_refused(line, &["supernet", "--force"]);
    }
    // Neither is one whose name follows from that of a training's folder.
    std::fs::create_dir(place.at("trained")).unwrap();
    std::fs::copy(place.at("supernet.safetensors"), place.at("trained/supernet.safetensors")).unwrap();
    std::fs::write(place.at("training.toml"), crate::program::TRAINING).unwrap();
    place.assert_refused("train training.toml --out trained", &["supernet.safetensors", "--force"]);
    let kept = std::fs::read(place.at("trained/supernet.safetensors")).unwrap();
    assert!(kept == std::fs::read(place.at("supernet.safetensors")).unwrap());
}

#[test]
fn a_file_whose_name_was_not_given_is_not_replaced() {
    let place = Workplace::new();
    std::fs::write(place.at("described.safetensors"), "mine").unwrap();
    let line = "export --model net.safetensors --output net.onnx --netspec described.json";
    place.assert_refused(line, &["described.safetensors", "--force"]);
    place.line(&format!("{line} --force")).ok();
    assert_ne!(std::fs::read(place.at("described.safetensors")).unwrap(), b"mine");
}

#[test]
fn a_file_that_is_named_is_replaced_and_so_is_an_input_by_force() {
    let place = Workplace::new();
    for file in ["net.onnx", "small.safetensors", "logits.npy"] {
        std::fs::write(place.at(file), "old").unwrap();
    }
    place.line("export --model net.safetensors --output net.onnx").ok();
    place.line("extract --model supernet.safetensors --arch min --output small.safetensors").ok();
    place.line("forward --model net.safetensors --input batch.npy --output logits.npy").ok();
    for file in ["net.onnx", "small.safetensors", "logits.npy"] {
        assert_ne!(std::fs::read(place.at(file)).unwrap(), b"old", "{file}");
    }
    let small = std::fs::read(place.at("small.safetensors")).unwrap();
    place.line("extract --model supernet.safetensors --arch min --output supernet.safetensors --force").ok();
    assert!(std::fs::read(place.at("supernet.safetensors")).unwrap() == small);
}

#[test]
fn two_options_do_not_write_one_file() {
    let place = Workplace::new();
    place.assert_refused("export --model net.safetensors --output new --labels ./new", &["two options"]);
}

#[test]
fn an_image_of_the_data_is_not_replaced() {
    let run = SmallRun::finished();
    let image = "photos/train/apple/00.png";
    let before = std::fs::read(run.root().join(image)).unwrap();
    let model = run.at("train/supernet.safetensors");
    let line =
        ["extract", "--model", model.to_str().unwrap(), "--arch", "min", "--calibrate", "photos", "--output", image];
    let outcome = run.run(&line);
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    assert!(outcome.stderr.contains("--calibrate") && outcome.stderr.contains("--force"), "{outcome:#?}");
    assert!(std::fs::read(run.root().join(image)).unwrap() == before);
}

#[test]
fn a_run_replaces_what_it_wrote_itself_and_nothing_else() {
    let run = SmallRun::finished();
    // The run, its report and its next device write their files again.
    run.run(&["report", "run"]).ok();
    run.resume(&[]).ok();
    let export = ["export", "run", "--int8"];
    let made = run.run(&[export.as_slice(), &["--json"]].concat()).ok().json();
    let file = run.root().join(made["output"].as_str().unwrap());
    run.run(&export).ok();
    // A file of the user's under that name stays.
    std::fs::write(&file, "mine").unwrap();
    let refused = run.run(&export);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("--force"), "{refused:#?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    // So does what the command reads in the run.
    for input in ["results.json", "pipeline.toml"] {
        let path = format!("run/{input}");
        let before = std::fs::read(run.at(input)).unwrap();
        let refused = run.run(&["export", "run", "--out", &path]);
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(std::fs::read(run.at(input)).unwrap() == before, "{input}");
    }
    let weights = made["output"].as_str().unwrap().replace(".int8.onnx", ".safetensors");
    let before = std::fs::read(run.root().join(&weights)).unwrap();
    let refused = run.run(&["export", "run", "--out", &weights]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(std::fs::read(run.root().join(&weights)).unwrap() == before);
}
