//! The authors' published artefacts through the program: supernets, single networks, predictors and tables give their
//! numbers. Every expected value is read from the reference results; without them the tests are skipped.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;

use program::run_line;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a family's supernet is checked with: its folder and its checkpoint.
const MBV3: [&str; 2] = ["golden/mbv3-small", "golden/supernet-mbv3-small-legacy-keys.pth"];
const PROXYLESS: [&str; 2] = ["golden/proxyless-small", "golden/supernet-proxyless-small.pth"];
const RESNET: [&str; 2] = ["golden/resnet-small", "golden/supernet-resnet-small.pth"];
const SPECIALISED: &str = "data/official/ofa_specialized";

fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn read_npy(path: &Path) -> (Vec<f32>, Vec<usize>) {
    let file = npyz::NpyFile::new(std::fs::File::open(path).unwrap()).unwrap();
    let shape = file.shape().iter().map(|d| *d as usize).collect();
    (file.into_vec().unwrap(), shape)
}

fn write_npy(path: &Path, values: &[f32], shape: &[u64]) {
    use npyz::WriterBuilder;
    let file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(shape).writer(file).begin_nd().unwrap();
    writer.extend(values.iter().copied()).unwrap();
    writer.finish().unwrap();
}

/// Largest difference, relative to the largest expected value.
fn relative_difference(ours: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(ours.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    ours.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

/// The space of a reference supernet as a user would write it, with the constructor's own argument names.
fn space_toml(cases: &Value) -> String {
    let kind = match cases["network"].as_str().unwrap() {
        "OFAMobileNetV3" => "mbv3",
        "OFAProxylessNASNets" => "proxyless",
        "OFAResNets" => "resnet50",
        other => panic!("unknown network {other}"),
    };
    let mut text = format!("[space]\nkind = \"{kind}\"\nname = \"small\"\n");
    for (key, value) in cases["constructor"].as_object().unwrap() {
        match key.as_str() {
            "bn_param" => text += &format!("bn_eps = {}\n", value["eps"]),
            "dropout_rate" => {}
            _ => text += &format!("{key} = {value}\n"),
        }
    }
    text
}

fn supernet_gives_the_authors_logits(names: [&str; 2]) {
    let Some(shared) = ofa_reference_data::folder_with(&names) else { return };
    let [name, _] = names;
    let (golden, folder) = (shared.join("golden"), shared.join(name));
    let cases = read_json(&folder.join("cases.json"));
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str| scratch.path().join(name);
    std::fs::write(file("space.toml"), space_toml(&cases)).unwrap();
    let checkpoint = golden.join(cases["checkpoint"].as_str().unwrap());
    let (space, model, output, net) = (file("space.toml"), file("m.safetensors"), file("y.npy"), file("n.safetensors"));
    let report = run_line("import supernet {} --space {} -o {}", &[&checkpoint, &space, &model]).ok().json();
    assert_eq!(report["unused"], json!([]));
    let sizes: Vec<String> = cases["calibration_batches"].as_array().unwrap().iter().map(Value::to_string).collect();
    let batches = sizes.join(",");
    let calibration = folder.join("calib.npy");
    let (mut worst, mut worst_recalibrated) = (0.0f32, 0.0f32);
    for size in ["64", "96"] {
        let input = folder.join(format!("inputs-{size}.npy"));
        let (dynamic, shape) = read_npy(&folder.join(format!("logits-dynamic-{size}.npy")));
        let (recalibrated, _) = read_npy(&folder.join(format!("logits-recalibrated-{size}.npy")));
        let per_case = shape[1] * shape[2];
        let list = cases["cases"].as_array().unwrap();
        assert_eq!(list.len(), shape[0]);
        for (index, case) in list.iter().enumerate() {
            std::fs::write(file("arch.json"), case["arch"].to_string()).unwrap();
            let arch = file("arch.json");
            let range = index * per_case..(index + 1) * per_case;
            let forward = "forward --model {} --arch {} --input {} --output {}";
            run_line(forward, &[&model, &arch, &input, &output]).ok();
            let difference = relative_difference(&read_npy(&output).0, &dynamic[range.clone()]);
            assert!(difference <= 1e-4, "{name} case {index} at {size}: {difference}");
            worst = worst.max(difference);
            let line = format!("{forward} --calibrate {{}} --calibrate-batches {batches}");
            run_line(&line, &[&model, &arch, &input, &output, &calibration]).ok();
            let difference = relative_difference(&read_npy(&output).0, &recalibrated[range.clone()]);
            assert!(difference <= 1e-3, "{name} case {index} at {size}, recalibrated: {difference}");
            worst_recalibrated = worst_recalibrated.max(difference);
            // Extraction: a few archs are enough here, for every one goes through the same code.
            if index % 4 == 2 {
                let mut sized = case["arch"].clone();
                sized["r"] = size.parse::<u32>().unwrap().into();
                std::fs::write(file("sized.json"), sized.to_string()).unwrap();
                let arch = file("sized.json");
                run_line("extract --model {} --arch {} -o {}", &[&model, &arch, &net]).ok();
                run_line("forward --model {} --input {} --output {}", &[&net, &input, &output]).ok();
                let difference = relative_difference(&read_npy(&output).0, &dynamic[range.clone()]);
                assert!(difference <= 1e-4, "{name} case {index} at {size}, extracted: {difference}");
                let line =
                    format!("extract --model {{}} --arch {{}} -o {{}} --calibrate {{}} --calibrate-batches {batches}");
                run_line(&line, &[&model, &arch, &net, &calibration]).ok();
                run_line("forward --model {} --input {} --output {}", &[&net, &input, &output]).ok();
                let difference = relative_difference(&read_npy(&output).0, &recalibrated[range]);
                assert!(difference <= 1e-3, "{name} case {index} at {size}, extracted and recalibrated: {difference}");
            }
        }
    }
    println!("{name}: within {worst:.1e} of the largest logit, {worst_recalibrated:.1e} after recalibration");
}

#[test]
fn mobilenet_supernet() {
    supernet_gives_the_authors_logits(MBV3);
}

#[test]
fn proxyless_supernet() {
    supernet_gives_the_authors_logits(PROXYLESS);
}

#[test]
fn resnet_supernet() {
    supernet_gives_the_authors_logits(RESNET);
}

#[test]
fn another_number_of_classes_needs_a_new_head() {
    let Some(shared) = ofa_reference_data::folder_with(&[MBV3, PROXYLESS, RESNET].concat()) else { return };
    let golden = shared.join("golden");
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str| scratch.path().join(name);
    for [name, _] in [MBV3, PROXYLESS, RESNET] {
        let cases = read_json(&shared.join(name).join("cases.json"));
        let checkpoint = golden.join(cases["checkpoint"].as_str().unwrap());
        let (space, model, again) = (file("space.toml"), file("m.safetensors"), file("again.safetensors"));
        std::fs::write(&space, space_toml(&cases)).unwrap();
        let refused = run_line("import supernet {} --space {} --classes 7 -o {}", &[&checkpoint, &space, &model]);
        assert_eq!(refused.code, Some(2), "{refused:#?}");
        assert!(refused.stderr.contains("--new-head"), "{refused:#?}");
        assert!(!model.exists());
        let line = "import supernet {} --space {} --classes 7 --new-head --seed 3 -o {}";
        let outcome = run_line(line, &[&checkpoint, &space, &model]).ok();
        assert_eq!(outcome.json()["fresh"].as_array().unwrap().len(), 2);
        assert!(outcome.stderr.contains("afresh"), "{outcome:#?}");
        run_line(line, &[&checkpoint, &space, &again]).ok();
        assert_eq!(std::fs::read(&model).unwrap(), std::fs::read(&again).unwrap(), "the same seed, the same head");
        let info = run_line("info --model {}", &[&model]).ok().json();
        assert_eq!(info["classes"], 7);
        // A supernet is not replaced by the next one.
        std::fs::remove_file(&model).unwrap();
        std::fs::remove_file(&again).unwrap();
    }
}

#[test]
fn mcunet_on_photographs() {
    let Some(shared) = ofa_reference_data::folder_with(&["data/mcunet"]) else { return };
    let folder = shared.join("data/mcunet");
    let golden = read_json(&folder.join("golden-50.json"));
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str| scratch.path().join(name);
    let (model, input, output) = (file("m.safetensors"), file("x.npy"), file("y.npy"));
    for (name, net) in golden["nets"].as_object().unwrap() {
        let config = folder.join(net["config"].as_str().unwrap());
        let weights = folder.join(net["weights"].as_str().unwrap());
        let report = run_line("import net --config {} --weights {} -o {}", &[&config, &weights, &model]).ok().json();
        assert_eq!(report["image_size"], net["resolution"]);
        assert_eq!(report["mean"], json!([0.5, 0.5, 0.5]));
        assert_eq!(report["std"], json!([0.5, 0.5, 0.5]));
        assert!(report["from"]["mean"].as_str().unwrap().contains("MCUNet"), "{report}");
        assert_eq!(report["unused"], json!([]));

        let r = net["resolution"].as_u64().unwrap() as usize;
        let pixels = (0..3 * r * r).map(|i| {
            let (c, y, x) = (i / (r * r), i / r % r, i % r);
            (((31 * c + 7 * y + 13 * x + x * y) % 256) as f32 / 255.0 - 0.5) / 0.5
        });
        write_npy(&input, &pixels.collect::<Vec<f32>>(), &[1, 3, r as u64, r as u64]);
        run_line("forward --model {} --input {} --output {}", &[&model, &input, &output]).ok();
        let logits = read_npy(&output).0;
        let largest = logits.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let expected = &net["synthetic_input"];
        for (ours, theirs) in logits.iter().zip(expected["logits10"].as_array().unwrap()) {
            let difference = (f64::from(*ours) - theirs.as_f64().unwrap()).abs();
            assert!(difference <= 1e-4 * f64::from(largest), "{name}: {ours}, {theirs}");
        }
        let top = expected["top5"].as_array().unwrap().iter().zip(expected["top5_logits"].as_array().unwrap());
        for (class, logit) in top {
            let ours = f64::from(logits[class.as_u64().unwrap() as usize]);
            assert!((ours - logit.as_f64().unwrap()).abs() <= 1e-4 * f64::from(largest), "{name}: {ours}, {logit}");
        }

        let images = net["images"].as_array().unwrap();
        let paths: Vec<PathBuf> =
            images.iter().map(|image| folder.join("images").join(image["file"].as_str().unwrap())).collect();
        let mut arguments: Vec<&Path> = vec![&model];
        arguments.extend(paths.iter().map(PathBuf::as_path));
        let line = format!("classify --model {{}}{}", " {}".repeat(paths.len()));
        let lines = run_line(&line, &arguments).ok().lines();
        assert_eq!(lines.len(), images.len());
        let (mut top1, mut top5) = (0, 0);
        for (line, image) in lines.iter().zip(images) {
            let ours: Vec<u64> = line["top"].as_array().unwrap().iter().map(|g| g["index"].as_u64().unwrap()).collect();
            let theirs: Vec<u64> = image["top5"].as_array().unwrap().iter().map(|c| c.as_u64().unwrap()).collect();
            top1 += usize::from(ours[0] == theirs[0]);
            top5 += usize::from(ours.iter().collect::<BTreeSet<_>>() == theirs.iter().collect::<BTreeSet<_>>());
        }
        println!("{name}: top-1 equal on {top1}, top-5 sets on {top5} of {}", images.len());
        assert!(top1 * 50 >= 49 * images.len() && top5 * 50 >= 45 * images.len(), "{name}: {top1}, {top5}");
    }
}

#[test]
fn what_a_description_leaves_open_is_asked_for_or_told() {
    let Some(shared) = ofa_reference_data::folder_with(&[SPECIALISED]) else { return };
    let folder = specialised(&shared).into_iter().next().expect("a published network");
    let (config, run) = (folder.join("net.config"), folder.join("run.config"));
    let refused = run_line("info --config {}", &[&config]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--run-config") && refused.stderr.contains("--image-size"), "{refused:#?}");
    let report = run_line("info --config {} --run-config {}", &[&config, &run]).ok().json();
    assert_eq!(report["image_size"], read_json(&run)["image_size"]);
    assert!(report["from"]["image_size"].as_str().unwrap().contains("run.config"));
    assert!(report["from"]["mean"].as_str().unwrap().contains("ImageNet"));
    let line = "info --config {} --image-size 96 --mean 0.5 --std 0.1,0.2,0.3";
    let report = run_line(line, &[&config]).ok().json();
    assert_eq!((&report["image_size"], &report["mean"]), (&json!(96), &json!([0.5, 0.5, 0.5])));
    assert_eq!(report["from"]["std"], "--std");
    for wrong in ["--mean 0.5,0.5", "--std 0", "--mean 300", "--image-size 0"] {
        let line = format!("info --config {{}} --run-config {{}} {wrong}");
        assert_eq!(run_line(&line, &[&config, &run]).code, Some(2), "{wrong}");
    }
}

/// Folders of the published specialised networks.
fn specialised(shared: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(shared.join(SPECIALISED)).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

#[test]
fn every_published_description_builds_with_its_published_macs() {
    let Some(shared) = ofa_reference_data::folder_with(&[SPECIALISED]) else { return };
    let mut compared = 0;
    for folder in specialised(&shared) {
        let (config, run) = (folder.join("net.config"), folder.join("run.config"));
        let report = run_line("info --config {} --run-config {}", &[&config, &run]).ok().json();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let published = name.split(['-', '_']).find_map(|part| part.strip_suffix('M')?.parse::<f64>().ok());
        if let Some(published) = published {
            let ours = report["macs"].as_f64().unwrap() / 1e6;
            assert!((ours - published).abs() <= 0.01 * published, "{name}: {ours}");
            compared += 1;
        }
    }
    assert!(compared > 0, "no name holds a figure");
    println!("{compared} published figures compared");
}

#[test]
fn official_predictors_give_the_authors_accuracies() {
    let Some(shared) = ofa_reference_data::folder_with(&["golden/predictor.json", "data/official"]) else { return };
    let golden = read_json(&shared.join("golden/predictor.json"));
    let scratch = tempfile::tempdir().unwrap();
    let archs = scratch.path().join("archs.jsonl");
    for (family, space) in [("mbv3", "ofa-mbv3-w1.0"), ("resnet50", "ofa-resnet50")] {
        let cases = golden[family]["cases"].as_array().unwrap();
        let lines: Vec<String> = cases.iter().map(|case| case["arch"].to_string()).collect();
        std::fs::write(&archs, lines.join("\n")).unwrap();
        let predictor = shared.join("data/official").join(golden[family]["checkpoint"].as_str().unwrap());
        let line = format!("predict --predictor {{}} --space {space} --archs {{}}");
        let values = run_line(&line, &[&predictor, &archs]).ok().lines();
        assert_eq!(values.len(), cases.len());
        for (ours, case) in values.iter().zip(cases) {
            let (ours, expected) = (ours["value"].as_f64().unwrap(), case["accuracy"].as_f64().unwrap());
            assert!((ours - expected).abs() <= 1e-5, "{family} {}: {ours}, {expected}", case["arch"]);
        }
    }
}

#[test]
fn the_pixel_1_table_is_a_file_device() {
    let name = "data/luts/pixel1/mobile_trim.yaml";
    let Some(shared) = ofa_reference_data::folder_with(&[name]) else { return };
    let table = shared.join(name);
    let scratch = tempfile::tempdir().unwrap();
    let space = scratch.path().join("space.toml");
    std::fs::write(&space, "[space]\nkind = \"proxyless\"\nexpand_ratios = [3, 6]\n").unwrap();
    let mut latencies = Vec::new();
    for arch in ["min", "max", "random --seed 1", "random --seed 2"] {
        // The table is for 224 pixels.
        std::fs::write(&space, "[space]\nkind = \"proxyless\"\nexpand_ratios = [3, 6]\nresolutions = [224]\n").unwrap();
        let line = format!("latency --device {{}} --space {{}} --arch {arch}");
        let report = run_line(&line, &[&table, &space]).ok().json();
        assert_eq!(report["source"], "table");
        latencies.push(report["latency_ms"].as_f64().unwrap());
    }
    assert!(latencies[0] < latencies[1]);
    let missing = run_line("latency --device {} --space ofa-proxyless-w1.3 --arch max", &[&table]);
    assert_eq!(missing.code, Some(2), "{missing:#?}");
    assert!(missing.stderr.contains("Conv-input:224x224x3-output:112x112x40"), "{missing:#?}");
}
