//! A pretrained network as a space, through the program: the same file is a whole network and the supernet of its subnets.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;

#[path = "program/photos.rs"]
#[allow(dead_code)]
mod photos;

use npyz::WriterBuilder;
use ofa::space::{Model, ModelBody, importance, supernet};
use ofa::train::pretrained;
use program::{run, run_line};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

fn mcunet() -> Model {
    pretrained::named("mcunet").unwrap().model().unwrap()
}

/// The images of golden-50.json and of `derived/make.py`: one of `size` pixels, made by a formula.
fn write_image(path: &Path, size: usize) {
    let shape = [1, 3, size as u64, size as u64];
    let mut bytes = Vec::new();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd().unwrap();
    let pixel = |i: usize| {
        let (c, y, x) = (i / (size * size), i / size % size, i % size);
        (((31 * c + 7 * y + 13 * x + x * y) % 256) as f32 / 255.0 - 0.5) / 0.5
    };
    writer.extend((0..3 * size * size).map(pixel)).unwrap();
    writer.finish().unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Logits of the program.
fn forward(model: &Path, arch: Option<&str>, size: usize, scratch: &Path) -> Vec<f32> {
    let (input, output) = (scratch.join("x.npy"), scratch.join("y.npy"));
    write_image(&input, size);
    let mut arguments = vec!["forward".into(), "--model".into(), model.as_os_str().to_owned()];
    arguments.extend(["--input".into(), input.into_os_string(), "--output".into(), output.clone().into_os_string()]);
    arguments.extend(arch.iter().flat_map(|arch| ["--arch".into(), (*arch).into()]));
    run(&arguments).ok();
    npyz::NpyFile::new(std::fs::File::open(&output).unwrap()).unwrap().into_vec().unwrap()
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

fn difference(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).fold(0.0, |largest, (a, b)| largest.max((a - b).abs()))
}

/// The matrix of `derived/make.py` in place of the identity.
fn with_matrices(mut model: Model) -> Model {
    let names: Vec<String> =
        model.weights.iter().filter(|(name, _)| name.ends_with("_matrix")).map(|(name, _)| name.clone()).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let matrix = model.weights.get_mut(&name).unwrap();
        let rows = matrix.shape[0];
        for (index, value) in matrix.data.iter_mut().enumerate() {
            let (i, j) = (index / rows, index % rows);
            *value = f32::from(u8::from(i == j)) + (((5 * i + 3 * j) % 7) as f32 - 3.0) / 64.0;
        }
    }
    model
}

