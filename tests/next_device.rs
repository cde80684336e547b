//! The folder of a finished run as an argument: its next device in one command, and its networks in the others.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;
#[allow(dead_code)]
#[path = "state/small_run.rs"]
mod small_run;

use program::Outcome;
use serde_json::{Value, json};
use small_run::{SmallRun, assert_redone, assert_refused, sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// SHA-256 of every file below a folder but the lock, by its path.
fn tree(root: &Path) -> BTreeMap<String, String> {
    fn add(root: &Path, folder: &Path, all: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => add(root, &path, all),
                false => {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                    if !name.contains("lock") {
                        all.insert(name, sha256(&path));
                    }
                }
            }
        }
    }
    let mut all = BTreeMap::new();
    add(root, root, &mut all);
    all
}

fn cases(outcome: &Outcome) -> Vec<Value> {
    outcome.json()["results"].as_array().unwrap().clone()
}

#[test]
fn another_device_joins_the_run_and_known_networks_stay() {
    let run = SmallRun::fine_tuned();
    let before = run.nets();
    let tuned = tree(&run.at("tuned"));
    let wanted = ["search", "run", "--device", "jetson-nano", "--max-latency-ms", "85%,98%"];
    let found = run.run(&[&wanted[..], &["--json"]].concat()).ok();
    assert_redone(&found, &["train", "collect", "fit"], &["search", "deploy"]);
    let results = cases(&found);
    let devices: Vec<&str> = results.iter().map(|case| case["device"].as_str().unwrap()).collect();
    assert_eq!(devices, ["pixel4-cpu", "toy.toml", "toy.toml", "jetson-nano", "jetson-nano"]);
    // What was delivered is delivered still, byte for byte, and none of it was tuned or exported again.
    let after = run.nets();
    assert!(before.iter().all(|(name, digest)| after.get(name) == Some(digest)), "{before:#?} {after:#?}");
    let tuned_after = tree(&run.at("tuned"));
    assert!(tuned.iter().all(|(name, digest)| tuned_after.get(name) == Some(digest)));
    for case in &results {
        assert!(Path::new(case["onnx"].as_str().unwrap()).ends_with(case["onnx"].as_str().unwrap()));
        assert!(run.root().join(case["onnx"].as_str().unwrap()).is_file());
    }
    // The same again changes nothing, and a later --resume keeps the device.
    let again = run.run(&[&wanted[..], &["--json"]].concat()).ok();
    assert_redone(&again, &["train", "collect", "fit", "search", "deploy"], &[]);
    assert_eq!(cases(&again), results);
    let resumed = run.resume(&["--json"]).ok();
    assert_redone(&resumed, &["train", "collect", "fit", "search", "deploy"], &[]);
    assert_eq!(cases(&resumed), results);
    // The run's own folder is enough for `ofa run` too.
    let went_on = run.run(&["run", "run", "--json"]).ok();
    assert_eq!(cases(&went_on), results);
}

#[test]
fn the_same_networks_come_from_one_run_and_from_a_run_with_a_device_added() {
    let whole = SmallRun::prepared();
    let device = "\n[[search.devices]]\ndevice = \"jetson-nano\"\nmax_macs = [\"70%\"]\n";
    whole.configure(|text| text.replace("\n[deploy]", &format!("{device}\n[deploy]")));
    whole.start(&[]).ok();
    let added = SmallRun::finished();
    added.run(&["search", "run", "--device", "jetson-nano", "--max-macs", "70%"]).ok();
    assert_eq!(added.results(), whole.results());
    assert_eq!(added.nets(), whole.nets());
}

