//! Finding out what a DATA argument means.

use crate::data::cifar::Cifar;
use crate::data::folders::ImageFolder;
use crate::data::splitting::{self, Description, Parts};
use crate::data::{DataError, Dataset, LoadOptions, Origin, bundled, idx};
use ofa_space::Resize;
use ofa_space::file_digest::KnownFiles;
use std::path::Path;

/// Memory for the decoded images of an image folder, unless [`load_within`] is given another: 2 GiB.
pub const DEFAULT_MEMORY_BYTES: usize = 2 << 30;

const LOOKED_FOR: &str = "CIFAR binary (data_batch_1.bin …, or train.bin and test.bin); IDX (train-images-idx3-ubyte, \
     train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, each with or without .gz); class folders \
     with images (train/<class>/*.jpg with val/ or test/ beside it, or just <class>/*.jpg; jpg, jpeg, png, webp, bmp, gif, tif, tiff); labels.csv or labels.tsv (lines with file, label and, if at all, split)";

/// Loads `bundled` or the data set in a folder, whichever of the known layouts it has.
///
/// # Errors
/// [`DataError`] naming the file or folder, what was found, what was expected and what to do.
pub fn load(spec: &str, options: &LoadOptions) -> Result<Dataset, DataError> {
    load_within(spec, options, DEFAULT_MEMORY_BYTES)
}

/// [`load`] with another memory budget, bytes: image folders whose decoded images need more are decoded anew at each
/// use. The batches are the same either way, but for the normalisation, which is then computed from 1,000 training
/// images; and a file that cannot be decoded is an error when its turn comes, unless such files are skipped.
///
/// # Errors
/// As [`load`].
pub fn load_within(spec: &str, options: &LoadOptions, memory_bytes: usize) -> Result<Dataset, DataError> {
    load_known(spec, options, memory_bytes, &KnownFiles::default())
}

/// [`load_within`], trusting digests that were kept from before: of images that are decoded at each use, files that are
/// known and unchanged are not read.
///
/// # Errors
/// As [`load`].
pub fn load_known(
    spec: &str,
    options: &LoadOptions,
    memory_bytes: usize,
    known: &KnownFiles,
) -> Result<Dataset, DataError> {
    if spec == "bundled" {
        let parts = bundled::load()?;
        let class_names = idx::digit_names(&parts);
        let origin = Origin { licence: Some(bundled::LICENCE), ..origin(bundled::SOURCE, "IDX") };
        let about = small_images(bundled::NAME, class_names, 1, Path::new("bundled MNIST"), origin);
        return splitting::dataset(parts, about, options);
    }
    let folder = Path::new(spec);
    if !folder.is_dir() {
        let problem = if folder.exists() { "is a file" } else { "does not exist" };
        let expected = "`bundled` or a folder";
        return Err(DataError::malformed(folder, problem, expected, "check the path given as data"));
    }
    let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let name = name.unwrap_or_else(|| spec.to_owned());
    if let Some(cifar) = Cifar::find(folder) {
        let about = small_images(&name, cifar.class_names()?, 3, folder, origin(spec, cifar.layout()));
        return splitting::dataset(cifar.load()?, about, options);
    }
    if let Some(files) = idx::Files::find(folder)? {
        let parts: Parts = files.load()?;
        let about = small_images(&name, idx::digit_names(&parts), 1, folder, origin(spec, "IDX"));
        return splitting::dataset(parts, about, options);
    }
    if let Some(images) = ImageFolder::find(folder, options.rule)? {
        let layout = images.layout;
        let loaded = images.load(options, memory_bytes, known)?;
        let about = Description {
            name,
            class_names: loaded.class_names,
            channels: loaded.channels,
            resize: loaded.resize,
            sizes: loaded.sizes,
            path: folder,
            notes: loaded.notes,
            warnings: loaded.warnings,
            skipped: loaded.skipped,
            origin: origin(spec, layout),
        };
        return splitting::dataset(loaded.parts, about, options);
    }
    Err(DataError::NotFound { path: folder.to_owned(), looked_for: LOOKED_FOR })
}

fn origin(source: &str, layout: &'static str) -> Origin {
    Origin { source: source.to_owned(), layout, licence: None }
}

/// A set of small images of one size, none of them damaged.
fn small_images<'a>(
    name: &str,
    class_names: Vec<String>,
    channels: usize,
    path: &'a Path,
    origin: Origin,
) -> Description<'a> {
    Description {
        name: name.to_owned(),
        class_names,
        channels,
        resize: Resize::Stretch,
        sizes: None,
        path,
        notes: Vec::new(),
        warnings: Vec::new(),
        skipped: Vec::new(),
        origin,
    }
}
