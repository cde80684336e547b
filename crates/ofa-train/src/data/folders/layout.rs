//! Which folders are classes, and which are training, validation and test images.

use super::labels_file::{self, LabelsFile};
use super::tree::Tree;
use crate::data::reading::kinds::{self, Skipped};
use crate::data::{DataError, SplitName, SplitRule};
use std::path::{Path, PathBuf};

/// Names of the folder of training images, and of a part in a labels file; in any case.
const TRAIN: &[&str] = &["train", "training"];
/// Of validation images.
const VALIDATION: &[&str] = &["val", "valid", "validation", "dev"];
/// Of test images.
const TEST: &[&str] = &["test", "testing"];

/// Files with their classes.
pub(super) type Listing = Vec<(PathBuf, usize)>;

/// What was found in a folder.
pub(crate) struct ImageFolder {
    /// For outputs.
    pub layout: &'static str,
    pub(super) class_names: Vec<String>,
    pub(super) train: Listing,
    pub(super) validation: Option<Listing>,
    pub(super) test: Option<Listing>,
    pub(super) notes: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) skipped: Vec<Skipped>,
}

/// The part of a data set that goes by this name.
pub(super) fn part_called(name: &str) -> Option<SplitName> {
    let is_among = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    match () {
        () if is_among(TRAIN) => Some(SplitName::Train),
        () if is_among(VALIDATION) => Some(SplitName::Validation),
        () if is_among(TEST) => Some(SplitName::Test),
        () => None,
    }
}

/// The subfolders of a folder that is divided into parts.
struct Divided<'a> {
    train: &'a Tree,
    validation: Option<&'a Tree>,
    test: Option<&'a Tree>,
}

impl ImageFolder {
    /// Lists the images; `None` if there are neither class folders with images nor a labels file.
    pub fn find(folder: &Path, rule: SplitRule) -> Result<Option<Self>, DataError> {
        let tree = Tree::read(folder, rule)?;
        let mut root = &tree;
        loop {
            let labels = labels_file::find(&root.path);
            if let Some(divided) = divided(root)? {
                let mut found = Self::of_parts(&divided, root)?;
                found.ignoring(labels.as_deref());
                return Ok(Some(found.entered(root, &tree)));
            }
            let folders = root.folders_with_images();
            let structured = folders.iter().any(|folder| !folder.folders_with_images().is_empty());
            let are_parts = folders.iter().all(|folder| part_called(&folder.name()).is_some());
            if let Some(labels) = &labels
                && !structured
                && (folders.len() < 2 || are_parts)
            {
                let found = Self::of_labels(LabelsFile::read(labels, rule)?, root);
                return Ok(Some(found.entered(root, &tree)));
            }
            match folders.as_slice() {
                [] => return no_images(root),
                [only] if structured || labels_file::find(&only.path).is_some() => root = only,
                [only] => {
                    let problem = format!("has one class folder only (`{}`)", only.name());
                    let remedy = "make one folder for each class";
                    return Err(DataError::malformed(&root.path, problem, "two or more", remedy));
                }
                _ => {
                    let mut found = Self::of_classes(root, &folders)?;
                    found.ignoring(labels.as_deref());
                    return Ok(Some(found.entered(root, &tree)));
                }
            }
        }
    }