#[test]
fn a_folder_of_its_own_leaves_the_run_untouched() {
    let run = SmallRun::fine_tuned();
    let before = tree(&run.out());
    let wanted = ["search", "run", "--max-macs", "60%,80%", "-o", "next", "--json"];
    let found = run.run(&wanted).ok();
    assert_eq!(tree(&run.out()), before);
    let results = cases(&found);
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|case| case["device"].is_null() && case["onnx"].as_str().unwrap().starts_with("next/")));
    assert!(run.root().join("next/report.html").is_file());
    // It is a run like others.
    let resumed = run.run(&["run", "next", "--json"]).ok();
    assert_eq!(cases(&resumed), results);
    // The same command goes on with what it began, others join, and no other folder is taken.
    assert_eq!(cases(&run.run(&wanted).ok()), results);
    let more = run.run(&["search", "run", "--max-macs", "70%", "-o", "next", "--json"]).ok();
    assert_eq!(cases(&more).len(), 3);
    assert_refused(&run.run(&["search", "run", "--max-macs", "70%", "-o", "photos"]), &["photos", "not empty"]);
    assert_refused(&run.run(&["search", "run", "--max-macs", "70%", "-o", "run/nets/more"]), &["inside the run"]);
    // What fails before it begins leaves nothing behind.
    assert_refused(&run.run(&["search", "run", "--device", "nosuch", "-o", "never"]), &["nosuch"]);
    assert!(!run.root().join("never").exists());
    let as_cut =
        run.run(&["search", "run", "--max-macs", "60%", "-o", "as-cut", "--finetune-epochs", "0", "--json"]).ok();
    let case = &cases(&as_cut)[0];
    assert_eq!(case["accuracy"], case["supernet_accuracy"]);
}

