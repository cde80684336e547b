//! A convolution's weight laid out for the kernels, and dense convolutions as matrix products over patches.

use super::depthwise::{self, Sizes};
use super::winograd::{self, Transformed};
use crate::gemm::matmul::{Matrix, multiply_add};
use crate::gemm::packed::{self, Finish, Packed, Pixels, Strides};
use crate::precision::Precision;
use crate::simd::vectorised;
use ofa_space::ConvGeometry;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// The shapes that the families use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// 1×1, stride 1: a matrix product per pixel.
    Pointwise,
    /// One kernel per channel.
    Depthwise,
    /// Everything else without groups.
    Dense,
}

impl Kind {
    /// The kind of a convolution; `None` for grouped ones that are not depthwise.
    pub fn of(geometry: &ConvGeometry, input_channels: usize, output_channels: usize) -> Option<Self> {
        if geometry.is_pointwise() {
            Some(Kind::Pointwise)
        } else if geometry.groups == 1 {
            Some(Kind::Dense)
        } else if geometry.groups == input_channels && output_channels == input_channels {
            Some(Kind::Depthwise)
        } else {
            None
        }
    }
}

/// What a weight is laid out for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pass {
    /// From the input to the output.
    Forward,
    /// From the gradient of the output to that of the input.
    Backward,
}

/// A weight `[out, in / groups, k, k]` laid out for the kernels.
#[derive(Debug)]
pub enum Layout {
    /// Of a depthwise convolution: `[k·k, padded channels]`.
    Taps(Vec<f32>),
    /// Of any other: forward `[k·k·in, out]`. Backward with stride 1 it is `[k·k·out, in]`, the taps from the last to the
    /// first, so that the gradient of the input is a convolution, too; with a larger stride `[out, k·k·in]`, which makes
    /// the gradients of the patches.
    Matrix(Packed),
    /// Of a dense one in the transformed domain, see `winograd.rs`; only forward.
    Transformed(Transformed),
}

impl Layout {
    /// Lays a weight out for many forward passes: what it takes pays then.
    pub fn lasting(weight: &[f32], kind: Kind, outputs: usize, geometry: &ConvGeometry, precision: Precision) -> Self {
        let channels = weight.len() / (outputs * geometry.kernel * geometry.kernel);
        // The transform would cost bf16 most of its few bits.
        let transforms = precision == Precision::F32 && winograd::suits(geometry, channels, outputs);
        if kind == Kind::Dense && transforms {
            Layout::Transformed(Transformed::new(weight, outputs))
        } else {
            Self::new(weight, kind, Pass::Forward, outputs, geometry, precision)
        }
    }

    /// Lays a weight out.
    pub fn new(
        weight: &[f32],
        kind: Kind,
        pass: Pass,
        outputs: usize,
        geometry: &ConvGeometry,
        precision: Precision,
    ) -> Self {
        let area = geometry.kernel * geometry.kernel;
        let channels = weight.len() / (outputs * area);
        let (value, column) = match pass {
            Pass::Forward => (area, channels * area),
            Pass::Backward => (channels * area, area),
        };
        let strides = Strides {
            taps: area,
            inner: channels,
            columns: outputs,
            tap: 1,
            value,
            column,
            backwards: false,
            pieces: geometry.kernel,
        };
        let strides = match pass {
            Pass::Forward => strides,
            Pass::Backward => Strides { inner: outputs, columns: channels, backwards: true, ..strides },
        };
        match kind {
            Kind::Depthwise => Layout::Taps(depthwise::taps_first(weight, outputs)),
            Kind::Dense if pass == Pass::Backward && geometry.stride > 1 => {
                let columns = channels * area;
                // [out, in, k·k] → [out, k·k, in], the order of a patch.
                let of_patches = transpose_each(weight, columns, channels);
                let strides = Strides {
                    taps: 1,
                    inner: outputs,
                    columns,
                    tap: 0,
                    value: columns,
                    column: 1,
                    backwards: false,
                    pieces: 1,
                };
                Layout::Matrix(Packed::new(&of_patches, strides, precision))
            }
            Kind::Pointwise | Kind::Dense => Layout::Matrix(Packed::new(weight, strides, precision)),
        }
    }
}

