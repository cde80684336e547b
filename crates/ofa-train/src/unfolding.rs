//! Batch norms in place of the biases that an exporter folded them into.
//!
//! A network from an ONNX file has convolutions with biases where it was trained with batch norms. It computes the same, but
//! trains badly: every batch norm keeps the scale of its layer. So a batch norm is put behind each such convolution that
//! leaves the function as it is. With mean μ and biased variance σ² of what the convolution makes of some images without its
//! bias b, that is the batch norm with running mean μ, running variance σ², scale √(σ² + ε) and shift μ + b.

use crate::data::{Dataset, SplitName, stratified};
use crate::elastic::executor::{Prepared, Statistics};
use crate::elastic::parameters::Gradients;
use crate::elastic::plan::Plan;
use crate::elastic::{Supernet, to_host};
use crate::error::TrainError;
use crate::images::Images;
use burn::tensor::{Device, Tensor};
use ofa_space::supernet::TensorDef;
use ofa_space::{
    BatchNorm, Block, InvalidSetting, Model, ModelBody, NetSpec, Op, OpKind, Tensor as HostTensor, TensorRef,
    TensorRole,
};
use std::collections::BTreeSet;

/// Images to measure on.
pub const IMAGES: usize = 512;
/// Images that are measured at once.
pub const BATCH: usize = 64;
/// Added to the variance.
const EPS: f64 = 1e-5;

/// Whether a network has convolutions with biases in the place of batch norms.
pub fn is_folded(net: &NetSpec) -> bool {
    net.blocks.iter().any(|block| (0..block.ops.len()).any(|index| is_folded_at(block, index)))
}

/// A convolution with bias over more than single pixels, without a batch norm behind it. (Of a single pixel there is one
/// value an image: too few to normalise by.)
fn is_folded_at(block: &Block, index: usize) -> bool {
    let op = &block.ops[index];
    let normalised =
        block.ops.iter().any(|other| other.inputs.contains(&(index + 1)) && matches!(other.kind, OpKind::BatchNorm(_)));
    matches!(op.kind, OpKind::Conv { bias: Some(_), .. }) && op.output[1] * op.output[2] > 1 && !normalised
}

/// A model with a batch norm behind every folded convolution, which computes the same.
///
/// `batches` are images as the network takes them, [`IMAGES`] of them if there are as many.
///
/// # Errors
/// [`TrainError::Setting`] without images, [`TrainError::Model`] if the model is a supernet, [`TrainError::Compute`] if the
/// backend fails.
pub fn insert_batch_norms(model: &Model, batches: &[Images], device: &Device) -> Result<Model, TrainError> {
    let net = model.net(None)?;
    if batches.is_empty() {
        return Err(InvalidSetting::new("images", "are none, expected some to measure batch norms on").into());
    }
    let mut made = unmeasured(model)?;
    let unfolded = made.net(None)?;
    let mut weights = model.weights.clone();
    for (name, tensor) in made.weights.iter().filter(|(name, _)| model.weights.get(name).is_none()) {
        weights.insert(name.clone(), tensor.clone());
    }
    let defs = net.tensors().chain(unfolded.tensors());
    let defs = defs.map(|t| (t.name.clone(), TensorDef { shape: t.full.clone(), role: t.role })).collect();
    let supernet = Supernet::new(defs, &weights, device)?;
    let mut values: Vec<Tensor<4>> = batches.iter().map(|batch| supernet.upload(batch)).collect();
    for block in &net.blocks {
        for index in (0..block.ops.len()).filter(|index| is_folded_at(block, *index)) {
            let moments = measure(&supernet, block, index, &values)?;
            let OpKind::Conv { bias: Some(bias), .. } = &block.ops[index].kind else { continue };
            let bias = weights.expect(&bias.name, &bias.full)?.data.clone();
            let norm = norm_of(&block.ops[index].name, bias.len());
            let channels = || moments.mean.iter().zip(&moments.variance).zip(&bias);
            let parts: [(&TensorRef, Vec<f32>); 4] = [
                (&norm.weight, channels().map(|((_, variance), _)| (variance + EPS).sqrt() as f32).collect()),
                (&norm.bias, channels().map(|((mean, _), bias)| (mean + f64::from(*bias)) as f32).collect()),
                (&norm.mean, moments.mean.iter().map(|mean| *mean as f32).collect()),
                (&norm.variance, moments.variance.iter().map(|variance| *variance as f32).collect()),
            ];
            for (reference, data) in parts {
                weights.insert(reference.name.clone(), HostTensor { shape: reference.full.clone(), data });
            }
        }
        values = run(&supernet, block, values);
    }
    for tensor in unfolded.tensors() {
        made.weights.insert(tensor.name.clone(), weights.expect(&tensor.name, &tensor.full)?.clone());
    }
    let images: usize = batches.iter().map(|batch| batch.shape[0]).sum();
    made.provenance.insert("batch_norms".to_owned(), format!("inserted for folded ones, measured on {images} images"));
    Ok(made)
}

