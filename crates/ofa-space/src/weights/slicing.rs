//! Reading the slice of a supernet tensor that a network uses.

use crate::error::WeightsError;
use crate::network::net_spec::TensorRef;
use crate::weights::tensors::{Tensor, Weights};

/// The tensor that a [`TensorRef`] describes: the first entries of every axis, and for elastic kernels the centre
/// crop and the transform matrices, largest size first.
///
/// Source: `DynamicSeparableConv2d.get_active_filter` of the authors' `dynamic_op.py` (mode 1).
///
/// # Errors
/// [`WeightsError::Missing`] or [`WeightsError::Shape`] naming the tensor.
pub fn read(weights: &Weights, reference: &TensorRef) -> Result<Tensor, WeightsError> {
    let source = weights.expect(&reference.name, &reference.full)?;
    let mut sizes = reference.take.clone();
    let elastic_kernel = !reference.kernel_steps.is_empty();
    if elastic_kernel {
        sizes[2] = reference.full[2];
        sizes[3] = reference.full[3];
    }
    let mut tensor = leading(source, &sizes);
    for step in &reference.kernel_steps {
        let area = step.size * step.size;
        let matrix = weights.expect(&step.matrix, &[area, area])?;
        tensor = transform_kernels(&tensor, step.size, matrix);
    }
    Ok(tensor)
}

/// The first `sizes[i]` entries of every axis.
fn leading(source: &Tensor, sizes: &[usize]) -> Tensor {
    if source.shape == sizes {
        return source.clone();
    }
    let mut data = Vec::with_capacity(sizes.iter().product());
    copy_leading(&source.data, &source.shape, sizes, &mut data);
    Tensor { shape: sizes.to_vec(), data }
}

fn copy_leading(source: &[f32], shape: &[usize], sizes: &[usize], into: &mut Vec<f32>) {
    match (shape, sizes) {
        ([_, rest @ ..], [take, rest_sizes @ ..]) if !rest.is_empty() => {
            let stride: usize = rest.iter().product();
            for index in 0..*take {
                copy_leading(&source[index * stride..(index + 1) * stride], rest, rest_sizes, into);
            }
        }
        (_, [take, ..]) => into.extend_from_slice(&source[..*take]),
        _ => into.extend_from_slice(source),
    }
}

/// Centre-crops `[out, in, k, k]` to `size` and multiplies every flattened crop by `Mᵀ`.
fn transform_kernels(kernels: &Tensor, size: usize, matrix: &Tensor) -> Tensor {
    let [out, inner, k] = [kernels.shape[0], kernels.shape[1], kernels.shape[2]];
    let start = (k - size) / 2;
    let area = size * size;
    let mut data = Vec::with_capacity(out * inner * area);
    let mut crop = vec![0.0; area];
    for kernel in kernels.data.chunks_exact(k * k) {
        for row in 0..size {
            let from = (row + start) * k + start;
            crop[row * size..(row + 1) * size].copy_from_slice(&kernel[from..from + size]);
        }
        for weights in matrix.data.chunks_exact(area) {
            data.push(weights.iter().zip(&crop).map(|(w, x)| w * x).sum());
        }
    }
    Tensor { shape: vec![out, inner, size, size], data }
}
