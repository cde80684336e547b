//! The backward pass of a block: from the gradient of its output to those of its input and its parameters.
//!
//! A convolution's gradient arrives with the slope of its nonlinearity multiplied in and the two sums that batch norm
//! needs already taken: both are done where a gradient is made, while the rows are in the cache.

use super::forward::{self, Kept, TILE, Value};
use super::source::{Source, pad};
use super::{After, Block, Conv, ImageShape, Slot, unsupported};
use crate::buffers::Buffer;
use crate::conv::convolution::{Convolution, Kind, Pass};
use crate::conv::depthwise::{self, Band};
use crate::gate::{GateGradients, GateWeights, Gated, Gates};
use crate::gemm::matmul::{self, Matrix};
use crate::gemm::packed::{self, Pixels};
use crate::lanes::Lanes;
use crate::nonlinearity::with_nonlinearity;
use crate::normalisation::{Affine, Pullback, Sums};
use crate::pooling::pool_back;
use crate::simd::add_to;
use ofa_space::{Activation, OpKind, Step};
use rayon::prelude::*;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// What the backward pass makes.
pub struct Gradients {
    /// Of the input, if it was wanted.
    pub input: Option<Buffer>,
    /// Of every parameter in order.
    pub params: Vec<Vec<f32>>,
}

/// Whether the gradient of the block's input is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum InputGradient {
    /// Yes.
    Wanted,
    /// No.
    Unwanted,
}

/// Everything that the backward pass reads.
pub struct Backward<'a> {
    /// The block.
    pub block: &'a Block,
    /// Shapes of its values.
    pub shapes: &'a [ImageShape],
    /// Images of the batch.
    pub images: usize,
    /// The block's input.
    pub x: &'a [f32],
    /// The block's output.
    pub y: &'a [f32],
    /// Its parameters.
    pub params: &'a [&'a [f32]],
    /// Gradient of the output.
    pub dy: &'a [f32],
    /// Whether the gradient of the input is wanted.
    pub input: InputGradient,
}

/// Gradient of a value; of a convolution's value, with the slope of the nonlinearity multiplied in.
#[derive(Clone)]
enum Gradient<'a> {
    Shared(&'a [f32]),
    Owned(Arc<Buffer>),
}

impl Deref for Gradient<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Gradient::Shared(values) => values,
            Gradient::Owned(buffer) => buffer,
        }
    }
}

/// Gradients on their way from the block's output to its input.
struct Flow<'a> {
    /// By value.
    gradients: Vec<Option<Gradient<'a>>>,
    /// The sums that batch norm needs, by value.
    sums: Vec<Option<Sums>>,
    /// Of every parameter in order.
    params: Vec<Vec<f32>>,
    /// Of the block's input, as far as it is made.
    input: Option<Buffer>,
}

impl<'a> Backward<'a> {
    /// Runs it; `kept` is used up.
    ///
    /// `None` where a convolution is not supported, or `kept` is not of this block.
    pub fn run(&self, kept: Kept) -> Option<Gradients> {
        let steps = self.block.steps();
        let mut kept = kept.values;
        let mut flow = Flow {
            gradients: vec![None; steps.len() + 1],
            sums: vec![None; steps.len() + 1],
            params: vec![Vec::new(); self.params.len()],
            input: None,
        };
        self.enter(&kept, &mut flow);
        for (index, step) in steps.iter().enumerate().rev() {
            let Some(gradient) = flow.gradients[index + 1].take() else { continue };
            match &step.op {
                OpKind::Conv { .. } | OpKind::Linear { .. } => {
                    self.convolution(index, &gradient, &mut kept, &mut flow)?;
                }
                OpKind::Add => {
                    for value in &step.inputs {
                        self.pass_on(&kept, *value, gradient.clone(), &mut flow);
                    }
                }
                OpKind::AveragePool { .. } | OpKind::MaxPool { .. } | OpKind::GlobalAveragePool => {
                    self.pooling(step, &gradient, &mut flow);
                }
                // With the convolution that reads it.
                OpKind::SqueezeExcite { .. } => {}
                OpKind::BatchNorm(_) | OpKind::Activation { .. } => unsupported(&step.op),
            }
        }
        if flow.input.is_none() && self.input == InputGradient::Wanted {
            flow.input = flow.gradients[0].take().map(|gradient| copy(&gradient));
        }
        Some(Gradients { input: flow.input, params: flow.params })
    }

