//! From images as they were found to three disjoint splits.

mod by_content;
mod by_position;
pub(crate) mod duplicates;
pub(crate) mod split_file;
mod statistics;

use crate::data::reading::kinds::Skipped;
use crate::data::reading::pixels::{Pixels, Store};
use crate::data::{DataError, Dataset, LoadOptions, Origin, Split, SplitRecord, SplitRule, stratified};
use by_content::Contents;
use ofa_space::{InputFormat, Resize, listing};
use statistics::statistics;
use std::path::Path;
use std::sync::Arc;

/// Names of classes in a message.
const CLASSES_SHOWN: usize = 10;

/// Images with their classes.
#[derive(Clone, Debug)]
pub(crate) struct Labelled {
    pub pixels: Arc<Pixels>,
    pub labels: Vec<usize>,
}

/// A data set as it was found; what is missing is carved from `train`.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub train: Labelled,
    pub validation: Option<Labelled>,
    pub test: Option<Labelled>,
}

/// What [`dataset`] needs besides the images.
pub(crate) struct Description<'a> {
    pub name: String,
    pub class_names: Vec<String>,
    pub channels: usize,
    pub resize: Resize,
    pub sizes: Option<[(usize, usize); 2]>,
    /// The folder, for messages.
    pub path: &'a Path,
    /// Sentences to put before those on the splits.
    pub notes: Vec<String>,
    pub warnings: Vec<String>,
    pub skipped: Vec<Skipped>,
    pub origin: Origin,
}

/// Images that were chosen, and how.
struct Carved {
    chosen: Vec<usize>,
    notes: Vec<String>,
}

/// Makes the splits and computes the normalisation.
pub(crate) fn dataset(parts: Parts, about: Description<'_>, options: &LoadOptions) -> Result<Dataset, DataError> {
    let Description { name, class_names, channels, resize, sizes, path, mut notes, mut warnings, skipped, origin } =
        about;
    let labels = &parts.train.labels;
    let files = &parts.train.pixels.files;
    // Images that are not files of their own have no other rule.
    let rule = if files.is_empty() { SplitRule::Position } else { options.rule };
    let contents = Contents {
        labels,
        digests: files.iter().map(|file| file.sha256.as_str()).collect(),
        class_names: &class_names,
    };
    let mut remaining: Vec<usize> = (0..labels.len()).collect();
    let is_carved = parts.test.is_none() || parts.validation.is_none();

    let test = match &parts.test {
        Some(test) => {
            notes.push(format!("test: the {} images that come as test images", test.labels.len()));
            whole(test)
        }
        None => {
            let carved = match rule {
                SplitRule::Position => by_position::test(labels),
                SplitRule::Content => contents.test(),
            };
            notes.extend(carved.notes);
            take_out(&mut remaining, &carved.chosen);
            part(&parts.train, carved.chosen)
        }
    };
    let mut unscored = part(&parts.train, Vec::new());
    let mut validation = match &parts.validation {
        Some(validation) => {
            notes.push(format!("validation: the {} images that come as such", validation.labels.len()));
            whole(validation)
        }
        None => {
            let (count, seed) = (options.validation, options.seed);
            let mut carved = match rule {
                SplitRule::Position => by_position::validation(labels, &remaining, count, seed),
                SplitRule::Content => contents.validation(&remaining, seed),
            };
            take_out(&mut remaining, &carved.chosen);
            notes.extend(carved.notes);
            if carved.chosen.len() > count {
                notes.push(format!("the first {count} of them in hash order are scored"));
                unscored = part(&parts.train, carved.chosen.split_off(count));
            }
            part(&parts.train, carved.chosen)
        }
    };
    let order = stratified::proportional_order(labels, &remaining, options.seed);
    let mut train = part(&parts.train, order);
    let mut dropped = train.none();
    if options.drop_duplicates {
        dropped = duplicates::drop(&mut train, &[&validation, &test])?;
        let from_validation = duplicates::drop(&mut validation, &[&test])?;
        let count = dropped.len() + from_validation.len();
        notes.push(format!("{count} images dropped that are in a later part too"));
        dropped = joined(&[&dropped, &from_validation]);
    }
    notes.push(format!("training: the {} images left", train.len()));
    let missing = |split: &Split| -> Vec<&str> {
        let mut seen = vec![false; class_names.len()];
        split.labels.iter().for_each(|&label| seen[label] = true);
        class_names.iter().zip(seen).filter(|(_, seen)| !seen).map(|(name, _)| name.as_str()).collect()
    };
    if let Some(class_name) = missing(&train).first() {
        let problem = format!("no training images are left for class `{class_name}`");
        return Err(DataError::malformed(path, problem, "two or more images of every class", "add images"));
    }
    for (split, what) in [(&validation, "validation"), (&test, "test")] {
        let classes = missing(split);
        if !classes.is_empty() && !split.is_empty() {
            let shown = listing::beginning(&classes, CLASSES_SHOWN);
            warnings.push(format!("no {what} image of {} classes: {shown}", classes.len()));
        }
    }
    let (mean, std) = statistics(&train, channels)?;
    let sizes = sizes.or_else(|| train.pixels.fixed_size().map(|size| [size; 2]));
    let all = joined(&[&train, &validation, &unscored, &test]);
    let mut dataset = Dataset {
        name,
        class_names,
        channels,
        train,
        validation,
        test,
        sizes,
        input: InputFormat { mean, std, resize },
        split_note: notes.join("; "),
        warnings,
        skipped,
        origin,
        unscored,
        dropped,
        all,
        split_record: SplitRecord { rule, ..SplitRecord::from(options) },
        kept_for: options.max_resolution,
        is_carved,
    };
    // Counting is cheap where the digests are known.
    if !dataset.train.pixels.files.is_empty() {
        let found = dataset.duplicates()?;
        dataset.warnings.extend(found.sentences());
    }
    Ok(dataset)
}

