//! Tensors and images between host and device.

use crate::error::TrainError;
use crate::images::Images;
use burn::tensor::{Device, Tensor};

/// The data of a tensor on the host.
///
/// # Errors
/// [`TrainError::Compute`] if the backend cannot deliver it.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, TrainError> {
    tensor.into_data().try_into_vec::<f32>().map_err(|e| TrainError::Compute(format!("{e:?}")))
}

/// Puts a batch on a device.
#[cfg(feature = "flex")]
pub fn upload(images: &Images, device: &Device) -> Tensor<4> {
    super::operation::upload(&images.data, images.shape, device)
}

/// Puts a batch on a device.
#[cfg(not(feature = "flex"))]
pub fn upload(images: &Images, device: &Device) -> Tensor<4> {
    Tensor::from_data(burn::tensor::TensorData::new(images.data.clone(), images.shape), device)
}
