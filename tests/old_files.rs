//! Files written by older versions give the results that they gave then.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;

use program::{program, run_line};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What commit 5257198 wrote.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/5257198").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).unwrap()
}

fn lines(name: &str) -> Vec<Value> {
    text(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The one value of a recorded result, without times and without texts for a person.
fn recorded(name: &str) -> Value {
    let mut value = serde_json::from_str(&text(name)).unwrap();
    forget_times_and_texts(&mut value);
    value
}

fn forget_times_and_texts(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| !["seconds", "fit_seconds", "warnings"].contains(&name.as_str()));
    }
}

/// Whether this machine computes with the instructions of the one that made the files, so that every bit is the same;
/// with others, sums round differently.
fn same_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    let own = match (is_x86_feature_detected!("avx512f"), is_x86_feature_detected!("avx2")) {
        (true, _) => "avx512f",
        (_, true) => "avx2",
        _ => "scalar",
    };
    #[cfg(not(target_arch = "x86_64"))]
    let own = "other";
    let same = text("instruction-set").trim() == own;
    if !same {
        eprintln!("with {own} instead of {}: equal only within tolerances", text("instruction-set").trim());
    }
    same
}

/// Two results are equal; on other instructions, numbers may differ by `tolerance` of the larger, or of 1.
#[track_caller]
fn assert_equal(ours: &Value, recorded: &Value, tolerance: f64, what: &str) {
    if same_instructions() {
        assert_eq!(ours, recorded, "{what}");
    } else {
        assert!(is_close(ours, recorded, tolerance), "{what}: {ours}, recorded {recorded}");
    }
}

