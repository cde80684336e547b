//! Which images a network was trained on, and loading them in the same parts again.

use crate::data::{self, DataError, Dataset, LoadOptions, OnCorrupt, SplitRecord};
use ofa_space::{InputFormat, Model};
use std::collections::BTreeMap;

/// What must be known about a network's training to feed it images: how its data set was divided, its classes, and the
/// format of its input.
///
/// [`load`](Self::load) gives a data set in the same parts as it was trained with; [`check`](Self::check) refuses one
/// that is divided differently. Without that, training images could be scored as validation or test images.
#[derive(Clone, PartialEq, Debug)]
pub struct TrainedOn {
    /// How the data set was divided; `None` if the network was trained elsewhere, in which case any split will do.
    pub split: Option<SplitRecord>,
    /// Number of classes.
    pub classes: usize,
    /// Normalisation and resizing of its input.
    pub input: InputFormat,
}

impl TrainedOn {
    /// The record of a model.
    ///
    /// # Errors
    /// [`DataError::Request`] if the model's provenance cannot be read.
    pub fn of(model: &Model) -> Result<Self, DataError> {
        Self::from_metadata(&model.provenance, &model.class_names, &model.input)
    }

    /// The record of a file made from a model, such as ONNX, from the metadata that it keeps.
    ///
    /// # Errors
    /// [`DataError::Request`] if the provenance cannot be read.
    pub fn from_metadata(
        provenance: &BTreeMap<String, String>,
        class_names: &[String],
        input: &InputFormat,
    ) -> Result<Self, DataError> {
        Ok(Self { split: SplitRecord::read(provenance)?, classes: class_names.len(), input: input.clone() })
    }

    /// Loads `bundled` or a folder, divided as in training (by the default split if the network was trained elsewhere)
    /// and with the network's input format.
    ///
    /// # Errors
    /// What [`data::load`] reports, or [`DataError::Classes`] if the number of classes differs.
    pub fn load(&self, spec: &str, max_resolution: u32, on_corrupt: OnCorrupt) -> Result<Dataset, DataError> {
        let dataset = self.load_of_any_classes(spec, max_resolution, on_corrupt)?;
        self.check_classes(&dataset)?;
        Ok(dataset)
    }

    /// The same for a network that is to get a new classifier, whatever the classes of the data.
    ///
    /// # Errors
    /// What [`data::load`] reports.
    pub fn load_of_any_classes(
        &self,
        spec: &str,
        max_resolution: u32,
        on_corrupt: OnCorrupt,
    ) -> Result<Dataset, DataError> {
        let SplitRecord { seed, validation_images } = self.split.unwrap_or_default();
        let mut dataset =
            data::load(spec, &LoadOptions { seed, max_resolution, validation: validation_images, on_corrupt })?;
        dataset.input = self.input.clone();
        Ok(dataset)
    }

    /// Refuses a data set that does not suit the network.
    ///
    /// # Errors
    /// [`DataError::OtherSplit`] if it is divided differently from the training data, [`DataError::Classes`] if it has
    /// another number of classes, [`DataError::OtherInput`] if its images are normalised or resized differently.
    pub fn check(&self, dataset: &Dataset) -> Result<(), DataError> {
        self.check_classes(dataset)?;
        if let Some(trained) = self.split.filter(|split| *split != dataset.split_record()) {
            return Err(DataError::OtherSplit {
                dataset: dataset.name.clone(),
                trained,
                found: dataset.split_record(),
            });
        }
        match dataset.input == self.input {
            true => Ok(()),
            false => Err(DataError::OtherInput { dataset: dataset.name.clone() }),
        }
    }

    fn check_classes(&self, dataset: &Dataset) -> Result<(), DataError> {
        let (dataset, expected, found) = (dataset.name.clone(), self.classes, dataset.class_names.len());
        match expected == found {
            true => Ok(()),
            false => Err(DataError::Classes { dataset, expected, found }),
        }
    }
}

const SEED: &str = "split_seed";
const VALIDATION_IMAGES: &str = "validation_images";

impl SplitRecord {
    /// The record in a model's provenance; `None` if it has none, as models imported from elsewhere do.
    ///
    /// # Errors
    /// [`DataError::Request`] if an entry is not a whole number.
    pub fn read(provenance: &BTreeMap<String, String>) -> Result<Option<Self>, DataError> {
        let number = |key: &'static str| match provenance.get(key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| DataError::Request {
                what: key,
                found: format!("`{text}` in the model's provenance"),
                expected: "a whole number".into(),
            }),
        };
        let default = Self::default();
        Ok(match (number(SEED)?, number(VALIDATION_IMAGES)?) {
            (None, None) => None,
            (seed, images) => Some(Self {
                seed: seed.unwrap_or(default.seed),
                validation_images: images.map_or(default.validation_images, |images| images as usize),
            }),
        })
    }

    /// Writes the record into a model's provenance.
    pub fn write(&self, provenance: &mut BTreeMap<String, String>) {
        provenance.insert(SEED.to_owned(), self.seed.to_string());
        provenance.insert(VALIDATION_IMAGES.to_owned(), self.validation_images.to_string());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_survives_a_model_file_and_a_damaged_one_is_refused() {
        let record = SplitRecord { seed: 7, validation_images: 300 };
        let mut provenance = BTreeMap::new();
        assert_eq!(SplitRecord::read(&provenance).unwrap(), None);
        record.write(&mut provenance);
        assert_eq!(provenance["split_seed"], "7");
        assert_eq!(provenance["validation_images"], "300");
        assert_eq!(SplitRecord::read(&provenance).unwrap(), Some(record));
        provenance.remove("validation_images");
        let partial = SplitRecord { seed: 7, ..SplitRecord::default() };
        assert_eq!(SplitRecord::read(&provenance).unwrap(), Some(partial));
        provenance.insert("split_seed".into(), "seven".into());
        let error = SplitRecord::read(&provenance).unwrap_err().to_string();
        assert!(error.contains("split_seed") && error.contains("`seven`"), "{error}");
    }
}
