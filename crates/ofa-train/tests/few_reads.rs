//! Training reads from the device once a step or less, and how often makes no difference to the result. One test, since the number
//! of reads is that of the whole process.
#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used, missing_docs)]

use burn::tensor::Device;
use ofa_space::Settings;
use ofa_train::elastic::transfer::reads;
use ofa_train::evaluation::{EvaluationSettings, Evaluator};
use ofa_train::fine_tuning::{FineTuner, FineTuning, FineTuningObserver};
use ofa_train::shrinking::{Observer, TrainConfig, Trainer};
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// Two phases of 40 steps, with a teacher, a moving average, checkpoints and validation within phases.
const PHASES: &str = r#"
space = "tiny-28"
data = "bundled"
batch_size = 8
validation_images = 32
calibration_images = 32
checkpoint_steps = 33
validation_epochs = 0.0155
ema_decay = 0.9

[[phases]]
name = "largest"
epochs = EPOCHS
learning_rate = 0.05

[[phases]]
name = "everything"
opens = { kernel_size = 1, depth = 2, expansion = 2 }
epochs = EPOCHS
learning_rate = 0.02
subnets_per_step = 2
"#;

/// Reads from the device by the end of every step.
#[derive(Default)]
struct Reads(Vec<u64>);

impl Observer for Reads {
    fn on_step(&mut self, _: usize, _: usize, loss: f32) {
        assert!(self.0.is_empty() || loss.is_finite() || self.0.len() < 20);
        self.0.push(reads());
    }
}

impl FineTuningObserver for Reads {
    fn on_step(&mut self, _: usize, _: f32) {
        self.0.push(reads());
    }
}

impl Reads {
    /// Reads of the steps after `from` up to `to`, counted from 1.
    fn between(&self, from: usize, to: usize) -> u64 {
        self.0[to - 1] - self.0[from - 1]
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    let file = |path: std::path::PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
    };
    files.into_iter().map(file).collect()
}

#[test]
fn reads_are_few_and_change_nothing() {
    let probe = TrainConfig::parse(&PHASES.replace("EPOCHS", "1.0"), "test").unwrap();
    let dataset = probe.load_data().unwrap();
    let epochs = 40.0 * 8.0 / dataset.train.len() as f64;
    let config = TrainConfig::parse(&PHASES.replace("EPOCHS", &epochs.to_string()), "test").unwrap();
    let train = |every: Option<usize>| {
        let folder = tempfile::tempdir().unwrap();
        let mut trainer = Trainer::new(&config, &dataset, &Device::flex()).unwrap();
        if let Some(steps) = every {
            trainer = trainer.reading_every(steps);
        }
        let mut reads = Reads::default();
        let trained = trainer.train(Some(folder.path()), &mut reads, &AtomicBool::new(false)).unwrap();
        trained.model.save(&folder.path().join("supernet.safetensors")).unwrap();
        (reads, files(folder.path()), trained.model)
    };
    let (every_step, expected, supernet) = train(None);
    // Neither validation nor a checkpoint is between these steps; the second phase has two subnets and a teacher.
    assert_eq!([every_step.between(5, 25), every_step.between(45, 65)], [20, 20]);
    let (seldom, found, _) = train(Some(20));
    assert_eq!([seldom.between(5, 25), seldom.between(45, 65)], [1, 1]);
    assert!(expected.len() > 3, "{expected:?}");
    for (expected, found) in expected.iter().zip(&found) {
        assert!(expected == found, "{} differs", expected.0);
    }
    assert_eq!(expected.len(), found.len());

    let settings = EvaluationSettings { calibration_images: 32, ..EvaluationSettings::default() };
    let space = supernet.space().unwrap();
    let subnet =
        Evaluator::new(&supernet, &dataset, &Device::flex(), &settings).unwrap().extract(&space.min_arch()).unwrap();
    let settings = FineTuning { epochs, batch_size: 8, checkpoint_steps: 33, ..FineTuning::default() };
    let settings = settings.checked().unwrap();
    let tune = |every: usize| {
        let folder = tempfile::tempdir().unwrap();
        let tuner = FineTuner::new(&settings, &subnet, &dataset, &Device::flex()).unwrap().reading_every(every);
        let mut reads = Reads::default();
        let tuned = tuner.train(Some(folder.path()), &mut reads, &AtomicBool::new(false)).unwrap();
        tuned.model.save(&folder.path().join("net.safetensors")).unwrap();
        (reads.between(5, 25), files(folder.path()))
    };
    let ((every_step, expected), (seldom, found)) = (tune(1), tune(20));
    assert_eq!((every_step, seldom), (20, 1));
    assert!(expected == found);
}
