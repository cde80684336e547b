//! Networks from ONNX files: layers, padding and nonlinearities come with the file.

pub mod blocks;
pub mod graph;
pub mod operations;

use crate::error::ExportError;
use crate::importing::pretrained::{Loaded, PretrainedImport, SIZES, Wanted};
use graph::Graph;
use ofa_space::settings;
use operations::Flat;
use std::path::Path;

/// Name of the family that such networks are reported under.
pub const FAMILY: &str = "onnx";

/// Reads a network from an ONNX file of convolutions. Mean and standard deviation must be given, since no ONNX file holds
/// them; batch norms that were folded into convolutions stay folded, so that the import is exact.
///
/// # Errors
/// [`ExportError::Checkpoint`] naming the file, and every operation that cannot be imported with its count.
pub fn import_onnx(file: &Path, wanted: &Wanted) -> Result<PretrainedImport, ExportError> {
    let bad = |problem: String| ExportError::Checkpoint { path: file.to_owned(), problem };
    let graph = Graph::read(file)?;
    let flat = Flat::read(&graph).map_err(bad)?;
    let (Some(_), Some(_)) = (&wanted.mean, &wanted.std) else {
        return Err(ExportError::NormalisationNeeded { path: file.to_owned() });
    };
    let [channels, height, width] = graph.image;
    let channels = channels.ok_or_else(|| bad("does not hold the number of channels of its images".to_owned()))?;
    let own = match (height, width) {
        (Some(height), Some(width)) if height != width => {
            return Err(bad(format!("takes images of {height}×{width} pixels, expected square ones")));
        }
        (own, _) => own,
    };
    let wanted_size = wanted.image_size.map(|size| size as usize);
    let Some(size) = wanted_size.or(own) else {
        return Err(ExportError::ImageSizeNeeded { path: file.to_owned() });
    };
    settings::count("image_size", size, SIZES)?;
    settings::count("image_size", own.unwrap_or(size), SIZES)?;
    settings::count("channels", channels, 1..=1024)?;
    // Padding in numbers is that of the file's own size.
    let (net, weights) = blocks::network(flat, channels, own.unwrap_or(size)).map_err(bad)?;
    let net = net.at_resolution(size)?;
    net.check()?;
    let family = FAMILY.to_owned();
    Loaded { family, net, weights, published: None, lookalikes: Vec::new(), unused: Vec::new() }.finish(file, wanted)
}