fn is_close(a: &Value, b: &Value, tolerance: f64) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_close(a, b, tolerance))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| is_close(a, b, tolerance)))
        }
        (a, b) => a == b,
    }
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_name())
        };
        match path.is_dir() {
            true => copy_folder(&path, &to.join(name)),
            false => drop(std::fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

#[test]
fn models_give_the_same_logits() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("y.npy");
    let (input, calibration) = (fixture("input.npy"), fixture("calibration.npy"));
    let mut cases = vec![("net", "", false, "net".to_owned())];
    for family in ["mobile", "proxyless", "resnet"] {
        cases.push((family, "--arch min", false, format!("{family}-min")));
        cases.push((family, "--arch max", false, format!("{family}-max")));
        cases.push((family, "--arch max", true, format!("{family}-max-calibrated")));
    }
    for (model, arch, calibrated, result) in cases {
        let model = fixture(&format!("models/{model}.safetensors"));
        let mut paths: Vec<&Path> = vec![&model, &input, &output];
        let mut line = format!("forward --model {{}} --input {{}} --output {{}} {arch}");
        if calibrated {
            line += " --calibrate {}";
            paths.push(&calibration);
        }
        run_line(&line, &paths).ok();
        let recorded = fixture(&format!("results/logits-{result}.npy"));
        if same_instructions() {
            assert!(std::fs::read(&output).unwrap() == std::fs::read(&recorded).unwrap(), "{result}: other logits");
            continue;
        }
        let read = |path: &Path| -> Vec<f32> {
            npyz::NpyFile::new(std::fs::File::open(path).unwrap()).unwrap().into_vec().unwrap()
        };
        let (ours, recorded) = (read(&output), read(&recorded));
        let largest = recorded.iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
        assert_eq!(ours.len(), recorded.len());
        let close = ours.iter().zip(&recorded).all(|(a, b)| (a - b).abs() <= 1e-4 * largest);
        assert!(close, "{result}: {ours:?}, recorded {recorded:?}");
    }
}

/// What later versions count class by class.
const CLASSES: [&str; 3] = ["balanced_accuracy", "per_class", "confusion"];

/// Removes fields that later versions add, which must be there.
fn forget(report: &mut Value, fields: &[&str]) {
    for field in fields {
        assert!(report.as_object_mut().unwrap().remove(*field).is_some(), "{field} is missing");
    }
}

/// Removes what later versions derive from the results of an earlier one.
fn forget_judgement(results: &mut Value) {
    for case in results["cases"].as_array_mut().unwrap() {
        forget(case, &["interval", "recommended"]);
    }
    // Only those that were counted by class have one.
    results.as_object_mut().unwrap().remove("baseline");
}

/// Compares as [`assert_equal`], but the figures in `fields` within `tolerance` on any machine: batch norm was recalibrated on a
/// class-balanced sample of training images when they were recorded; later versions take the classes in proportion.
fn assert_equal_but_recalibrated(mut ours: Value, mut recorded: Value, fields: &[&str], tolerance: f64, what: &str) {
    let figures = [split_off(&mut ours, fields), split_off(&mut recorded, fields)];
    let [found, expected] = figures.map(Value::from);
    assert!(is_close(&found, &expected, tolerance), "{what}: {found}, recorded {expected}");
    assert_equal(&ours, &recorded, tolerance, what);
}

/// Removes fields wherever they are; returns their values in order.
fn split_off(value: &mut Value, fields: &[&str]) -> Vec<Value> {
    match value {
        Value::Object(all) => {
            let mut found: Vec<Value> = fields.iter().filter_map(|field| all.remove(*field)).collect();
            found.extend(all.values_mut().flat_map(|value| split_off(value, fields)));
            found
        }
        Value::Array(all) => all.iter_mut().flat_map(|value| split_off(value, fields)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn models_and_onnx_files_score_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (net, onnx) = (fixture("models/net.safetensors"), fixture("models/net.onnx"));
    let info = run_line("info --model {}", &[&net]).ok().json();
    let mut expected = recorded("results/info-net.json");
    expected["model"] = info["model"].clone();
    assert_eq!(info, expected);
    let exported = folder.path().join("net.onnx");
    run_line("export --model {} -o {}", &[&net, &exported]).ok();
    let mobile = fixture("models/mobile.safetensors");
    for (line, file, result) in [
        ("--model {}", &net, "eval-net"),
        ("--arch max --calibration-images 100 --model {}", &mobile, "eval-mobile-max"),
        ("--onnx {}", &onnx, "eval-onnx"),
        ("--onnx {}", &exported, "eval-onnx"),
    ] {
        let mut ours = run_line(&format!("eval --data bundled --limit 500 {line}"), &[file]).ok().json();
        forget_times_and_texts(&mut ours);
        forget(&mut ours, &CLASSES);
        forget(&mut ours, &["interval", "baseline"]);
        let expected = recorded(&format!("results/{result}.json"));
        // Five images of 500.
        match result {
            "eval-mobile-max" => assert_equal_but_recalibrated(ours, expected, &["top1", "top5"], 0.01, result),
            _ => assert_equal(&ours, &expected, 0.01, result),
        }
    }
}

#[test]
fn pairs_that_were_cut_off_go_on_to_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("collected.jsonl");
    std::fs::copy(fixture("collected-cut-off.jsonl"), folder.path().join("collected.jsonl.part")).unwrap();
    let line = "collect --resume --data bundled --calibration-images 64 --validation-images 200 --count 12 \
                --model {} -o {}";
    let collected = run_line(line, &[&fixture("models/mobile.safetensors"), &output]).ok().lines();
    let expected = Value::from(lines("collected.jsonl"));
    assert_equal(&Value::from(collected), &expected, 0.01, "pairs");
    if same_instructions() {
        let collected = std::fs::read_to_string(&output).unwrap();
        assert_eq!(without_checksums(collected.into_bytes()), text("collected.jsonl").into_bytes());
    }
}

/// Names of the predictor files.
fn predictors() -> Vec<String> {
    let files = std::fs::read_dir(fixture("predictors")).unwrap();
    let mut names: Vec<String> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    names
}

#[test]
fn predictors_predict_the_same() {
    let (space, archs) = (fixture("spaces/mobile.toml"), fixture("archs.jsonl"));
    for name in predictors() {
        let file = fixture(&format!("predictors/{name}.json"));
        let ours = run_line("predict --predictor {} --space {} --archs {}", &[&file, &space, &archs]).ok().lines();
        let expected = lines(&format!("results/predict-{name}.jsonl"));
        assert_equal(&Value::from(ours), &Value::from(expected), 1e-6, &name);
    }
}

#[test]
fn the_same_pairs_fit_the_same_predictors() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("predictor.json");
    let (space, pairs) = (fixture("spaces/mobile.toml"), fixture("pairs.jsonl"));
    // Fits that converge by steps are left to machines with the same instructions.
    let kinds: &[&str] = match same_instructions() {
        true => &["ridge", "elastic-net", "svr", "gaussian-process", "cost-prior", "mlp", "auto"],
        false => &["ridge"],
    };
    for kind in kinds {
        let line = format!("fit --predictor {kind} --pairs {{}} --space {{}} -o {{}}");
        let mut report = run_line(&line, &[&pairs, &space, &output]).ok().json();
        forget_times_and_texts(&mut report);
        assert_equal(&report, &recorded(&format!("results/fit-{kind}.json")), 1e-6, kind);
        let mut ours: Value = serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
        let mut expected: Value = serde_json::from_str(&text(&format!("predictors/{kind}.json"))).unwrap();
        for predictor in [&mut ours, &mut expected] {
            forget_times_and_texts(&mut predictor["report"]);
        }
        assert_equal(&ours, &expected, 1e-6, kind);
    }
}

#[test]
fn devices_answer_the_same() {
    let (space, archs) = (fixture("spaces/mobile.toml"), fixture("archs.jsonl"));
    for device in ["block-table.toml", "published-layout.yaml", "regression.toml", "roofline.toml"] {
        let file = fixture(&format!("devices/{device}"));
        let ours = run_line("latency --device {} --space {} --archs {}", &[&file, &space, &archs]).ok().lines();
        assert_equal(&Value::from(ours), &Value::from(lines(&format!("results/latency-{device}.jsonl"))), 1e-9, device);
    }
    let (predictor, roofline) = (fixture("predictors/ridge.json"), fixture("devices/roofline.toml"));
    let line = "search --space {} --accuracy {} --device {} --pareto --strategy nsga2 --evaluations 200";
    let mut found = run_line(line, &[&space, &predictor, &roofline]).ok().json();
    forget_times_and_texts(&mut found);
    assert_equal(&found, &recorded("results/search.json"), 1e-6, "search");
}

#[test]
fn the_same_measurements_give_the_same_devices() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("device.toml");
    let (space, measurements) = (fixture("spaces/mobile.toml"), fixture("measurements.jsonl"));
    for (line, device) in [("fit", "regression.toml"), ("calibrate --device pixel4-cpu", "roofline.toml")] {
        run_line(&format!("devices {line} --space {{}} --measured {{}} -o {{}}"), &[&space, &measurements, &output])
            .ok();
        let as_json =
            |text: &str| -> Value { serde_json::to_value(toml::from_str::<toml::Value>(text).unwrap()).unwrap() };
        let mut ours = as_json(&std::fs::read_to_string(&output).unwrap());
        let expected = as_json(&text(&format!("devices/{device}")));
        // The regression is named for its file.
        ours["device"]["name"] = expected["device"]["name"].clone();
        if let Some(networks) = ours["device"].as_object_mut().unwrap().remove("calibrated_on") {
            assert_eq!((device, networks), ("roofline.toml", serde_json::json!(12)));
        }
        assert_equal(&ours, &expected, 1e-6, device);
    }
}

