//! Cutting one subnet out of a supernet.

use crate::error::WeightsError;
use crate::network::net_spec::NetSpec;
use crate::weights::slicing;
use crate::weights::tensors::Weights;

/// The standalone network of `net` and its own weights, sliced and transformed; the function is the same.
///
/// # Errors
/// [`WeightsError`] naming a tensor that is missing or of another shape.
pub fn extract(net: &NetSpec, supernet: &Weights) -> Result<(NetSpec, Weights), WeightsError> {
    let standalone = net.standalone();
    let mut weights = Weights::default();
    for (own, reference) in standalone.tensors().zip(net.tensors()) {
        weights.insert(own.name.clone(), slicing::read(supernet, reference)?);
    }
    Ok((standalone, weights))
}
