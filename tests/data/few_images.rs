//! Classes of one, two or three images: what cannot be measured is reported before anything is trained.

use crate::pictures::{training, write};
use crate::program::run_line;
use std::path::{Path, PathBuf};

fn classes_of(folder: &Path, images: u32) -> PathBuf {
    let data = folder.join(format!("{images} images"));
    for (class, first) in [("a", 0), ("b", 100), ("c", 200)] {
        write(&data.join(class), first..first + images);
    }
    data
}

/// A run of a second.
const RUN: &str = r#"
[train]
space = "tiny-28"
data = "nowhere"
batch_size = 4
validation_images = 100
calibration_images = 8
[[train.phases]]
name = "all"
opens = { kernel_size = 1, depth = 2, expansion = 2 }
epochs = 1
learning_rate = 0.01
[collect]
count = 12
calibration_images = 8
[fit]
predictor = "ridge"
[search]
strategy = { kind = "random" }
evaluations = 20
[[search.devices]]
device = "pixel4-cpu"
limits = 1
[deploy]
calibration_images = 8
verify_images = 4
host_runs = 0
"#;

#[test]
fn a_run_measures_on_images_or_refuses_before_it_trains() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    std::fs::write(&plan, RUN).unwrap();
    for (images, missing) in [(1, "no validation images"), (2, "no test images")] {
        let (data, out) = (classes_of(folder.path(), images), folder.path().join(format!("out {images}")));
        for line in ["run {} --data {} --out {}", "run --data {} --out {}"] {
            let paths: Vec<&Path> = match line.matches("{}").count() {
                3 => vec![&plan, &data, &out],
                _ => vec![&data, &out],
            };
            let refused = run_line(line, &paths);
            assert_eq!(refused.code, Some(2), "{images} images a class: {refused:#?}");
            assert!(refused.stderr.contains(missing), "{images} images a class: {refused:#?}");
            assert!(!out.join("train/checkpoint.ofa").exists(), "{images} images a class: training began");
            let _ = std::fs::remove_dir_all(&out);
        }
    }
    let (data, out) = (classes_of(folder.path(), 3), folder.path().join("out 3"));
    let done = run_line("run {} --data {} --out {}", &[&plan, &data, &out]).ok();
    assert!(done.stderr.contains("a (3)"), "{done:#?}");
    assert!(!done.json()["results"].as_array().unwrap().is_empty());
}

#[test]
fn other_commands_do_not_measure_on_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (out, output) = (folder.path().join("out"), folder.path().join("output"));
    let config = training(folder.path(), 1.0);
    let refused = run_line("train {} --data {} --out {}", &[&config, &classes_of(folder.path(), 1), &out]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("no validation images"), "{refused:#?}");

    let data = classes_of(folder.path(), 2);
    run_line("train {} --data {} --out {}", &[&config, &data, &out]).ok();
    let model = out.join("supernet.safetensors");
    let refused = run_line("eval --model {} --arch max --data {}", &[&model, &data]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("no test images"), "{refused:#?}");
    let single = classes_of(folder.path(), 1);
    let refused = run_line("collect --model {} --data {} --count 2 -o {}", &[&model, &single, &output]);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("no validation images") && !output.exists(), "{refused:#?}");
}