/// A convolution with its weight laid out for the kernels.
#[derive(Clone, Debug)]
pub struct Convolution {
    /// Its geometry.
    pub geometry: ConvGeometry,
    /// Its kind.
    pub kind: Kind,
    /// Sizes of an image on both sides.
    pub sizes: Sizes,
    /// Channels of the output.
    pub output_channels: usize,
    layout: Arc<Layout>,
}

impl Convolution {
    /// Prepares a weight `[out, in / groups, k, k]` for images of `height × width × channels`; `None` as [`Kind::of`].
    pub fn new(
        weight: &[f32],
        output_channels: usize,
        input: [usize; 3],
        geometry: ConvGeometry,
        pass: Pass,
        precision: Precision,
    ) -> Option<Self> {
        let kind = Kind::of(&geometry, input[2], output_channels)?;
        let layout = Layout::new(weight, kind, pass, output_channels, &geometry, precision);
        Self::with_layout(Arc::new(layout), output_channels, input, geometry)
    }

    /// With a weight that was laid out before.
    pub fn with_layout(
        layout: Arc<Layout>,
        output_channels: usize,
        [height, width, channels]: [usize; 3],
        geometry: ConvGeometry,
    ) -> Option<Self> {
        let kind = Kind::of(&geometry, channels, output_channels)?;
        let sizes =
            Sizes { height, width, out_height: geometry.output(height), out_width: geometry.output(width), channels };
        Some(Self { geometry, kind, sizes, output_channels, layout })
    }

    /// The weight of a depthwise convolution, `[k·k, padded channels]`.
    ///
    /// # Panics
    /// If the convolution is not depthwise.
    pub fn taps(&self) -> &[f32] {
        match self.layout.as_ref() {
            Layout::Taps(taps) => taps,
            _ => unreachable!("not depthwise"),
        }
    }

    /// The weight of a convolution that is not depthwise, nor [`transformed`](Self::transformed).
    ///
    /// # Panics
    /// If it is.
    pub fn matrix(&self) -> &Packed {
        match self.layout.as_ref() {
            Layout::Matrix(matrix) => matrix,
            _ => unreachable!("depthwise or transformed"),
        }
    }

    /// The weight of a dense convolution in the transformed domain, if that is where it is done.
    pub fn transformed(&self) -> Option<&Transformed> {
        match self.layout.as_ref() {
            Layout::Transformed(weight) => Some(weight),
            _ => None,
        }
    }

    /// Values of the weight as it is laid out.
    pub fn layout_values(&self) -> usize {
        match self.layout.as_ref() {
            Layout::Transformed(_) => self.weight_values() * 16 / 9,
            _ => self.weight_values(),
        }
    }

    /// Values of the weight in the layout of its gradient, see [`restore`](Self::restore).
    pub fn weight_values(&self) -> usize {
        match self.kind {
            Kind::Depthwise => self.geometry.kernel.pow(2) * depthwise::padded_channels(self.input_channels()),
            Kind::Pointwise | Kind::Dense => self.output_channels * self.patch(),
        }
    }

    /// Pixels of an input image.
    pub fn input_pixels(&self) -> usize {
        self.sizes.height * self.sizes.width
    }

    /// Pixels of an output image.
    pub fn output_pixels(&self) -> usize {
        self.sizes.out_height * self.sizes.out_width
    }

    /// Channels of the input.
    pub fn input_channels(&self) -> usize {
        self.sizes.channels
    }

    /// Values of an input image.
    pub fn input_values(&self) -> usize {
        self.input_pixels() * self.input_channels()
    }

    /// Values of an output image.
    pub fn output_values(&self) -> usize {
        self.output_pixels() * self.output_channels
    }

    /// Columns of the weight as a matrix.
    pub fn patch(&self) -> usize {
        self.geometry.kernel * self.geometry.kernel * self.input_channels()
    }

    /// Rows of pixels times the weight of a pointwise convolution. For single pixels (a linear layer) the columns of the
    /// weight are divided between threads.
    pub fn product(&self, rows: &Pixels<'_>, finish: Finish<'_>, output: &mut [f32]) {
        match self.input_pixels() {
            1 => packed::multiply_in_parallel(rows, self.matrix(), finish, output),
            _ => packed::multiply(rows, self.matrix(), finish, output),
        }
    }

