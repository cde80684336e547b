//! Which images a network was trained on, and loading them in the same parts again.

use crate::data::class_matching::Named;
use crate::data::{
    self, ClassMatching, DataError, Dataset, LoadOptions, MatchedClasses, OnCorrupt, SplitRecord, SplitRule,
};
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
    /// Training images that there were; `None` if that is not recorded.
    pub images: Option<usize>,
    /// Resolution that decoded photos were kept for, pixels. A photo that is kept larger is resampled from other pixels, so
    /// accuracies repeat to the digit only where photos are kept alike. `None` if that is not recorded.
    pub kept_for: Option<u32>,
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
        let images = provenance.get(TRAINING_IMAGES).and_then(|count| count.parse().ok());
        let kept_for = provenance.get(KEPT_FOR).map(|text| resolution(text)).transpose()?;
        let class_names = class_names.to_vec();
        Ok(Self { split: SplitRecord::read(provenance)?, images, kept_for, class_names, input: input.clone() })
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
        let SplitRecord { seed, validation_images, rule, drop_duplicates } = self.split.unwrap_or_default();
        let validation = validation_images;
        let max_resolution = self.kept_for.map_or(max_resolution, |kept| kept.max(max_resolution));
        let options = LoadOptions { seed, max_resolution, validation, on_corrupt, rule, drop_duplicates };
        let mut dataset = data::load(spec, &options)?;
        dataset.input = self.input.clone();
        if let Some(images) = self.images.filter(|images| *images < dataset.train.len()) {
            dataset.warnings.push(format!(
                "the network was trained on {images} images, but there are {} training images now",
                dataset.train.len()
            ));
        }
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
        if let Some(trained) = self.split.filter(|split| !dataset.is_divided_by(split)) {
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
const RULE: &str = "split_rule";
const DUPLICATES: &str = "duplicates";
const DROPPED: &str = "dropped";
const TRAINING_IMAGES: &str = "training_images";
const KEPT_FOR: &str = "images_kept_for";

/// A resolution in a model's provenance, pixels.
fn resolution(text: &str) -> Result<u32, DataError> {
    text.parse().ok().filter(|pixels| (1..=MOST_PIXELS).contains(pixels)).ok_or_else(|| DataError::Request {
        what: KEPT_FOR,
        found: format!("`{text}` in the model's provenance"),
        expected: format!("a number of pixels from 1 to {MOST_PIXELS}"),
    })
}

/// The largest resolution that photos are kept for.
const MOST_PIXELS: u32 = 1 << 16;

impl Dataset {
    /// Whether a record describes the parts of this data set. Where all parts are given, no rule matters; where folders
    /// are divided by content, the number of validation images changes no other part. Whether duplicates were dropped makes no
    /// part larger.
    pub fn is_divided_by(&self, record: &SplitRecord) -> bool {
        let own = self.split_record();
        let by_content = own.rule == SplitRule::Content && record.rule == SplitRule::Content;
        let is_folder = self.train.file(0).is_some();
        own.seed == record.seed
            && (own.validation_images == record.validation_images || by_content)
            && (own.rule == record.rule || !is_folder || !self.is_carved)
    }

    /// Whether the parts are what they are by the content of the files: a network that was trained on a division by
    /// position was then trained on other images.
    pub fn depends_on_content(&self) -> bool {
        self.split_record().rule == SplitRule::Content && self.is_carved
    }

    /// How the data set is divided, in words for the keys of checkpoints; of divisions by position the same words as before
    /// there was another rule.
    pub fn division(&self) -> String {
        let SplitRecord { seed, validation_images, .. } = self.split_record();
        let by_content = if self.depends_on_content() { " by content" } else { "" };
        format!("SplitRecord {{ seed: {seed}, validation_images: {validation_images} }}{by_content}")
    }

    /// Writes how the data set is divided, into how many training images, and how large its photos are kept, into the
    /// provenance of a model that is trained on it.
    pub fn record(&self, provenance: &mut BTreeMap<String, String>) {
        self.split_record().write(provenance);
        // Files of networks that learn from data without files of their own stay what they were.
        if self.train.file(0).is_some() {
            provenance.insert(TRAINING_IMAGES.to_owned(), self.train.len().to_string());
            provenance.insert(KEPT_FOR.to_owned(), self.kept_for.to_string());
        }
    }
}

impl SplitRecord {
    /// The record in a model's provenance; `None` if it has none, as models imported from elsewhere do. Models of before
    /// there was a choice of rules have none recorded: their data were divided by position.
    ///
    /// # Errors
    /// [`DataError::Request`] if an entry is no whole number, or no rule that this version has.
    pub fn read(provenance: &BTreeMap<String, String>) -> Result<Option<Self>, DataError> {
        let wrong = |what: &'static str, text: &str, expected: &str| DataError::Request {
            what,
            found: format!("`{text}` in the model's provenance"),
            expected: expected.to_owned(),
        };
        let number = |key: &'static str| match provenance.get(key) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| wrong(key, text, "a whole number")),
        };
        let rule = match provenance.get(RULE).map(String::as_str) {
            None => SplitRule::Position,
            Some(text) => [SplitRule::Position, SplitRule::Content]
                .into_iter()
                .find(|rule| rule.name() == text)
                .ok_or_else(|| wrong(RULE, text, "`content` or `position`; a later version may have written it"))?,
        };
        let drop_duplicates = provenance.get(DUPLICATES).is_some_and(|text| text == DROPPED);
        let default = Self::default();
        Ok(match (number(SEED)?, number(VALIDATION_IMAGES)?) {
            (None, None) => None,
            (seed, images) => Some(Self {
                seed: seed.unwrap_or(default.seed),
                validation_images: images.map_or(default.validation_images, |images| images as usize),
                rule,
                drop_duplicates,
            }),
        })
    }

    /// Writes the record into a model's provenance.
    pub fn write(&self, provenance: &mut BTreeMap<String, String>) {
        provenance.insert(SEED.to_owned(), self.seed.to_string());
        provenance.insert(VALIDATION_IMAGES.to_owned(), self.validation_images.to_string());
        for (key, value) in [
            (RULE, (self.rule != SplitRule::Position).then(|| self.rule.name())),
            (DUPLICATES, self.drop_duplicates.then_some(DROPPED)),
        ] {
            // A model that is trained further may have had another record.
            match value {
                Some(value) => provenance.insert(key.to_owned(), value.to_owned()),
                None => provenance.remove(key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_survives_a_model_file_and_a_damaged_one_is_refused() {
        let old = SplitRecord { seed: 7, validation_images: 300, rule: SplitRule::Position, drop_duplicates: false };
        let record = SplitRecord { rule: SplitRule::Content, drop_duplicates: true, ..old };
        let mut provenance = BTreeMap::new();
        assert_eq!(SplitRecord::read(&provenance).unwrap(), None);
        record.write(&mut provenance);
        assert_eq!(provenance["split_seed"], "7");
        assert_eq!(provenance["validation_images"], "300");
        assert_eq!(provenance["split_rule"], "content");
        assert_eq!(SplitRecord::read(&provenance).unwrap(), Some(record));
        // As models were written before there was a choice.
        old.write(&mut provenance);
        assert_eq!(provenance.keys().collect::<Vec<_>>(), ["split_seed", "validation_images"]);
        assert_eq!(SplitRecord::read(&provenance).unwrap(), Some(old));
        provenance.remove("validation_images");
        let partial = SplitRecord { validation_images: 2000, ..old };
        assert_eq!(SplitRecord::read(&provenance).unwrap(), Some(partial));
        provenance.insert("split_seed".into(), "seven".into());
        let error = SplitRecord::read(&provenance).unwrap_err().to_string();
        assert!(error.contains("split_seed") && error.contains("`seven`"), "{error}");
        provenance.insert("split_rule".into(), "by moonlight".into());
        let error = SplitRecord::read(&provenance).unwrap_err().to_string();
        assert!(error.contains("split_rule") && error.contains("moonlight"), "{error}");
    }
}
