//! The bundled data set: a part of MNIST, embedded in the binary.
//!
//! Handwritten digits by LeCun, Cortes and Burges, CC BY-SA 3.0: the first 20,000 training images and all 10,000 test
//! images (see `data/mnist/README.md`).

use super::{DataError, Split, idx};
use std::path::Path;

macro_rules! mnist {
    ($name:literal) => {
        (Path::new(concat!("bundled:", $name)), include_bytes!(concat!("../../data/mnist/", $name)).as_slice())
    };
}

/// Training and test images.
///
/// # Errors
/// [`DataError`] if the embedded files are damaged, which a test rules out.
pub fn mnist() -> Result<(Split, Split), DataError> {
    let train = idx::parse(mnist!("train-images-idx3-ubyte.gz"), mnist!("train-labels-idx1-ubyte.gz"))?;
    let test = idx::parse(mnist!("t10k-images-idx3-ubyte.gz"), mnist!("t10k-labels-idx1-ubyte.gz"))?;
    Ok((train, test))
}