/// The structure of a model with [batch norms](insert_batch_norms), which do not compute the same yet: their statistics are
/// 0 and 1.
///
/// # Errors
/// [`TrainError::Model`] if the model is a supernet.
pub(crate) fn unmeasured(model: &Model) -> Result<Model, TrainError> {
    let net = model.net(None)?;
    let mut unfolded = net.clone();
    for (block, before) in unfolded.blocks.iter_mut().zip(&net.blocks) {
        *block = with_norms(before);
    }
    let mut made = model.clone();
    made.weights = Default::default();
    for tensor in unfolded.tensors() {
        let value = if matches!(tensor.role, TensorRole::NormWeight | TensorRole::RunningVariance) { 1.0 } else { 0.0 };
        let known = model.weights.get(&tensor.name).cloned();
        made.weights.insert(tensor.name.clone(), known.unwrap_or_else(|| HostTensor::full(&tensor.full, value)));
    }
    if let ModelBody::Net { spec, .. } = &mut made.body {
        **spec = unfolded;
    }
    Ok(made)
}

/// A model that can be trained: with [batch norms](insert_batch_norms) measured on training images that the seed draws, if they
/// are folded; otherwise as it is.
///
/// # Errors
/// As [`insert_batch_norms`], and [`TrainError::Data`] if an image cannot be read.
pub fn trainable(model: &Model, dataset: &Dataset, seed: u64, device: &Device) -> Result<Model, TrainError> {
    let net = model.net(None)?;
    if !is_folded(&net) {
        return Ok(model.clone());
    }
    let indices = stratified::proportional_sample(&dataset.train, IMAGES, seed);
    let size = net.input[1] as u32;
    let read = |chunk: &[usize]| Ok(dataset.eval_batch(SplitName::Train, chunk, size)?.0);
    let batches: Vec<Images> = indices.chunks(BATCH).map(read).collect::<Result<_, TrainError>>()?;
    insert_batch_norms(model, &batches, device)
}

