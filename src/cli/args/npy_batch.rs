//! Images from an .npy file, fed to a network as they are.

use super::Failure;
use crate::npy;
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
    npy::read(path).map_err(|problem| Failure::Input(format!("{}: {problem}", path.display())))
}
