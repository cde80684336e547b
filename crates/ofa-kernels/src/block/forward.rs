//! The forward pass of a block with the batch's own statistics, and the convolution that evaluation shares.

use super::source::Source;
use super::{After, Block, Conv, ImageShape, Slot, unsupported};
use crate::buffers::Buffer;
use crate::conv::convolution::{Convolution, Kind, Pass};
use crate::conv::depthwise::{self, Band};
use crate::conv::winograd::{self, Tiles};
use crate::gate::{GateWeights, Gated, Gates};
use crate::gemm::packed::{self, Finish, Pixels};
use crate::lanes::Lanes;
use crate::nonlinearity::{Identity, with_nonlinearity};
use crate::normalisation::{self, Affine, Moments};
use crate::pooling::pool;
use crate::precision::Precision;
use crate::simd::add_to;
use ofa_space::{Activation, OpKind};
use rayon::prelude::*;
use std::ops::Range;

/// Values that a core works on at a time: with what they are made into, they fit its second-level cache.
pub(crate) const TILE: usize = 48 * 1024;

/// Rows of pixels below which a matrix product is not worth its preparation.
pub(crate) const LEAST_ROWS: usize = 256;

/// What the backward pass needs of the forward pass.
#[derive(Debug)]
pub struct Kept {
    pub(crate) values: Vec<Value>,
}

/// A value of the block after the forward pass.
#[derive(Debug)]
pub(crate) enum Value {
    /// The block's input.
    Input,
    /// What a convolution wrote; batch norm or bias and nonlinearity are applied wherever it is read.
    Lazy {
        /// `[n · h · w, c]`.
        z: Buffer,
        /// Batch norm or bias.
        affine: Affine,
        /// Nonlinearity.
        activation: Option<Activation>,
    },
    /// A lazy value times gates.
    Gated {
        /// The lazy value.
        of: usize,
        /// The gates.
        gates: Gates,
    },
    /// A pooled value.
    Whole(Buffer),
    /// The block's output, or a value that is not needed any more.
    Gone,
}

/// What the forward pass makes.
pub struct Forward {
    /// What the backward pass reads.
    pub kept: Kept,
    /// The block's output.
    pub output: Buffer,
    /// Mean and biased variance of every batch norm in order.
    pub statistics: Vec<(Vec<f32>, Vec<f32>)>,
}

/// Whether a backward pass follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Yes: what it needs is kept.
    ForBackward,
    /// No: every value is dropped as soon as it has been read.
    Nothing,
}

/// How a step reads value `value`.
pub(crate) fn source<'a>(values: &'a [Value], value: usize, x: &'a [f32], shapes: &[ImageShape]) -> Source<'a> {
    let [h, w, c] = shapes[value];
    match &values[value] {
        Value::Input => Source::Whole { values: x, channels: c },
        Value::Whole(values) => Source::Whole { values, channels: c },
        Value::Lazy { z, affine, activation } => {
            Source::Lazy { z, affine, activation: *activation, gates: None, area: h * w }
        }
        Value::Gated { of, gates } => match &values[*of] {
            Value::Lazy { z, affine, activation } => {
                Source::Lazy { z, affine, activation: *activation, gates: Some(&gates.gates), area: h * w }
            }
            _ => unreachable!("gates stand on what a convolution wrote"),
        },
        Value::Gone => unreachable!("value {value} is read after it was dropped"),
    }
}

/// Runs a block over a batch of `images`. `shapes` are [those of its values](Block::shapes), `x` is its input
/// `[images, h, w, c]`, `params` are its parameters in the order of their slots.
///
/// `None` where a convolution is not supported.
///
/// # Panics
/// If the slices are not of the block's sizes.
pub fn forward(
    block: &Block,
    shapes: &[ImageShape],
    images: usize,
    x: &[f32],
    params: &[&[f32]],
    keep: Keep,
) -> Option<Forward> {
    let mut values = vec![Value::Input];
    let mut statistics = Vec::new();
    for (index, step) in block.steps().iter().enumerate() {
        let input = step.inputs[0];
        let shape = shapes[index + 1];
        let size = images * shape.iter().product::<usize>();
        let value = match &step.op {
            OpKind::Conv { .. } | OpKind::Linear { .. } => {
                let Some(of_step) = Conv::of(step) else { unsupported(&step.op) };
                let read = source(&values, input, x, shapes);
                let (z, affine) =
                    convolution(&of_step, &read, shapes[input], images, params, block.precision(), &mut statistics)?;
                if keep == Keep::Nothing {
                    release(&mut values, block, index, input);
                }
                Value::Lazy { z, affine, activation: step.activation }
            }
            OpKind::SqueezeExcite { .. } => {
                let Value::Lazy { z, affine, activation } = &values[input] else {
                    unreachable!("gates stand on what a convolution wrote")
                };
                let [h, w, _] = shape;
                let gated = Gated { z, affine, activation: *activation, area: h * w };
                Value::Gated { of: input, gates: Gates::of_lazy(gated, GateWeights::of(&step.op, params)) }
            }
            OpKind::Add => {
                let [a, b] = [0, 1].map(|i| source(&values, step.inputs[i], x, shapes));
                let output = add(a, b, step.activation, size);
                return Some(Forward { kept: Kept { values }, output, statistics });
            }
            OpKind::AveragePool { .. } | OpKind::MaxPool { .. } | OpKind::GlobalAveragePool => {
                let mut pooled = Buffer::take(size);
                pool(&step.op, &source(&values, input, x, shapes), shapes[input], &mut pooled);
                Value::Whole(pooled)
            }
            OpKind::BatchNorm(_) | OpKind::Activation { .. } => unsupported(&step.op),
        };
        values.push(value);
    }
    let last = values.len() - 1;
    let read = source(&values, last, x, shapes);
    let channels = read.channels();
    let mut output = Buffer::take(images * shapes[last].iter().product::<usize>());
    let piece = (TILE / channels).max(1);
    output
        .par_chunks_mut(piece * channels)
        .enumerate()
        .for_each(|(i, out)| read.write(i * piece..i * piece + out.len() / channels, out));
    Some(Forward { kept: Kept { values }, output, statistics })
}

