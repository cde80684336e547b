//! IDX files (MNIST and its relatives), gzipped or not.
//!
//! Layout: two zero bytes, a type byte (8 = unsigned byte), the number of dimensions, each dimension as a big-endian
//! 32-bit number, then the values (<http://yann.lecun.com/exdb/mnist/>).

use crate::data::DataError;
use crate::data::reading::pixels::{Pixels, Store};
use crate::data::splitting::{Labelled, Parts};
use flate2::read::GzDecoder;
use ofa_space::input_file;
use std::fs;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// No IDX set in use comes near; a header that asks for more is taken for damage.
const MAX_BYTES: usize = 8 << 30;
/// Zipped digits have a fifth of their size, zipped masks a fiftieth; nothing but zeros has a thousandth.
const MOST_EXPANSION: u64 = 100;
/// Unpacked without such a limit.
const SMALL_BYTES: usize = 64 << 20;
const REMEDY: &str = "download the file again";

/// The values of an IDX file of bytes with `D` dimensions.
pub(crate) struct Idx<const D: usize> {
    dims: [usize; D],
    data: Vec<u8>,
}

/// Reads an IDX stream, checking magic, sizes, and that its length matches its header. Memory grows with
/// what arrives, not with what the header promises. `path` is for messages.
pub(crate) fn read<const D: usize>(reader: impl Read, path: &Path) -> Result<Idx<D>, DataError> {
    read_within(reader, path, MAX_BYTES)
}

/// [`read`] of at most so many bytes of values.
fn read_within<const D: usize>(mut reader: impl Read, path: &Path, most: usize) -> Result<Idx<D>, DataError> {
    let broken = |error: std::io::Error| match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            DataError::malformed(path, format!("is broken or cut off ({error})"), "a complete IDX file", REMEDY)
        }
        _ => DataError::Io { path: path.to_owned(), source: error },
    };
    let mut magic = [0u8; 4];
    reader.read_exact(&mut magic).map_err(broken)?;
    let expected = [0, 0, 8, D as u8];
    if magic != expected {
        let kind = if D == 1 { "labels" } else { "images" };
        let expected = format!("{expected:?} (IDX, {kind} of unsigned bytes)");
        return Err(DataError::malformed(path, format!("starts with {magic:?}"), expected, REMEDY));
    }
    let mut dims = [0usize; D];
    for dim in &mut dims {
        let mut bytes = [0u8; 4];
        reader.read_exact(&mut bytes).map_err(broken)?;
        *dim = u32::from_be_bytes(bytes) as usize;
    }
    let size = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    let size = size.filter(|n| (1..=MAX_BYTES).contains(n)).ok_or_else(|| {
        DataError::malformed(path, format!("has a header with the sizes {dims:?}"), "1 byte to 8 GiB of data", REMEDY)
    })?;
    if size > most {
        let problem =
            format!("promises {size} bytes of values, {} times what is plausible for its length", size / most + 1);
        return Err(DataError::malformed(path, problem, format!("at most {most}"), "unpack it with gunzip first"));
    }
    let mut data = Vec::new();
    reader.take(size as u64 + 1).read_to_end(&mut data).map_err(broken)?;
    if data.len() != size {
        let found = if data.len() > size { "more".to_owned() } else { data.len().to_string() };
        let expected = format!("the {size} of its header {dims:?}");
        return Err(DataError::malformed(path, format!("holds {found} bytes of values"), expected, REMEDY));
    }
    Ok(Idx { dims, data })
}

/// Images and labels that belong together.
pub(crate) fn pair(images: Idx<3>, labels: Idx<1>, labels_path: &Path) -> Result<Labelled, DataError> {
    let [count, height, width] = images.dims;
    if labels.dims[0] != count {
        let problem = format!("holds {} labels for {count} images", labels.dims[0]);
        return Err(DataError::malformed(labels_path, problem, "one label for each image", REMEDY));
    }
    let labels = labels.data.into_iter().map(usize::from).collect();
    let store = Store::Fixed { width, height, channels: 1, data: images.data };
    Ok(Labelled { pixels: Arc::new(Pixels { store, files: Vec::new() }), labels })
}

/// The four files of an IDX set.
pub(crate) struct Files {
    train: [PathBuf; 2],
    test: [PathBuf; 2],
}

impl Files {
    /// Looks in `folder` for names that contain `train-images` and end in `idx3-ubyte` or `idx3-ubyte.gz`, and so on:
    /// MNIST's own, and those of Fashion-MNIST, KMNIST and EMNIST. `None` if there are no images files.
    pub fn find(folder: &Path) -> Result<Option<Self>, DataError> {
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
            names.extend(entry.map_err(DataError::io(folder))?.file_name().into_string());
        }
        // Unzipped before zipped: a name sorts before the same name with `.gz`.
        names.sort();
        let find = |stems: &[&str], ending: &str| {
            let fits = |name: &&String| {
                let plain = name.strip_suffix(".gz").unwrap_or(name);
                stems.iter().any(|stem| plain.contains(stem)) && plain.ends_with(ending)
            };
            names.iter().find(fits).map(|name| folder.join(name))
        };
        let found = [
            ("train-images-idx3-ubyte", find(&["train-images"], "idx3-ubyte")),
            ("train-labels-idx1-ubyte", find(&["train-labels"], "idx1-ubyte")),
            ("t10k-images-idx3-ubyte", find(&["t10k-images", "test-images"], "idx3-ubyte")),
            ("t10k-labels-idx1-ubyte", find(&["t10k-labels", "test-labels"], "idx1-ubyte")),
        ];
        let missing: Vec<&str> = found.iter().filter(|(_, path)| path.is_none()).map(|(name, _)| *name).collect();
        match found {
            [(_, Some(a)), (_, Some(b)), (_, Some(c)), (_, Some(d))] => Ok(Some(Self { train: [a, b], test: [c, d] })),
            [(_, None), _, (_, None), _] => Ok(None),
            _ => {
                let problem = format!("has no {} (or .gz)", missing.join(", no "));
                Err(DataError::malformed(folder, problem, "the four files of an IDX set", "add what is missing"))
            }
        }
    }

    /// Reads them.
    pub fn load(&self) -> Result<Parts, DataError> {
        let load = |[images, labels]: &[PathBuf; 2]| pair(open(images)?, open(labels)?, labels);
        Ok(Parts { train: load(&self.train)?, validation: None, test: Some(load(&self.test)?) })
    }
}

fn open<const D: usize>(path: &Path) -> Result<Idx<D>, DataError> {
    let file = input_file::open(path).map_err(DataError::io(path))?;
    let length = file.metadata().map_err(DataError::io(path))?.len();
    let most = usize::try_from(length.saturating_mul(MOST_EXPANSION)).unwrap_or(usize::MAX);
    match path.extension().is_some_and(|extension| extension == "gz") {
        true => read_within(GzDecoder::new(BufReader::new(file)), path, most.max(SMALL_BYTES)),
        false => read(BufReader::new(file), path),
    }
}

/// `0`, `1`, …: the format has no class names.
pub(crate) fn digit_names(parts: &Parts) -> Vec<String> {
    let labels = parts.train.labels.iter().chain(parts.test.iter().flat_map(|test| &test.labels));
    (0..=labels.copied().max().unwrap_or(0)).map(|class| class.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_give_a_set_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let with_magic = [&[0, 0, 8, 3], bytes.as_slice()].concat();
            for bytes in [&bytes, &with_magic] {
                if let Ok(idx) = read::<3>(bytes.as_slice(), Path::new("made up")) {
                    prop_assert_eq!(idx.data.len() + 16, bytes.len());
                }
            }
        }
    }
}
