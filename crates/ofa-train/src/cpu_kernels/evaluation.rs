//! A block without statistics (batch norm folded into the weights): a few images at a time run through all its steps,
//! so that nothing but its input and its output ever leaves the cache.

use super::block::{After, Block, BlockStep, ImageShape};
use super::buffers::Buffer;
use super::convolution::{Convolution, Kind, Layout, Pass};
use super::forward::{self, Scratch, TILE};
use super::gate::Gates;
use super::normalise;
use super::packed::Finish;
use super::source::Source;
use super::with_nonlinearity;
use rayon::prelude::*;
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

/// The weights of a block's convolutions laid out, once for many batches.
#[derive(Debug, Default)]
pub struct Layouts(OnceLock<Vec<Option<Arc<Layout>>>>);

impl Layouts {
    fn of(&self, block: &Block, shapes: &[ImageShape], params: &[&[f32]]) -> &[Option<Arc<Layout>>] {
        if let Some(layouts) = self.0.get() {
            return layouts;
        }
        let layout = |step: &BlockStep| match step {
            BlockStep::Conv { input, geometry, weight, outputs, .. } => {
                let kind = Kind::of(geometry, shapes[*input][2], *outputs)?;
                Some(Arc::new(Layout::new(params[*weight], kind, Pass::Forward, *outputs, geometry)))
            }
            _ => None,
        };
        // Made before it is stored: packing waits for other threads, which must not wait for it.
        let made = block.steps().iter().map(layout).collect();
        self.0.get_or_init(|| made)
    }
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

/// Runs a block over a batch; `None` if it has a batch norm that wants the batch's statistics. `layouts` belong to these
/// parameters.
pub fn evaluate(
    block: &Block,
    shapes: &[ImageShape],
    images: usize,
    x: &[f32],
    params: &[&[f32]],
    layouts: &Layouts,
) -> Option<Buffer> {
    if block.steps().iter().any(|step| matches!(step, BlockStep::Conv { after: After::Norm { .. }, .. })) {
        return None;
    }
    let mut convolutions = Vec::with_capacity(block.steps().len());
    for (step, layout) in block.steps().iter().zip(layouts.of(block, shapes, params)) {
        convolutions.push(match (step, layout) {
            (BlockStep::Conv { input, geometry, outputs, .. }, Some(layout)) => {
                Some(Convolution::with_layout(layout.clone(), *outputs, shapes[*input], *geometry)?)
            }
            (BlockStep::Conv { .. }, None) => return None,
            _ => None,
        });
    }
    let values = |shape: &ImageShape| shape.iter().product::<usize>();
    let largest = shapes.iter().map(values).max().unwrap_or(1);
    let is_linear = |conv: &Convolution| conv.input_pixels() == 1;
    let at_once = if convolutions.iter().flatten().any(is_linear) {
        // A large weight for a single pixel: it is divided, not the batch.
        images
    } else {
        (TILE / largest).clamp(1, images.div_ceil(8).max(1))
    };
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
    step: &BlockStep,
    conv: Option<&Convolution>,
    shapes: &[ImageShape],
    params: &[&[f32]],
    count: usize,
    read: impl Fn(usize) -> &'a [f32],
    into: &mut [f32],
    scratch: &mut Scratch,
) {
    let whole = |value: usize| Source::Whole { values: read(value), channels: shapes[value][2] };
    match step {
        BlockStep::Conv { input, after, activation, .. } => {
            let Some(conv) = conv else { unreachable!("every convolution is prepared") };
            let bias = match after {
                After::Bias(bias) => Some(params[*bias]),
                _ => None,
            };
            let finish = Finish { bias, activation: *activation };
            forward::convolve(conv, &whole(*input), 0..count, into, scratch, finish, |_| {});
        }
        BlockStep::Gate { input, weights, .. } => {
            let [h, w, c] = shapes[*input];
            let values = read(*input);
            let mut pooled = vec![0.0; count * c];
            forward::global_pool(&whole(*input), [h, w, c], &mut pooled);
            let gates = Gates::of_means(pooled, forward::gate_weights(params, weights)).gates;
            let rows = values.chunks_exact(c).zip(into.chunks_exact_mut(c));
            super::vectorised(
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
        BlockStep::Add { inputs: [a, b], activation } => {
            into.copy_from_slice(read(*a));
            forward::add_to(into, read(*b));
            with_nonlinearity!(*activation, Act => normalise::activate_values::<Act>(into));
        }
        BlockStep::AveragePool { input, window } => {
            let out = [window.output(shapes[*input][0]), window.output(shapes[*input][1]), shapes[*input][2]];
            forward::average_pool(&whole(*input), shapes[*input], out, window, into);
        }
        BlockStep::GlobalPool { input } => forward::global_pool(&whole(*input), shapes[*input], into),
    }
}
