//! Pretrained networks through the program: every family of `tests/pretrained_nets.py` gives PyTorch's logits, and
//! EfficientNet-Lite0 its answers on real photos.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)] // other tests use the rest of it
mod program;

use program::{Outcome, run_line};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What `tests/pretrained_nets.py make` wrote, if it ran.
fn nets() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pretrained-nets");
    if folder.join("nets.json").exists() {
        return Some(folder);
    }
    eprintln!("skipped: {} is absent (python tests/pretrained_nets.py make)", folder.display());
    None
}

fn listed(folder: &Path) -> Vec<Value> {
    serde_json::from_str(&std::fs::read_to_string(folder.join("nets.json")).unwrap()).unwrap()
}

fn read_npy(path: &Path) -> Vec<f32> {
    npyz::NpyFile::new(std::fs::File::open(path).unwrap()).unwrap().into_vec().unwrap()
}

fn import(folder: &Path, net: &Value, family: Option<&str>, model: &Path) -> Outcome {
    let file = folder.join(net["file"].as_str().unwrap());
    let mut line = format!("import pretrained {{}} --image-size {} -o {{}}", net["size"]);
    if let Some(family) = family {
        line += &format!(" --family {family}");
    }
    if file.extension().is_some_and(|extension| extension == "onnx") {
        line += " --mean 0.5 --std 0.5";
    }
    run_line(&line, &[&file, model])
}

#[test]
fn every_family_gives_the_logits_of_pytorch() {
    let Some(folder) = nets() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (model, output) = (scratch.path().join("m.safetensors"), scratch.path().join("y.npy"));
    for net in listed(&folder) {
        let stem = net["stem"].as_str().unwrap();
        let family = net["family"].as_str();
        if family.is_some() {
            let refused = import(&folder, &net, None, &model);
            assert_eq!(refused.code, Some(2), "{stem}: {refused:#?}");
            assert!(refused.stderr.contains("eps") && refused.stderr.contains("--family"), "{stem}: {refused:#?}");
            assert!(!model.exists(), "{stem}: a refused import left a file");
        }
        let report = import(&folder, &net, family, &model).ok().json();
        let input = folder.join(format!("{stem}-x.npy"));
        run_line("forward --model {} --input {} --output {}", &[&model, &input, &output]).ok();
        let (ours, expected) = (read_npy(&output), read_npy(&folder.join(format!("{stem}-logits.npy"))));
        assert_eq!(ours.len(), expected.len(), "{stem}");
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let difference = ours.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
        println!("{stem}: {difference:.1e}, {report}");
        assert!(difference <= 1e-4, "{stem}: {difference}");
        // The exported file, in an independent runtime.
        let onnx = scratch.path().join("m.onnx");
        run_line("export --verify --model {} -o {}", &[&model, &onnx]).ok();
        std::fs::remove_file(&model).unwrap();
    }
}

#[test]
fn what_is_of_no_family_names_the_nearest() {
    let Some(folder) = nets() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("m.safetensors");
    let net = listed(&folder).into_iter().find(|net| net["stem"] == "torchvision-resnet18-pth-64").unwrap();
    let wrong = import(&folder, &net, Some("resnet34"), &model);
    assert_eq!(wrong.code, Some(2), "{wrong:#?}");
    assert!(wrong.stderr.contains("`resnet34`: the checkpoint has no `layer1.2.conv1.weight`"), "{wrong:#?}");
    let unknown = import(&folder, &net, Some("resnet19"), &model);
    assert!(unknown.stderr.contains("did you mean `resnet18`?"), "{unknown:#?}");
    let pickled = run_line("import pretrained {} -o {}", &[&folder.join("module.pth"), &model]);
    assert_eq!(pickled.code, Some(2), "{pickled:#?}");
    assert!(pickled.stderr.contains("save(model.state_dict()"), "{pickled:#?}");
    // Another number of classes needs a new head.
    let file = folder.join(net["file"].as_str().unwrap());
    let refused = run_line("import pretrained {} --classes 3 -o {}", &[&file, &model]);
    assert!(refused.stderr.contains("7 classes") && refused.stderr.contains("--new-head"), "{refused:#?}");
    assert!(!model.exists(), "a refused import left a file");
    let report = run_line("import pretrained {} --classes 3 --new-head -o {}", &[&file, &model]).ok().json();
    assert_eq!(report["family"], "resnet18");
    assert_eq!(report["image_size"], 224);
    assert_eq!(report["fresh"], serde_json::json!(["classifier.linear.bias", "classifier.linear.weight"]));
}

