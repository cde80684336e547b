//! The backward pass of one convolution: gradients of its weight and of what it read, a lane of images at a time.

use crate::block::forward;
use crate::block::source::{Source, pad};
use crate::buffers::Buffer;
use crate::conv::convolution::{Convolution, Kind};
use crate::conv::depthwise::{self, Band};
use crate::gate::{GateGradients, GateWeights, Gated, Gates};
use crate::gemm::matmul::{self, Matrix};
use crate::gemm::packed::{self, Pixels};
use crate::lanes::Lanes;
use crate::nonlinearity::with_nonlinearity;
use crate::normalisation::{Affine, Pullback, Sums};
use crate::simd::add_to;
use ofa_space::Activation;
use rayon::prelude::*;
use std::ops::Range;

/// The backward pass of one convolution.
pub(super) struct Task<'a> {
    /// The convolution, its weight laid out for the backward pass.
    pub conv: &'a Convolution,
    /// What it read.
    pub source: Source<'a>,
    /// What it wrote.
    pub z: &'a [f32],
    /// Gradient of its value, with the slope of the nonlinearity multiplied in.
    pub gradient: &'a [f32],
    /// Batch norm backwards.
    pub pullback: &'a Pullback,
    /// Images of the batch.
    pub images: usize,
}

/// What becomes of the gradient of the convolution's input.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// It is not wanted.
    Nothing,
    /// It is kept as it is, with another contribution added.
    Whole {
        /// The other contribution.
        add: Option<&'a [f32]>,
    },
    /// It goes through the gate and the nonlinearity, and its sums are taken.
    Lazy {
        /// The value that the convolution read.
        lazy: Gated<'a>,
        /// The gates between the two.
        gate: Option<(&'a Gates, GateWeights<'a>)>,
    },
}

/// What is divided between threads to make the gradient of a weight.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Division {
    /// The batch: every lane has a gradient of its own, and they are added.
    Images,
    /// The outputs: where such gradients would be larger than what they are made of.
    Outputs,
}

/// Values of a weight from which its outputs may be divided.
const LARGE_WEIGHT: usize = 1 << 17;
/// Values of all patches of the batch up to which they are.
const FEW_PATCHES: usize = 1 << 21;

/// What a lane makes besides the gradient of the input.
pub(super) struct Made {
    /// Gradient of the weight, in the kernels' layout.
    pub weight: Vec<f32>,
    /// Of the value that the convolution read.
    pub sums: Sums,
    /// Of the gates between the two.
    pub gates: GateGradients,
}

/// Memory of a lane.
#[derive(Default)]
struct Scratch {
    dz: Vec<f32>,
    rows: Vec<f32>,
    patches: Vec<f32>,
    input: Band,
    gradient: Band,
}