    fn new(layout: &'static str) -> Self {
        Self {
            layout,
            class_names: Vec::new(),
            train: Vec::new(),
            validation: None,
            test: None,
            notes: Vec::new(),
            warnings: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// `train/<class>`, with folders of validation and test images beside it.
    fn of_parts(divided: &Divided<'_>, root: &Tree) -> Result<Self, DataError> {
        let mut found = Self::new("image folder with parts");
        found.skipped = root.all_skipped();
        for class_folder in divided.train.folders() {
            // `train/<class>` is a statement, any other folder may be something else.
            if !class_folder.has_images() {
                return Err(unreadable(class_folder, "has no images"));
            }
            found.add_class(class_folder);
        }
        found.needs_two_classes(divided.train)?;
        found.leave_out(divided.train.own_images());
        found.leave_out(root.own_images());
        let validation = found.part(divided.validation)?;
        let test = found.part(divided.test)?;
        let name = |tree: Option<&Tree>| tree.map_or_else(String::new, Tree::name);
        (found.validation, found.test) = match (validation, test) {
            (Some(validation), None) => {
                let name = name(divided.validation);
                found.notes.push(format!("no test/ folder, so the images of {name}/ are the test images"));
                (None, Some(validation))
            }
            other => other,
        };
        Ok(found)
    }

    /// `<class>/…`.
    fn of_classes(root: &Tree, folders: &[&Tree]) -> Result<Self, DataError> {
        let mut found = Self::new("image folder");
        found.skipped = root.all_skipped();
        for folder in root.folders().filter(|folder| !folder.has_images()) {
            if folder.all_skipped().iter().any(Skipped::is_image) {
                return Err(unreadable(folder, "has no images that can be read"));
            }
        }
        for folder in folders {
            found.add_class(folder);
        }
        found.leave_out(root.own_images());
        let parts: Vec<String> = found.class_names.iter().filter(|name| part_called(name).is_some()).cloned().collect();
        if !parts.is_empty() {
            let why = match folders.iter().find(|folder| part_called(&folder.name()).is_none()) {
                Some(other) => format!("`{}` beside it is no part of a data set", other.name()),
                None => "no folder of training images with class folders in it is beside it".to_owned(),
            };
            found.warnings.push(format!(
                "`{}` is read as a class, not as a part of the data set, because {why}",
                parts.join("`, `")
            ));
        }
        Ok(found)
    }

    /// What a labels file lists.
    fn of_labels(labels: LabelsFile, root: &Tree) -> Self {
        let mut found = Self::new("labels file");
        let LabelsFile { path, class_names, train, validation, test, skipped } = labels;
        let listed: std::collections::BTreeSet<&PathBuf> = [Some(&train), validation.as_ref(), test.as_ref()]
            .into_iter()
            .flatten()
            .flatten()
            .map(|(p, _)| p)
            .collect();
        let unlisted: Vec<PathBuf> = root.images().into_iter().filter(|image| !listed.contains(image)).collect();
        found.skipped = root.all_skipped().into_iter().filter(|file| file.path != path).collect();
        found.skipped.retain(|file| skipped.iter().all(|other| other.path != file.path));
        found.skipped.extend(skipped);
        found.leave_out(unlisted.iter().map(PathBuf::as_path));
        (found.class_names, found.train, found.validation, found.test) = (class_names, train, validation, test);
        if found.test.is_none() && found.validation.is_some() {
            found.notes.push("no test images, so the validation images are the test images".to_owned());
            found.test = found.validation.take();
        }
        found
    }

    fn add_class(&mut self, folder: &Tree) {
        let class = self.class_names.len();
        self.class_names.push(folder.name());
        self.train.extend(folder.images().into_iter().map(|path| (path, class)));
    }

    fn needs_two_classes(&self, root: &Tree) -> Result<(), DataError> {
        let [only] = self.class_names.as_slice() else { return Ok(()) };
        let problem = format!("has one class folder only (`{only}`)");
        Err(DataError::malformed(&root.path, problem, "two or more", "make one folder for each class"))
    }

    /// The images of a folder whose class folders are among those of the training images. `None` if it has none.
    fn part(&mut self, folder: Option<&Tree>) -> Result<Option<Listing>, DataError> {
        let Some(folder) = folder else { return Ok(None) };
        let mut listing = Vec::new();
        for class_folder in folder.folders_with_images() {
            match self.class_names.iter().position(|name| *name == class_folder.name()) {
                Some(class) => listing.extend(class_folder.images().into_iter().map(|path| (path, class))),
                None => {
                    let expected = format!("the classes of the training images ({} of them)", self.class_names.len());
                    let problem = "is a class without training images";
                    return Err(DataError::malformed(
                        &class_folder.path,
                        problem,
                        expected,
                        "rename or remove the folder",
                    ));
                }
            }
        }
        self.leave_out(folder.own_images());
        if listing.is_empty() {
            self.warnings.push(format!("{}/ has no class folders with images and is not used", folder.name()));
            return Ok(None);
        }
        Ok(Some(listing))
    }

    /// Images without a class.
    fn leave_out<'a>(&mut self, images: impl Iterator<Item = &'a Path>) {
        self.skipped.extend(images.map(|image| Skipped::new(image, Skipped::UNLABELLED)));
    }

    fn ignoring(&mut self, labels: Option<&Path>) {
        if let Some(labels) = labels {
            let name = super::tree::name_of(labels);
            self.warnings.push(format!("{name} is not used, because there are class folders"));
        }
    }

    /// Notes the folder that was entered, and what lies beside it.
    fn entered(mut self, root: &Tree, given: &Tree) -> Self {
        let Ok(inner) = root.path.strip_prefix(&given.path) else { return self };
        if inner.as_os_str().is_empty() {
            return self;
        }
        self.notes.insert(0, format!("read from {}/, the only folder with images", inner.display()));
        self.skipped.extend(given.all_skipped().into_iter().filter(|file| !file.path.starts_with(&root.path)));
        let outside: Vec<PathBuf> = given.images().into_iter().filter(|image| !image.starts_with(&root.path)).collect();
        self.leave_out(outside.iter().map(PathBuf::as_path));
        self
    }
}

/// The parts of a folder, if it is divided.
fn divided(root: &Tree) -> Result<Option<Divided<'_>>, DataError> {
    let called = |part: SplitName| -> Vec<&Tree> {
        root.folders().filter(|folder| part_called(&folder.name()) == Some(part)).collect()
    };
    let with_classes: Vec<&Tree> =
        called(SplitName::Train).into_iter().filter(|folder| !folder.folders_with_images().is_empty()).collect();
    let others = root.folders_with_images();
    if with_classes.is_empty() || others.iter().any(|folder| part_called(&folder.name()).is_none()) {
        return Ok(None);
    }
    let one = |part: SplitName, folders: Vec<&'_ Tree>| match folders.as_slice() {
        [first, second, ..] => {
            let problem = format!("has two folders of {part} images (`{}` and `{}`)", first.name(), second.name());
            Err(DataError::malformed(&root.path, problem, "one", "move the images into one of them"))
        }
        _ => Ok(()),
    };
    let filled = |part| called(part).into_iter().filter(|folder| folder.has_images()).collect::<Vec<_>>();
    one(SplitName::Train, filled(SplitName::Train))?;
    one(SplitName::Validation, filled(SplitName::Validation))?;
    one(SplitName::Test, filled(SplitName::Test))?;
    // A folder without images is mentioned, if there is no other.
    let first = |part| filled(part).first().copied().or_else(|| called(part).first().copied());
    let (validation, test) = (first(SplitName::Validation), first(SplitName::Test));
    Ok(with_classes.first().map(|train| Divided { train, validation, test }))
}

/// A folder without images is none of ours, unless images of kinds that are not read are in it.
fn no_images(root: &Tree) -> Result<Option<ImageFolder>, DataError> {
    match root.all_skipped().iter().any(Skipped::is_image) {
        true => Err(unreadable(root, "has no images that can be read")),
        false => Ok(None),
    }
}

/// A folder that must have images.
fn unreadable(folder: &Tree, problem: &str) -> DataError {
    let skipped = folder.all_skipped();
    let holds = match skipped.is_empty() {
        true => String::new(),
        false => format!(", but {}", Skipped::in_words(&skipped)),
    };
    let expected = format!("image files ({})", kinds::KNOWN);
    let remedy = "add some, convert what is there, or remove the folder";
    DataError::malformed(&folder.path, format!("{problem}{holds}"), expected, remedy)
}
