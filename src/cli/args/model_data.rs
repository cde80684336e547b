//! `--data`: a data set, split as it was for the training of a model.

use super::Failure;
use ofa_space::{InputFormat, Model};
use ofa_train::data::{self, Dataset, LoadOptions, OnCorrupt};
use std::collections::BTreeMap;

/// What a model, or a file made of one, says of its training.
pub struct TrainedOn<'a> {
    /// `model` or `file`, for messages.
    pub what: &'a str,
    /// Where it came from.
    pub provenance: &'a BTreeMap<String, String>,
    /// Its classes.
    pub class_names: &'a [String],
    /// What it expects of its input.
    pub input: &'a InputFormat,
}

impl TrainedOn<'_> {
    /// The data set as it was split for training, so that no training image is ever taken for a validation image (the
    /// default split where nothing is said), with the model's input format; a mismatch of classes is an error.
    pub fn load(&self, spec: &str, max_resolution: u32, on_corrupt: OnCorrupt) -> Result<Dataset, Failure> {
        let number = |key: &str| self.provenance.get(key).and_then(|text| text.parse::<u64>().ok());
        let options = LoadOptions {
            seed: number("split_seed").unwrap_or(0),
            max_resolution,
            validation: number("validation_images").unwrap_or(2000) as usize,
            on_corrupt,
        };
        let mut dataset = data::load(spec, &options)?;
        if dataset.class_names.len() != self.class_names.len() {
            return Err(Failure::Input(format!(
                "the {} knows {} classes, {} has {}",
                self.what,
                self.class_names.len(),
                dataset.name,
                dataset.class_names.len()
            )));
        }
        dataset.input = self.input.clone();
        Ok(dataset)
    }
}

/// The data set of a model file, see [`TrainedOn::load`].
pub fn load_for(model: &Model, spec: &str, max_resolution: u32, on_corrupt: OnCorrupt) -> Result<Dataset, Failure> {
    let Model { provenance, class_names, input, .. } = model;
    TrainedOn { what: "model", provenance, class_names, input }.load(spec, max_resolution, on_corrupt)
}
