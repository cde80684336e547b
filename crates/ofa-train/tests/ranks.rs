//! Several ranks do what one process does with as many shards, byte for byte: training in every phase, resuming on another
//! number of ranks, and collecting.
#![cfg(feature = "flex")]
#![allow(clippy::unwrap_used, missing_docs)]

use burn::tensor::Device;
use ofa_space::Checked;
use ofa_train::TrainError;
use ofa_train::collection::clustered_archs;
use ofa_train::communication::{Communicator, Single, Threads};
use ofa_train::data::{Dataset, SplitName};
use ofa_train::evaluation::{EvaluationSettings, Evaluator};
use ofa_train::shrinking::{Observer, Silent, TrainConfig, Trainer};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;
use tempfile::TempDir;

/// Every phase of progressive shrinking, 20 steps each, with a judging sampler, a moving average, clipping and validation within
/// phases.
const PHASES: &str = r#"
space = "tiny-28"
data = "bundled"
batch_size = 8
shards = 4
validation_images = 32
calibration_images = 32
checkpoint_steps = 7
validation_epochs = 0.012
ema_decay = 0.9
gradient_clip = 1.0
sampler = { kind = "pareto_aware", candidates = 2 }

[[phases]]
name = "largest"
epochs = EPOCHS
learning_rate = 0.05

[[phases]]
name = "kernel"
opens = { kernel_size = 1 }
epochs = EPOCHS
learning_rate = 0.02

[[phases]]
name = "depth"
opens = { depth = 2 }
epochs = EPOCHS
learning_rate = 0.02
subnets_per_step = 2

[[phases]]
name = "expansion"
opens = { expansion = 2 }
epochs = EPOCHS
learning_rate = 0.02
subnets_per_step = 2
"#;

fn first_phase() -> String {
    PHASES.split("[[phases]]\nname = \"kernel\"").next().unwrap().to_owned()
}

fn config(text: &str) -> (Checked<TrainConfig>, Dataset) {
    let probe = TrainConfig::parse(&text.replace("EPOCHS", "1.0"), "test").unwrap();
    let dataset = probe.load_data().unwrap();
    // 20 steps.
    let epochs = 20.0 * 8.0 / dataset.train.len() as f64;
    (TrainConfig::parse(&text.replace("EPOCHS", &epochs.to_string()), "test").unwrap(), dataset)
}

/// Sets a request to stop after some steps.
struct StopAfter<'a>(usize, &'a AtomicBool);

impl Observer for StopAfter<'_> {
    fn on_step(&mut self, _: usize, _: usize, _: f32) {
        self.0 = self.0.saturating_sub(1);
        self.1.store(self.0 == 0, Ordering::Relaxed);
    }
}

/// Trains on this many ranks in a folder; the last of them is asked to stop after so many steps.
fn train(ranks: usize, folder: &Path, text: &str, stop_after: usize) {
    let (config, dataset) = config(text);
    let work = |ranks: &dyn Communicator| {
        let trainer = Trainer::new(&config, &dataset, &Device::flex()).unwrap().on(ranks).unwrap();
        trainer.check_ranks().unwrap();
        let stop = AtomicBool::new(false);
        let folder = (ranks.rank() == 0).then_some(folder);
        let is_last = ranks.rank() + 1 == ranks.size();
        let trained = match is_last {
            true => trainer.train(folder, &mut StopAfter(stop_after, &stop), &stop),
            false => trainer.train(folder, &mut Silent, &stop),
        };
        match trained {
            Ok(trained) => {
                assert_eq!(stop_after, usize::MAX);
                if let Some(folder) = folder {
                    trained.model.save(&folder.join("supernet.safetensors")).unwrap();
                }
            }
            Err(TrainError::Interrupted) => assert_ne!(stop_after, usize::MAX),
            Err(other) => panic!("{other}"),
        }
    };
    if ranks == 1 {
        return work(&Single);
    }
    std::thread::scope(|scope| {
        for rank in Threads::ranks(ranks) {
            let work = &work;
            scope.spawn(move || work(&rank));
        }
    });
}

/// The undisturbed training of one process.
fn undisturbed() -> &'static Path {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        train(1, folder.path(), PHASES, usize::MAX);
        folder
    });
    run.path()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect()
}

fn assert_same(one: &Path, other: &Path, what: &str) {
    let (one, other) = (files(one), files(other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in &one {
        assert!(*bytes == other[name], "{what}: {name} differs");
    }
}

#[test]
fn training_on_one_two_and_four_ranks_has_the_same_bytes() {
    let names: Vec<String> = files(undisturbed()).into_keys().collect();
    for name in ["supernet.safetensors", "best.safetensors", "metrics.jsonl", "checkpoint.ofa", "training.json"] {
        assert!(names.iter().any(|known| known == name), "{name} is missing: {names:?}");
    }
    for ranks in [2, 4] {
        let folder = tempfile::tempdir().unwrap();
        train(ranks, folder.path(), PHASES, usize::MAX);
        assert_same(folder.path(), undisturbed(), &format!("{ranks} ranks"));
    }
}

/// Takes this many times as long for every step as it would without, and keeps the messages.
struct Slow<'a> {
    times: u32,
    begun: Instant,
    messages: &'a Mutex<Vec<String>>,
}

impl Observer for Slow<'_> {
    fn on_step(&mut self, _: usize, _: usize, _: f32) {
        std::thread::sleep(self.begun.elapsed() * (self.times - 1));
        self.begun = Instant::now();
    }

    fn on_message(&mut self, message: &str) {
        self.messages.lock().unwrap().push(message.to_owned());
    }
}