#[test]
fn every_dimension_cuts_as_pytorch_slices() {
    let golden: Value = serde_json::from_str(include_str!("derived/mcunet.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let matrices = folder.path().join("matrices.safetensors");
    with_matrices(mcunet().supernet().unwrap()).save(&matrices).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let model = if case["identity"] == true { Path::new("mcunet") } else { &matrices };
        let size = case["arch"]["r"].as_u64().unwrap() as usize;
        let logits = forward(model, Some(&case["arch"].to_string()), size, folder.path());
        let ours: Vec<f32> = logits.iter().step_by(10).copied().collect();
        let expected = case["every_tenth_logit"].as_array().unwrap();
        let expected: Vec<f32> = expected.iter().map(|value| value.as_f64().unwrap() as f32).collect();
        let scale = case["max_abs_logit"].as_f64().unwrap() as f32;
        let relative = difference(&ours, &expected) / scale;
        println!("{}: {relative:e}", case["name"]);
        assert!(relative <= 1e-5, "{}: {relative:e}", case["name"]);
        assert!((largest(&logits) - scale).abs() <= 1e-5 * scale, "{}", case["name"]);
    }
}

#[test]
fn the_largest_subnet_is_the_network_to_the_bit_and_sorting_changes_nothing_but_rounding() {
    let folder = tempfile::tempdir().unwrap();
    let whole = forward(Path::new("mcunet"), None, 176, folder.path());
    assert!(forward(Path::new("mcunet"), Some("max"), 176, folder.path()) == whole);
    let mut sorted = mcunet().supernet().unwrap();
    let groups = supernet::elastic_channels(sorted.space().unwrap().as_ref()).unwrap();
    let permutations = importance::sort_channels(&mut sorted.weights, &groups, 0).unwrap();
    assert_eq!(permutations.len(), 17, "one for each block with an expansion");
    assert!(permutations.iter().all(|permutation| !permutation.order.is_sorted()));
    let path = folder.path().join("sorted.safetensors");
    sorted.save(&path).unwrap();
    let logits = forward(&path, Some("max"), 176, folder.path());
    let relative = difference(&logits, &whole) / largest(&whole);
    println!("sorted: {relative:e}");
    assert!(relative <= 1e-4 && relative > 0.0, "{relative:e}");
}

#[test]
fn the_network_inside_the_program_is_the_published_one() {
    let Some(shared) = ofa_reference_data::folder_with(&["data/mcunet"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |extension| shared.join("data/mcunet/mcunet-320kb-1mb_imagenet").with_extension(extension);
    let imported = folder.path().join("imported.safetensors");
    run_line("import net --config {} --weights {} -o {}", &[&file("json"), &file("pth"), &imported]).ok();
    let (ours, published) = (mcunet(), Model::load(&imported).unwrap());
    assert!(ours.weights == published.weights);
    assert_eq!(ours.input, published.input);
    let ModelBody::Net { spec, .. } = &ours.body else { panic!("a single network") };
    let ModelBody::Net { spec: expected, .. } = &published.body else { panic!("a single network") };
    assert_eq!(spec, expected);
}

#[test]
fn photographs_get_the_names_of_imagenet() {
    let Some(shared) = ofa_reference_data::folder_with(&["data/mcunet/images"]) else { return };
    let zebra = shared.join("data/mcunet/images/n02391049_zebra.JPEG");
    let classified = run_line("classify --model mcunet --top 3 {}", &[&zebra]).ok();
    assert_eq!(classified.json()["top"][0]["class"], "zebra");
    // It is a network with statistics of its own, so there is nothing to warn of.
    assert_eq!(classified.stderr, "");
    // Its largest subnet is the network itself; a smaller one shares the statistics.
    let largest = run_line("classify --model mcunet --arch max --top 3 {}", &[&zebra]).ok();
    assert_eq!(largest.stderr, "");
    let subnet = run_line("classify --model mcunet --arch min --top 3 {}", &[&zebra]).ok();
    assert!(subnet.stderr.starts_with("warning: not calibrated"), "{subnet:#?}");
}

#[test]
fn info_lists_what_is_elastic_what_is_fixed_and_the_range() {
    let report = run_line("info --model mcunet --device pixel4-cpu", &[]).ok().json();
    assert!(report["space"].as_str().unwrap().starts_with("derived-"), "{report}");
    assert_eq!(report["type"], "net");
    assert_eq!(report["image_size"], 176);
    let elastic = report["elastic"].as_array().unwrap();
    assert_eq!(elastic.len(), 17);
    assert_eq!(elastic[0], json!({ "block": "blocks.1", "kernel_sizes": [3, 5, 7], "expand_ratios": [0.5, 0.75, 1] }));
    assert_eq!(elastic[1], json!({ "block": "blocks.2", "kernel_sizes": [3], "expand_ratios": [0.5, 0.75, 1] }));
    assert_eq!(report["depths"], json!([[0, 1, 2, 3], [0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]]));
    let fixed: BTreeMap<&str, &str> = report["fixed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| (part["name"].as_str().unwrap(), part["reason"].as_str().unwrap()))
        .collect();
    assert_eq!(fixed["classifier"], "one output for each class");
    assert!(fixed.contains_key("first_conv") && fixed.contains_key("stage widths"), "{fixed:?}");
    assert!(!fixed.contains_key("blocks.4") && !fixed.contains_key("depths"), "{fixed:?}");
    let extremes = report["extremes"].as_array().unwrap();
    let labels: Vec<&str> = extremes.iter().map(|extreme| extreme["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["min", "mid", "max"]);
    for pair in extremes.windows(2) {
        for field in ["params", "macs", "peak_activation_bytes", "latency_ms"] {
            assert!(pair[0][field].as_f64().unwrap() < pair[1][field].as_f64().unwrap(), "{field}: {pair:?}");
        }
    }
    for extreme in extremes {
        let arch = extreme["arch"].to_string();
        let costs = run(&["info", "--space", "mcunet", "--arch", &arch, "--json"]).ok().json();
        for field in ["params", "macs", "peak_activation_bytes"] {
            assert_eq!(costs[field], extreme[field], "{field}");
        }
    }
    let text = run(&["info", "--model", "mcunet"]).ok().stdout;
    for words in ["blocks.17", "fixed", "subnets at one resolution", "max", "–"] {
        assert!(text.contains(words), "`{words}` is missing: {text}");
    }
    let without = run_line("info --model mcunet", &[]).ok().json();
    assert_eq!(without["extremes"][0]["latency_ms"], Value::Null);
}

#[test]
fn a_missing_dimension_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = mcunet();
    let ModelBody::Net { spec, .. } = &mut model.body else { panic!("a single network") };
    spec.blocks.retain(|block| block.ops.iter().all(|op| op.inputs.len() == 1));
    let path = folder.path().join("plain.safetensors");
    model.save(&path).unwrap();
    let report = run_line("info --model {}", &[&path]).ok().json();
    assert_eq!(report["depths"], json!([]));
    assert_eq!(report["fixed"][0]["name"], "depths");
    assert!(report["fixed"][0]["reason"].as_str().unwrap().contains("residual"), "{report}");
}

/// Pairs of made-up accuracies, higher for larger networks.
fn write_pairs(path: &Path, space: &str) {
    let drawn = run_line(&format!("collect --model {space} --data bundled --count 60 --dry-run"), &[]).ok().lines();
    let pairs = drawn.iter().map(|line| {
        let list = |name: &str| line["arch"][name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).sum::<f64>();
        let size = 0.01 * list("e") + 0.002 * list("ks") + 0.01 * list("d");
        let top1 = 0.4 + size + line["arch"]["r"].as_f64().unwrap() / 1000.0;
        format!("{}\n", json!({ "arch": line["arch"], "top1": top1.min(0.99) }))
    });
    std::fs::write(path, pairs.collect::<String>()).unwrap();
}

#[test]
fn a_model_is_a_space_in_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // A copy under a name of the user's own, without an ending.
    let model = at("my network");
    mcunet().save(&model).unwrap();
    let (pairs, predictor) = (at("pairs.jsonl"), at("predictor.json"));
    write_pairs(&pairs, "mcunet");
    run_line("fit --space {} --pairs {} --predictor ridge --holdout 0.2 -o {}", &[&model, &pairs, &predictor]).ok();
    let predicted = run_line("predict --space mcunet --predictor {} --archs {}", &[&predictor, &pairs]).ok().lines();
    assert_eq!(predicted.len(), 60);
    let latency = run_line("latency --device pixel4-cpu --space {} --arch max", &[&model]).ok().json();
    let info = run_line("info --space {} --arch max", &[&model]).ok().json();

    let line = "search --space {} --accuracy {} --max-macs 20%,60%,1e6 --evaluations 3000";
    let found = run_line(line, &[&model, &predictor]).ok().json();
    let limits: Vec<f64> =
        found["results"].as_array().unwrap().iter().map(|r| r["constraint"]["macs"].as_f64().unwrap()).collect();
    let macs = info["macs"].as_f64().unwrap();
    assert_eq!(limits, [0.2 * macs, 0.6 * macs, 1e6]);
    let line = "search --space mcunet --accuracy {} --device pixel4-cpu:50% --max-params 70% --max-sram-kb 80%";
    let found = run_line(&format!("{line} --evaluations 2000"), &[&predictor]).ok().json();
    let constraint = &found["results"][0]["constraint"];
    let close = |value: &Value, expected: f64| (value.as_f64().unwrap() - expected).abs() <= 1e-9 * expected;
    assert!(close(&constraint["latency_ms"], 0.5 * latency["latency_ms"].as_f64().unwrap()), "{constraint}");
    assert!(close(&constraint["params"], 0.7 * info["params"].as_f64().unwrap()), "{constraint}");
    assert!(found["results"][0]["latency_ms"].as_f64().unwrap() <= constraint["latency_ms"].as_f64().unwrap());
    let wrong = run_line("search --space mcunet --accuracy {} --max-macs 160%", &[&predictor]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("160%") && wrong.stderr.contains("up to 100%"), "{wrong:#?}");

    let measured = at("measured.jsonl");
    let lines = predicted.iter().map(|line| {
        let r = line["arch"]["r"].as_f64().unwrap();
        format!("{}\n", json!({ "arch": line["arch"], "latency_ms": r * r / 5000.0 }))
    });
    std::fs::write(&measured, lines.collect::<String>()).unwrap();
    run_line("devices fit --space {} --measured {} -o {}", &[&model, &measured, &at("phone.toml")]).ok();

    // A subnet that was cut out has no subnets of its own.
    let subnet = at("subnet.safetensors");
    let calibration = at("calibration.npy");
    write_image(&calibration, 64);
    run_line("extract --model {} --arch min --calibrate {} -o {}", &[&model, &calibration, &subnet]).ok();
    for line in [
        "info --space {} --arch max",
        "collect --model {} --data bundled --count 2 --dry-run",
        "eval --model {} --arch max --data bundled",
    ] {
        let refused = run_line(line, &[&subnet]);
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.stderr.contains("cut out of a supernet"), "{refused:#?}");
    }
    let info = run_line("info --model {}", &[&subnet]).ok().json();
    assert_eq!((&info["type"], &info["elastic"]), (&json!("net"), &Value::Null));
    let missing = run_line("latency --device pixel4-cpu --space none.safetensors --arch max", &[]);
    assert!(missing.code == Some(2) && missing.stderr.contains("none.safetensors"), "{missing:#?}");
    let slip = run_line("info --model mcunt", &[]);
    assert!(slip.code == Some(2) && slip.stderr.contains("did you mean `mcunet`"), "{slip:#?}");
}

#[test]
fn a_new_head_learns_the_user_s_classes_and_the_result_is_elastic_too() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (data, tuned, teacher) = (at("photos"), at("tuned.safetensors"), at("teacher.safetensors"));
    photos::write(&data, 24);
    let other = run_line("finetune --model mcunet --data {} -o {}", &[&data, &tuned]);
    assert_eq!(other.code, Some(2));
    assert!(other.stderr.contains("--new-head") && other.stderr.contains("`blue sky`"), "{other:#?}");
    let line = "finetune --model mcunet --new-head --image-size 48 --data {} -o {} --batch-size 8";
    let report = run_line(&format!("{line} --epochs 3 --gradient-clip 5"), &[&data, &teacher]).ok().json();
    let batches = (report["steps"].as_u64().unwrap()) / 4;
    assert_eq!(report["steps"], 4 * batches, "one epoch of the head, three of everything: {report}");
    assert!(report["top1_after"].as_f64().unwrap() > 0.6, "{report}");
    let model = Model::load(&teacher).unwrap();
    assert_eq!(model.class_names, photos::CLASSES);
    assert!(!teacher.with_extension("safetensors.checkpoint").exists());
    // Its body learnt; the classifier is new.
    let info = run_line("info --model {}", &[&teacher]).ok().json();
    assert_eq!((&info["classes"], &info["image_size"]), (&json!(3), &json!(48)));
    assert_eq!(info["elastic"].as_array().unwrap().len(), 17);
    // It learnt at 48 px, so its largest subnet is at 48 px, and as good.
    assert_eq!(info["extremes"][2]["arch"]["r"], 48);
    let evaluated =
        |arch: &str| run_line(&format!("eval --model {{}} --data {{}} {arch}"), &[&teacher, &data]).ok().json();
    let (whole, subnet) = (evaluated(""), evaluated("--arch max"));
    assert_eq!((&whole["calibration_images"], subnet["calibration_images"].as_u64().unwrap() > 0), (&json!(0), true));
    let [whole, subnet] = [whole, subnet].map(|report| report["top1"].as_f64().unwrap());
    // Running statistics of a few steps lag behind recalibrated ones.
    assert!(subnet >= whole - 0.25, "{whole}, {subnet}");
    let line =
        "finetune --model {} --arch min --data {} --teacher {} --distillation 0.5 -o {} --epochs 1 --batch-size 8";
    run_line(line, &[&teacher, &data, &teacher, &tuned]).ok();
    assert!(matches!(Model::load(&tuned).unwrap().body, ModelBody::Net { arch: Some(_), .. }));
    let refused = run_line("finetune --model {} --data {} --teacher mcunet -o {}", &[&tuned, &data, &at("out")]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--teacher mcunet"), "{refused:#?}");
    // The supernet of its subnets is measured with batch norm of their own; the whole network is not touched.
    let line = "collect --model {} --data {} --count 3 --calibration-images 16 -o {}";
    assert_eq!(run_line(line, &[&teacher, &data, &at("pairs.jsonl")]).ok().lines().len(), 3);
    let whole = run_line("eval --model {} --data {}", &[&teacher, &data]).ok();
    assert_eq!(whole.json()["calibration_images"], 0);
    assert_eq!(whole.stderr.matches("BN").count(), 0, "{whole:#?}");
    let line = "export --model {} --arch min --calibrate {} -o {} --verify";
    run_line(line, &[&teacher, &data, &at("net.onnx")]).ok();
}