fn whole(from: &Labelled) -> Split {
    Split { pixels: from.pixels.clone(), positions: (0..from.labels.len()).collect(), labels: from.labels.clone() }
}

fn part(from: &Labelled, positions: Vec<usize>) -> Split {
    let labels = positions.iter().map(|&i| from.labels[i]).collect();
    Split { pixels: from.pixels.clone(), positions, labels }
}

/// The images of several splits as one.
fn joined(splits: &[&Split]) -> Split {
    let mut lots: Vec<(Arc<Pixels>, usize)> = Vec::new();
    let (mut positions, mut labels) = (Vec::new(), Vec::new());
    for split in splits.iter().filter(|split| !split.is_empty()) {
        // A lot counts as many images as the last position that is used needs.
        let needed = split.positions.iter().max().map_or(0, |last| last + 1);
        let known = lots.iter().position(|(lot, _)| Arc::ptr_eq(lot, &split.pixels));
        match known {
            Some(index) => lots[index].1 = lots[index].1.max(needed),
            None => lots.push((split.pixels.clone(), needed)),
        }
    }
    for split in splits.iter().filter(|split| !split.is_empty()) {
        let before = lots.iter().take_while(|(lot, _)| !Arc::ptr_eq(lot, &split.pixels)).map(|(_, count)| count);
        let start: usize = before.sum();
        positions.extend(split.positions.iter().map(|position| start + position));
        labels.extend_from_slice(&split.labels);
    }
    Split { pixels: Arc::new(Pixels { store: Store::Joined(lots), files: Vec::new() }), positions, labels }
}

impl Split {
    /// No images, of the same lot.
    fn none(&self) -> Self {
        Self { pixels: self.pixels.clone(), positions: Vec::new(), labels: Vec::new() }
    }
}

fn take_out(remaining: &mut Vec<usize>, chosen: &[usize]) {
    let mut sorted = chosen.to_vec();
    sorted.sort_unstable();
    remaining.retain(|i| sorted.binary_search(i).is_err());
}
