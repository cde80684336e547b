//! Classes of a data set as a network numbers them: by name, by a map of names, or by position.

use crate::data::class_map::ClassMap;
use crate::data::{DataError, Dataset, Split};
use unicode_normalization::UnicodeNormalization;

/// How the classes of a data set are found among those of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClassMatching {
    /// By their names: equal ones first, then those that differ in case, surrounding spaces and Unicode normalisation only.
    #[default]
    Names,
    /// By a map of names; classes that it does not mention by their names.
    Map(ClassMap),
    /// By their numbers, whatever they are called.
    Position,
}

/// What the classes of a data set are among those of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchedClasses {
    /// For each class of the data set, the number of the network's class.
    pub labels: Vec<usize>,
    /// Classes whose names differ: the data set's, and the network's.
    pub renamed: Vec<(String, String)>,
    /// Classes of the network that the data set lacks.
    pub missing: Vec<String>,
    /// Whether names were left out of account, because the network's are numbers that an import made up.
    pub unnamed: bool,
}

/// Names of classes, and what has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub dataset: &'a str,
    pub theirs: &'a [String],
    pub ours: &'a [String],
}

impl MatchedClasses {
    /// What a user should read about the match; nothing if all names are equal and none is missing.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.unnamed {
            notes.push("the network's classes have no names, so they are taken in the order of the data's".to_owned());
        } else if !self.renamed.is_empty() {
            let pairs: Vec<String> =
                self.renamed.iter().map(|(theirs, ours)| format!("`{theirs}` is `{ours}`")).collect();
            notes.push(format!("classes of the data by other names: {}", shortened(&pairs)));
        }
        if !self.missing.is_empty() {
            let names: Vec<String> = self.missing.iter().map(|name| format!("`{name}`")).collect();
            notes.push(format!("classes of the network without images in the data: {}", shortened(&names)));
        }
        notes
    }

    /// The data set with the network's classes.
    pub(super) fn apply(&self, mut dataset: Dataset, ours: &[String]) -> Dataset {
        let renumber = |split: &mut Split| split.labels.iter_mut().for_each(|label| *label = self.labels[*label]);
        if !self.labels.iter().copied().eq(0..self.labels.len()) {
            let Dataset { train, validation, test, unscored, dropped, all, .. } = &mut dataset;
            [train, validation, test, unscored, dropped, all].into_iter().for_each(renumber);
        }
        dataset.class_names = ours.to_vec();
        dataset
    }
}

