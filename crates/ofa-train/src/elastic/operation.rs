//! The kernels as Burn operations: forward on plain tensors, and one backward node a block on autodiff tensors.

use super::kernel_switch::enabled;
use super::layer_ops::{self, Normalised};
use super::node_count::by_count;
use super::weight::Weight;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{AllocationProperty, Bytes, DType, Device, Tensor, TensorData};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn_flex::FlexTensor;
use ofa_kernels::block::backward::{self, Backward as BlockBackward, InputGradient};
use ofa_kernels::block::evaluation::{self, Layouts};
use ofa_kernels::block::forward::{Forward, Keep, Kept, forward};
use ofa_kernels::block::{Block, ImageShape, Slot};
use ofa_kernels::buffers::Buffer;
use ofa_space::{Activation, BatchNorm, ConvGeometry, OpKind, PaddingRule, Step};
use std::sync::{Arc, Mutex, PoisonError};

type Differentiable = Autodiff<Flex, NoCheckpointing>;

impl Weight {
    fn differentiable(&self) -> Option<(NodeGuard, FlexTensor)> {
        match self {
            Weight::Vector(tensor) => differentiable(tensor),
            Weight::Matrix(tensor) => differentiable(tensor),
            Weight::Kernel(tensor) => differentiable(tensor),
            Weight::Statistic(_) => None,
        }
    }

    fn plain(&self) -> Option<FlexTensor> {
        match self {
            Weight::Vector(tensor) => tensor.clone().try_into_primitive::<Flex>().ok(),
            Weight::Matrix(tensor) => tensor.clone().try_into_primitive::<Flex>().ok(),
            Weight::Kernel(tensor) => tensor.clone().try_into_primitive::<Flex>().ok(),
            Weight::Statistic(_) => None,
        }
    }

    /// Where it stands in a list of parameters.
    fn slot(&self, index: usize) -> Slot {
        Slot { index, rows: self.shape()[0] }
    }
}

/// The node and the contiguous values of a tensor on autodiff over `flex`.
fn differentiable<const D: usize>(tensor: &Tensor<D>) -> Option<(NodeGuard, FlexTensor)> {
    let tensor = tensor.clone().try_into_primitive::<Differentiable>().ok()?;
    Some((tensor.node(), tensor.primitive().to_contiguous()))
}

/// A block's output, and mean and biased variance of every batch norm in order.
pub struct BlockOutput {
    /// `[n, h, w, c]`.
    pub value: Tensor<4>,
    /// Carry no gradient.
    pub statistics: Vec<(Tensor<1>, Tensor<1>)>,
}

fn flex(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
}

/// A tensor over a buffer, which returns to the pool when Burn drops it.
fn flex_buffer(buffer: Buffer, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::from_bytes(shared(buffer), shape.to_vec(), DType::F32))
}

fn shared(buffer: Buffer) -> Bytes {
    Bytes::from_shared(bytes::Bytes::from_owner(buffer), AllocationProperty::Native)
}

/// A tensor of these values `[n, h, w, c]`, in memory that is reused from batch to batch where the backend takes ours.
pub fn upload(values: &[f32], shape: [usize; 4], device: &Device) -> Tensor<4> {
    let mut buffer = Buffer::take(values.len());
    buffer.copy_from_slice(values);
    Tensor::from_data(TensorData::from_bytes(shared(buffer), shape, DType::F32), device)
}

/// A block whose parameters no longer change, its weights laid out for the kernels and kept in that form only.
#[derive(Debug)]
pub struct FrozenBlock {
    block: Arc<Block>,
    layouts: Layouts,
    /// Weights of convolutions are empty.
    params: Vec<FlexTensor>,
}

impl FrozenBlock {
    /// `None` where the parameters do not live on `flex` or record gradients, the kernels are switched off, the block has
    /// batch norms that want the batch's statistics, or no parameters at all, from which to
    /// see whether gradients are recorded.
    pub fn new(block: Arc<Block>, params: &[Weight]) -> Option<Self> {
        // Before the parameters are copied: recalibration comes here with every block of every batch.
        if !enabled() || params.is_empty() || block.wants_statistics() {
            return None;
        }
        let plain = |param: &Weight| param.plain().map(|param| param.to_contiguous());
        let mut params: Vec<FlexTensor> = params.iter().map(plain).collect::<Option<_>>()?;
        let layouts = Layouts::new(&block, &slices(&params)?)?;
        for step in block.steps() {
            if let OpKind::Conv { weight, .. } | OpKind::Linear { weight, .. } = &step.op {
                params[weight.index] = flex(vec![], &[0]);
            }
        }
        Some(Self { block, layouts, params })
    }