#[test]
fn networks_of_a_run_are_scored_classified_and_exported_by_its_folder() {
    let run = SmallRun::finished();
    let results = run.results();
    let cases = results["cases"].as_array().unwrap();
    let of_first: Vec<&Value> = cases.iter().filter(|case| case["device"] == "pixel4-cpu").collect();
    let recommended = of_first.iter().find(|case| case["recommended"] == true).unwrap();
    let name = |case: &Value| case["onnx"].as_str().unwrap().replace("nets/", "").replace(".onnx", "");
    let scored = run.run(&["eval", "run", "--json"]).ok();
    assert_eq!(scored.json()["top1"], recommended["accuracy"]);
    assert_eq!(scored.json()["interval"], recommended["interval"]);
    assert!((scored.json()["baseline"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-12);
    assert!(scored.stderr.contains(&format!("{}, recommended for pixel4-cpu", name(recommended))), "{scored:#?}");
    let other = cases.last().unwrap();
    let of_name = run.run(&["eval", "run", "--net", &name(other), "--json"]).ok();
    assert_eq!(of_name.json()["top1"], other["accuracy"]);
    assert_refused(&run.run(&["eval", "run", "--net", "nothing"]), &["no network `nothing`", &name(other)]);
    assert_refused(&run.run(&["eval", "run", "--device", "v100"]), &["no network for the device `v100`", "toy.toml"]);
    assert_refused(&run.run(&["eval", "photos"]), &["photos", "not the folder of a run"]);

    let image = "photos/test/pear/01.png";
    let guessed = run.run(&["classify", "run", image, "--json"]).ok();
    assert_eq!(guessed.json()["image"], image);
    let weights = format!("run/nets/{}.safetensors", name(recommended));
    assert_eq!(guessed.stdout, run.run(&["classify", "--model", &weights, image, "--json"]).ok().stdout);
    assert_refused(&run.run(&["classify", "run"]), &["is a run: give images"]);
    assert_refused(&run.run(&["classify", image]), &["--model"]);

    let exported = run.run(&["export", "run", "--device", "toy.toml", "--int8", "--json"]).ok();
    let output = exported.json()["output"].as_str().unwrap().to_owned();
    assert!(output.starts_with("run/nets/toy.toml-") && output.ends_with(".int8.onnx"), "{output}");
    assert_refused(&run.run(&["export", "run"]), &["is there already in f32"]);
    let module = run.run(&["export", "run", "--device", "toy.toml", "--to", "torch", "--json"]).ok().json();
    let beside = |ending: &str| output.replace(".int8.onnx", ending);
    assert_eq!((&module["output"], &module["weights"]), (&json!(beside(".py")), &json!(beside(".pth"))));
    // The file stays where a later run finds its networks as they were.
    let resumed = run.resume(&[]).ok();
    assert_redone(&resumed, &["deploy"], &[]);
    assert!(run.root().join(output).is_file());
    // Data that were moved are asked for.
    std::fs::rename(run.data(), run.root().join("moved")).unwrap();
    assert_refused(&run.run(&["eval", "run"]), &["`photos`", "--data"]);
    assert_eq!(run.run(&["eval", "run", "--data", "moved", "--json"]).ok().json()["top1"], recommended["accuracy"]);
    let next = run.run(&["search", "run", "--max-macs", "80%", "--data", "moved"]).ok();
    assert_redone(&next, &["train", "collect", "fit"], &["search"]);
}

#[test]
fn a_device_that_computes_in_another_precision_gets_a_file_of_its_own() {
    let run = SmallRun::finished();
    let before = cases(&run.resume(&["--json"]).ok());
    let wanted = ["search", "run", "--device", "stm32f746,jetson-nano", "--max-latency-ms", "85%", "--json"];
    let found = cases(&run.run(&wanted).ok());
    // Nothing changes for devices that compute in f32.
    assert_eq!(found[..before.len()], before);
    assert!(before.iter().all(|case| case.get("accuracy_f32").is_none() && case.get("onnx_f32").is_none()));
    for (device, precision) in [("stm32f746", "int8"), ("jetson-nano", "f16")] {
        let case = found.iter().find(|case| case["device"] == device).unwrap();
        let (onnx, onnx_f32) = (case["onnx"].as_str().unwrap(), case["onnx_f32"].as_str().unwrap());
        assert_eq!(onnx, onnx_f32.replace(".onnx", &format!(".{precision}.onnx")));
        assert!(run.root().join(onnx).is_file() && run.root().join(onnx_f32).is_file());
        // The accuracy is that of the device's file in the runtime; that of the f32 file is given as well.
        let scored = run.run(&["eval", "run", "--device", device, "--json"]).ok().json();
        assert_eq!(scored["top1"], case["accuracy"]);
        assert_eq!(
            scored["confusion"],
            run.results()["cases"].as_array().unwrap().iter().find(|case| case["device"] == device).unwrap()["confusion"]
        );
        assert!(scored["runtime"].as_str().unwrap().starts_with("rten"));
        let weights = onnx_f32.replace(".onnx", ".safetensors");
        let in_f32 = run.run(&["eval", "--model", &weights, "--data", "photos", "--json"]).ok().json();
        assert_eq!(in_f32["top1"], case["accuracy_f32"]);
        let markdown = std::fs::read_to_string(run.at("report.md")).unwrap();
        assert!(markdown.contains(&format!("{device} computes in {precision}")), "{markdown}");
        let option = if precision == "int8" { "--int8" } else { "--fp16" };
        assert_refused(&run.run(&["export", "run", "--device", device, option]), &["is there already"]);
    }
    // What is kept of a network is enough to write its files again.
    let (nets, tuned) = (run.nets(), tree(&run.at("tuned")));
    let lost = found.iter().find(|case| case["device"] == "stm32f746").unwrap()["onnx"].as_str().unwrap();
    std::fs::remove_file(run.root().join(lost)).unwrap();
    assert_redone(&run.resume(&[]).ok(), &["train", "collect", "fit", "search"], &["deploy"]);
    assert_eq!((run.nets(), tree(&run.at("tuned"))), (nets, tuned));
}

#[test]
fn this_machine_is_profiled_once_and_its_profile_is_an_input() {
    let run = SmallRun::finished();
    let search = ["search", "run", "--device", "host", "--max-latency-ms", "80%", "--json"];
    let first = run.run(&search).ok();
    let host = cases(&first).pop().unwrap();
    assert_eq!(host["device"], "host");
    assert!(host["latency_ms"].as_f64().unwrap() > 0.0);
    let again = run.run(&search).ok();
    assert_redone(&again, &["profile", "search", "deploy"], &[]);
    assert_eq!(cases(&again).pop().unwrap(), host);
    // Lost or edited, it is never measured again silently.
    let profile = std::fs::read_to_string(run.at("host.toml")).unwrap();
    std::fs::remove_file(run.at("host.toml")).unwrap();
    assert_refused(&run.resume(&[]), &["host.toml", "put it back", "--reprofile"]);
    std::fs::write(run.at("host.toml"), profile.replacen("fixed_ms", "fixed_ms ", 1)).unwrap();
    assert_refused(&run.resume(&[]), &["host.toml", "--reprofile"]);
    std::fs::write(run.at("host.toml"), &profile).unwrap();
    assert_redone(&run.resume(&[]).ok(), &["profile", "search"], &[]);
    std::fs::remove_file(run.at("host.toml")).unwrap();
    assert_redone(&run.resume(&["--reprofile"]).ok(), &["train", "fit"], &["profile"]);
    assert!(run.at("host.toml").is_file());
}

#[test]
fn every_accuracy_is_the_same_text_in_table_report_and_markdown() {
    let run = SmallRun::fine_tuned();
    let table = run.resume(&[]).ok().stdout;
    let json = run.resume(&["--json"]).ok().json();
    let read = |name: &str| std::fs::read_to_string(run.at(name)).unwrap();
    let (page, markdown) = (read("report.html"), read("report.md"));
    let images = run.results()["images"][2].as_u64().unwrap() as usize;
    let cases = json["results"].as_array().unwrap().iter().chain([&json["reference"]]);
    for case in cases {
        let figure = |name: &str| ofa::measured_accuracy::MeasuredAccuracy::new(case[name].as_f64().unwrap(), images);
        for text in [figure("accuracy").with_interval(), figure("supernet_accuracy").percent()] {
            for (place, content) in [("table", &table), ("page", &page), ("markdown", &markdown)] {
                assert!(content.contains(&text), "{text} is not in the {place}:\n{content}");
            }
        }
        let interval = figure("accuracy").interval();
        assert_eq!(case["interval"], serde_json::json!(interval));
    }
    // Eighteen images are few: this is warned of everywhere.
    let few = format!("only {images} test images");
    assert!(json["warnings"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains(&few)), "{json:#}");
    for content in [&page, &markdown] {
        assert!(content.contains(&few));
    }
    // Each device has one network to ship, and the page names it with the commands that come next.
    let mut devices: Vec<&str> = Vec::new();
    for case in json["results"].as_array().unwrap().iter().filter(|case| case["recommended"] == true) {
        devices.push(case["device"].as_str().unwrap());
        assert!(table.contains(&format!(
            "ship this on {}: {}",
            devices.last().unwrap(),
            case["onnx"].as_str().unwrap()
        )));
    }
    assert_eq!(devices, ["pixel4-cpu", "toy.toml"]);
    assert!(page.contains("Ship this") && page.contains("ofa classify RUN photo.jpg"));
}

#[test]
fn a_plan_may_put_the_predictor_into_the_loop() {
    let run = SmallRun::prepared();
    run.configure(|text| text.replace("evaluations = 60", "evaluations = 60\nrefine = { rounds = 2, per_round = 3 }"));
    run.start(&[]).ok();
    let lines = |name: &str| std::fs::read_to_string(run.at(name)).unwrap().lines().count();
    assert_eq!((lines("pairs.jsonl"), lines("refined/pairs.jsonl")), (12, 18));
    let (results, nets) = (run.results(), run.nets());
    let resumed = run.resume(&[]).ok();
    assert_redone(&resumed, &["train", "collect", "fit", "refine", "search", "deploy"], &[]);
    // What is lost is measured again, to the same bytes.
    std::fs::remove_file(run.at("refined/predictor.json")).unwrap();
    let mended = run.resume(&[]).ok();
    assert_redone(&mended, &["collect", "fit", "search"], &["refine"]);
    assert_eq!((run.results(), run.nets()), (results, nets));
}

#[test]
fn candidates_that_are_predicted_alike_are_measured_before_one_is_chosen() {
    let run = SmallRun::prepared();
    run.configure(|text| text.replace("evaluations = 60", "evaluations = 60\ncandidates = 8"));
    run.start(&[]).ok();
    let found = || std::fs::read_to_string(run.at("search.json")).unwrap();
    let chosen: Value = serde_json::from_str(&found()).unwrap();
    let (results, nets) = (run.results(), run.nets());
    for case in chosen["cases"].as_array().unwrap() {
        // What is measured is the subnet as `ofa eval` measures it, with the calibration images of the pairs.
        let arch = case["arch"].to_string();
        let model = run.at("train/supernet.safetensors");
        let seed = (3 + 1000).to_string();
        let line =
            ["eval", "--model", model.to_str().unwrap(), "--arch", &arch, "--split", "validation", "--data", "photos"];
        let images = ["--calibration-images", "10", "--seed", &seed, "--json"];
        let scored = run.run(&[&line[..], &images[..]].concat()).ok().json();
        assert_eq!(case["measured_accuracy"], scored["top1"], "{case}");
        for (name, limit) in case["constraint"].as_object().unwrap() {
            assert!(case["values"][name].as_f64() <= limit.as_f64(), "{case}");
        }
    }
    let resumed = run.resume(&[]).ok();
    assert_redone(&resumed, &["train", "collect", "fit", "search", "deploy"], &[]);
    assert_eq!((run.results(), run.nets()), (results, nets));
    // With one for each limit there is nothing to choose among.
    run.configure(|text| text.replace("evaluations = 60", "evaluations = 60\ncandidates = 1"));
    run.run(&["run", "small.toml", "--resume", "--out", "run"]).ok();
    assert!(!found().contains("measured_accuracy"));
}

#[test]
fn limits_without_a_network_and_limits_given_twice() {
    let run = SmallRun::finished();
    let (before, refused) = (run.results(), run.run(&["search", "run", "--max-macs", "1"]));
    // Another limit of the run can be kept, so this is no mistake of the plan, but nothing that was asked for was found.
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("no network keeps the new limits"), "{refused:#?}");
    assert_eq!(run.results()["cases"], before["cases"]);
    // A share and an equal number are the same limit; two precisions are two limits, each with its own files.
    run.run(&["search", "run", "--max-sram-kb", "9"]).ok();
    run.run(&["search", "run", "--max-sram-kb", "9", "--precision", "f32"]).ok();
    let names: Vec<String> = run.listed().into_iter().filter(|name| name.contains("sram")).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.contains(&"nets/sram-9kb-f32.onnx".to_owned()), "{names:?}");
    let found = run.run(&["search", "run", "--max-macs", "100%,80%", "--json"]).ok();
    let again = run.run(&["search", "run", "--max-macs", "100%", "--precision", "f32", "--json"]).ok();
    assert_eq!(cases(&found).len(), cases(&again).len());
    // The largest subnet keeps the limit that it sets.
    let full = run.run(&["info", "--model", "run/work/train/supernet.safetensors", "--arch", "max", "--json"]).ok();
    let limits = cases(&found);
    let limits = limits.iter().filter_map(|case| case["constraint"]["macs"].as_f64());
    assert!(limits.fold(0.0, f64::max) >= full.json()["macs"].as_f64().unwrap());
    assert_refused(&run.run(&["search", "run", "--max-macs", "60%", "--seed", "8"]), &["--seed 8", "has seed 3"]);
}

#[test]
fn an_unfinished_run_is_gone_on_with_by_its_folder() {
    let run = SmallRun::finished();
    for name in ["results.json", "report.html"] {
        std::fs::remove_file(run.at(name)).unwrap();
    }
    assert_refused(&run.run(&["eval", "run"]), &["not finished", "`ofa run run`"]);
    std::fs::remove_file(run.at("steps.json")).unwrap();
    assert_refused(&run.run(&["search", "run", "--max-macs", "60%"]), &["not finished", "`ofa run run`"]);
    run.run(&["run", "run"]).ok();
    assert!(run.at("results.json").is_file());
}

#[test]
fn a_closed_stderr_does_not_stop_a_search() {
    let run = SmallRun::finished();
    let command = format!("'{}' search run --max-macs 70% 2>&1 >/dev/null | head -n 1", env!("CARGO_BIN_EXE_ofa"));
    let output = std::process::Command::new("sh").args(["-c", &command]).current_dir(run.root()).output().unwrap();
    assert!(output.status.success());
    let resumed = run.resume(&[]).ok();
    assert_redone(&resumed, &["search", "deploy"], &[]);
}
