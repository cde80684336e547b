//! Convolutions of a chunk of images, in the three shapes that the families use: pointwise, depthwise, dense.

use super::depthwise::{self, Sizes};
use super::matmul::{Matrix, multiply};
use crate::plan::ConvGeometry;

/// A convolution with its weight laid out for the kernels.
pub struct Convolution {
    geometry: ConvGeometry,
    kind: Kind,
    /// Pointwise and dense: `[out, k·k·in]`; depthwise: `[k·k, channels]`.
    weight: Vec<f32>,
    sizes: Sizes,
    input_channels: usize,
    output_channels: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pointwise,
    Depthwise,
    Dense,
}

impl Convolution {
    /// Prepares a weight `[out, in / groups, k, k]` for images of `height × width × channels`; `None` for grouped
    /// convolutions that are not depthwise.
    pub fn new(weight: &[f32], output_channels: usize, input: [usize; 3], geometry: ConvGeometry) -> Option<Self> {
        let [height, width, channels] = input;
        let kind = if geometry.is_pointwise() {
            Kind::Pointwise
        } else if geometry.groups == 1 {
            Kind::Dense
        } else if geometry.groups == channels && output_channels == channels {
            Kind::Depthwise
        } else {
            return None;
        };
        let weight = match kind {
            Kind::Pointwise => weight.to_vec(),
            Kind::Depthwise => depthwise::taps_first(weight, channels),
            // [out, in, k·k] → [out, k·k, in], the order in which an image's patch is read.
            Kind::Dense => {
                weight.chunks_exact(weight.len() / output_channels).flat_map(|w| transpose(w, channels)).collect()
            }
        };
        let sizes =
            Sizes { height, width, out_height: geometry.output(height), out_width: geometry.output(width), channels };
        Some(Self { geometry, kind, weight, sizes, input_channels: channels, output_channels })
    }

    /// Pixels of an input image.
    fn input_pixels(&self) -> usize {
        self.sizes.height * self.sizes.width
    }

    /// Pixels of an output image.
    pub fn output_pixels(&self) -> usize {
        self.sizes.out_height * self.sizes.out_width
    }

    /// Values of an input image.
    pub fn input_values(&self) -> usize {
        self.input_pixels() * self.input_channels
    }

    /// Values of an output image.
    pub fn output_values(&self) -> usize {
        self.output_pixels() * self.output_channels
    }

    /// Columns of the weight as a matrix.
    fn patch(&self) -> usize {
        self.geometry.kernel * self.geometry.kernel * self.input_channels
    }

    /// Output of a chunk of images.
    pub fn forward(&self, input: &[f32], output: &mut [f32]) {
        match self.kind {
            Kind::Pointwise => self.product(input, output),
            Kind::Depthwise => super::vectorised(
                #[inline(always)]
                || {
                    let images = input.chunks_exact(self.input_values());
                    for (x, y) in images.zip(output.chunks_exact_mut(self.output_values())) {
                        depthwise::forward(x, &self.weight, y, &self.sizes, &self.geometry);
                    }
                },
            ),
            Kind::Dense => {
                let mut patches = vec![0.0; self.output_pixels() * self.patch()];
                let images = input.chunks_exact(self.input_values());
                for (x, y) in images.zip(output.chunks_exact_mut(self.output_values())) {
                    self.gather(x, &mut patches);
                    self.product(&patches, y);
                }
            }
        }
    }

    /// `rows · Wᵀ`.
    fn product(&self, rows: &[f32], output: &mut [f32]) {
        let patch = self.patch();
        let left = Matrix::new(rows, rows.len() / patch, patch);
        multiply(left, Matrix::new(&self.weight, self.output_channels, patch).transposed(), output);
    }

    /// Gradient of a chunk's input from the gradient of its output.
    pub fn backward_input(&self, gradient: &[f32], input: &mut [f32]) {
        let weight = || Matrix::new(&self.weight, self.output_channels, self.patch());
        match self.kind {
            Kind::Pointwise => {
                let rows = gradient.len() / self.output_channels;
                multiply(Matrix::new(gradient, rows, self.output_channels), weight(), input);
            }
            Kind::Depthwise => super::vectorised(
                #[inline(always)]
                || {
                    let images = gradient.chunks_exact(self.output_values());
                    for (g, x) in images.zip(input.chunks_exact_mut(self.input_values())) {
                        depthwise::backward_input(g, &self.weight, x, &self.sizes, &self.geometry);
                    }
                },
            ),
            Kind::Dense => {
                let mut patches = vec![0.0; self.output_pixels() * self.patch()];
                let images = gradient.chunks_exact(self.output_values());
                for (g, x) in images.zip(input.chunks_exact_mut(self.input_values())) {
                    multiply(Matrix::new(g, self.output_pixels(), self.output_channels), weight(), &mut patches);
                    self.scatter(&patches, x);
                }
            }
        }
    }