    /// Runs it on `[n, h, w, c]`; `None` where the input does not live on `flex`, or has other channels than the block reads.
    pub fn run(&self, x: &Tensor<4>) -> Option<Tensor<4>> {
        let [images, h, w, c] = x.dims();
        let shapes = self.block.shapes([h, w, c])?;
        let x = x.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
        let params = slices(&self.params)?;
        let output = evaluation::evaluate(&self.block, &shapes, images, x.as_slice::<f32>()?, &params, &self.layouts)?;
        Some(Tensor::from_primitive::<Flex>(flex_buffer(output, &output_shape(images, &shapes))))
    }
}

/// Runs a block by the CPU kernels; `None` where the tensors do not live on `flex`, the kernels are switched off, or
/// the block is of a shape that they do not support.
pub fn run_block(block: &Arc<Block>, x: &Tensor<4>, params: &[Weight]) -> Option<BlockOutput> {
    if !enabled() {
        return None;
    }
    let [_, h, w, c] = x.dims();
    let shapes = block.shapes([h, w, c])?;
    if x.is_autodiff() {
        with_gradients(block, shapes, x, params)
    } else {
        without_gradients(block, &shapes, x, params)
    }
}

fn output_shape(images: usize, shapes: &[ImageShape]) -> [usize; 4] {
    let [h, w, c] = shapes[shapes.len() - 1];
    [images, h, w, c]
}

fn statistics(made: &Forward) -> Vec<(Tensor<1>, Tensor<1>)> {
    let tensor = |values: &Vec<f32>| Tensor::<1>::from_primitive::<Flex>(flex(values.clone(), &[values.len()]));
    made.statistics.iter().map(|(mean, variance)| (tensor(mean), tensor(variance))).collect()
}

/// The values of contiguous tensors.
fn slices(tensors: &[FlexTensor]) -> Option<Vec<&[f32]>> {
    tensors.iter().map(|tensor| tensor.as_slice::<f32>()).collect()
}

fn without_gradients(
    block: &Arc<Block>,
    shapes: &[ImageShape],
    x: &Tensor<4>,
    params: &[Weight],
) -> Option<BlockOutput> {
    if let Some(frozen) = FrozenBlock::new(block.clone(), params) {
        return Some(BlockOutput { value: frozen.run(x)?, statistics: vec![] });
    }
    let [images, ..] = x.dims();
    let x = x.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
    let params: Vec<FlexTensor> =
        params.iter().map(|p| p.plain().map(|p| p.to_contiguous())).collect::<Option<Vec<_>>>()?;
    let (x, params) = (x.as_slice::<f32>()?, slices(&params)?);
    let shape = output_shape(images, shapes);
    let made = forward(block, shapes, images, x, &params, Keep::Nothing)?;
    let statistics = statistics(&made);
    Some(BlockOutput { value: Tensor::from_primitive::<Flex>(flex_buffer(made.output, &shape)), statistics })
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved {
    block: Arc<Block>,
    shapes: Vec<ImageShape>,
    images: usize,
    x: FlexTensor,
    y: FlexTensor,
    params: Vec<FlexTensor>,
    param_shapes: Vec<Vec<usize>>,
    /// Taken by the backward pass, which drops every value as soon as it can.
    kept: Arc<Mutex<Option<Kept>>>,
}

impl Saved {
    fn backward(&self, dy: &FlexTensor, input: InputGradient) -> Option<backward::Gradients> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let params = slices(&self.params)?;
        let task = BlockBackward {
            block: &self.block,
            shapes: &self.shapes,
            images: self.images,
            x: self.x.as_slice::<f32>()?,
            y: self.y.as_slice::<f32>()?,
            params: &params,
            dy: dy.as_slice::<f32>()?,
            input,
        };
        task.run(kept)
    }
}

/// The backward node of a block: its inputs are x and the parameters in order.
#[derive(Debug)]
struct BlockNode;

impl<const N: usize> Backward<Flex, N> for BlockNode {
    type State = Saved;

    fn backward(self, ops: Ops<Saved, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let dy = grads.consume::<Flex>(&ops.node).to_contiguous();
        let saved = ops.state;
        let mut parents = ops.parents.into_iter();
        let x = parents.next().flatten();
        let input = if x.is_some() { InputGradient::Wanted } else { InputGradient::Unwanted };
        let Some(made) = saved.backward(&dy, input) else {
            unreachable!("the forward pass accepted these tensors, and backward runs once");
        };
        if let (Some(node), Some(dx)) = (x, made.input) {
            let [h, w, c] = saved.shapes[0];
            grads.register::<Flex>(node.id, flex_buffer(dx, &[saved.images, h, w, c]));
        }
        for ((parent, gradient), shape) in parents.zip(made.params).zip(&saved.param_shapes) {
            if let Some(node) = parent {
                grads.register::<Flex>(node.id, flex(gradient, shape));
            }
        }
    }
}

