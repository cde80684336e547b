//! How a data set was divided, as a value that travels with the models trained on it.

use crate::data::{DataError, LoadOptions};
use std::collections::BTreeMap;

/// How the images of a data set are divided into training, validation and test images.
///
/// Two loads of the same data set with equal records have the same images in each part. A model file keeps the record
/// of the data that its network was trained on (metadata keys `split_seed` and `validation_images`), so that images it
/// learnt from are never mistaken for validation or test images.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct SplitRecord {
    /// Seed of the validation split.
    pub seed: u64,
    /// Images asked for as validation images. Fewer are set apart where this is more than a fifth of each class.
    pub validation_images: usize,
}

impl Default for SplitRecord {
    /// The split of [`LoadOptions::default`].
    fn default() -> Self {
        Self::from(&LoadOptions::default())
    }
}

impl From<&LoadOptions> for SplitRecord {
    fn from(options: &LoadOptions) -> Self {
        Self { seed: options.seed, validation_images: options.validation }
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