    /// Puts the gradient of the output in place.
    fn enter(&self, kept: &[Value], flow: &mut Flow<'a>) {
        let last = self.block.steps().len();
        match &self.block.steps()[last - 1] {
            Step { op: OpKind::Add, activation: Some(Activation::Relu), .. } => {
                let mut masked = Buffer::take(self.dy.len());
                masked.par_chunks_mut(TILE).zip(self.dy.par_chunks(TILE)).zip(self.y.par_chunks(TILE)).for_each(
                    |((masked, dy), y)| {
                        for ((masked, dy), y) in masked.iter_mut().zip(dy).zip(y) {
                            *masked = if *y > 0.0 { *dy } else { 0.0 };
                        }
                    },
                );
                flow.gradients[last] = Some(Gradient::Owned(Arc::new(masked)));
            }
            _ => self.pass_on(kept, last, Gradient::Shared(self.dy), flow),
        }
    }

    /// The gradient of a convolution's value goes on to its weight, to what follows it, and to what it read.
    fn convolution(
        &self,
        index: usize,
        gradient: &Gradient<'a>,
        kept: &mut [Value],
        flow: &mut Flow<'a>,
    ) -> Option<()> {
        let step = Conv::of(&self.block.steps()[index])?;
        let (read, weight) = (step.input, step.weight);
        let params = self.params;
        let conv =
            Convolution::new(params[weight.index], weight.rows, self.shapes[read], step.geometry, Pass::Backward)?;
        let Value::Lazy { z, affine, .. } = std::mem::replace(&mut kept[index + 1], Value::Gone) else {
            unreachable!("a convolution's value is lazy")
        };
        let sums = flow.sums[index + 1].take()?;
        let pullback = match step.after {
            After::Norm(norm) => {
                flow.params[norm.weight.index] = narrow(&sums.weighted);
                flow.params[norm.bias.index] = narrow(&sums.plain);
                Pullback::new(&affine, &sums, self.images * conv.output_pixels())
            }
            After::Bias(bias) => {
                flow.params[bias.index] = narrow(&sums.plain);
                Pullback::identity(weight.rows)
            }
            After::Nothing => Pullback::identity(weight.rows),
        };
        let source = forward::source(kept, read, self.x, self.shapes);
        let task = Task { conv: &conv, source, z: &z, gradient, pullback: &pullback, images: self.images };
        let of_weight = self.below(&task, read, kept, flow);
        flow.params[weight.index] = conv.restore(of_weight);
        // Nothing else reads a gated value.
        if let Value::Gated { .. } = kept[read] {
            kept[read] = Value::Gone;
        }
        Some(())
    }

    /// Runs the task of a convolution that read value `read`, and puts the gradient of what it read in place. Returns the
    /// gradient of its weight.
    fn below(&self, task: &Task<'_>, read: usize, kept: &[Value], flow: &mut Flow<'a>) -> Vec<f32> {
        let mut dx = match (&kept[read], self.input) {
            (Value::Input, InputGradient::Unwanted) => return task.run(None, Target::Nothing).weight,
            _ => Buffer::take(self.images * task.conv.input_values()),
        };
        // The lazy value below, if there is one, and the gates on it.
        let (below, gates) = match &kept[read] {
            Value::Gated { of, gates } => (*of, Some((gates, &self.block.steps()[read - 1].op))),
            _ => (read, None),
        };
        match &kept[below] {
            Value::Lazy { z, affine, activation } => {
                let [h, w, _] = self.shapes[below];
                let lazy = Gated { z, affine, activation: *activation, area: h * w };
                let gate = gates.map(|(gates, op)| (gates, GateWeights::of(op, self.params)));
                let made = task.run(Some(&mut dx[..]), Target::Lazy { lazy, gate });
                if let (Some((gates, weights)), Some((_, op))) = (gate, gates) {
                    for ((_, slot), of) in op.tensors().into_iter().zip(made.gates.of_weights(gates, weights)) {
                        flow.params[slot.index] = of;
                    }
                }
                flow.gradients[below] = Some(Gradient::Owned(Arc::new(dx)));
                flow.sums[below] = Some(made.sums);
                made.weight
            }
            Value::Input => {
                let passed = flow.gradients[0].take();
                let add = flow.input.as_deref().or(passed.as_deref());
                let made = task.run(Some(&mut dx[..]), Target::Whole { add });
                flow.input = Some(dx);
                made.weight
            }
            _ => {
                let add = flow.gradients[below].take();
                let made = task.run(Some(&mut dx[..]), Target::Whole { add: add.as_deref() });
                flow.gradients[below] = Some(Gradient::Owned(Arc::new(dx)));
                made.weight
            }
        }
    }

