//! Folders of image files: which classes and parts they hold, and the images decoded or ready to be.
//!
//! | layout | how it is recognised |
//! |---|---|
//! | parts | one subfolder is called `train` or `training` and holds class folders, and every other subfolder with images is called as a validation or test part is |
//! | class folders | any other folder with two or more subfolders with images |
//! | labels file | `labels.csv` or `labels.tsv`, where there are no class folders |
//!
//! A single subfolder is entered.

mod labels_file;
mod layout;
mod loading;
mod tree;

pub(crate) use layout::ImageFolder;

use crate::data::{DataError, Skipped, SplitRule};
use std::path::{Path, PathBuf};
use tree::Tree;

/// The image files in a folder and below, by name, and what else there is.
///
/// # Errors
/// [`DataError::Io`] if a folder cannot be listed.
pub fn image_files(folder: &Path) -> Result<(Vec<PathBuf>, Vec<Skipped>), DataError> {
    let tree = Tree::read(folder, SplitRule::Content)?;
    Ok((tree.images(), tree.all_skipped()))
}
