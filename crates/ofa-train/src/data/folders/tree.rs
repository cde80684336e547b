//! What lies in a folder: images, other files, and folders, without ever going in circles.

use crate::data::reading::kinds::{self, Skipped};
use crate::data::{DataError, SplitRule};
use ofa_space::plain_text;
use std::collections::BTreeSet;
use std::fs::{self, FileType};
use std::path::{Path, PathBuf};

/// Folders are searched this deep.
const MAX_DEPTH: usize = 12;

/// A folder with all that is in it. Hidden entries do not count.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub path: PathBuf,
    /// By name.
    pub entries: Vec<Entry>,
    /// What is directly in it and is not read.
    pub skipped: Vec<Skipped>,
}

/// What is in a folder.
#[derive(Debug)]
pub(super) enum Entry {
    /// An image file.
    Image(PathBuf),
    /// A folder.
    Folder(Tree),
}

/// What must be known while folders are walked through.
struct Walk {
    rule: SplitRule,
    /// The folder of the data set, without links.
    root: PathBuf,
    /// Folders outside it that were reached through links.
    visited: BTreeSet<PathBuf>,
}

impl Tree {
    /// Lists a folder. Links are followed, but for those to a folder that holds them, to a folder of the data set (whose
    /// images would be listed twice, under another class), and to one that was listed already.
    pub fn read(folder: &Path, rule: SplitRule) -> Result<Self, DataError> {
        let root = folder.canonicalize().map_err(DataError::io(folder))?;
        Walk { rule, root, visited: BTreeSet::new() }.read(folder, MAX_DEPTH)
    }

    /// Subfolders, by name.
    pub fn folders(&self) -> impl Iterator<Item = &Tree> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Folder(tree) => Some(tree),
            Entry::Image(_) => None,
        })
    }

    /// Subfolders that hold images, at whatever depth.
    pub fn folders_with_images(&self) -> Vec<&Tree> {
        self.folders().filter(|folder| folder.has_images()).collect()
    }

    /// Images directly in the folder.
    pub fn own_images(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Image(path) => Some(path.as_path()),
            Entry::Folder(_) => None,
        })
    }

    /// Whether there is an image at whatever depth.
    pub fn has_images(&self) -> bool {
        self.entries.iter().any(|entry| match entry {
            Entry::Image(_) => true,
            Entry::Folder(tree) => tree.has_images(),
        })
    }

    /// All images in it and below, in the order of the names.
    pub fn images(&self) -> Vec<PathBuf> {
        let mut images = Vec::new();
        self.collect(&mut images);
        images
    }

    fn collect(&self, into: &mut Vec<PathBuf>) {
        for entry in &self.entries {
            match entry {
                Entry::Image(path) => into.push(path.clone()),
                Entry::Folder(tree) => tree.collect(into),
            }
        }
    }

    /// All that is not read, in it and below.
    pub fn all_skipped(&self) -> Vec<Skipped> {
        let mut all = self.skipped.clone();
        self.folders().for_each(|folder| all.extend(folder.all_skipped()));
        all
    }

    /// Its name.
    pub fn name(&self) -> String {
        name_of(&self.path)
    }
}

impl Walk {
    fn read(&mut self, folder: &Path, depth: usize) -> Result<Tree, DataError> {
        let mut listed = Vec::new();
        for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
            let entry = entry.map_err(DataError::io(folder))?;
            let (path, kind) = (entry.path(), entry.file_type());
            let name = name_of(&path);
            if !name.starts_with('.') && name != "__MACOSX" {
                listed.push((kind.map_err(DataError::io(&path))?, path));
            }
        }
        listed.sort_by(|a, b| a.1.cmp(&b.1));
        let mut tree = Tree { path: folder.to_owned(), ..Tree::default() };
        for (kind, path) in listed {
            let Some(kind) = self.followed(kind, &path) else {
                tree.skipped.push(Skipped::new(&path, Skipped::LINK));
                continue;
            };
            if kind.is_dir() && depth > 1 {
                let inner = self.read(&path, depth - 1)?;
                tree.entries.push(Entry::Folder(inner));
            } else if kind.is_dir() {
                tree.skipped.push(Skipped::new(&path, Skipped::DEEP));
            } else if !kind.is_file() {
                tree.skipped.push(Skipped::new(&path, Skipped::SPECIAL));
            } else if kinds::is_read(&path, self.rule) {
                tree.entries.push(Entry::Image(path));
            } else {
                tree.skipped.push(Skipped::by_name(&path));
            }
        }
        Ok(tree)
    }

    /// What an entry is once links are followed; `None` if it leads nowhere, or to images that are listed elsewhere.
    fn followed(&mut self, kind: FileType, path: &Path) -> Option<FileType> {
        if !kind.is_symlink() {
            return Some(kind);
        }
        let target = path.canonicalize().ok()?;
        let kind = fs::metadata(&target).ok()?.file_type();
        if kind.is_dir() {
            let is_circle = self.root.starts_with(&target) || target.starts_with(&self.root);
            let is_known = self.visited.iter().any(|known| known.starts_with(&target) || target.starts_with(known));
            if is_circle || is_known {
                return None;
            }
            self.visited.insert(target);
        }
        Some(kind)
    }
}

pub(super) fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(String::new, plain_text::of_file)
}