    /// Adds a gradient to a value; to a convolution's, with the slope of the nonlinearity multiplied in.
    fn pass_on(&self, kept: &[Value], value: usize, gradient: Gradient<'a>, flow: &mut Flow<'a>) {
        let mut gradient = gradient;
        if let Some(Value::Lazy { z, affine, activation }) = kept.get(value) {
            let channels = affine.channels();
            let piece = (TILE / channels).max(1) * channels;
            let rows = z.par_chunks(piece).zip(gradient.par_chunks(piece));
            let parts: Vec<Sums> = if activation.is_none() {
                let part = |(z, g): (&[f32], &[f32])| {
                    let mut part = Sums::empty(channels);
                    part.add_rows(z, g, affine);
                    part
                };
                rows.map(part).collect()
            } else {
                let mut sloped = Buffer::take(gradient.len());
                let part = |((z, g), sloped): ((&[f32], &[f32]), &mut [f32])| {
                    sloped.copy_from_slice(g);
                    let mut part = Sums::empty(channels);
                    slope(*activation, z, sloped, affine, &mut part);
                    part
                };
                let parts = rows.zip(sloped.par_chunks_mut(piece)).map(part).collect();
                gradient = Gradient::Owned(Arc::new(sloped));
                parts
            };
            flow.sums[value] = Some(total(&parts, channels));
        }
        let gradients = &mut flow.gradients;
        gradients[value] = Some(match gradients[value].take() {
            None => gradient,
            Some(old) => {
                let mut both = copy(&old);
                add_to(&mut both, &gradient);
                Gradient::Owned(Arc::new(both))
            }
        });
    }

    /// Adds the gradient of a pooling to that of the block's input, which is what poolings read.
    fn pooling(&self, step: &Step<Slot>, gradient: &Gradient<'a>, flow: &mut Flow<'a>) {
        let read = step.inputs[0];
        if read != 0 || self.input == InputGradient::Unwanted {
            return;
        }
        let mut dx = match (flow.input.take(), flow.gradients[0].take()) {
            (Some(dx), _) => dx,
            (None, Some(gradient)) => copy(&gradient),
            (None, None) => Buffer::zeros(self.x.len()),
        };
        pool_back(&step.op, gradient, self.x, self.shapes[read], &mut dx);
        flow.input = Some(dx);
    }
}

fn copy(values: &[f32]) -> Buffer {
    let mut buffer = Buffer::take(values.len());
    buffer.copy_from_slice(values);
    buffer
}

fn narrow(sums: &[f64]) -> Vec<f32> {
    sums.iter().map(|sum| *sum as f32).collect()
}

fn total(parts: &[Sums], channels: usize) -> Sums {
    let mut all = Sums::empty(channels);
    parts.iter().for_each(|part| all.merge(part));
    all
}

/// The backward pass of one convolution.
struct Task<'a> {
    conv: &'a Convolution,
    source: Source<'a>,
    z: &'a [f32],
    gradient: &'a [f32],
    pullback: &'a Pullback,
    images: usize,
}

/// What becomes of the gradient of the convolution's input.
#[derive(Clone, Copy)]
enum Target<'a> {
    Nothing,
    /// It is kept as it is, with another contribution added.
    Whole {
        add: Option<&'a [f32]>,
    },
    /// It goes through the gate and the nonlinearity, and its sums are taken.
    Lazy {
        lazy: Gated<'a>,
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
struct Made {
    /// In the kernels' layout.
    weight: Vec<f32>,
    sums: Sums,
    gates: GateGradients,
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
    fn run(&self, dx: Option<&mut [f32]>, target: Target<'_>) -> Made {
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
                scratch.input.load(needed, [s.height, s.width, channels], geometry.padding, |row, out| {
                    let pixel = of_input + row * s.width;
                    self.source.write_padded(pixel..pixel + s.width, out);
                });
                let reading = if inputs.is_empty() { 0..0 } else { depthwise::rows_reading(&inputs, geometry) };
                let needed = reading.start.min(outputs.start as isize)..reading.end.max(outputs.end as isize);
                let (dz, band) = (&mut scratch.dz, &mut scratch.gradient);
                band.load(needed, [s.out_height, s.out_width, channels], margin, |row, out| {
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
            band.load_unpadded(1, reading, [s.out_height, s.out_width, channels], margin, |_, row, out| {
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

/// Turns the gradient of some pixels of the input into what the target wants.
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

fn slope(activation: Option<Activation>, z: &[f32], out: &mut [f32], affine: &Affine, sums: &mut Sums) {
    with_nonlinearity!(activation, Act => sums.add_sloped_rows::<Act>(z, out, affine));
}
