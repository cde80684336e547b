//! The training step of the pipeline.

use super::Progress;
use super::record::RunFolder;
use crate::failure::Failure;
use ofa_space::atomic_file;
use ofa_train::TrainError;
use ofa_train::progressive_shrinking::{History, Trainer};
use std::sync::atomic::AtomicBool;

/// Trains, or goes on from a checkpoint of the same configuration, and writes the supernet and its metrics.
pub fn run(
    trainer: &Trainer<'_>,
    key: &str,
    folder: &RunFolder,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<History, Failure> {
    let path = folder.path("train");
    std::fs::create_dir_all(&path).map_err(|e| Failure::writing(&path, e))?;
    folder.claim("train/key", key, &["train/checkpoint.ofa", "train/checkpoint.previous.ofa"])?;
    let trained = trainer.train(Some(&path), progress.training(), stop).map_err(|error| match error {
        TrainError::Interrupted => {
            Failure::Interrupted("interrupted, the checkpoint is saved: run the same command with --resume".into())
        }
        other => other.into(),
    })?;
    trained.model.save(&path.join("supernet.safetensors"))?;
    let lines: Result<Vec<String>, _> = trained.history.steps.iter().map(serde_json::to_string).collect();
    let lines = lines.map_err(|e| Failure::Running(e.to_string()))?;
    let metrics = path.join("metrics.jsonl");
    atomic_file::write(&metrics, (lines.join("\n") + "\n").as_bytes()).map_err(|e| Failure::writing(&metrics, e))?;
    Ok(trained.history)
}
