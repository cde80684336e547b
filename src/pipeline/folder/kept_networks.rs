//! What is known of every network that left the supernet, in the run's folder: weights, scores and ONNX file, so that none is
//! recalibrated, fine-tuned, scored or exported twice.

use crate::failure::Failure;
use crate::measured_accuracy::RightAnswers;
use crate::pipeline::folder::{RunFolder, write_json};
use ofa_space::{Model, atomic_file, digest, input_file};
use ofa_train::evaluation::Confusion;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Folder of the networks in a run's folder.
pub(crate) const FOLDER: &str = "tuned";
/// Names the job that they belong to.
pub(crate) const KEY: &str = "tuned/key";

/// The networks of a run's folder, by name.
pub(crate) struct Kept {
    root: PathBuf,
}

/// What was measured of a network. Scores name the test images that they were taken on.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// As it left the supernet.
    pub as_cut: Option<AsCut>,
    /// As it is delivered.
    pub delivered: Option<Delivered>,
    /// Its ONNX file.
    pub exported: Option<Exported>,
}

/// A subnet, recalibrated but not fine-tuned.
#[derive(Serialize, Deserialize)]
pub(crate) struct AsCut {
    /// Digest of the test images.
    pub test: String,
    /// Top-1 on them.
    pub top1: f64,
}

/// A network as it is delivered.
#[derive(Serialize, Deserialize)]
pub(crate) struct Delivered {
    /// Digest of the test images.
    pub test: String,
    /// SHA-256 of its file of weights.
    pub weights: String,
    /// Top-1 on the test images.
    pub top1: f64,
    /// Its answers on them, class by class.
    pub confusion: Confusion,
    /// Which of them were right.
    pub right: RightAnswers,
}

/// An ONNX file, compared with our own logits.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Exported {
    /// What it was made from and compared on.
    pub of: String,
    /// SHA-256 of the file.
    pub onnx: String,
    /// Largest difference between our logits and the runtime's.
    pub max_abs_diff: f64,
    /// Largest logit.
    pub max_abs_logit: f64,
}

/// An int8 or f16 file, scored in the runtime.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct OnDevice {
    /// What it was made from and scored on.
    pub of: String,
    /// SHA-256 of the file.
    pub onnx: String,
    /// Top-1 on the test images.
    pub top1: f64,
    /// Its answers on them, class by class.
    pub confusion: Confusion,
    /// Which of them were right.
    pub right: RightAnswers,
    /// Layers that stay in f32, the most sensitive first.
    pub layers_in_f32: Vec<String>,
}

/// A record with a checksum: one that was edited counts as lost.
#[derive(Serialize, Deserialize)]
struct Written {
    sha256: String,
    record: String,
}

impl Kept {
    /// The networks of `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// [`Failure::Running`] if it cannot be made.
    pub fn of(folder: &RunFolder) -> Result<Self, Failure> {
        let root = folder.path(FOLDER);
        std::fs::create_dir_all(&root).map_err(|e| Failure::writing(&root, e))?;
        Ok(Self { root })
    }

    /// A file of the network `name`.
    pub fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.root.join(format!("{name}.{extension}"))
    }

    /// The record of a network; empty if there is none, or it is not as it was written.
    pub fn record(&self, name: &str) -> Record {
        self.read(name, RECORD).unwrap_or_default()
    }

    /// What was measured of a network's file in this precision; `None` if there is none, or it is not as it was written.
    pub fn on_device(&self, name: &str, precision: &str) -> Option<OnDevice> {
        self.read(name, &format!("{precision}.{RECORD}"))
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str, extension: &str) -> Option<T> {
        let text = input_file::read_text(&self.path(name, extension), input_file::LARGEST_RECORDS).ok()?;
        let Written { sha256, record } = serde_json::from_str(&text).ok()?;
        (digest::sha256(&record) == sha256).then(|| serde_json::from_str(&record).ok())?
    }

    /// Writes the record of a network.
    ///
    /// # Errors
    /// [`Failure::Running`] if it cannot be written.
    pub fn write(&self, name: &str, record: &Record) -> Result<(), Failure> {
        self.write_as(name, RECORD, record)
    }

    /// Writes what was measured of a network's file in this precision.
    ///
    /// # Errors
    /// [`Failure::Running`] if it cannot be written.
    pub fn write_on_device(&self, name: &str, precision: &str, record: &OnDevice) -> Result<(), Failure> {
        self.write_as(name, &format!("{precision}.{RECORD}"), record)
    }

    fn write_as(&self, name: &str, extension: &str, record: &impl Serialize) -> Result<(), Failure> {
        let record = serde_json::to_string(record).map_err(|e| Failure::Running(e.to_string()))?;
        write_json(&self.path(name, extension), &Written { sha256: digest::sha256(&record), record })
    }

    /// The weights of a network, with the SHA-256 of their file; `None` if there are none, or not as they were written.
    ///
    /// # Errors
    /// [`Failure::Input`] if a whole file holds no model.
    pub fn model(&self, name: &str) -> Result<Option<(Model, String)>, Failure> {
        let path = self.path(name, WEIGHTS);
        let written = input_file::read_text(&self.path(name, "sha256"), input_file::LARGEST_TEXT).ok();
        match digest::sha256_of_file(&path) {
            // Earlier versions wrote no checksum.
            Ok(found) if written.is_none_or(|written| written == found) => Ok(Some((Model::load(&path)?, found))),
            _ => Ok(None),
        }
    }

    /// Keeps the weights of a network; returns the SHA-256 of their file.
    ///
    /// # Errors
    /// [`Failure::Running`] if they cannot be written.
    pub fn keep_model(&self, name: &str, model: &Model) -> Result<String, Failure> {
        let path = self.path(name, WEIGHTS);
        model.save(&path)?;
        let digest = digest::sha256_of_file(&path).map_err(|e| Failure::writing(&path, e))?;
        write(&self.path(name, "sha256"), digest.as_bytes())?;
        Ok(digest)
    }

    /// A file of a network, if it has this SHA-256.
    pub fn file(&self, name: &str, extension: &str, sha256: &str) -> Option<Vec<u8>> {
        let bytes = input_file::read(&self.path(name, extension), input_file::LARGEST_MODEL).ok()?;
        (digest::sha256(&bytes) == sha256).then_some(bytes)
    }

    /// Keeps a file of a network.
    ///
    /// # Errors
    /// [`Failure::Running`] if it cannot be written.
    pub fn keep_file(&self, name: &str, extension: &str, bytes: &[u8]) -> Result<(), Failure> {
        write(&self.path(name, extension), bytes)
    }
}

const RECORD: &str = "json";
const WEIGHTS: &str = "safetensors";
/// Extension of ONNX files.
pub(crate) const ONNX: &str = "onnx";

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    atomic_file::write(path, bytes).map_err(|e| Failure::writing(path, e))
}