/// Mean and biased variance of every channel.
struct Moments {
    count: f64,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Moments {
    /// Adds those of another batch (Chan, Golub and LeVeque, 1979).
    fn add(&mut self, count: f64, mean: &[f32], variance: &[f32]) {
        let all = self.count + count;
        let (before, share) = (self.count / all, count / all);
        let channels = self.mean.iter_mut().zip(&mut self.variance).zip(mean.iter().zip(variance));
        for ((mean, variance), (new_mean, new_variance)) in channels {
            let distance = f64::from(*new_mean) - *mean;
            *variance = *variance * before + f64::from(*new_variance) * share + distance * distance * before * share;
            *mean += distance * share;
        }
        self.count = all;
    }
}

/// What the convolution at `index` makes of values of the block's input, without its bias.
fn measure(supernet: &Supernet, block: &Block, index: usize, inputs: &[Tensor<4>]) -> Result<Moments, TrainError> {
    let op = &block.ops[index];
    let before = (op.inputs[0] > 0).then(|| up_to(block, op.inputs[0]));
    let mut conv = op.clone();
    conv.inputs = vec![0];
    if let OpKind::Conv { bias, .. } = &mut conv.kind {
        *bias = None;
    }
    let channels = op.output[0];
    let alone = Block { ops: vec![conv, norm_behind(op, 1)], channel_groups: Vec::new(), ..block.clone() };
    let plan = Plan::new(&NetSpec { input: block.input, classes: channels, blocks: vec![alone] });
    let prepared = Prepared::new(&plan, &supernet.parameters, Statistics::Batch, Gradients::Skip);
    let mut moments = Moments { count: 0.0, mean: vec![0.0; channels], variance: vec![0.0; channels] };
    for input in inputs {
        let value = match &before {
            Some(before) => run(supernet, before, vec![input.clone()]).remove(0),
            None => input.clone(),
        };
        let (_, statistics) = prepared.run(value);
        for batch in statistics {
            moments.add(batch.count as f64, &to_host(batch.mean)?, &to_host(batch.variance)?);
        }
    }
    Ok(moments)
}

/// Runs values through a block as it was imported.
fn run(supernet: &Supernet, block: &Block, inputs: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
    let net = NetSpec { input: block.input, classes: block.output[0], blocks: vec![block.clone()] };
    let prepared = supernet.prepare(&net, &supernet.running);
    inputs.into_iter().map(|input| prepared.run(input).0).collect()
}

/// The part of a block that makes a value of it.
fn up_to(block: &Block, value: usize) -> Block {
    let mut wanted = BTreeSet::from([value]);
    for at in (1..=value).rev() {
        if wanted.contains(&at) {
            wanted.extend(block.ops[at - 1].inputs.iter().copied());
        }
    }
    let order: Vec<usize> = wanted.into_iter().filter(|at| *at > 0).collect();
    let renumbered = |at: &usize| order.iter().position(|known| known == at).map_or(0, |place| place + 1);
    let ops: Vec<Op> = order
        .iter()
        .map(|at| {
            let op = &block.ops[at - 1];
            Op { inputs: op.inputs.iter().map(renumbered).collect(), ..op.clone() }
        })
        .collect();
    let output = ops.last().map_or(block.input, |op| op.output);
    Block { ops, output, channel_groups: Vec::new(), ..block.clone() }
}

/// The block with a batch norm instead of every bias of a folded convolution.
fn with_norms(block: &Block) -> Block {
    let mut ops = Vec::with_capacity(block.ops.len());
    let mut values = vec![0];
    for (index, op) in block.ops.iter().enumerate() {
        let mut op = op.clone();
        op.inputs.iter_mut().for_each(|input| *input = values[*input]);
        let norm = is_folded_at(block, index).then(|| norm_behind(&op, ops.len() + 1));
        if let (OpKind::Conv { bias, .. }, true) = (&mut op.kind, norm.is_some()) {
            *bias = None;
        }
        ops.push(op);
        ops.extend(norm);
        values.push(ops.len());
    }
    Block { ops, ..block.clone() }
}

/// The operation behind a convolution that makes `value`.
fn norm_behind(conv: &Op, value: usize) -> Op {
    let kind = OpKind::BatchNorm(norm_of(&conv.name, conv.output[0]));
    Op { name: format!("{}.bn", conv.name), inputs: vec![value], output: conv.output, kind }
}

/// The batch norm behind a convolution.
fn norm_of(conv: &str, channels: usize) -> BatchNorm {
    let part = |suffix: &str, role| TensorRef {
        name: format!("{conv}.bn.{suffix}"),
        role,
        full: vec![channels],
        take: vec![channels],
        kernel_steps: Vec::new(),
    };
    BatchNorm {
        weight: part("weight", TensorRole::NormWeight),
        bias: part("bias", TensorRole::NormBias),
        mean: part("running_mean", TensorRole::RunningMean),
        variance: part("running_var", TensorRole::RunningVariance),
        eps: EPS,
    }
}
