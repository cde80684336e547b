//! The data set inside the program: the first 20,000 training images and all 10,000 test images of MNIST.
//!
//! MNIST is by Yann LeCun, Corinna Cortes and Christopher J. C. Burges, licence CC BY-SA 3.0; changes to the
//! files are described in `data/mnist/PROVENANCE.txt` of this crate.

use crate::data::splitting::{Labelled, Parts};
use crate::data::{DataError, idx};
use flate2::read::GzDecoder;
use std::path::Path;

/// For outputs.
pub(crate) const NAME: &str = "MNIST (20,000 training images)";
/// For model files and reports.
pub(crate) const SOURCE: &str = "bundled: MNIST, first 20,000 training images and all 10,000 test images";
/// Licence and attribution.
pub(crate) const LICENCE: &str = "CC BY-SA 3.0; Yann LeCun, Corinna Cortes, Christopher J. C. Burges";

const TRAIN_IMAGES: &[u8] = include_bytes!("../../data/mnist/train-images-idx3-ubyte.gz");
const TRAIN_LABELS: &[u8] = include_bytes!("../../data/mnist/train-labels-idx1-ubyte.gz");
const TEST_IMAGES: &[u8] = include_bytes!("../../data/mnist/t10k-images-idx3-ubyte.gz");
const TEST_LABELS: &[u8] = include_bytes!("../../data/mnist/t10k-labels-idx1-ubyte.gz");

/// Unpacks it.
pub(crate) fn load() -> Result<Parts, DataError> {
    let train = unpack(TRAIN_IMAGES, TRAIN_LABELS)?;
    Ok(Parts { train, validation: None, test: Some(unpack(TEST_IMAGES, TEST_LABELS)?) })
}

fn unpack(images: &[u8], labels: &[u8]) -> Result<Labelled, DataError> {
    let path = Path::new("bundled MNIST");
    idx::pair(idx::read(GzDecoder::new(images), path)?, idx::read(GzDecoder::new(labels), path)?, path)
}