#[test]
fn an_unfinished_profile_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("unfinished.toml");
    std::fs::copy(fixture("unfinished-profile.json"), folder.path().join("unfinished.toml.partial")).unwrap();
    let line = "profile --space {} --rounds 5 --nets 8 -o {}";
    let done = run_line(line, &[&fixture("spaces/mobile.toml"), &output]).ok();
    assert!(done.stderr.contains("going on from"), "{done:#?}");
    assert!(output.exists());
}

/// Pairs or metadata without the checksums that earlier versions did not write.
fn without_checksums(bytes: Vec<u8>) -> Vec<u8> {
    let mut text = String::from_utf8(bytes).unwrap();
    for quote in ["\"", "\\\""] {
        let field = format!("{quote}crc32c{quote}:{quote}");
        // Eight digits, and a comma on one side.
        while let Some(at) = text.find(&field) {
            let mut end = at + field.len() + 8 + quote.len();
            let begins = text[..at].ends_with('{');
            end += usize::from(begins);
            text.replace_range(if begins { at..end } else { at - 1..end }, "");
        }
    }
    text.into_bytes()
}

/// A file as earlier versions wrote it: of a model, the header is shorter.
fn as_it_was(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if path.extension().is_none_or(|extension| extension != "safetensors") {
        return bytes;
    }
    let (length, rest) = bytes.split_at(8);
    let (header, tensors) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let mut header = without_checksums(header.trim_ascii_end().to_vec());
    header.resize(header.len().next_multiple_of(8), b' ');
    [(header.len() as u64).to_le_bytes().as_slice(), &header, tensors].concat()
}

