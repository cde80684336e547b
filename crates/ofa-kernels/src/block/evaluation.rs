//! A block without statistics (batch norm folded into the weights): a few images at a time run through all its steps,
//! so that nothing but its input and its output ever leaves the cache.

use super::forward::{self, LEAST_ROWS, Scratch, TILE};
use super::source::Source;
use super::{After, Block, Conv, ImageShape, Slot, unsupported};
use crate::buffers::Buffer;
use crate::conv::convolution::{Convolution, Kind, Layout};
use crate::gate::{GateWeights, Gates};
use crate::gemm::packed::Finish;
use crate::nonlinearity::with_nonlinearity;
use crate::simd::{add_to, vectorised};
use crate::{normalisation, pooling};
use ofa_space::{OpKind, Step};
use rayon::prelude::*;
use std::cell::RefCell;
use std::sync::Arc;

/// The weights of a block's convolutions laid out, once for many batches: the weights themselves are not read again.
#[derive(Debug)]
pub struct Layouts {
    /// By step.
    weights: Vec<Option<Arc<Layout>>>,
}

impl Layouts {
    /// Lays them out; `None` if the block has a batch norm that wants the batch's statistics, or a convolution that the
    /// kernels do not support.
    pub fn new(block: &Block, params: &[&[f32]]) -> Option<Self> {
        if block.wants_statistics() {
            return None;
        }
        let weights = block.steps().iter().map(|step| match Conv::of(step) {
            Some(Conv { geometry, weight: Slot { index, rows: outputs }, .. }) => {
                let weight = params[index];
                let channels = weight.len() / (outputs * geometry.kernel * geometry.kernel) * geometry.groups;
                let kind = Kind::of(&geometry, channels, outputs)?;
                Some(Some(Arc::new(Layout::lasting(weight, kind, outputs, &geometry, block.precision()))))
            }
            None => Some(None),
        });
        Some(Self { weights: weights.collect::<Option<_>>()? })
    }
}

/// Values of a block's weights above which they are not in a core's cache when they are read again.
const LARGE_WEIGHTS: usize = 1 << 18;

/// How many images to run through the block at a time. Results do not depend on it.
fn images_at_once(images: usize, shapes: &[ImageShape], convolutions: &[Option<Convolution>]) -> usize {
    let mut real = convolutions.iter().flatten();
    if real.any(|conv| conv.input_pixels() == 1) {
        // A linear layer, a large weight for a single pixel: it is divided, not the batch.
        return images;
    }
    let largest = shapes.iter().map(|shape| shape.iter().product::<usize>()).max().unwrap_or(1);
    let cached = (TILE / largest.max(1)).clamp(1, images.div_ceil(8).max(1));
    let weights: usize = convolutions.iter().flatten().map(Convolution::layout_values).sum();
    if weights < LARGE_WEIGHTS {
        return cached;
    }
    let smallest = convolutions.iter().flatten().map(Convolution::output_pixels).min().unwrap_or(1);
    let threads = rayon::current_num_threads();
    let wanted = LEAST_ROWS.div_ceil(smallest).min(images.div_ceil(threads)).max(cached);
    // Every thread has as much to do as the others.
    images.div_ceil(images.div_ceil(wanted).next_multiple_of(threads))
}

/// Memory that a thread uses again from block to block.
#[derive(Default)]
struct Workspace {
    scratch: Scratch,
    /// The values of the block but its input and its output.
    made: Vec<Vec<f32>>,
}

thread_local! {
    static WORKSPACE: RefCell<Workspace> = RefCell::default();
}

