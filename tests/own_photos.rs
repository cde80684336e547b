//! `ofa run --data my-photos/`: a folder of photos becomes ONNX files that classify, without a word of configuration.
#![allow(clippy::unwrap_used, missing_docs)]

// This file trains no model of its own.
#[allow(dead_code)]
mod program;

#[path = "program/photos.rs"]
mod photos;

use photos::CLASSES;
use program::{run, run_line};

#[test]
fn photos_become_networks_that_know_their_classes() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("my photos"), folder.path().join("out"));
    let files = photos::write(&data, 12);
    let broken = &files[5];
    let whole = std::fs::read(broken).unwrap();
    std::fs::write(broken, &whole[..whole.len() / 2]).unwrap();

    let refused = run_line("run --data {} --out {}", &[&data, &out]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    let name = broken.file_name().unwrap().to_str().unwrap();
    assert!(refused.stderr.contains(name) && refused.stderr.contains("--on-corrupt skip"), "{refused:#?}");
    assert!(!out.exists(), "a refused run left something behind");

    let finished = run_line("run --data {} --out {} --on-corrupt skip", &[&data, &out]).ok();
    // The plan is stated before the work.
    for words in [
        "3 classes: blue sky, grüne Wiese, 猫",
        "in batches of 4",
        "photos, so from the pretrained network mcunet",
        "on this machine",
        "1 files left out",
    ] {
        assert!(finished.stderr.contains(words), "`{words}` is missing: {finished:#?}");
    }
    let report = finished.json();
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.len(), 3, "{report}");
    let full = &report["reference"];
    for net in results.iter().chain([full]) {
        for field in ["accuracy", "supernet_accuracy"] {
            assert!((0.0..=1.0).contains(&net[field].as_f64().unwrap()), "{field}: {net}");
        }
        assert!(net["params"].as_u64().unwrap() > 0 && out.join("nets").is_dir());
    }
    let macs = |net: &serde_json::Value| net["macs"].as_f64().unwrap();
    for net in results {
        assert!(macs(net) <= net["constraint"]["macs"].as_f64().unwrap() && macs(net) < macs(full), "{net}");
    }
    // Every file names the authors and licence of the pretrained weights.
    let exported = std::fs::read(results[0]["onnx"].as_str().unwrap()).unwrap();
    let licence = b"MIT licence, Copyright (c) 2020 MIT HAN Lab";
    assert!(exported.windows(licence.len()).any(|bytes| bytes == licence), "the ONNX file names no licence");
    for file in ["report.html", "report.md", "results.json", "pipeline.toml", "plots/training-loss.svg"] {
        assert!(out.join(file).is_file(), "{file} is missing");
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    for class in CLASSES {
        assert!(page.contains(class), "the report does not name {class}");
        let onnx = std::fs::read(results[0]["onnx"].as_str().unwrap()).unwrap();
        // Metadata is JSON; names outside ASCII stand as they are.
        assert!(
            onnx.windows(class.len()).any(|bytes| bytes == class.as_bytes()),
            "the ONNX file does not name {class}"
        );
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "the report refers to something outside");

    // A chosen network names classes, for files with any name.
    let onnx = results[0]["onnx"].as_str().unwrap();
    let model = std::path::Path::new(onnx).with_extension("safetensors");
    let line = run_line("classify --top 3 --model {} {} {}", &[&model, &files[0], &files[files.len() - 1]]).ok();
    let lines = line.lines();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let classes: Vec<&str> = line["top"].as_array().unwrap().iter().map(|g| g["class"].as_str().unwrap()).collect();
        assert!(CLASSES.iter().all(|class| classes.contains(class)), "{line}");
    }

    // What the folder was started with is in it: nothing needs to be said again, and nothing is done again.
    let resumed = run_line("run --resume --on-corrupt skip --out {}", &[&out]).ok();
    assert!(resumed.stderr.contains("deploy: done before"), "{resumed:#?}");
    assert_eq!(resumed.json(), report);
    let again = run(&["run", "--out", out.to_str().unwrap()]);
    assert_eq!(again.code, Some(2), "{again:#?}");
}

/// What `ofa run --dry-run` prints for some photos: the configuration and the estimate.
fn dry_run(data: &std::path::Path, options: &str) -> serde_json::Value {
    run_line(&format!("run --data {{}} --dry-run {options}"), &[data]).ok().json()
}