impl Task<'_> {
    /// Gradient of the weight, and into `dx` that of the input.
    pub fn run(&self, dx: Option<&mut [f32]>, target: Target<'_>) -> Made {
        let conv = self.conv;
        let division = self.division();
        // Values of the gradient of the weight that a lane has of its own.
        let of_weight = match division {
            Division::Images => conv.weight_values(),
            Division::Outputs => 0,
        };
        let lanes = match (division, conv.input_pixels()) {
            (Division::Outputs, 1) => Lanes::one(self.images),
            _ => Lanes::new(self.images, of_weight),
        };
        let piece = lanes.per_lane * conv.input_values();
        let count = self.images.div_ceil(lanes.per_lane);
        let pieces: Vec<Option<&mut [f32]>> = match dx {
            Some(dx) => dx.chunks_mut(piece).map(Some).collect(),
            None => (0..count).map(|_| None).collect(),
        };
        let parts: Vec<Made> = pieces
            .into_par_iter()
            .enumerate()
            .map(|(lane, dx)| {
                let mut made = Made {
                    weight: vec![0.0; of_weight],
                    sums: Sums::empty(conv.input_channels()),
                    gates: GateGradients::default(),
                };
                self.lane(lanes.range(lane), dx, &target, &mut made);
                made
            })
            .collect();
        // In the order of the lanes, whichever thread worked on them.
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else { unreachable!("a batch has images") };
        for part in parts {
            add_to(&mut all.weight, &part.weight);
            all.sums.merge(&part.sums);
            all.gates.append(part.gates);
        }
        if division == Division::Outputs {
            all.weight = self.divided_weight();
        }
        all
    }

    /// What is divided between threads to make the gradient of the weight.
    fn division(&self) -> Division {
        let conv = self.conv;
        let patches = self.images * conv.output_pixels() * conv.patch();
        match conv.kind {
            Kind::Pointwise | Kind::Dense if conv.weight_values() >= LARGE_WEIGHT && patches <= FEW_PATCHES => {
                Division::Outputs
            }
            _ => Division::Images,
        }
    }

    /// The gradient of a large weight: some outputs at a time, over all pixels of the batch.
    fn divided_weight(&self) -> Vec<f32> {
        let conv = self.conv;
        let (outputs, patch) = (conv.output_channels, conv.patch());
        let pixels = self.images * conv.output_pixels();
        let mut dz = Buffer::take(pixels * outputs);
        self.pullback.apply(self.z, self.gradient, &mut dz);
        let mut scratch = Vec::new();
        let inputs = self.source.rows(0..self.images * conv.input_pixels(), &mut scratch);
        let gathered = match conv.kind {
            Kind::Dense => {
                let mut gathered = Buffer::take(pixels * patch);
                let images = gathered.chunks_exact_mut(conv.output_pixels() * patch);
                for (image, patches) in inputs.chunks_exact(conv.input_values()).zip(images) {
                    conv.gather(image, 0..conv.sizes.out_height, patches);
                }
                Some(gathered)
            }
            _ => None,
        };
        let inputs = gathered.as_deref().unwrap_or(inputs);
        let at_once = outputs.div_ceil(8).next_multiple_of(8);
        let mut weight = vec![0.0; outputs * patch];
        weight.par_chunks_mut(at_once * patch).enumerate().for_each(|(i, weight)| {
            let these = i * at_once..i * at_once + weight.len() / patch;
            let left = Matrix::new(&dz, pixels, outputs).columns(these).transposed();
            matmul::multiply(left, Matrix::new(inputs, pixels, patch), weight);
        });
        weight
    }

    fn lane(&self, images: Range<usize>, dx: Option<&mut [f32]>, target: &Target<'_>, made: &mut Made) {
        match self.conv.kind {
            Kind::Pointwise => self.pointwise(images, dx, target, made),
            Kind::Depthwise => self.depthwise(images, dx, target, made),
            Kind::Dense => self.dense(images, dx, target, made),
        }
    }

    fn pointwise(&self, images: Range<usize>, mut dx: Option<&mut [f32]>, target: &Target<'_>, made: &mut Made) {
        let conv = self.conv;
        let (area, inputs, outputs) = (conv.input_pixels(), conv.input_channels(), conv.output_channels);
        let mut scratch = Scratch::default();
        let piece = forward::pixels_at_once(conv);
        // A gate looks at whole images.
        let piece = if matches!(target, Target::Lazy { gate: Some(_), .. }) {
            piece.div_ceil(area).max(1) * area
        } else {
            piece
        };
        let first = images.start * area;
        let mut start = first;
        while start < images.end * area {
            let pixels = start..(start + piece).min(images.end * area);
            let values = pixels.start * outputs..pixels.end * outputs;
            scratch.dz.resize(values.len(), 0.0);
            self.pullback.apply(&self.z[values.clone()], &self.gradient[values], &mut scratch.dz);
            if let Some(dx) = dx.as_deref_mut() {
                let out = &mut dx[(pixels.start - first) * inputs..(pixels.end - first) * inputs];
                conv.product(&Pixels::matrix(&scratch.dz, outputs), packed::Finish::default(), out);
                finish(target, pixels.clone(), out, made);
            }
            if self.division() == Division::Images {
                let rows = self.source.rows(pixels, &mut scratch.rows);
                conv.backward_weight(&scratch.dz, rows, &mut made.weight);
            }
            start += piece;
        }
    }

    fn depthwise(&self, images: Range<usize>, mut dx: Option<&mut [f32]>, target: &Target<'_>, made: &mut Made) {
        let conv = self.conv;
        let (s, geometry) = (&conv.sizes, &conv.geometry);
        let mut scratch = Scratch::default();
        let piece = forward::band_rows(conv);
        let margin = depthwise::gradient_margin(geometry);
        let channels = s.channels;
        let first = images.start * conv.input_pixels();
        for image in images {
            let (of_input, of_output) = (image * conv.input_pixels(), image * conv.output_pixels());
            let mut start = 0;
            while start < s.out_height {
                let outputs = start..(start + piece).min(s.out_height);
                let end =
                    if outputs.end == s.out_height { s.height } else { (outputs.end * geometry.stride).min(s.height) };
                let inputs = (start * geometry.stride).min(end)..end;
                let needed = depthwise::rows_read(&outputs, geometry);
                scratch.input.load(needed, [s.height, s.width, channels], geometry.margins(), |row, out| {
                    let pixel = of_input + row * s.width;
                    self.source.write_padded(pixel..pixel + s.width, out);
                });
                let reading = if inputs.is_empty() { 0..0 } else { depthwise::rows_reading(&inputs, geometry) };
                let needed = reading.start.min(outputs.start as isize)..reading.end.max(outputs.end as isize);
                let (dz, band) = (&mut scratch.dz, &mut scratch.gradient);
                band.load(needed, [s.out_height, s.out_width, channels], [margin; 2], |row, out| {
                    let pixel = of_output + row * s.out_width;
                    let values = pixel * channels..(pixel + s.out_width) * channels;
                    let (z, g) = (&self.z[values.clone()], &self.gradient[values]);
                    if channels == depthwise::padded_channels(channels) {
                        self.pullback.apply(z, g, out);
                    } else {
                        dz.resize(z.len(), 0.0);
                        self.pullback.apply(z, g, dz);
                        pad(dz, out, channels);
                    }
                });
                depthwise::backward_weight(&scratch.gradient, &scratch.input, &mut made.weight, outputs, s, geometry);
                if let Some(dx) = dx.as_deref_mut()
                    && !inputs.is_empty()
                {
                    let pixels = of_input + inputs.start * s.width..of_input + inputs.end * s.width;
                    let out = &mut dx[(pixels.start - first) * channels..(pixels.end - first) * channels];
                    depthwise::backward_input(&scratch.gradient, conv.taps(), out, inputs, s, geometry);
                    finish(target, pixels, out, made);
                }
                start += piece;
            }
        }
    }

    fn dense(&self, images: Range<usize>, mut dx: Option<&mut [f32]>, target: &Target<'_>, made: &mut Made) {
        let conv = self.conv;
        let s = &conv.sizes;
        let mut scratch = Scratch::default();
        let piece = forward::patch_rows(conv);
        let row = s.out_width * conv.output_channels;
        let first = images.start;
        for image in images {
            let pixels = image * conv.input_pixels()..(image + 1) * conv.input_pixels();
            let values = image * conv.output_values()..(image + 1) * conv.output_values();
            scratch.dz.resize(values.len(), 0.0);
            self.pullback.apply(&self.z[values.clone()], &self.gradient[values], &mut scratch.dz);
            let divided = self.division() == Division::Outputs;
            let whole = if divided { &[] } else { self.source.rows(pixels.clone(), &mut scratch.rows) };
            let end = if divided { 0 } else { s.out_height };
            for start in (0..end).step_by(piece) {
                let rows = start..(start + piece).min(s.out_height);
                scratch.patches.resize(rows.len() * s.out_width * conv.patch(), 0.0);
                conv.gather(whole, rows.clone(), &mut scratch.patches);
                conv.backward_weight(&scratch.dz[rows.start * row..rows.end * row], &scratch.patches, &mut made.weight);
            }
            if let Some(dx) = dx.as_deref_mut() {
                let out = &mut dx[(image - first) * conv.input_values()..(image - first + 1) * conv.input_values()];
                if conv.geometry.stride == 1 {
                    self.dense_input(&mut scratch, out);
                } else {
                    self.strided_input(&mut scratch, out);
                }
                finish(target, pixels, out, made);
            }
        }
    }

    /// The gradient of an image's input: a convolution of that of its output with the taps turned round.
    fn dense_input(&self, scratch: &mut Scratch, out: &mut [f32]) {
        let (conv, geometry) = (self.conv, &self.conv.geometry);
        let s = &conv.sizes;
        let channels = conv.output_channels;
        let piece = forward::band_rows(conv);
        for (i, out) in out.chunks_mut(piece * s.width * s.channels).enumerate() {
            let rows = i * piece..(i * piece + piece).min(s.height);
            let reading = depthwise::rows_reading(&rows, geometry);
            let (band, dz) = (&mut scratch.gradient, &scratch.dz);
            let margin = geometry.kernel - 1 - geometry.padding;
            band.load_unpadded(1, reading, [s.out_height, s.out_width, channels], [margin; 2], |_, row, out| {
                out.copy_from_slice(&dz[row * s.out_width * channels..(row + 1) * s.out_width * channels]);
            });
            let lines = band.lines(geometry.kernel);
            let patches = band.patches([rows.len(), s.width], geometry, &lines);
            packed::multiply(&patches, conv.matrix(), packed::Finish::default(), out);
        }
    }

    /// The same with a stride: gradients of patches, added to the pixels that they came from.
    fn strided_input(&self, scratch: &mut Scratch, out: &mut [f32]) {
        let conv = self.conv;
        let s = &conv.sizes;
        let piece = forward::patch_rows(conv);
        let row = s.out_width * conv.output_channels;
        out.fill(0.0);
        for start in (0..s.out_height).step_by(piece) {
            let rows = start..(start + piece).min(s.out_height);
            scratch.patches.resize(rows.len() * s.out_width * conv.patch(), 0.0);
            let dz = Pixels::matrix(&scratch.dz[rows.start * row..rows.end * row], conv.output_channels);
            packed::multiply(&dz, conv.matrix(), packed::Finish::default(), &mut scratch.patches);
            conv.scatter(&scratch.patches, rows, out);
        }
    }
}

/// Turns the gradient of some pixels of the input into the form of the target.
fn finish(target: &Target<'_>, pixels: Range<usize>, out: &mut [f32], made: &mut Made) {
    match target {
        Target::Nothing | Target::Whole { add: None } => {}
        Target::Whole { add: Some(add) } => {
            let channels = out.len() / pixels.len();
            add_to(out, &add[pixels.start * channels..pixels.end * channels]);
        }
        Target::Lazy { lazy, gate } => {
            if let Some((gates, weights)) = gate {
                let images = pixels.start / lazy.area..pixels.end / lazy.area;
                made.gates.add_images(images, out, *lazy, gates, *weights);
            }
            let channels = lazy.affine.channels();
            let z = &lazy.z[pixels.start * channels..pixels.end * channels];
            slope(lazy.activation, z, out, lazy.affine, &mut made.sums);
        }
    }
}

/// Multiplies the slope of the nonlinearity into a gradient, and adds the rows to the sums.
pub(super) fn slope(activation: Option<Activation>, z: &[f32], out: &mut [f32], affine: &Affine, sums: &mut Sums) {
    with_nonlinearity!(activation, Act => sums.add_sloped_rows::<Act>(z, out, affine));
}