/// Runs a block over a batch; `None` if the input's channels are not those that the `layouts` were made for. Of `params`,
/// the weights of convolutions are not read.
pub fn evaluate(
    block: &Block,
    shapes: &[ImageShape],
    images: usize,
    x: &[f32],
    params: &[&[f32]],
    layouts: &Layouts,
) -> Option<Buffer> {
    let mut convolutions = Vec::with_capacity(block.steps().len());
    for (step, layout) in block.steps().iter().zip(&layouts.weights) {
        convolutions.push(match (Conv::of(step), layout) {
            (Some(Conv { input, geometry, weight, .. }), Some(layout)) => {
                Some(Convolution::with_layout(layout.clone(), weight.rows, shapes[input], geometry)?)
            }
            (Some(_), None) => return None,
            (None, _) => None,
        });
    }
    let values = |shape: &ImageShape| shape.iter().product::<usize>();
    let at_once = images_at_once(images, shapes, &convolutions);
    let last = block.steps().len();
    let (in_values, out_values) = (values(&shapes[0]), values(&shapes[last]));
    let mut output = Buffer::take_briefly(images * out_values);
    output.par_chunks_mut(at_once * out_values).enumerate().for_each(|(i, out)| {
        // A thread that waits for others in a linear layer may come here again: then it does without its memory.
        let mut workspace = WORKSPACE.take();
        let Workspace { scratch, made } = &mut workspace;
        made.resize_with(last.max(made.len()), Vec::new);
        let first = i * at_once;
        let count = out.len() / out_values;
        let x = &x[first * in_values..(first + count) * in_values];
        for (index, (step, conv)) in block.steps().iter().zip(&convolutions).enumerate() {
            let (before, rest) = made.split_at_mut(index);
            let before = &*before;
            let read = |value: usize| -> &[f32] { if value == 0 { x } else { &before[value - 1] } };
            let into: &mut [f32] = if index + 1 == last {
                &mut *out
            } else {
                rest[0].resize(count * values(&shapes[index + 1]), 0.0);
                &mut rest[0]
            };
            run(step, conv.as_ref(), shapes, params, count, read, into, scratch);
        }
        WORKSPACE.set(workspace);
    });
    Some(output)
}

#[expect(clippy::too_many_arguments, reason = "the body of a loop")]
fn run<'a>(
    step: &Step<Slot>,
    conv: Option<&Convolution>,
    shapes: &[ImageShape],
    params: &[&[f32]],
    count: usize,
    read: impl Fn(usize) -> &'a [f32],
    into: &mut [f32],
    scratch: &mut Scratch,
) {
    let whole = |value: usize| Source::Whole { values: read(value), channels: shapes[value][2] };
    let input = step.inputs[0];
    let shape = shapes[input];
    let [h, w, c] = shape;
    match &step.op {
        OpKind::Conv { .. } | OpKind::Linear { .. } => {
            let (Some(conv), Some(of_step)) = (conv, Conv::of(step)) else {
                unreachable!("every convolution is prepared")
            };
            let bias = match of_step.after {
                After::Bias(bias) => Some(params[bias.index]),
                _ => None,
            };
            let finish = Finish { bias, activation: step.activation };
            forward::convolve(conv, &whole(input), 0..count, into, scratch, finish, |_| {});
        }
        OpKind::SqueezeExcite { .. } => {
            let values = read(input);
            let mut pooled = vec![0.0; count * c];
            pooling::global_pool(&whole(input), shape, &mut pooled);
            let gates = Gates::of_means(pooled, GateWeights::of(&step.op, params)).gates;
            let rows = values.chunks_exact(c).zip(into.chunks_exact_mut(c));
            vectorised(
                #[inline(always)]
                || {
                    for (pixel, (row, out)) in rows.enumerate() {
                        let gate = &gates[pixel / (h * w) * c..][..c];
                        for ((value, out), gate) in row.iter().zip(out).zip(gate) {
                            *out = value * gate;
                        }
                    }
                },
            );
        }
        OpKind::Add => {
            into.copy_from_slice(read(input));
            add_to(into, read(step.inputs[1]));
            with_nonlinearity!(step.activation, Act => normalisation::activate_values::<Act>(into));
        }
        OpKind::AveragePool { .. } | OpKind::MaxPool { .. } | OpKind::GlobalAveragePool => {
            pooling::pool(&step.op, &whole(input), shape, into);
        }
        OpKind::BatchNorm(_) | OpKind::Activation { .. } => unsupported(&step.op),
    }
}
