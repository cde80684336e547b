//! Images from an .npy file, fed to a network as they are.

use super::Failure;
use ofa_train::Images;
use std::path::Path;

/// Refuses images of another number of channels than the network's.
pub fn check_channels(images: &Images, channels: usize, path: &Path) -> Result<(), Failure> {
    match images.shape[3] {
        found if found == channels => Ok(()),
        found => Err(Failure::Input(format!("{}: images have {found} channels, expected {channels}", path.display()))),
    }
}

/// Reads an (N,C,H,W) f32 batch as NHWC.
pub fn read_npy(path: &Path) -> Result<Images, Failure> {
    let bad = |problem: String| Failure::Input(format!("{}: {problem}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| bad(format!("cannot be opened: {e}")))?;
    let array = npyz::NpyFile::new(std::io::BufReader::new(file)).map_err(|e| bad(format!("is no .npy file: {e}")))?;
    let shape: Vec<usize> = array.shape().iter().map(|d| *d as usize).collect();
    let fortran = array.order() == npyz::Order::Fortran;
    let [n, c, h, w] = shape[..] else {
        return Err(bad(format!("has shape {shape:?}, expected (N,C,H,W)")));
    };
    if fortran {
        return Err(bad("is in Fortran order; save it with numpy.ascontiguousarray".into()));
    }
    let values: Vec<f32> = array.into_vec().map_err(|e| bad(format!("must hold float32: {e}")))?;
    if values.len() != n * c * h * w {
        return Err(bad("is truncated".into()));
    }
    Ok(Images::from_nchw(&values, [n, c, h, w]))
}
