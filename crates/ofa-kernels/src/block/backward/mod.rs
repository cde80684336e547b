//! The backward pass of a block: from the gradient of its output to those of its input and its parameters.
//!
//! A convolution's gradient arrives with the slope of its nonlinearity multiplied in and the two sums that batch norm
//! needs already taken: both are done where a gradient is made, while the rows are in the cache.

mod convolution;

use self::convolution::{Target, Task, slope};
use super::forward::{self, Kept, TILE, Value};
use super::{After, Block, Conv, ImageShape, Slot, unsupported};
use crate::buffers::Buffer;
use crate::conv::convolution::{Convolution, Pass};
use crate::gate::{GateWeights, Gated};
use crate::normalisation::{Pullback, Sums};
use crate::pooling::pool_back;
use crate::simd::add_to;
use ofa_space::{Activation, OpKind, Step};
use rayon::prelude::*;
use std::ops::Deref;
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
        let conv = Convolution::new(
            params[weight.index],
            weight.rows,
            self.shapes[read],
            step.geometry,
            Pass::Backward,
            self.block.precision(),
        )?;
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