/// Batch norms in place of folded ones, measured on a few images: the same logits, and what training needs.
#[test]
fn folded_batch_norms_are_put_back() {
    let Some(folder) = nets() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (model, output) = (scratch.path().join("m.safetensors"), scratch.path().join("y.npy"));
    let stem = "torchvision-mobilenet_v2-onnx-64";
    let (file, input) = (folder.join(format!("{stem}.onnx")), folder.join(format!("{stem}-x.npy")));
    let refused = run_line("import pretrained {} -o {}", &[&file, &model]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(
        refused.stderr.contains("mean and standard deviation") && refused.stderr.contains("--mean"),
        "{refused:#?}"
    );
    assert!(!model.exists(), "a refused import left a file");
    let line = "import pretrained {} --mean 0.5 --std 0.5 --calibrate {} -o {}";
    let report = run_line(line, &[&file, &input, &model]).ok().json();
    // Scale and shift, mean and variance instead of a bias: 52 convolutions.
    assert_eq!(report["tensors"], 106 + 3 * 52);
    run_line("forward --model {} --input {} --output {}", &[&model, &input, &output]).ok();
    let (ours, expected) = (read_npy(&output), read_npy(&folder.join(format!("{stem}-logits.npy"))));
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let difference = ours.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
    println!("{stem}, unfolded: {difference:.1e}");
    assert!(difference <= 1e-4, "{difference}");
}

#[test]
fn a_description_is_read_as_before() {
    const NAMES: [&str; 2] =
        ["data/mcunet/mcunet-320kb-1mb_imagenet.json", "data/mcunet/mcunet-320kb-1mb_imagenet.pth"];
    let Some(shared) = ofa_reference_data::folder_with(&NAMES) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let [config, weights] = NAMES.map(|name| shared.join(name));
    let (one, other) = (scratch.path().join("one.safetensors"), scratch.path().join("other.safetensors"));
    let report = run_line("import pretrained {} --config {} -o {}", &[&weights, &config, &one]).ok().json();
    assert_eq!((&report["family"], &report["image_size"]), (&"mcunet".into(), &176.into()));
    run_line("import net --config {} --weights {} -o {}", &[&config, &weights, &other]).ok();
    assert!(std::fs::read(&one).unwrap() == std::fs::read(&other).unwrap());
    let line = "import pretrained {} --config {} --classes 6 --new-head -o {}";
    let report = run_line(line, &[&weights, &config, &one]).ok().json();
    assert_eq!(report["fresh"].as_array().map(Vec::len), Some(2), "{report}");
    let refused = run_line("import pretrained {} -o {}", &[&weights, &scratch.path().join("none.safetensors")]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("--config"), "{refused:#?}");
}

/// As the package that the weights come with: 44 of 50 photos; with symmetric padding 41.
#[test]
fn efficientnet_lite0_knows_44_of_50_photos() {
    const NAMES: [&str; 2] = ["data/pretrained/efficientnet-lite0.pth", "data/mcunet/golden-50.json"];
    let Some(shared) = ofa_reference_data::folder_with(&[NAMES[0], NAMES[1], "data/mcunet/images"]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let model = scratch.path().join("m.safetensors");
    let checkpoint = shared.join(NAMES[0]);
    let report = run_line("import pretrained {} --labels imagenet -o {}", &[&checkpoint, &model]).ok().json();
    assert_eq!(report["family"], "tf_efficientnet_lite0");
    assert_eq!(report["params"], 4_652_008);
    assert_eq!((&report["mean"], &report["std"]), (&serde_json::json!([0.5, 0.5, 0.5]), &report["mean"]));
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(shared.join(NAMES[1])).unwrap()).unwrap();
    let photos = photos(&golden);
    assert_eq!(photos.len(), 50);
    let files: Vec<PathBuf> = photos.iter().map(|(name, _)| shared.join("data/mcunet/images").join(name)).collect();
    let line = format!("classify --top 1 --model {{}}{}", " {}".repeat(files.len()));
    let paths: Vec<&Path> = std::iter::once(model.as_path()).chain(files.iter().map(PathBuf::as_path)).collect();
    let answers = run_line(&line, &paths).ok().lines();
    let right = answers.iter().zip(&photos).filter(|(answer, (_, label))| answer["top"][0]["index"] == *label).count();
    assert_eq!(right, 44);
}

/// Name and label of every photo of the reference results.
fn photos(golden: &Value) -> Vec<(String, u64)> {
    let nets = golden["nets"].as_object().unwrap();
    let (_, net) = nets.iter().next().unwrap();
    let images = net["images"].as_array().unwrap();
    images.iter().map(|image| (image["file"].as_str().unwrap().to_owned(), image["label"].as_u64().unwrap())).collect()
}