fn with_gradients(
    block: &Arc<Block>,
    shapes: Vec<ImageShape>,
    x: &Tensor<4>,
    params: &[Weight],
) -> Option<BlockOutput> {
    let [images, ..] = x.dims();
    let (node, x) = differentiable(x)?;
    let param_shapes = params.iter().map(Weight::shape).collect();
    let mut nodes = vec![node];
    let mut values = Vec::with_capacity(params.len());
    for param in params {
        let (node, value) = param.differentiable()?;
        nodes.push(node);
        values.push(value);
    }
    let params = values;
    let made = forward(block, &shapes, images, x.as_slice::<f32>()?, &slices(&params)?, Keep::ForBackward)?;
    let statistics = statistics(&made);
    let y = flex_buffer(made.output, &output_shape(images, &shapes));
    let needs_output = matches!(block.steps().last(), Some(Step { op: OpKind::Add, activation: Some(_), .. }));
    let saved = Saved {
        block: block.clone(),
        shapes,
        images,
        y: if needs_output { y.clone() } else { x.clone() },
        x,
        params,
        param_shapes,
        kept: Arc::new(Mutex::new(Some(made.kept))),
    };
    Some(BlockOutput { value: register(nodes, saved, y)?, statistics })
}

/// Registers the node; the number of its inputs is a type in Burn.
fn register(nodes: Vec<NodeGuard>, saved: Saved, y: FlexTensor) -> Option<Tensor<4>> {
    fn sized<const N: usize>(nodes: Vec<NodeGuard>, saved: Saved, y: FlexTensor) -> Option<Tensor<4>> {
        let nodes: [NodeGuard; N] = nodes.try_into().ok()?;
        let value = match BlockNode.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(saved, y),
            OpsKind::UnTracked(prepared) => prepared.finish(y),
        };
        Some(Tensor::from_primitive::<Differentiable>(value))
    }
    by_count!(nodes.len(), sized(nodes, saved, y))
}

/// A block of one convolution whose weight is parameter 0.
fn single(
    weight: &Tensor<4>,
    bias: Option<Slot>,
    geometry: ConvGeometry,
    norm: Option<BatchNorm<Slot>>,
    activation: Option<Activation>,
) -> Option<Arc<Block>> {
    let [rows, ..] = weight.dims();
    let ConvGeometry { kernel, stride, padding, extra, groups } = geometry;
    let op = OpKind::Conv {
        weight: Slot { index: 0, rows },
        bias,
        kernel,
        stride,
        padding,
        extra_padding: extra,
        padding_rule: PaddingRule::default(),
        groups,
    };
    Block::new(vec![Step { inputs: vec![0], op, norm, activation }]).map(Arc::new)
}

/// As [`layer_ops::conv_normalise_batch`], by the CPU kernels where the tensors live on `flex`.
pub fn conv_normalise_batch(
    x: Tensor<4>,
    weight: Tensor<4>,
    geometry: ConvGeometry,
    scale: Tensor<1>,
    shift: Tensor<1>,
    eps: f64,
    activation: Option<Activation>,
) -> Normalised {
    let params = [Weight::Kernel(weight.clone()), Weight::Vector(scale.clone()), Weight::Vector(shift.clone())];
    let unread = Slot { index: 0, rows: 0 };
    let norm = BatchNorm { weight: params[1].slot(1), bias: params[2].slot(2), mean: unread, variance: unread, eps };
    let made = single(&weight, None, geometry, Some(norm), activation).and_then(|block| run_block(&block, &x, &params));
    match made.map(|made| (made.value, made.statistics.into_iter().next())) {
        Some((value, Some((mean, variance)))) => Normalised { value, mean, variance },
        _ => layer_ops::conv_normalise_batch(x, weight, geometry, scale, shift, eps, activation),
    }
}

/// As [`layer_ops::conv_activate`], by the CPU kernels where the tensors live on `flex`.
pub fn conv_activate(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    geometry: ConvGeometry,
    activation: Option<Activation>,
) -> Tensor<4> {
    let mut params = vec![Weight::Kernel(weight.clone())];
    params.extend(bias.clone().map(Weight::Vector));
    let slot = params.get(1).map(|bias| bias.slot(1));
    let made = single(&weight, slot, geometry, None, activation).and_then(|block| run_block(&block, &x, &params));
    match made {
        Some(made) => made.value,
        None => layer_ops::conv_activate(x, weight, bias, geometry, activation),
    }
}