#[test]
fn a_training_that_was_killed_goes_on_to_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("cut-off");
    copy_folder(&fixture("training/cut-off"), &out);
    let resumed = run_line("train {} --out {} --resume", &[&fixture("training/training.toml"), &out]).ok();
    assert!(resumed.stderr.contains("resuming from the checkpoint"), "{resumed:#?}");
    let hashes = text("results/training.sha256");
    assert_eq!(hashes.lines().count(), 4);
    for line in hashes.lines() {
        let (expected, name) = line.split_once(' ').unwrap();
        let hash = ofa::space::digest::sha256(as_it_was(&out.join(name)));
        assert!(hash == expected || !same_instructions(), "{name} is another file");
    }
}

fn resume(out: &Path) -> program::Outcome {
    run_line("run {} --out {} --resume", &[&fixture("pipeline.toml"), out]).ok()
}

#[test]
fn a_finished_run_is_reported_and_nothing_of_it_is_redone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    copy_folder(&fixture("run"), &out);
    run_line("report {}", &[&out]).ok();
    assert!(std::fs::read_to_string(out.join("report.html")).unwrap().contains("small-mobile"));
    let results =
        |out: &Path| -> Value { serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap() };
    let before = results(&fixture("run"));
    let resumed = resume(&out);
    for step in ["train", "collect", "fit", "search", "deploy"] {
        assert!(resumed.stderr.contains(&format!("{step}: done before")), "{step} was redone: {resumed:#?}");
    }
    let mut after = results(&out);
    forget_judgement(&mut after);
    assert_eq!(after, before);

    // The configuration in the folder is the one that it was started with.
    let alone = program(&["run", "--resume", "--out", out.to_str().unwrap()]).output().unwrap();
    assert!(String::from_utf8(alone.stderr).unwrap().contains("deploy: done before"));
}

#[test]
fn the_last_steps_of_a_run_go_on_from_the_first_ones() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    copy_folder(&fixture("run"), &out);
    let record = out.join("steps.json");
    let mut steps: Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    for step in ["fit", "search", "deploy"] {
        assert!(steps.as_object_mut().unwrap().remove(step).is_some());
    }
    std::fs::write(&record, steps.to_string()).unwrap();
    let resumed = resume(&out);
    assert!(resumed.stderr.contains("collect: done before"), "{resumed:#?}");
    assert!(!resumed.stderr.contains("fit: done before"), "{resumed:#?}");
    let results =
        |out: &Path| -> Value { serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap() };
    let mut found = results(&out);
    forget_judgement(&mut found);
    // The recorded run was of few steps, and its pairs were few.
    forget(&mut found, &["warnings"]);
    // Later versions tell the delivered network and the subnet as it was cut apart.
    for case in found["cases"].as_array_mut().unwrap() {
        // Nor was there a file in the precision of the device.
        if let Some(in_f32) = case.as_object_mut().unwrap().remove("accuracy_f32") {
            case["accuracy"] = in_f32;
            case["onnx"] = case.as_object_mut().unwrap().remove("onnx_f32").unwrap();
            case.as_object_mut().unwrap().remove("layers_in_f32");
        }
        let as_cut = case.as_object_mut().unwrap().remove("supernet_accuracy");
        assert_eq!(as_cut.as_ref(), Some(&case["accuracy"]));
        forget(case, &CLASSES);
        forget(
            case,
            &["right", "values", "latency_is_estimate", "onnx_bytes", "peak_activation_bytes", "predicted_deviation"],
        );
        // The recorded run was of few steps: its predictor promises more than its subnets keep.
        case.as_object_mut().unwrap().remove("prediction_missed");
    }
    let recalibrated = ["accuracy", "test_top1", "max_abs_diff", "max_abs_logit"];
    assert_equal_but_recalibrated(found, results(&fixture("run")), &recalibrated, 0.01, "results");
}