#[test]
fn a_rank_that_is_steadily_slower_is_named_once_and_changes_nothing() {
    let (config, dataset) = config(PHASES);
    let folder = tempfile::tempdir().unwrap();
    let messages = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for rank in Threads::ranks(2) {
            let (config, dataset, messages, folder) = (&config, &dataset, &messages, folder.path());
            scope.spawn(move || {
                let trainer = Trainer::new(config, dataset, &Device::flex()).unwrap().on(&rank).unwrap();
                let (is_first, nowhere) = (rank.rank() == 0, Mutex::default());
                let mut observer = Slow {
                    times: if is_first { 1 } else { 3 },
                    begun: Instant::now(),
                    messages: if is_first { messages } else { &nowhere },
                };
                let folder = is_first.then_some(folder);
                let trained = trainer.train(folder, &mut observer, &AtomicBool::new(false)).unwrap();
                if let Some(folder) = folder {
                    trained.model.save(&folder.join("supernet.safetensors")).unwrap();
                }
            });
        }
    });
    let messages = messages.into_inner().unwrap();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("rank 1 is slower than the others"), "{messages:?}");
    assert_same(folder.path(), undisturbed(), "a slow rank");
}

#[test]
fn the_number_of_shards_counts() {
    let models = ["shards = 1", "shards = 2"].map(|shards| {
        let folder = tempfile::tempdir().unwrap();
        train(1, folder.path(), &first_phase().replace("shards = 4", shards), usize::MAX);
        std::fs::read(folder.path().join("supernet.safetensors")).unwrap()
    });
    assert!(models[0] != models[1]);
}

#[test]
fn what_two_ranks_have_begun_one_and_four_go_on_with() {
    let disturbed = tempfile::tempdir().unwrap();
    train(2, disturbed.path(), PHASES, 9);
    train(1, disturbed.path(), PHASES, 20);
    train(4, disturbed.path(), PHASES, 31);
    train(4, disturbed.path(), PHASES, usize::MAX);
    assert_same(disturbed.path(), undisturbed(), "resumed");
}

#[test]
fn ranks_that_cannot_share_the_shards_are_refused() {
    let (config, dataset) = config(PHASES);
    let refused = |ranks: usize| {
        let ranks = Threads::ranks(ranks);
        let trainer = Trainer::new(&config, &dataset, &Device::flex()).unwrap();
        trainer.on(&ranks[0]).err().map(|error| error.to_string()).unwrap()
    };
    assert!(refused(3).contains("power of two"), "{}", refused(3));
    assert!(refused(8).contains("`shards`"), "{}", refused(8));
    for (wrong, expected) in [("shards = 3", "power of two"), ("shards = 32", "does not divide")] {
        let error = TrainConfig::parse(&PHASES.replace("shards = 4", wrong).replace("EPOCHS", "1"), "t.toml");
        let error = error.err().unwrap().to_string();
        assert!(error.contains("`shards`") && error.contains(expected), "{error}");
    }
}

#[test]
fn another_configuration_on_one_rank_is_named() {
    let (config_a, dataset) = config(PHASES);
    let (config_b, _) = config(&PHASES.replace("ema_decay = 0.9", "ema_decay = 0.8"));
    std::thread::scope(|scope| {
        for (rank, config) in Threads::ranks(2).into_iter().zip([&config_a, &config_b]) {
            let dataset = &dataset;
            scope.spawn(move || {
                let trainer = Trainer::new(config, dataset, &Device::flex()).unwrap().on(&rank).unwrap();
                let error = trainer.check_ranks().unwrap_err().to_string();
                assert!(error.contains("rank 1") && error.contains("`train.ema_decay`"), "{error}");
            });
        }
    });
}

#[test]
fn collecting_on_several_ranks_gives_the_same_pairs_in_the_same_order() {
    let folder = tempfile::tempdir().unwrap();
    let text = first_phase();
    train(1, folder.path(), &text, usize::MAX);
    let model = ofa_space::Model::load(&folder.path().join("supernet.safetensors")).unwrap();
    let (_, dataset) = config(&text);
    let ofa_space::ModelBody::Supernet { space } = &model.body else { panic!("a supernet") };
    let archs = clustered_archs(space.as_ref(), 30, 3).unwrap();
    let settings = EvaluationSettings {
        split: SplitName::Validation,
        images: None,
        calibration_images: 64,
        ..EvaluationSettings::default()
    };
    let pairs = |ranks: &dyn Communicator| {
        let mut evaluator = Evaluator::new(&model, &dataset, &Device::flex(), &settings).unwrap();
        let mut pairs = Vec::new();
        let count = evaluator.collect_on(ranks, &archs, &AtomicBool::new(false), |arch, top1| {
            pairs.push((arch.clone(), top1.to_bits()));
            Ok::<(), TrainError>(())
        });
        assert_eq!(count.unwrap(), pairs.len());
        pairs
    };
    let alone = pairs(&Single);
    assert_eq!(alone.len(), archs.len());
    for ranks in [2, 3] {
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = Threads::ranks(ranks)
                .into_iter()
                .map(|rank| {
                    let pairs = &pairs;
                    scope.spawn(move || pairs(&rank))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all[0], alone, "{ranks} ranks");
        assert!(all[1..].iter().all(Vec::is_empty));
    }
}
