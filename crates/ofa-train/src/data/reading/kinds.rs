//! Kinds of files, by the ends of their names.

use crate::data::options::SplitRule;
use ofa_space::plain_text;
use std::path::{Path, PathBuf};

/// Image files that are read. What a file is is then found out from its content.
const READ: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];
/// Those that are read for a network whose data were divided by position: others would move the positions.
const READ_BY_POSITION: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
/// Image files that are not read: a folder of them is a mistake, not a folder of something else.
const NOT_READ: [&str; 30] = [
    "heic", "heif", "avif", "jxl", "jp2", "jpx", "j2k", "svg", "psd", "xcf", "ico", "tga", "dds", "exr", "hdr", "pnm",
    "ppm", "pgm", "pbm", "qoi", "dng", "raw", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf", "dcm",
];

/// The kinds that are read, for messages.
pub(crate) const KNOWN: &str = "jpg, jpeg, png, webp, bmp, gif, tif, tiff";

/// A file that is not among the images of a data set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// The file or link.
    pub path: PathBuf,
    /// Why: the end of its name in lower case (`heic`), or one of the constants of this type.
    pub kind: String,
}

impl Skipped {
    /// Its content is damaged.
    pub const CORRUPT: &str = "corrupt";
    /// A link to nowhere, to a folder that it is in, or to another folder of the data set.
    pub const LINK: &str = "link";
    /// A pipe, a socket or a device.
    pub const SPECIAL: &str = "special file";
    /// An image outside the class folders, or one that a labels file does not list.
    pub const UNLABELLED: &str = "without a class";
    /// In a folder that lies too deep.
    pub const DEEP: &str = "nested too deep";
    /// A file whose name has no end.
    pub const NAMELESS: &str = "no extension";

    /// A file that is left out for this reason.
    pub(crate) fn new(path: &Path, kind: &str) -> Self {
        Self { path: path.to_owned(), kind: kind.to_owned() }
    }

    /// A file that is left out because of the end of its name.
    pub(crate) fn by_name(path: &Path) -> Self {
        Self { path: path.to_owned(), kind: extension(path).unwrap_or_else(|| Self::NAMELESS.to_owned()) }
    }

    /// Whether it is an image of a kind that is not read.
    pub(crate) fn is_image(&self) -> bool {
        NOT_READ.contains(&self.kind.as_str())
    }

    /// How many files of each kind there are, as in `120 heic, 3 txt`; the most frequent kind first.
    pub fn counted(files: &[Skipped]) -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for file in files {
            *counts.entry(file.kind.as_str()).or_insert(0) += 1;
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().map(|(kind, n)| (kind.to_owned(), n)).collect();
        counts.sort_by_key(|count| std::cmp::Reverse(count.1));
        counts
    }

    /// [`counted`](Self::counted) in words.
    pub fn in_words(files: &[Skipped]) -> String {
        let counts = Self::counted(files);
        counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
    }
}

/// Whether a file with this name is read.
pub(crate) fn is_read(path: &Path, rule: SplitRule) -> bool {
    let read = match rule {
        SplitRule::Content => &READ[..],
        SplitRule::Position => &READ_BY_POSITION[..],
    };
    extension(path).is_some_and(|own| read.contains(&own.as_str()))
}

fn extension(path: &Path) -> Option<String> {
    Some(plain_text::of_file(path.extension()?).to_ascii_lowercase())
}