    /// Adds `dzᵀ · patches` to the gradient of the weight.
    pub fn backward_weight(&self, dz: &[f32], patches: &[f32], weight: &mut [f32]) {
        let rows = dz.len() / self.output_channels;
        let left = Matrix::new(dz, rows, self.output_channels).transposed();
        multiply_add(left, Matrix::new(patches, rows, self.patch()), weight);
    }

    /// A gradient of the weight in the kernels' layout back as `[out, in / groups, k, k]`.
    pub fn restore(&self, weight: Vec<f32>) -> Vec<f32> {
        match self.kind {
            Kind::Pointwise => weight,
            Kind::Depthwise => depthwise::channels_first(&weight, self.input_channels()),
            Kind::Dense => {
                let taps = self.geometry.kernel * self.geometry.kernel;
                transpose_each(&weight, self.patch(), taps)
            }
        }
    }

    /// The column of the first tap of an output column, which may lie outside, and the taps inside the image: neighbours
    /// in memory.
    #[inline(always)]
    fn columns(&self, ox: usize) -> (isize, Range<usize>) {
        let ConvGeometry { kernel, stride, padding, .. } = self.geometry;
        let start = (ox * stride) as isize - padding as isize;
        let first = (-start).clamp(0, kernel as isize) as usize;
        let end = (self.sizes.width as isize - start).clamp(first as isize, kernel as isize) as usize;
        (start, first..end)
    }

    /// The patches of some rows of output pixels, `[pixels, k·k·in]`, zero outside the image.
    pub fn gather(&self, image: &[f32], rows: Range<usize>, patches: &mut [f32]) {
        let ConvGeometry { kernel, stride, padding, .. } = self.geometry;
        let (s, c) = (&self.sizes, self.input_channels());
        let mut patches = patches.chunks_exact_mut(kernel * c);
        for oy in rows {
            for ox in 0..s.out_width {
                let (start, taps) = self.columns(ox);
                let Range { start: first, end } = taps;
                for ky in 0..kernel {
                    let Some(line) = patches.next() else { return };
                    let Some(iy) = (oy * stride + ky).checked_sub(padding).filter(|y| *y < s.height) else {
                        line.fill(0.0);
                        continue;
                    };
                    let from = ((iy * s.width) as isize + start + first as isize) as usize * c;
                    line[..first * c].fill(0.0);
                    line[first * c..end * c].copy_from_slice(&image[from..from + (end - first) * c]);
                    line[end * c..].fill(0.0);
                }
            }
        }
    }

    /// Adds the patches of some rows of output pixels back to the pixels that they came from.
    pub fn scatter(&self, patches: &[f32], rows: Range<usize>, image: &mut [f32]) {
        let ConvGeometry { kernel, stride, padding, .. } = self.geometry;
        let (s, c) = (&self.sizes, self.input_channels());
        vectorised(
            #[inline(always)]
            || {
                let mut patches = patches.chunks_exact(kernel * c);
                for oy in rows {
                    for ox in 0..s.out_width {
                        let (start, taps) = self.columns(ox);
                        let Range { start: first, end } = taps;
                        for ky in 0..kernel {
                            let Some(line) = patches.next() else { return };
                            let iy = (oy * stride + ky) as isize - padding as isize;
                            if iy < 0 || iy >= s.height as isize {
                                continue;
                            }
                            let from = (iy * s.width as isize + start + first as isize) as usize * c;
                            let into = &mut image[from..from + (end - first) * c];
                            for (sum, value) in into.iter_mut().zip(&line[first * c..end * c]) {
                                *sum += value;
                            }
                        }
                    }
                }
            },
        );
    }
}

/// Every `[rows, length / rows]` of a list of matrices → `[length / rows, rows]`.
fn transpose_each(matrices: &[f32], length: usize, rows: usize) -> Vec<f32> {
    let columns = length / rows;
    let mut transposed = vec![0.0; matrices.len()];
    transposed.par_chunks_mut(length).zip(matrices.par_chunks(length)).for_each(|(out, matrix)| {
        for (column, out) in out.chunks_exact_mut(rows).enumerate() {
            for (row, out) in out.iter_mut().enumerate() {
                *out = matrix[row * columns + column];
            }
        }
    });
    transposed
}
