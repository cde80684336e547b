//! Fine-tuning: an interrupted run ends with the same bytes, and images of another split are refused.
#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used, missing_docs)]

use burn::tensor::Device;
use ofa_space::{Checked, Model, ModelBody, Settings, initialisation, registry, supernet};
use ofa_train::TrainError;
use ofa_train::checkpoint::Checkpoint;
use ofa_train::data::{self, DataError, Dataset, LoadOptions, SplitName, TrainedOn};
use ofa_train::evaluation::{EvaluationSettings, Evaluator};
use ofa_train::fine_tuning::{FineTuned, FineTuner, FineTuning, FineTuningObserver, Preparation};
use ofa_train::shrinking::Silent;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn digits(options: &LoadOptions) -> Dataset {
    data::load("bundled", &LoadOptions { max_resolution: 28, ..*options }).unwrap()
}

/// The smallest subnet of a supernet with random weights, as if it had been trained on `dataset`.
fn subnet(dataset: &Dataset) -> Model {
    let space = registry::named("tiny-28").unwrap();
    let defs = supernet::tensors(space.as_ref()).unwrap();
    let weights = initialisation::initialise(&defs, &mut ChaCha8Rng::seed_from_u64(1));
    let mut provenance = BTreeMap::new();
    dataset.split_record().write(&mut provenance);
    let model = Model {
        body: ModelBody::Supernet { space: space.clone() },
        class_names: dataset.class_names.clone(),
        input: dataset.input.clone(),
        provenance,
        weights,
    };
    let settings = EvaluationSettings { calibration_images: 100, ..EvaluationSettings::default() };
    Evaluator::new(&model, dataset, &Device::flex(), &settings).unwrap().extract(&space.min_arch()).unwrap()
}

/// Twelve steps.
fn settings() -> FineTuning {
    FineTuning { epochs: 192.0 / 18_000.0, batch_size: 16, checkpoint_steps: 5, ..FineTuning::default() }
}

/// Asks to stop after a step.
struct StopAfter<'a>(usize, &'a AtomicBool);

impl FineTuningObserver for StopAfter<'_> {
    fn on_step(&mut self, done: usize, _loss: f32) {
        self.1.store(done == self.0, Ordering::Relaxed);
    }
}

fn train(
    settings: &Checked<FineTuning>,
    dataset: &Dataset,
    folder: &Path,
    stop_after: usize,
) -> Result<FineTuned, TrainError> {
    let stop = AtomicBool::new(false);
    let model = subnet(dataset);
    let tuner = FineTuner::new(settings, &model, dataset, &Device::flex())?;
    tuner.train(Some(folder), &mut StopAfter(stop_after, &stop), &stop)
}

fn bytes(tuned: &FineTuned, folder: &Path) -> Vec<u8> {
    let path = folder.join("net.safetensors");
    tuned.model.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn an_interrupted_run_ends_with_the_same_bytes() {
    let dataset = digits(&LoadOptions::default());
    let settings = settings().checked().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let whole = train(&settings, &dataset, folder.path(), usize::MAX).unwrap();
    assert_eq!((whole.steps, whole.after.images), (12, dataset.validation.len()));
    assert_eq!(
        whole.model.provenance["fine_tuning"].split(',').next(),
        Some("12 steps of 16 images of MNIST (20,000 training images)".split(',').next().unwrap())
    );
    let expected = bytes(&whole, folder.path());
    // Interrupted at a step with a checkpoint of its own, between two of them, and twice.
    for stops in [&[5][..], &[7], &[1, 11]] {
        let folder = tempfile::tempdir().unwrap();
        for stop_after in stops {
            let interrupted = train(&settings, &dataset, folder.path(), *stop_after);
            assert!(matches!(interrupted, Err(TrainError::Interrupted)));
            assert_eq!(Checkpoint::load_latest(folder.path()).unwrap().unwrap().0.step, *stop_after);
        }
        let resumed = train(&settings, &dataset, folder.path(), usize::MAX).unwrap();
        assert_eq!((resumed.before, resumed.after), (whole.before, whole.after), "{stops:?}");
        assert!(bytes(&resumed, folder.path()) == expected, "{stops:?}");
    }
}

#[test]
fn a_new_classifier_learns_alone_first_and_resumes_in_either_part() {
    let dataset = digits(&LoadOptions::default());
    let settings = FineTuning { head_epochs: 96.0 / 18_000.0, head_rate: 0.1, ..settings() }.checked().unwrap();
    let preparation = Preparation { new_head: Some(3), image_size: Some(20) };
    let model = preparation.apply(&subnet(&dataset), &dataset, &Device::flex()).unwrap();
    assert_eq!(model.net(None).unwrap().input, [1, 20, 20]);
    let run = |folder: &Path, stop_after: usize| {
        let stop = AtomicBool::new(false);
        let tuner = FineTuner::new(&settings, &model, &dataset, &Device::flex()).unwrap();
        assert_eq!(tuner.steps(), 6 + 12);
        tuner.train(Some(folder), &mut StopAfter(stop_after, &stop), &stop)
    };
    let folder = tempfile::tempdir().unwrap();
    let whole = run(folder.path(), usize::MAX).unwrap();
    let expected = bytes(&whole, folder.path());
    for stops in [&[3][..], &[4, 6, 11]] {
        let folder = tempfile::tempdir().unwrap();
        for stop_after in stops {
            assert!(matches!(run(folder.path(), *stop_after), Err(TrainError::Interrupted)));
            let checkpoint = Checkpoint::load_latest(folder.path()).unwrap().unwrap().0;
            // In the first part nothing but the classifier and the running statistics has moved.
            let moved: Vec<&String> = checkpoint
                .weights
                .iter()
                .filter(|(name, tensor)| !name.contains("running_") && model.weights.get(name) != Some(tensor))
                .map(|(name, _)| name)
                .collect();
            assert!(*stop_after > 6 || moved.iter().all(|name| name.starts_with("classifier")), "{moved:?}");
            assert!(*stop_after <= 6 || moved.len() > 10, "{moved:?}");
        }
        let resumed = run(folder.path(), usize::MAX).unwrap();
        assert!(bytes(&resumed, folder.path()) == expected, "{stops:?}");
    }
    // Another rate for the classifier is another run.
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), 3).is_err());
    let other = FineTuning { head_learning_rate: 0.01, ..(*settings).clone() }.checked().unwrap();
    let tuner = FineTuner::new(&other, &model, &dataset, &Device::flex()).unwrap();
    let refused = tuner.train(Some(folder.path()), &mut Silent, &AtomicBool::new(false));
    assert!(matches!(refused, Err(TrainError::Checkpoint { .. })));
}