    /// Gradient of the weight from a chunk, in the kernels' layout.
    pub fn backward_weight(&self, gradient: &[f32], input: &[f32]) -> Vec<f32> {
        let mut weight = vec![0.0; self.weight.len()];
        match self.kind {
            Kind::Pointwise => {
                let rows = gradient.len() / self.output_channels;
                let left = Matrix::new(gradient, rows, self.output_channels).transposed();
                multiply(left, Matrix::new(input, rows, self.input_channels), &mut weight);
            }
            Kind::Depthwise => super::vectorised(
                #[inline(always)]
                || {
                    let images = gradient.chunks_exact(self.output_values());
                    for (g, x) in images.zip(input.chunks_exact(self.input_values())) {
                        depthwise::backward_weight(g, x, &mut weight, &self.sizes, &self.geometry);
                    }
                },
            ),
            Kind::Dense => {
                let mut patches = vec![0.0; self.output_pixels() * self.patch()];
                let mut one = vec![0.0; self.weight.len()];
                let images = gradient.chunks_exact(self.output_values());
                for (g, x) in images.zip(input.chunks_exact(self.input_values())) {
                    self.gather(x, &mut patches);
                    let left = Matrix::new(g, self.output_pixels(), self.output_channels).transposed();
                    multiply(left, Matrix::new(&patches, self.output_pixels(), self.patch()), &mut one);
                    weight.iter_mut().zip(&one).for_each(|(sum, value)| *sum += value);
                }
            }
        }
        weight
    }

    /// A weight in the kernels' layout back as `[out, in / groups, k, k]`.
    pub fn restore(&self, weight: Vec<f32>) -> Vec<f32> {
        match self.kind {
            Kind::Pointwise => weight,
            Kind::Depthwise => depthwise::channels_first(&weight, self.input_channels),
            Kind::Dense => {
                let taps = self.geometry.kernel * self.geometry.kernel;
                weight.chunks_exact(self.patch()).flat_map(|w| transpose(w, taps)).collect()
            }
        }
    }

    /// The patch of every output pixel, `[pixels, k·k·in]`, zero outside the image.
    fn gather(&self, image: &[f32], patches: &mut [f32]) {
        patches.fill(0.0);
        self.for_each_tap(|from, to, channels| {
            patches[to..to + channels].copy_from_slice(&image[from..from + channels])
        });
    }

    /// Adds every patch back to the pixels it came from.
    fn scatter(&self, patches: &[f32], image: &mut [f32]) {
        image.fill(0.0);
        self.for_each_tap(|to, from, channels| {
            for (sum, value) in image[to..to + channels].iter_mut().zip(&patches[from..from + channels]) {
                *sum += value;
            }
        });
    }

    /// Every (offset in the image, offset in the patches, length) that belong together.
    fn for_each_tap(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ConvGeometry { kernel, stride, padding, .. } = self.geometry;
        let (s, c) = (&self.sizes, self.input_channels);
        for oy in 0..s.out_height {
            for ox in 0..s.out_width {
                let patch = (oy * s.out_width + ox) * self.patch();
                for ky in 0..kernel {
                    let Some(iy) = (oy * stride + ky).checked_sub(padding).filter(|y| *y < s.height) else { continue };
                    for kx in 0..kernel {
                        let Some(ix) = (ox * stride + kx).checked_sub(padding).filter(|x| *x < s.width) else {
                            continue;
                        };
                        visit((iy * s.width + ix) * c, patch + (ky * kernel + kx) * c, c);
                    }
                }
            }
        }
    }
}

/// `[rows, n / rows]` → `[n / rows, rows]`.
fn transpose(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    (0..values.len()).map(|i| values[(i % rows) * columns + i / rows]).collect()
}