/// The first few of a list, and how many more there are.
fn shortened(items: &[String]) -> String {
    const SHOWN: usize = 10;
    let more = items.len().saturating_sub(SHOWN);
    let shown = items[..items.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

impl Named<'_> {
    /// Finds every class of the data set among the network's.
    ///
    /// # Errors
    /// [`DataError::UnknownClass`] if the network lacks one, [`DataError::AmbiguousClasses`] if one could be two of the
    /// network's or two could be one, [`DataError::Classes`] by position if the numbers of classes differ,
    /// [`DataError::ClassMap`] if a map names a class that the network lacks.
    pub fn matched(&self, matching: &ClassMatching) -> Result<MatchedClasses, DataError> {
        let labels = match matching {
            ClassMatching::Position => self.by_position()?,
            ClassMatching::Names => self.by_name(None)?,
            ClassMatching::Map(map) => self.by_name(Some(map))?,
        };
        let pairs = self.theirs.iter().zip(labels.iter().map(|label| &self.ours[*label]));
        let renamed =
            pairs.filter(|(theirs, ours)| theirs != ours).map(|(theirs, ours)| (theirs.clone(), ours.clone()));
        let renamed = renamed.collect();
        let missing = (0..self.ours.len()).filter(|class| !labels.contains(class));
        let missing = missing.map(|class| self.ours[class].clone()).collect();
        Ok(MatchedClasses { labels, renamed, missing, unnamed: false })
    }

    fn by_position(&self) -> Result<Vec<usize>, DataError> {
        let (dataset, expected, found) = (self.dataset.to_owned(), self.ours.len(), self.theirs.len());
        match expected == found {
            true => Ok((0..found).collect()),
            false => Err(DataError::Classes { dataset, expected, found }),
        }
    }

    fn by_name(&self, map: Option<&ClassMap>) -> Result<Vec<usize>, DataError> {
        let mut labels = match map {
            Some(map) => self.mapped(map)?,
            None => vec![None; self.theirs.len()],
        };
        let is_mapped: Vec<bool> = labels.iter().map(Option::is_some).collect();
        if map.is_none() && self.theirs == self.ours {
            return Ok((0..self.ours.len()).collect());
        }
        for (class, label) in labels.iter_mut().enumerate().filter(|(_, label)| label.is_none()) {
            // Of ImageNet's classes, two are called `crane`.
            let equal = (0..self.ours.len()).filter(|ours| self.ours[*ours] == self.theirs[class]);
            match equal.collect::<Vec<_>>().as_slice() {
                [] => {}
                [only] => *label = Some(*only),
                several => return Err(self.ambiguous(&[class], several)),
            }
        }
        let keys: Vec<String> = self.ours.iter().map(|name| key(name)).collect();
        let mut unknown = Vec::new();
        for class in 0..self.theirs.len() {
            if labels[class].is_some() {
                continue;
            }
            let wanted = key(&self.theirs[class]);
            let alike: Vec<usize> = (0..keys.len()).filter(|ours| keys[*ours] == wanted).collect();
            match alike.as_slice() {
                [] => unknown.push(class),
                // A map may make one class of several; names alone may not.
                [only] => match (0..labels.len()).find(|other| labels[*other] == Some(*only) && !is_mapped[*other]) {
                    None => labels[class] = Some(*only),
                    Some(other) => return Err(self.ambiguous(&[other, class], &[*only])),
                },
                several => return Err(self.ambiguous(&[class], several)),
            }
        }
        match unknown.split_first() {
            None => Ok(labels.into_iter().flatten().collect()),
            Some((first, more)) => Err(DataError::UnknownClass {
                dataset: self.dataset.to_owned(),
                class: self.theirs[*first].clone(),
                nearest: self.nearest(&self.theirs[*first]),
                more: more.len(),
            }),
        }
    }

    /// What the map names; classes that the data set lacks are passed over, so that one map serves several data sets.
    fn mapped(&self, map: &ClassMap) -> Result<Vec<Option<usize>>, DataError> {
        let mut labels = vec![None; self.theirs.len()];
        for entry in &map.entries {
            let Some(ours) = self.ours.iter().position(|name| *name == entry.ours) else {
                let (path, line) = (map.path.clone(), entry.line);
                let nearest = self.nearest(&entry.ours);
                let problem =
                    format!("names `{}`, which is no class of the network; the nearest is `{nearest}`", entry.ours);
                return Err(DataError::ClassMap { path, line, problem });
            };
            if let Some(theirs) = self.theirs.iter().position(|name| *name == entry.theirs) {
                labels[theirs] = Some(ours);
            }
        }
        Ok(labels)
    }

    fn ambiguous(&self, theirs: &[usize], ours: &[usize]) -> DataError {
        let names = |from: &[String], of: &[usize]| {
            let quoted: Vec<String> = of.iter().map(|class| format!("`{}`", from[*class])).collect();
            quoted.join(" and ")
        };
        let (theirs, ours) = (names(self.theirs, theirs), names(self.ours, ours));
        DataError::AmbiguousClasses { dataset: self.dataset.to_owned(), theirs, ours }
    }

    /// The network's class with the most similar name.
    fn nearest(&self, name: &str) -> String {
        let wanted = key(name);
        let distance = |ours: &&String| strsim::damerau_levenshtein(&wanted, &key(ours));
        self.ours.iter().min_by_key(distance).cloned().unwrap_or_default()
    }
}

/// What names have in common that differ in case, surrounding spaces and Unicode normalisation only. Upper case first: it
/// makes one of letters that have several lower forms, such as `σ` and `ς`, or `ß` and `ss`.
fn key(name: &str) -> String {
    let folded: String = name.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc().collect();
    folded.trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn matched(theirs: &[&str], ours: &[&str], matching: &ClassMatching) -> Result<MatchedClasses, DataError> {
        let (theirs, ours) = (names(theirs), names(ours));
        Named { dataset: "photos", theirs: &theirs, ours: &ours }.matched(matching)
    }

    fn by_name(theirs: &[&str], ours: &[&str]) -> Result<MatchedClasses, DataError> {
        matched(theirs, ours, &ClassMatching::Names)
    }

    fn map(text: &str) -> ClassMatching {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.csv");
        std::fs::write(&path, text).unwrap();
        ClassMatching::Map(ClassMap::read(Path::new(&path)).unwrap())
    }

    #[test]
    fn equal_names_come_before_similar_ones() {
        assert_eq!(by_name(&["b", "a"], &["a", "b"]).unwrap().labels, [1, 0]);
        assert_eq!(by_name(&["Plum", "apple"], &["apple", "pear", "plum"]).unwrap().labels, [2, 0]);
        assert_eq!(by_name(&["Plum", "plum"], &["plum", "Plum"]).unwrap().labels, [1, 0]);
        assert_eq!(
            by_name(&[" STRASSE ", "Gru\u{308}n", "ΟΔΟΣ"], &["straße", "grün", "οδος"]).unwrap().labels,
            [0, 1, 2]
        );
        assert_eq!(
            by_name(&["0", "1"], &["0", "1"]).unwrap(),
            MatchedClasses { labels: vec![0, 1], ..Default::default() }
        );
    }

    #[test]
    fn what_is_missing_or_called_otherwise_is_reported() {
        let found = by_name(&["Plum", "apple"], &["apple", "pear", "plum"]).unwrap();
        assert_eq!(found.missing, ["pear"]);
        assert_eq!(found.renamed, [("Plum".to_owned(), "plum".to_owned())]);
        let notes = found.notes().join("\n");
        assert!(notes.contains("`Plum` is `plum`") && notes.contains("`pear`"), "{notes}");
    }

    #[test]
    fn unknown_and_ambiguous_classes_are_refused_by_name() {
        let error = by_name(&["apple", "plumm", "x"], &["apple", "pear", "plum"]).unwrap_err().to_string();
        assert!(error.contains("`plumm`") && error.contains("`plum`") && error.contains("1 more"), "{error}");
        let error = by_name(&["crane"], &["crane", "dog", "crane"]).unwrap_err().to_string();
        assert!(error.contains("`crane` and `crane`"), "{error}");
        for (theirs, ours) in [(["Plum", "plum"], ["plum", "x"]), (["PLUM", "x"], ["Plum", "plum"])] {
            let error = by_name(&theirs, &ours).unwrap_err().to_string();
            assert!(error.to_lowercase().contains("`plum` and `plum`"), "{error}");
        }
    }

    #[test]
    fn a_map_comes_first_and_names_for_the_rest() {
        let ours = ["apple", "pear", "plum"];
        let found =
            matched(&["Pflaume", "Zwetschge", "pear"], &ours, &map("Pflaume,plum\nZwetschge,plum\nKirsche,pear\n"));
        assert_eq!(found.unwrap().labels, [2, 2, 1]);
        let error = matched(&["Pflaume"], &ours, &map("theirs,ours\nPflaume,plums\n")).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("`plums`") && error.contains("`plum`"), "{error}");
    }

    #[test]
    fn positions_need_as_many_classes() {
        let found = matched(&["0", "1"], &["airplane", "automobile"], &ClassMatching::Position).unwrap();
        assert_eq!(found.labels, [0, 1]);
        let error = matched(&["0"], &["airplane", "automobile"], &ClassMatching::Position).unwrap_err();
        assert!(matches!(error, DataError::Classes { expected: 2, found: 1, .. }), "{error}");
    }

    proptest! {
        /// Any order and any spelling of a network's names leads back to them.
        #[test]
        fn names_find_their_class_in_any_order_and_case(
            ours in prop::collection::btree_set("[a-zäöüß]{1,6}", 1..8),
            upper in any::<[bool; 8]>(),
            turn in 0usize..8,
        ) {
            let mut seen = std::collections::BTreeSet::new();
            let ours: Vec<String> = ours.into_iter().filter(|name| seen.insert(key(name))).collect();
            let turn = turn % ours.len();
            let order: Vec<usize> = (turn..ours.len()).chain(0..turn).collect();
            let theirs: Vec<String> = order.iter().zip(upper).map(|(class, upper)| match upper {
                true => format!(" {}", ours[*class].to_uppercase()),
                false => ours[*class].nfd().collect(),
            }).collect();
            let found = Named { dataset: "d", theirs: &theirs, ours: &ours }.matched(&ClassMatching::Names).unwrap();
            prop_assert_eq!(found.labels, order);
            prop_assert!(found.missing.is_empty());
        }
    }
}
