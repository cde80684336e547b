//! One exact progressive-shrinking step against the authors' PyTorch code, where the reference results are at hand.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_space::spaces::mbv3::{Mbv3, Mbv3Config};
use ofa_space::{ArchJson, Genes, SearchSpace, Weights, supernet};
use ofa_train::loss::SoftCrossEntropy;
use ofa_train::training::learning_rate::CosineSchedule;
use ofa_train::training::optimizer::Optimizer;
use ofa_train::training::step::{StepInput, Teacher, Trains, step};
use ofa_train::{Images, Supernet, device, to_host};
use std::path::{Path, PathBuf};

fn golden() -> Option<PathBuf> {
    Some(ofa_reference_data::folder_with(&["golden/train-steps"])?.join("golden/train-steps"))
}

fn read_f32(path: &Path) -> (Vec<f32>, Vec<usize>) {
    let file = npyz::NpyFile::new(std::fs::File::open(path).unwrap()).unwrap();
    let shape = file.shape().iter().map(|d| *d as usize).collect();
    (file.into_vec().unwrap(), shape)
}

/// `[n, c, h, w]` → NHWC.
fn images(path: &Path) -> Images {
    let (data, shape) = read_f32(path);
    let [n, c, h, w] = shape.try_into().unwrap();
    let mut out = vec![0.0; data.len()];
    for i in 0..n {
        for k in 0..c {
            for p in 0..h * w {
                out[(i * h * w + p) * c + k] = data[(i * c + k) * h * w + p];
            }
        }
    }
    Images { data: out, shape: [n, h, w, c] }
}

fn max_abs_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

#[test]
fn the_first_step_is_the_authors() {
    let Some(golden) = golden() else { return };
    let steps: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(golden.join("steps.json")).unwrap()).unwrap();
    let constructor = &steps["constructor"];
    let config = Mbv3Config {
        width: constructor["width_mult"].as_f64().unwrap(),
        classes: constructor["n_classes"].as_u64().unwrap() as usize,
        bn_eps: constructor["bn_param"]["eps"].as_f64().unwrap(),
        ..Mbv3Config::default()
    };
    let space = Mbv3::try_from(config).unwrap();
    let size = steps["image_size"].as_u64().unwrap() as u32;
    let (initial, _) = Weights::load(&golden.join("state-initial.safetensors")).unwrap();
    let backend = std::env::var("OFA_TEST_BACKEND").unwrap_or_else(|_| "flex".to_owned());
    let device = device::open(&backend).unwrap().autodiff();
    let mut net = Supernet::new(supernet::tensors(&space).unwrap(), &initial, &device).unwrap();

    let images = images(&golden.join("images-step-1.npy"));
    let file = npyz::NpyFile::new(std::fs::File::open(golden.join("labels.npy")).unwrap()).unwrap();
    let labels: Vec<usize> = file.into_vec::<i64>().unwrap()[..images.shape[0]].iter().map(|l| *l as usize).collect();

    let max = space.resolve(&space.max_arch().with_resolution(size)).unwrap();
    let teacher = net.forward_batch_statistics(&max, &images).logits;
    let (expected, _) = read_f32(&golden.join("teacher-logits.npy"));
    let ours = to_host(teacher.clone()).unwrap();
    let difference = max_abs_difference(&ours, &expected[..ours.len()]);
    println!("teacher logits: max difference {difference:e}");
    assert!(difference < 1e-4, "teacher logits differ by {difference}");

    let first = &steps["steps"][0];
    let subnets: Vec<_> = first["subnets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|json| {
            let json: ArchJson = serde_json::from_value(json.clone()).unwrap();
            space.resolve(&space.parse(&json).unwrap().with_resolution(size)).unwrap()
        })
        .collect();
    let mut optimizer = Optimizer::new(steps["momentum"].as_f64().unwrap(), steps["weight_decay"].as_f64().unwrap());
    let input = StepInput {
        images: &images,
        first_images: None,
        labels: &labels,
        subnets: &subnets,
        teacher: Teacher::Logits(teacher),
        loss: &SoftCrossEntropy {},
        distillation: steps["kd_ratio"].as_f64().unwrap(),
        label_smoothing: steps["label_smoothing"].as_f64().unwrap(),
        bn_momentum: constructor["bn_param"]["momentum"].as_f64().unwrap() as f32,
        trains: Trains::Everything,
        gradient_clip: None,
    };
    let report = step(&mut net, &mut optimizer, steps["lr"].as_f64().unwrap(), &input).unwrap();
    for (ours, theirs) in report.losses.iter().zip(first["loss"].as_array().unwrap()) {
        let theirs = theirs.as_f64().unwrap() as f32;
        let relative = (ours - theirs).abs() / theirs;
        println!("loss {ours} reference {theirs}: relative difference {relative:e}");
        assert!(relative < 1e-5, "loss {ours}, reference {theirs}");
    }

    let (after, _) = Weights::load(&golden.join("state-after-step-1.safetensors")).unwrap();
    let ours = net.weights().unwrap();
    let (mut worst_parameter, mut worst_statistic): (f32, f32) = (0.0, 0.0);
    for (name, def) in &net.defs {
        let expected = after.expect(name, &def.shape).unwrap();
        let difference = max_abs_difference(&ours.get(name).unwrap().data, &expected.data);
        if def.role.is_parameter() {
            worst_parameter = worst_parameter.max(difference);
            assert!(difference < 1e-3, "{name} differs by {difference}");
        } else {
            worst_statistic = worst_statistic.max(difference);
            assert!(difference < 1e-5, "{name} differs by {difference}");
        }
    }
    println!("after the step: parameters within {worst_parameter:e}, running statistics within {worst_statistic:e}");
}

#[test]
fn learning_rates_are_the_authors() {
    let Some(golden) = golden() else { return };
    let file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(golden.join("lr-sequences.json")).unwrap()).unwrap();
    for sequence in file["sequences"].as_array().unwrap() {
        let number = |key: &str| sequence[key].as_f64().unwrap();
        let batches = number("batches_per_epoch") as usize;
        let schedule = CosineSchedule {
            initial: number("init_lr"),
            warmup_start: number("warmup_lr"),
            warmup_steps: number("warmup_epochs") as usize * batches,
            steps: number("n_epochs") as usize * batches,
        };
        let expected = sequence["lr"].as_array().unwrap();
        assert_eq!(schedule.total_steps(), expected.len());
        for (index, rate) in expected.iter().enumerate() {
            let difference = (schedule.rate(index) - rate.as_f64().unwrap()).abs();
            assert!(difference < 1e-7, "step {index} of {sequence}: {}", schedule.rate(index));
        }
    }
}
