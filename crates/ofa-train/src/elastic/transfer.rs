//! Tensors and images between host and device.

use crate::error::TrainError;
use crate::images::Images;
use burn::tensor::{Device, Tensor};
use std::sync::atomic::{AtomicU64, Ordering};

/// Transfers to the host so far.
static READS: AtomicU64 = AtomicU64::new(0);

/// The data of a tensor on the host.
///
/// # Errors
/// [`TrainError::Compute`] if the backend cannot deliver it.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, TrainError> {
    READS.fetch_add(1, Ordering::Relaxed);
    tensor.into_data().try_into_vec::<f32>().map_err(|e| TrainError::Compute(format!("{e:?}")))
}

/// The data of several tensors of one device, in one transfer.
///
/// # Errors
/// As [`to_host`].
pub fn to_host_together(tensors: Vec<Tensor<1>>) -> Result<Vec<Vec<f32>>, TrainError> {
    if tensors.is_empty() {
        return Ok(Vec::new());
    }
    let lengths: Vec<usize> = tensors.iter().map(|tensor| tensor.dims()[0]).collect();
    let all = to_host(Tensor::cat(tensors, 0))?;
    let mut rest = &all[..];
    let part = |length: usize| {
        let (part, after) = rest.split_at(length);
        rest = after;
        part.to_vec()
    };
    Ok(lengths.into_iter().map(part).collect())
}

/// How often tensors were copied to the host since the process began. On a GPU each time waits for all work in the queue.
pub fn reads() -> u64 {
    READS.load(Ordering::Relaxed)
}

/// Whether tensors of this device are in the memory of the host, so that reading them costs nothing.
pub fn is_host(device: &Device) -> bool {
    let device = device.clone().inner();
    #[cfg(feature = "flex")]
    if device == Device::flex() {
        return true;
    }
    #[cfg(feature = "tch")]
    #[expect(deprecated, reason = "Burn 0.22 has no other way to LibTorch")]
    if device == Device::libtorch() {
        return true;
    }
    let _ = device;
    false
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