/// What a convolution writes, and the batch norm or bias to apply to it.
fn convolution(
    step: &Conv<'_>,
    read: &Source<'_>,
    shape: ImageShape,
    images: usize,
    params: &[&[f32]],
    precision: Precision,
    statistics: &mut Vec<(Vec<f32>, Vec<f32>)>,
) -> Option<(Buffer, Affine)> {
    let Slot { index, rows: outputs } = step.weight;
    let conv = Convolution::new(params[index], outputs, shape, step.geometry, Pass::Forward, precision)?;
    let mut z = Buffer::take(images * conv.output_values());
    let affine = match step.after {
        After::Norm(norm) => {
            let (mean, variance) = convolve_batch(&conv, read, images, &mut z, Wanted::Moments).finish();
            let (scale, shift) = (params[norm.weight.index], params[norm.bias.index]);
            let affine = Affine::new(&mean, &variance, scale, shift, norm.eps);
            statistics.push((mean, variance));
            affine
        }
        After::Bias(bias) => {
            convolve_batch(&conv, read, images, &mut z, Wanted::Values);
            Affine::bias(params[bias.index])
        }
        After::Nothing => {
            convolve_batch(&conv, read, images, &mut z, Wanted::Values);
            Affine::bias(&vec![0.0; outputs])
        }
    };
    Some((z, affine))
}

/// Drops a value that step `index` was the last to read.
fn release(values: &mut [Value], block: &Block, index: usize, value: usize) {
    let read_later = block.steps()[index + 1..].iter().any(|step| step.inputs.contains(&value));
    if value == 0 || read_later {
        return;
    }
    if let Value::Gated { of, .. } = values[value] {
        values[of] = Value::Gone;
    }
    values[value] = Value::Gone;
}

/// `act(a + b)`.
fn add(a: Source<'_>, b: Source<'_>, activation: Option<Activation>, values: usize) -> Buffer {
    let mut output = Buffer::take(values);
    let channels = a.channels();
    let piece = (TILE / channels).max(1);
    // A lazy value first: it is written straight into the output.
    let (a, b) = if matches!(a, Source::Whole { .. }) { (b, a) } else { (a, b) };
    output.par_chunks_mut(piece * channels).enumerate().for_each_init(Vec::new, |scratch, (i, out)| {
        let pixels = i * piece..i * piece + out.len() / channels;
        let other = b.rows(pixels.clone(), scratch);
        match a {
            Source::Lazy { z, affine, activation: None, gates: None, .. } => {
                let z = &z[pixels.start * channels..pixels.end * channels];
                normalisation::activate_and_add::<Identity>(z, other, out, affine);
            }
            _ => {
                a.write(pixels, out);
                add_to(out, other);
            }
        }
        with_nonlinearity!(activation, Act => normalisation::activate_values::<Act>(out));
    });
    output
}

/// What is wanted of a convolution over a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Values,
    Moments,
}

fn convolve_batch(conv: &Convolution, read: &Source<'_>, images: usize, z: &mut [f32], wanted: Wanted) -> Moments {
    let channels = conv.output_channels;
    let lanes = match conv.input_pixels() {
        // A linear layer: the columns of its weight are divided instead.
        1 => Lanes::one(images),
        _ => Lanes::new(images, conv.weight_values()),
    };
    let parts: Vec<Moments> = z
        .par_chunks_mut(lanes.per_lane * conv.output_values())
        .enumerate()
        .map(|(lane, z)| {
            let mut moments = Moments::empty(channels);
            convolve(conv, read, lanes.range(lane), z, &mut Scratch::default(), Finish::default(), |rows| {
                if wanted == Wanted::Moments {
                    moments.add_rows(rows, channels);
                }
            });
            moments
        })
        .collect();
    let mut all = Moments::empty(channels);
    parts.iter().for_each(|part| all.merge(part));
    all
}

