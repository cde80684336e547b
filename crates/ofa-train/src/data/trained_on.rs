//! Which images a network was trained on, and loading them in the same parts again.

use crate::data::class_matching::Named;
use crate::data::{self, ClassMatching, DataError, Dataset, LoadOptions, MatchedClasses, OnCorrupt, SplitRecord};
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
    /// Names of the classes.
    pub class_names: Vec<String>,
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
        Ok(Self { split: SplitRecord::read(provenance)?, class_names: class_names.to_vec(), input: input.clone() })
    }

    /// Loads `bundled` or a folder, divided as in training (by the default split if the network was trained elsewhere)
    /// with the network's input format, and with its classes, found by name.
    ///
    /// # Errors
    /// What [`data::load`] reports, or as [`with_classes`](Self::with_classes).
    pub fn load(&self, spec: &str, max_resolution: u32, on_corrupt: OnCorrupt) -> Result<Dataset, DataError> {
        let dataset = self.load_of_any_classes(spec, max_resolution, on_corrupt)?;
        Ok(self.with_classes(dataset, &ClassMatching::Names)?.0)
    }

    /// Gives a data set the classes of the network: its labels become the network's numbers. Where an import had to make up
    /// names for the network's classes (their numbers), any names will do, in their order.
    ///
    /// # Errors
    /// [`DataError::UnknownClass`] if the network lacks a class of the data, [`DataError::AmbiguousClasses`] if it is open
    /// which class is which, [`DataError::Classes`] if classes are taken by position and their number differs,
    /// [`DataError::ClassMap`] if the map names a class that the network lacks.
    pub fn with_classes(
        &self,
        dataset: Dataset,
        matching: &ClassMatching,
    ) -> Result<(Dataset, MatchedClasses), DataError> {
        let ours = &self.class_names;
        let named = Named { dataset: &dataset.name, theirs: &dataset.class_names, ours };
        let known = |name: &String| ours.contains(name);
        let matched = match matching {
            ClassMatching::Names if self.is_unnamed() && !dataset.class_names.iter().all(known) => {
                MatchedClasses { unnamed: true, ..named.matched(&ClassMatching::Position)? }
            }
            _ => named.matched(matching)?,
        };
        Ok((matched.apply(dataset, ours), matched))
    }

    /// Whether the names of the classes are numbers that an import made up.
    fn is_unnamed(&self) -> bool {
        let is_its_number = |(class, name): (usize, &String)| *name == class.to_string();
        self.split.is_none() && self.class_names.iter().enumerate().all(is_its_number)
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
    /// another number of classes, [`DataError::OtherClasses`] if
    /// their names or their order differ, [`DataError::OtherInput`] if its images are normalised or resized differently.
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

    /// Refuses a data set with other classes, or the same in another order.
    ///
    /// # Errors
    /// [`DataError::Classes`] if their number differs, [`DataError::OtherClasses`] if a name does.
    pub(crate) fn check_classes(&self, dataset: &Dataset) -> Result<(), DataError> {
        let (theirs, ours) = (&dataset.class_names, &self.class_names);
        let dataset = dataset.name.clone();
        if theirs.len() != ours.len() {
            return Err(DataError::Classes { dataset, expected: ours.len(), found: theirs.len() });
        }
        match theirs.iter().zip(ours).position(|(theirs, ours)| theirs != ours) {
            Some(position) if !self.is_unnamed() => {
                let (expected, found) = (ours[position].clone(), theirs[position].clone());
                Err(DataError::OtherClasses { dataset, position, expected, found })
            }
            _ => Ok(()),
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