#[test]
fn a_dry_run_prints_the_plan_and_what_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("photos");
    photos::write(&data, 10);
    let plan = dry_run(&data, "");
    let config = &plan["config"];
    assert_eq!(config["train"]["init"]["model"], "mcunet");
    assert_eq!(config["train"]["init"]["new_head"], true);
    assert_eq!(config["search"]["devices"][0]["max_macs"], serde_json::json!(["16%", "27%", "50%"]));
    let estimate = &plan["estimate"];
    for field in ["seconds", "finetune_seconds", "collect_seconds", "memory"] {
        assert!(estimate[field].as_f64().unwrap() > 0.0, "{field}: {estimate}");
    }
    assert_eq!(estimate["networks"], 3);

    let scratch = dry_run(&data, "--from scratch");
    assert!(scratch["config"]["train"]["init"].is_null(), "{scratch}");
    assert_eq!(scratch["config"]["train"]["space"]["name"], "photos-96");

    let options = "--device pixel4-cpu,jetson-nano --max-latency-ms 60% --max-macs 5e6,30% --finetune-epochs 0";
    let wished = dry_run(&data, options);
    let devices = wished["config"]["search"]["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2);
    assert_eq!(devices[1]["device"], "jetson-nano");
    assert_eq!(devices[1]["max_latency_ms"], serde_json::json!(["60%"]));
    assert_eq!(devices[1]["max_macs"], serde_json::json!([5e6, "30%"]));
    assert!(wished["config"]["deploy"]["finetune"].is_null());
    assert_eq!(wished["estimate"]["networks"], 0);

    let short = dry_run(&data, "--budget 10m");
    let epochs =
        |plan: &serde_json::Value, phase: usize| plan["config"]["train"]["phases"][phase]["epochs"].as_f64().unwrap();
    let tuning = |plan: &serde_json::Value| plan["config"]["deploy"]["finetune"]["epochs"].as_f64().unwrap();
    let factor = epochs(&short, 1) / epochs(&plan, 1);
    assert!((tuning(&short) / tuning(&plan) / factor - 1.0).abs() < 0.05, "{short}");
    let refused = run_line("run --data {} --budget 1ms --dry-run", &[&data]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");

    let started = run_line("run --data {} --from missing.safetensors --dry-run", &[&data]);
    assert_eq!(started.code, Some(2), "{started:#?}");
    assert!(started.stderr.contains("missing.safetensors"), "{started:#?}");
    let junk = folder.path().join("junk.pth");
    std::fs::write(&junk, "no checkpoint").unwrap();
    let refused = run_line("run --data {} --from {} --dry-run", &[&data, &junk]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("junk.pth"), "{refused:#?}");
    let beyond = run_line("run --data {} --max-macs 130% --dry-run", &[&data]);
    assert_eq!(beyond.code, Some(2), "{beyond:#?}");
}

/// A checkpoint becomes a model file in the run's folder, but not in a dry run.
#[test]
fn a_plan_from_a_checkpoint_writes_nothing() {
    const CHECKPOINT: &str = "data/pretrained/efficientnet-lite0.pth";
    let Some(shared) = ofa_reference_data::folder_with(&[CHECKPOINT]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("photos"), folder.path().join("out"));
    photos::write(&data, 12);
    let line = "run --data {} --from {} --out {} --dry-run";
    let plan = run_line(line, &[&data, &shared.join(CHECKPOINT), &out]).ok().json();
    let start = plan["config"]["train"]["init"]["model"].as_str().unwrap();
    assert!(start.contains("start-") && start.starts_with(out.to_str().unwrap()), "{plan}");
    assert!(plan["estimate"]["seconds"].as_f64().unwrap() > 0.0, "{plan}");
    assert!(!out.exists(), "a dry run wrote something");
}

#[test]
fn icons_are_trained_from_random_weights_and_larger_images_of_one_size_are_photos() {
    let folder = tempfile::tempdir().unwrap();
    for (name, size, pretrained) in [("icons", (32, 40), false), ("thumbnails", (100, 60), true)] {
        let data = folder.path().join(name);
        photos::write_of_size(&data, 8, size);
        let plan = dry_run(&data, "");
        assert_eq!(plan["config"]["train"]["init"].is_object(), pretrained, "{name}: {plan}");
    }
}