/// Memory that is used again from layer to layer.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Rows of the input.
    pub rows: Vec<f32>,
    /// Rows of an image that a convolution reads.
    pub band: Band,
    /// Tiles of a transformed convolution.
    pub tiles: Tiles,
}

/// Pixels that a pointwise convolution takes at a time.
pub(crate) fn pixels_at_once(conv: &Convolution) -> usize {
    (TILE / (conv.input_channels() + conv.output_channels)).max(LEAST_ROWS)
}

/// Rows of outputs that a depthwise convolution takes at a time.
pub(crate) fn band_rows(conv: &Convolution) -> usize {
    let row = (conv.sizes.width + 2 * conv.geometry.padding) * depthwise::padded_channels(conv.input_channels());
    (2 * TILE / (row * conv.geometry.stride)).max(4)
}

/// Rows of outputs whose patches a dense convolution gathers at a time.
pub(crate) fn patch_rows(conv: &Convolution) -> usize {
    (2 * TILE / (conv.sizes.out_width * conv.patch())).max(LEAST_ROWS.div_ceil(conv.sizes.out_width))
}

/// The images of a batch into `z` (theirs only), finished as wanted; `done` gets the rows of pixels in order as soon as they are made.
pub(crate) fn convolve(
    conv: &Convolution,
    read: &Source<'_>,
    images: Range<usize>,
    z: &mut [f32],
    scratch: &mut Scratch,
    finish: Finish<'_>,
    mut done: impl FnMut(&mut [f32]),
) {
    let (s, geometry) = (&conv.sizes, &conv.geometry);
    match conv.kind {
        Kind::Pointwise => {
            let (first, area) = (images.start * conv.input_pixels(), conv.input_pixels());
            let piece = pixels_at_once(conv);
            for (i, z) in z.chunks_mut(piece * conv.output_channels).enumerate() {
                let start = first + i * piece;
                let pixels = start..(start + piece).min(images.end * area);
                let rows = Pixels::matrix(read.rows(pixels, &mut scratch.rows), conv.input_channels());
                conv.product(&rows, finish, z);
                done(z);
            }
        }
        Kind::Depthwise => {
            let piece = band_rows(conv);
            // Statistics of small images are taken of several at once.
            let mut made = 0;
            let mut pending = 0;
            for image in images.clone() {
                let of_image = image * conv.input_pixels();
                let mut start = 0;
                while start < s.out_height {
                    let rows = start..(start + piece).min(s.out_height);
                    let needed = depthwise::rows_read(&rows, geometry);
                    scratch.band.load(needed, [s.height, s.width, s.channels], geometry.margins(), |row, out| {
                        let pixel = of_image + row * s.width;
                        read.write_padded(pixel..pixel + s.width, out);
                    });
                    let values = rows.len() * s.out_width * s.channels;
                    let out = &mut z[made..made + values];
                    depthwise::forward(&scratch.band, conv.taps(), out, rows, s, geometry);
                    with_nonlinearity!(finish.activation, Act => match finish.bias {
                        Some(bias) => normalisation::activate_in_place::<Act>(out, bias),
                        None => normalisation::activate_values::<Act>(out),
                    });
                    made += values;
                    start += piece;
                    if made - pending >= TILE / 2 {
                        done(&mut z[pending..made]);
                        pending = made;
                    }
                }
            }
            if pending < made {
                done(&mut z[pending..made]);
            }
        }
        Kind::Dense => {
            let piece = match conv.transformed() {
                Some(_) => winograd::rows_at_once(s.out_width),
                None => band_rows(conv),
            };
            // Small images share what is read of the weight.
            let together = if piece < s.out_height { 1 } else { (LEAST_ROWS / conv.output_pixels()).max(1) };
            for (group, z) in z.chunks_mut(together * conv.output_values()).enumerate() {
                let first = images.start + group * together;
                let count = z.len() / conv.output_values();
                for (i, z) in z.chunks_mut(count * piece * s.out_width * conv.output_channels).enumerate() {
                    let rows = i * piece..(i * piece + piece).min(s.out_height);
                    let mut needed = depthwise::rows_read(&rows, geometry);
                    if conv.transformed().is_some() {
                        needed.end = needed.start + rows.len().next_multiple_of(2) as isize + 2;
                    }
                    let Scratch { band, tiles, .. } = &mut *scratch;
                    band.load_unpadded(
                        count,
                        needed,
                        [s.height, s.width, s.channels],
                        geometry.margins(),
                        |image, row, out| {
                            let pixel = (first + image) * conv.input_pixels() + row * s.width;
                            read.write(pixel..pixel + s.width, out);
                        },
                    );
                    let size = [rows.len(), s.out_width];
                    match conv.transformed() {
                        Some(weight) => weight.convolve(band, size, tiles, finish, z),
                        None => {
                            let lines = band.lines(geometry.kernel);
                            packed::multiply(&band.patches(size, geometry, &lines), conv.matrix(), finish, z);
                        }
                    }
                    done(z);
                }
            }
        }
    }
}
