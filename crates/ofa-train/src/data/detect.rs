//! Finding out what a data set is, reading it, and making its splits.

use super::cifar::Cifar;
use super::{DataError, Dataset, LoadOptions, Split, bundled, idx, image_folder, stratified};
use ofa_space::model::{InputFormat, Resize};
use std::path::{Path, PathBuf};

/// Reads `bundled`, or a folder whose layout is detected: CIFAR binary, IDX, or an image folder.
///
/// # Errors
/// [`DataError`] naming the file, or what was looked for in the folder.
pub fn load(spec: &str, options: &LoadOptions) -> Result<Dataset, DataError> {
    if spec == "bundled" {
        let (train, test) = bundled::mnist()?;
        return Ok(fixed_size("MNIST (20,000 training images)", digits(), train, test, options));
    }
    let folder = Path::new(spec);
    if !folder.is_dir() {
        let problem = "is no folder; DATA is `bundled` or a folder of images, CIFAR binary or IDX files".to_owned();
        return Err(DataError::Layout { path: folder.to_owned(), problem });
    }
    if let Some(kind) = Cifar::detect(folder) {
        let (train, test, names) = kind.read(folder)?;
        return Ok(fixed_size(&name_of(folder), names, train, test, options));
    }
    if let Some(images) = idx::find(folder, "train-images-idx3-ubyte") {
        let find = |name: &str| idx::find(folder, name).ok_or_else(|| missing(folder, name));
        let train = idx::read(&images, &find("train-labels-idx1-ubyte")?)?;
        let test = idx::read(&find("t10k-images-idx3-ubyte")?, &find("t10k-labels-idx1-ubyte")?)?;
        let classes = train.labels().iter().chain(test.labels()).max().map_or(0, |largest| largest + 1);
        let names = (0..classes).map(|class| class.to_string()).collect();
        return Ok(fixed_size(&name_of(folder), names, train, test, options));
    }
    photos(folder, options)
}

fn digits() -> Vec<String> {
    (0..10).map(|digit| digit.to_string()).collect()
}

fn name_of(folder: &Path) -> String {
    folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn missing(folder: &Path, name: &str) -> DataError {
    DataError::Layout { path: folder.to_owned(), problem: format!("has no {name} (or {name}.gz)") }
}

/// A set with its own test images and one image size.
fn fixed_size(
    name: &str,
    class_names: Vec<String>,
    mut train: Split,
    test: Split,
    options: &LoadOptions,
) -> Dataset {
    let validation = take_validation(&mut train, options);
    let split_note = format!(
        "{} training images, {} of the original training images kept out for validation (seed {}), {} test images",
        train.len(),
        validation.len(),
        options.seed,
        test.len()
    );
    let channels = if train.is_empty() { 1 } else { train.image(0).channels };
    let input = input_format(&train, channels, Resize::Stretch);
    Dataset {
        name: name.to_owned(),
        class_names,
        channels,
        train,
        validation,
        test,
        input,
        split_note,
        skipped: Vec::new(),
    }
}

/// A class-balanced part of the training images, never trained on.
fn take_validation(train: &mut Split, options: &LoadOptions) -> Split {
    const LARGEST_SHARE: usize = 5;
    let count = options.validation.min(train.len() / LARGEST_SHARE);
    let chosen = stratified::sample(train, count, options.seed);
    train.take(&chosen)
}

/// An image folder, with the splits it has or with seeded ones.
fn photos(folder: &Path, options: &LoadOptions) -> Result<Dataset, DataError> {
    // A quarter more than the network's input leaves room for crops without keeping the whole photo.
    let short_side = (options.max_resolution as usize * 5).div_ceil(4);
    let train_folder = folder.join("train");
    let has_train = train_folder.is_dir();
    let root: PathBuf = if has_train { train_folder } else { folder.to_owned() };
    let class_names: Vec<String> = image_folder::class_names(&root)?
        .into_iter()
        .filter(|name| image_folder::has_images(&root.join(name)))
        .collect();
    if class_names.len() < 2 {
        let problem = format!(
            "holds {} class folders with images; looked for CIFAR binary (data_batch_1.bin, or train.bin and test.bin), \
             IDX (train-images-idx3-ubyte[.gz]), train/<class>/*.jpg, and <class>/*.jpg with at least two classes \
             (jpg, jpeg, png, webp)",
            class_names.len()
        );
        return Err(DataError::Layout { path: folder.to_owned(), problem });
    }
    let read = |root: &Path| image_folder::read(root, &class_names, short_side, options.on_corrupt);
    let train = read(&root)?;
    let (mut train, mut skipped) = (train.split, train.skipped);
    let mut read_more = |name: &str| -> Result<Option<Split>, DataError> {
        let root = folder.join(name);
        if !(has_train && root.is_dir()) {
            return Ok(None);
        }
        let images = read(&root)?;
        skipped.extend(images.skipped);
        Ok(Some(images.split))
    };
    let given_validation = match read_more("val")? {
        Some(split) => Some(split),
        None => read_more("validation")?,
    };
    let given_test = read_more("test")?;
    let mut notes = Vec::new();
    let test = match given_test {
        Some(split) => {
            notes.push(format!("{} test images from test/", split.len()));
            split
        }
        None => {
            let chosen = stratified::sample(&train, train.len() / 5, options.seed.wrapping_add(1));
            notes.push(format!("{} test images taken from all (a fifth, seed {})", chosen.len(), options.seed));
            train.take(&chosen)
        }
    };
    let validation = match given_validation {
        Some(split) => {
            notes.push(format!("{} validation images from val/", split.len()));
            split
        }
        None => {
            let split = take_validation(&mut train, options);
            notes.push(format!("{} validation images kept out of training (seed {})", split.len(), options.seed));
            split
        }
    };
    notes.insert(0, format!("{} training images of {} classes", train.len(), class_names.len()));
    if !skipped.is_empty() {
        notes.push(format!("{} files left out because they cannot be decoded", skipped.len()));
    }
    let input = input_format(&train, 3, Resize::CenterCrop { numerator: 8, denominator: 7 });
    Ok(Dataset {
        name: name_of(folder),
        class_names,
        channels: 3,
        train,
        validation,
        test,
        input,
        split_note: notes.join(", "),
        skipped,
    })
}

/// Mean and standard deviation per channel over the training images, of pixels in 0..1.
fn input_format(train: &Split, channels: usize, resize: Resize) -> InputFormat {
    let mut sums = vec![(0u64, 0u64); channels];
    let mut pixels = 0u64;
    for index in 0..train.len() {
        for pixel in train.image(index).data.chunks_exact(channels) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                sum.0 += u64::from(*value);
                sum.1 += u64::from(*value) * u64::from(*value);
            }
            pixels += 1;
        }
    }
    let n = pixels.max(1) as f64;
    let moments = sums.iter().map(|(sum, squares)| {
        let mean = *sum as f64 / n;
        let variance = (*squares as f64 / n - mean * mean).max(1.0);
        ((mean / 255.0) as f32, (variance.sqrt() / 255.0) as f32)
    });
    let (mean, std) = moments.unzip();
    InputFormat { mean, std, resize }
}
