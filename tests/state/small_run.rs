//! The smallest run of everything: three classes of small grey images in a folder, a supernet of two stages, and two cases, of
//! which one is on a device with a profile of its own. The program works in the folder that holds all of it.

use crate::program::{Outcome, program};
use ofa::space::digest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

pub const CLASSES: [&str; 3] = ["apple", "pear", "plum"];
/// Images of a class in each part.
const PARTS: [(&str, u32); 3] = [("train", 10), ("val", 6), ("test", 6)];

/// A run and its data in a folder of its own.
pub struct SmallRun {
    folder: TempDir,
}

/// An image that no other call gives: stripes in the direction of the class.
pub fn draw(path: &Path, class: usize, number: u32) {
    let image = image::GrayImage::from_fn(20, 20, |x, y| {
        let along = [x, y, x + y][class] * 31 + number * 7;
        let noise = (x * 37 + y * 23 + number * 113) % 97;
        image::Luma([(along % 160 + noise) as u8])
    });
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

/// Writes the images of all parts.
pub fn write_images(data: &Path) {
    let mut number = 0;
    for (part, count) in PARTS {
        for (class, name) in CLASSES.iter().enumerate() {
            for index in 0..count {
                number += 1;
                draw(&data.join(part).join(name).join(format!("{index:02}.png")), class, number);
            }
        }
    }
}

pub const DEVICE: &str = r#"
[device]
kind = "roofline"
name = "toy"
peak_gmacs = 0.5
peak_source = "a toy"
bandwidth_gb_s = 1.0
bandwidth_source = "a toy"
bytes_per_element = 4.0
overhead_us = 5.0

[device.efficiency]
dense = 0.5
depthwise = 0.2
linear = 0.5
"#;

/// Every line that a test changes is there once. Fields that came later are in the tests that need them, so that older builds of the
/// program can be tried.
pub const PIPELINE: &str = r#"
[train]
data = "photos"
seed = 3
batch_size = 6
validation_images = 30
calibration_images = 12
checkpoint_steps = 2

[train.space]
kind = "mbv3"
name = "smallest"
width = 0.5
classes = 3
input_channels = 1
expand_ratios = [2, 3]
depths = [1, 2]
resolutions = [16, 20]
stem_channels = 8
final_expand_channels = 16
feature_mix_channels = 16

[[train.space.stages]]
channels = 8
stride = 1
activation = "relu"

[[train.space.stages]]
channels = 16
stride = 2
activation = "relu"

[[train.phases]]
name = "resolution"
epochs = 1.6
learning_rate = 0.05

[[train.phases]]
name = "everything"
opens = { kernel_size = 1, depth = 1, expansion = 1 }
epochs = 0.8
learning_rate = 0.02

[collect]
count = 12
calibration_images = 10

[fit]
predictor = "ridge"
holdout = 0.25

[search]
strategy = { kind = "random" }
evaluations = 60

[[search.devices]]
device = "pixel4-cpu"
limits = 1

[[search.devices]]
device = "toy.toml"
limits = 2

[deploy]
calibration_images = 11
verify_images = 2
host_runs = 0
host_nets = 0
"#;

impl SmallRun {
    /// Images and configuration; nothing is run yet.
    pub fn prepared() -> Self {
        let run = Self { folder: tempfile::tempdir().unwrap() };
        write_images(&run.data());
        std::fs::write(run.device(), DEVICE).unwrap();
        run.configure(|text| text);
        run
    }

    /// A copy of a run that nobody disturbed, with images of its own.
    pub fn finished() -> Self {
        static RUN: OnceLock<SmallRun> = OnceLock::new();
        Self::copy_of(&RUN, "")
    }

    /// The same with fine-tuned networks and their teacher.
    pub fn fine_tuned() -> Self {
        static RUN: OnceLock<SmallRun> = OnceLock::new();
        Self::copy_of(&RUN, "\n[deploy.finetune]\nepochs = 0.8\nbatch_size = 6\n")
    }

    fn copy_of(run: &OnceLock<SmallRun>, more: &str) -> Self {
        let original = run.get_or_init(|| {
            let run = Self::prepared();
            run.configure(|text| text + more);
            run.start(&[]).ok();
            run
        });
        let copy = Self { folder: tempfile::tempdir().unwrap() };
        copy_folder(original.folder.path(), copy.folder.path());
        copy
    }

    /// The folder that holds everything.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.root().join("photos")
    }

    pub fn device(&self) -> PathBuf {
        self.root().join("toy.toml")
    }

    pub fn config(&self) -> PathBuf {
        self.root().join("small.toml")
    }

    pub fn out(&self) -> PathBuf {
        self.root().join("run")
    }

    /// A file of the run: a result at the top of its folder, or what it works with. Earlier versions had all at the top.
    pub fn at(&self, relative: &str) -> PathBuf {
        let below = self.out().join("work").join(relative);
        let is_work = [
            "train",
            "tuned",
            "refine",
            "pairs",
            "predictor",
            "host.toml",
            "steps",
            "timings",
            "data-files",
            "collect",
            "fit",
            "search",
            "deploy",
            "profile",
        ];
        let is_work = is_work.iter().any(|name| relative.starts_with(name));
        if is_work && self.out().join("work").is_dir() { below } else { self.out().join(relative) }
    }

    /// Writes the configuration, changed.
    pub fn configure(&self, change: impl FnOnce(String) -> String) {
        let text = PIPELINE.to_owned();
        std::fs::write(self.config(), change(text)).unwrap();
    }

    /// Runs the program in the folder.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let output = program(arguments).current_dir(self.root()).output().unwrap();
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs the configuration, with more options.
    pub fn start(&self, options: &[&str]) -> Outcome {
        self.run(&[&["run", "small.toml", "--out", "run"], options].concat())
    }

    /// Goes on with what is in the run's folder, with more options.
    pub fn resume(&self, options: &[&str]) -> Outcome {
        self.run(&[&["run", "--resume", "--out", "run"], options].concat())
    }

    fn whole_results(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.at("results.json")).unwrap()).unwrap()
    }

    /// The results, without the name of the data's folder.
    pub fn results(&self) -> Value {
        let mut results = self.whole_results();
        results["data"] = Value::Null;
        results
    }

    /// SHA-256 of every delivered network, by name.
    pub fn nets(&self) -> BTreeMap<String, String> {
        let files = std::fs::read_dir(self.at("nets")).unwrap().map(|entry| entry.unwrap().path());
        files.map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), sha256(&file))).collect()
    }

    /// The files that the results list, as they are called in the run's folder.
    pub fn listed(&self) -> Vec<String> {
        let results = self.whole_results();
        let cases = results["cases"].as_array().unwrap().iter().chain(results.get("reference"));
        let onnx = cases.map(|case| case["onnx"].as_str().unwrap().to_owned());
        let mut files: Vec<String> = onnx.flat_map(|file| [file.replace(".onnx", ".safetensors"), file]).collect();
        files.sort();
        files.dedup();
        files
    }
}

pub fn sha256(path: &Path) -> String {
    digest::sha256(std::fs::read(path).unwrap())
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false => drop(std::fs::copy(&path, target).unwrap()),
        }
    }
}

/// Asserts that steps were done before, and others not.
#[track_caller]
pub fn assert_redone(outcome: &Outcome, kept: &[&str], redone: &[&str]) {
    for step in kept {
        assert!(outcome.stderr.contains(&format!("{step}: done before")), "{step} was redone: {outcome:#?}");
    }
    for step in redone {
        assert!(!outcome.stderr.contains(&format!("{step}: done before")), "{step} was not redone: {outcome:#?}");
    }
}

/// Asserts that the program refused its input with all of these words.
#[track_caller]
pub fn assert_refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, Some(2), "{outcome:#?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "`{word}` is missing: {outcome:#?}");
    }
}