#[test]
fn a_checkpoint_of_other_settings_is_refused() {
    let dataset = digits(&LoadOptions::default());
    let folder = tempfile::tempdir().unwrap();
    assert!(train(&settings().checked().unwrap(), &dataset, folder.path(), 3).is_err());
    let other = FineTuning { learning_rate: 0.001, ..settings() }.checked().unwrap();
    let error = train(&other, &dataset, folder.path(), usize::MAX).unwrap_err();
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error}");
    // How often checkpoints are saved changes nothing about the result.
    let same = FineTuning { checkpoint_steps: 100, prefetch: 0, ..settings() }.checked().unwrap();
    train(&same, &dataset, folder.path(), usize::MAX).unwrap();
}

#[test]
fn images_of_another_split_are_refused() {
    let dataset = digits(&LoadOptions::default());
    let model = subnet(&dataset);
    let options = LoadOptions { seed: 1, ..LoadOptions::default() };
    let other = digits(&options);
    let settings = settings().checked().unwrap();
    let refused = FineTuner::new(&settings, &model, &other, &Device::flex()).err();
    assert!(matches!(refused, Some(TrainError::Data(DataError::OtherSplit { .. }))), "{refused:?}");
    for split in [SplitName::Train, SplitName::Validation, SplitName::Test] {
        let settings = EvaluationSettings { split, ..EvaluationSettings::default() };
        let refused = Evaluator::new(&model, &other, &Device::flex(), &settings).err();
        assert!(matches!(refused, Some(TrainError::Data(DataError::OtherSplit { .. }))), "{refused:?}");
    }
    // Loaded for the model, the data set is divided as in training.
    let loaded = TrainedOn::of(&model).unwrap().load("bundled", 28, data::OnCorrupt::Error).unwrap();
    assert_eq!(loaded.split_record(), dataset.split_record());
    assert_eq!(loaded.train.labels(), dataset.train.labels());
    // A network that was trained elsewhere has no split; fine-tuning gives it one.
    let mut imported = model.clone();
    imported.provenance.clear();
    imported.input = other.input.clone();
    let tuner = FineTuner::new(&settings, &imported, &other, &Device::flex()).unwrap();
    let tuned = tuner.train(None, &mut Silent, &AtomicBool::new(false)).unwrap();
    assert_eq!(TrainedOn::of(&tuned.model).unwrap().split, Some(other.split_record()));
    // Another normalisation would make every score meaningless.
    let mut dark = dataset.clone();
    dark.input.mean[0] += 0.1;
    let refused = FineTuner::new(&settings, &model, &dark, &Device::flex()).err();
    assert!(matches!(refused, Some(TrainError::Data(DataError::OtherInput { .. }))), "{refused:?}");
}
