//! Whole blocks by the CPU kernels against the bodies of plain Burn operations and against finite differences: values,
//! statistics and every gradient, over shapes, strides, kernel sizes, gates, shortcuts, batch 1 and odd sizes.
#![allow(clippy::unwrap_used, missing_docs)]
#![cfg(feature = "flex")]

mod fixed_cases;

use burn::tensor::{Device, Tensor, TensorData};
use fixed_cases::{host, noise};
use ofa_kernels::block::{Block, Slot};
use ofa_space::{Activation, BatchNorm, ConvGeometry, Gate, OpKind, PaddingRule, PoolRounding, Step};
use ofa_train::elastic::layer_ops;
use ofa_train::elastic::operation::{FrozenBlock, run_block};
use ofa_train::elastic::weight::Weight;
use proptest::prelude::*;
use std::sync::Arc;

const EPS: f64 = 1e-5;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Family {
    /// 1×1, depthwise, gate or none, 1×1.
    InvertedResidual { gate: bool },
    /// 1×1, dense, 1×1, and a pooled and convolved shortcut, ReLU of the sum.
    Bottleneck,
}

#[derive(Clone, Debug)]
struct Case {
    family: Family,
    images: usize,
    height: usize,
    width: usize,
    inputs: usize,
    middle: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    activation: Activation,
    residual: bool,
    seed: u32,
}

fn cases() -> impl Strategy<Value = Case> {
    let family = prop_oneof![
        Just(Family::InvertedResidual { gate: false }),
        Just(Family::InvertedResidual { gate: true }),
        Just(Family::Bottleneck)
    ];
    let activation =
        prop_oneof![Just(Activation::Relu), Just(Activation::Relu6), Just(Activation::HSwish), Just(Activation::Silu)];
    let sizes = (1usize..5, 3usize..12, 3usize..12, 1usize..20, 1usize..40, 1usize..20);
    let kernel = prop_oneof![Just(3usize), Just(5), Just(7)];
    (family, sizes, kernel, 1usize..3, activation, any::<bool>(), any::<u32>()).prop_map(
        |(family, (images, height, width, inputs, middle, outputs), kernel, stride, activation, residual, seed)| {
            let residual = residual && stride == 1 && family != Family::Bottleneck;
            let outputs = if residual { inputs } else { outputs };
            let activation = if family == Family::Bottleneck { Activation::Relu } else { activation };
            let kernel = if family == Family::Bottleneck { 3 } else { kernel };
            Case { family, images, height, width, inputs, middle, outputs, kernel, stride, activation, residual, seed }
        },
    )
}

/// Shape of every parameter, and what is added to its noise.
fn shapes(case: &Case) -> Vec<(Vec<usize>, f32)> {
    let Case { inputs, middle, outputs, kernel, .. } = *case;
    let squeezed = middle.div_ceil(4);
    let norm = |channels: usize| [(vec![channels], 1.0), (vec![channels], 0.2)];
    let mut all = vec![(vec![middle, inputs, 1, 1], 0.0)];
    all.extend(norm(middle));
    let inner = if case.family == Family::Bottleneck { middle } else { 1 };
    all.push((vec![middle, inner, kernel, kernel], 0.0));
    all.extend(norm(middle));
    if case.family == (Family::InvertedResidual { gate: true }) {
        all.push((vec![squeezed, middle, 1, 1], 0.0));
        all.push((vec![squeezed], 0.3));
        all.push((vec![middle, squeezed, 1, 1], 0.0));
        all.push((vec![middle], 0.1));
    }
    all.push((vec![outputs, middle, 1, 1], 0.0));
    all.extend(norm(outputs));
    if case.family == Family::Bottleneck {
        all.push((vec![outputs, inputs, 1, 1], 0.0));
        all.extend(norm(outputs));
    }
    all
}

fn values(case: &Case) -> Vec<Vec<f32>> {
    let value = |(index, (shape, offset)): (usize, &(Vec<usize>, f32))| {
        let share = if *offset == 0.0 { 1.0 } else { 0.4 };
        let noise = noise(shape.iter().product(), case.seed.wrapping_add(index as u32 * 7919));
        noise.iter().map(|v| v * share + offset).collect()
    };
    shapes(case).iter().enumerate().map(value).collect()
}

fn input(case: &Case) -> Vec<f32> {
    noise(case.images * case.height * case.width * case.inputs, case.seed ^ 0x5555)
}

fn middle_geometry(case: &Case) -> ConvGeometry {
    let groups = if case.family == Family::Bottleneck { 1 } else { case.middle };
    ConvGeometry { kernel: case.kernel, stride: case.stride, padding: case.kernel / 2, extra: 0, groups }
}

fn slot(index: usize, rows: usize) -> Slot {
    Slot { index, rows }
}

/// A convolution with batch norm whose parameters are `first..first + 3`.
fn conv(
    input: usize,
    geometry: ConvGeometry,
    first: usize,
    outputs: usize,
    activation: Option<Activation>,
) -> Step<Slot> {
    let ConvGeometry { kernel, stride, padding, extra, groups } = geometry;
    let op = OpKind::Conv {
        weight: slot(first, outputs),
        bias: None,
        kernel,
        stride,
        padding,
        extra_padding: extra,
        padding_rule: PaddingRule::default(),
        groups,
    };
    let of = |offset| slot(first + offset, outputs);
    let norm = BatchNorm { weight: of(1), bias: of(2), mean: of(0), variance: of(0), eps: EPS };
    Step { inputs: vec![input], op, norm: Some(norm), activation }
}

fn add(inputs: [usize; 2], activation: Option<Activation>) -> Step<Slot> {
    Step { activation, ..Step::new(inputs.into(), OpKind::Add) }
}

fn block(case: &Case) -> Arc<Block> {
    let act = Some(case.activation);
    let mut steps = vec![
        conv(0, ConvGeometry::POINTWISE, 0, case.middle, act),
        conv(1, middle_geometry(case), 3, case.middle, act),
    ];
    let mut next = 6;
    if case.family == (Family::InvertedResidual { gate: true }) {
        let (middle, squeezed) = (case.middle, case.middle.div_ceil(4));
        let op = OpKind::SqueezeExcite {
            reduce_weight: slot(6, squeezed),
            reduce_bias: slot(7, squeezed),
            expand_weight: slot(8, middle),
            expand_bias: slot(9, middle),
            inner: Activation::Relu,
            gate: Gate::HardSigmoid,
        };
        steps.push(Step::new(vec![2], op));
        next = 10;
    }
    steps.push(conv(steps.len(), ConvGeometry::POINTWISE, next, case.outputs, None));
    let main = steps.len();
    if case.family == Family::Bottleneck {
        let (kernel, stride) = (case.stride, case.stride);
        let op = OpKind::AveragePool { kernel, stride, padding: 0, rounding: PoolRounding::Ceil };
        steps.push(Step::new(vec![0], op));
        steps.push(conv(main + 1, ConvGeometry::POINTWISE, next + 3, case.outputs, None));
        steps.push(add([main, main + 2], Some(Activation::Relu)));
    } else if case.residual {
        steps.push(add([main, 0], None));
    }
    Arc::new(Block::new(steps).unwrap())
}

struct Made {
    value: Vec<f32>,
    statistics: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
    /// Smallest distance of a nonlinearity's argument from a kink.
    margin: f32,
}

fn kink_distance(values: &[f32], activation: Activation) -> f32 {
    let kinks: &[f32] = match activation {
        Activation::Relu => &[0.0],
        Activation::Relu6 => &[0.0, 6.0],
        Activation::HSwish => &[-3.0, 3.0],
        Activation::Silu => &[],
    };
    values.iter().flat_map(|v| kinks.iter().map(move |kink| (v - kink).abs())).fold(f32::INFINITY, f32::min)
}

/// Output, statistics and margin of the plain operations.
fn plain(case: &Case, x: &Tensor<4>, params: &[Weight]) -> (Tensor<4>, Vec<Tensor<1>>, f32) {
    let kernel = |index: usize| params[index].kernel();
    let vector = |index: usize| params[index].vector();
    let mut statistics = Vec::new();
    let mut margin = f32::INFINITY;
    let mut layer = |x: Tensor<4>, geometry, first: usize, activation: Option<Activation>| {
        let (scale, shift) = (vector(first + 1), vector(first + 2));
        let made = layer_ops::conv_normalise_batch(x, kernel(first), geometry, scale, shift, EPS, None);
        statistics.extend([made.mean, made.variance]);
        if let Some(activation) = activation {
            margin = margin.min(kink_distance(&host(made.value.clone().inner()), activation));
        }
        layer_ops::activate(made.value, activation)
    };
    let act = Some(case.activation);
    let mut y = layer(x.clone(), ConvGeometry::POINTWISE, 0, act);
    y = layer(y, middle_geometry(case), 3, act);
    let mut next = 6;
    if case.family == (Family::InvertedResidual { gate: true }) {
        let weights = (kernel(6), vector(7), kernel(8), vector(9));
        y = layer_ops::squeeze_excite(y, weights, Activation::Relu, Gate::HardSigmoid);
        next = 10;
    }
    y = layer(y, ConvGeometry::POINTWISE, next, None);
    if case.family == Family::Bottleneck {
        let pooled = layer_ops::average_pool(x.clone(), case.stride, case.stride, 0, PoolRounding::Ceil);
        y = y + layer(pooled, ConvGeometry::POINTWISE, next + 3, None);
        margin = margin.min(kink_distance(&host(y.clone().inner()), Activation::Relu));
        y = layer_ops::activate(y, Some(Activation::Relu));
    } else if case.residual {
        y = y + x.clone();
    }
    (y, statistics, margin)
}

#[derive(Clone, Copy, PartialEq)]
enum By {
    Kernels,
    PlainOperations,
}

fn run(case: &Case, by: By) -> Made {
    let device = Device::flex().autodiff();
    let x_shape = [case.images, case.height, case.width, case.inputs];
    let x = Tensor::<4>::from_data(TensorData::new(input(case), x_shape), &device).require_grad();
    let params: Vec<Weight> = shapes(case)
        .iter()
        .zip(values(case))
        .map(|((shape, _), values)| {
            let data = TensorData::new(values, shape.clone());
            match shape.len() {
                1 => Weight::Vector(Tensor::from_data(data, &device).require_grad()),
                _ => Weight::Kernel(Tensor::from_data(data, &device).require_grad()),
            }
        })
        .collect();
    let (y, statistics, margin) = match by {
        By::Kernels => {
            let made = run_block(&block(case), &x, &params).unwrap();
            let statistics = made.statistics.into_iter().flat_map(|(mean, variance)| [mean, variance]).collect();
            (made.value, statistics, f32::INFINITY)
        }
        By::PlainOperations => plain(case, &x, &params),
    };
    let [n, h, w, c] = y.dims();
    let pull = TensorData::new(noise(n * h * w * c, case.seed ^ 4), [n, h, w, c]);
    let gradients = (y.clone() * Tensor::from_data(pull, &device)).sum().backward();
    let mut all = vec![host(x.grad(&gradients).unwrap())];
    for param in &params {
        all.push(match param {
            Weight::Vector(tensor) => host(tensor.grad(&gradients).unwrap()),
            Weight::Kernel(tensor) => host(tensor.grad(&gradients).unwrap()),
            other => panic!("{other:?}"),
        });
    }
    let statistics = statistics.into_iter().map(host).collect();
    Made { value: host(y.inner()), statistics, gradients: all, margin }
}

/// Size of the difference as a share of the size of `b`.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let size = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = size(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
    difference / size(&mut b.iter().map(|b| f64::from(*b))).max(1e-2)
}

/// Whether some channel hardly varies, or is normalised over a few values only: there, normalising magnifies rounding
/// without bound. A pointwise filter over one channel is a single factor that batch norm takes out again: its gradient
/// is zero but for rounding, and nothing to compare.
fn degenerate(case: &Case, made: &Made) -> bool {
    let pixels = case.height.div_ceil(case.stride) * case.width.div_ceil(case.stride);
    case.inputs.min(case.middle) < 2
        || case.images * pixels < 16
        || made.statistics.iter().skip(1).step_by(2).flatten().any(|variance| *variance < 1e-2)
}

proptest! {
    #![proptest_config(fixed_cases::config(120))]

    #[test]
    fn blocks_agree_with_plain_operations(case in cases()) {
        let plain = run(&case, By::PlainOperations);
        prop_assume!(!degenerate(&case, &plain) && plain.margin > 1e-5);
        let kernels = run(&case, By::Kernels);
        prop_assert!(relative(&kernels.value, &plain.value) < 1e-5, "{}", relative(&kernels.value, &plain.value));
        for (ours, theirs) in kernels.statistics.iter().zip(&plain.statistics) {
            prop_assert!(relative(ours, theirs) < 5e-5, "statistics {}", relative(ours, theirs));
        }
        for (index, (ours, theirs)) in kernels.gradients.iter().zip(&plain.gradients).enumerate() {
            prop_assert!(relative(ours, theirs) < 1e-4, "gradient {index}: {}", relative(ours, theirs));
        }
    }

    #[test]
    fn evaluation_and_recalibration_agree_with_training(case in cases()) {
        // Without gradients the same block gives the same output and statistics.
        let device = Device::flex();
        let x_shape = [case.images, case.height, case.width, case.inputs];
        let x = Tensor::<4>::from_data(TensorData::new(input(&case), x_shape), &device);
        let params: Vec<Weight> = shapes(&case).iter().zip(values(&case)).map(|((shape, _), values)| {
            let data = TensorData::new(values, shape.clone());
            match shape.len() {
                1 => Weight::Vector(Tensor::from_data(data, &device)),
                _ => Weight::Kernel(Tensor::from_data(data, &device)),
            }
        }).collect();
        let made = run_block(&block(&case), &x, &params).unwrap();
        let training = run(&case, By::Kernels);
        prop_assert_eq!(host(made.value), training.value);
        let statistics: Vec<Vec<f32>> =
            made.statistics.into_iter().flat_map(|(mean, variance)| [host(mean), host(variance)]).collect();
        prop_assert_eq!(statistics, training.statistics);
    }
}

/// The loss in f64, from the kernels' output with some parameters moved along `direction` by `step`.
fn loss(case: &Case, directions: &[Vec<f32>], step: f32) -> f64 {
    let device = Device::flex();
    let moved = |values: Vec<f32>, direction: &[f32]| -> Vec<f32> {
        values.iter().zip(direction).map(|(value, d)| value + step * d).collect()
    };
    let x_shape = [case.images, case.height, case.width, case.inputs];
    let x = Tensor::<4>::from_data(TensorData::new(moved(input(case), &directions[0]), x_shape), &device);
    let shapes = shapes(case);
    let params = shapes.iter().zip(values(case)).zip(&directions[1..]).map(|(((shape, _), values), direction)| {
        let data = TensorData::new(moved(values, direction), shape.clone());
        match shape.len() {
            1 => Weight::Vector(Tensor::from_data(data, &device)),
            _ => Weight::Kernel(Tensor::from_data(data, &device)),
        }
    });
    let params: Vec<Weight> = params.collect();
    let value = host(run_block(&block(case), &x, &params).unwrap().value);
    let pull = noise(value.len(), case.seed ^ 4);
    value.iter().zip(pull).map(|(v, p)| f64::from(*v) * f64::from(p)).sum()
}

#[test]
fn gradients_agree_with_finite_differences() {
    let case = Case {
        family: Family::InvertedResidual { gate: true },
        images: 3,
        height: 9,
        width: 7,
        inputs: 12,
        middle: 36,
        outputs: 12,
        kernel: 5,
        stride: 1,
        activation: Activation::HSwish,
        residual: true,
        seed: 11,
    };
    let strided = Case { kernel: 3, stride: 2, residual: false, outputs: 10, seed: 12, ..case.clone() };
    let wide = Case { kernel: 7, family: Family::InvertedResidual { gate: false }, seed: 13, ..case.clone() };
    let bottleneck =
        Case { kernel: 3, stride: 2, family: Family::Bottleneck, residual: false, seed: 14, ..strided.clone() };
    for case in [case, strided, wide, bottleneck] {
        let gradients = run(&case, By::Kernels).gradients;
        // One direction for every tensor by itself, so that no small gradient hides behind a large one.
        for index in 0..gradients.len() {
            let mut directions: Vec<Vec<f32>> = gradients.iter().map(|g| vec![0.0; g.len()]).collect();
            directions[index] = noise(gradients[index].len(), 99 + index as u32);
            let along: f64 =
                gradients[index].iter().zip(&directions[index]).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let size = gradients[index].iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            let step = 1e-3;
            let measured = (loss(&case, &directions, step) - loss(&case, &directions, -step)) / (2.0 * f64::from(step));
            let tolerance = 0.02 * size.max(1.0);
            assert!((along - measured).abs() < tolerance, "{case:?}: tensor {index}: {along} against {measured}");
        }
    }
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let case = Case {
        family: Family::InvertedResidual { gate: true },
        images: 19,
        height: 14,
        width: 13,
        inputs: 24,
        middle: 72,
        outputs: 24,
        kernel: 5,
        stride: 1,
        activation: Activation::HSwish,
        residual: true,
        seed: 5,
    };
    let bottleneck =
        Case { family: Family::Bottleneck, kernel: 3, stride: 2, residual: false, outputs: 40, ..case.clone() };
    for case in [case, bottleneck] {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&case, By::Kernels))
        };
        let one = on(1);
        for threads in [2, 3] {
            let other = on(threads);
            assert_eq!(one.value, other.value);
            assert_eq!(one.statistics, other.statistics);
            assert_eq!(one.gradients, other.gradients);
        }
    }
}

/// Convolution and nonlinearity, added to the block's input; then, as a block of its own, maximum pooling.
#[test]
fn a_residual_stem_and_maximum_pooling_agree_with_plain_operations() {
    let device = Device::flex().autodiff();
    let (images, height, width, channels) = (3, 9, 7, 20);
    let geometry = ConvGeometry { kernel: 3, stride: 1, padding: 1, extra: 0, groups: 1 };
    let tensor = |shape: &[usize], seed| TensorData::new(noise(shape.iter().product(), seed), shape.to_vec());
    let stem = conv(0, geometry, 0, channels, Some(Activation::Relu));
    let stem = Arc::new(Block::new(vec![stem, add([0, 1], None)]).unwrap());
    let pool = Step::new(vec![0], OpKind::MaxPool { kernel: 3, stride: 2, padding: 1 });
    let pool = Arc::new(Block::new(vec![pool]).unwrap());
    let run = |by: By| {
        let x = Tensor::<4>::from_data(tensor(&[images, height, width, channels], 1), &device).require_grad();
        let weight = Tensor::<4>::from_data(tensor(&[channels, channels, 3, 3], 2), &device).require_grad();
        let scale = Tensor::<1>::from_data(tensor(&[channels], 3), &device).require_grad();
        let shift = Tensor::<1>::from_data(tensor(&[channels], 4), &device).require_grad();
        let y = match by {
            By::Kernels => {
                let params =
                    [Weight::Kernel(weight.clone()), Weight::Vector(scale.clone()), Weight::Vector(shift.clone())];
                let y = run_block(&stem, &x, &params).unwrap().value;
                run_block(&pool, &y, &[]).unwrap().value
            }
            By::PlainOperations => {
                let act = Some(Activation::Relu);
                let (scale, shift) = (scale.clone(), shift.clone());
                let made = layer_ops::conv_normalise_batch(x.clone(), weight.clone(), geometry, scale, shift, EPS, act);
                layer_ops::max_pool(x.clone() + made.value, 3, 2, 1)
            }
        };
        let pull = Tensor::<4>::from_data(tensor(&y.dims(), 5), &device);
        let gradients = (y.clone() * pull).sum().backward();
        let of = [host(x.grad(&gradients).unwrap()), host(weight.grad(&gradients).unwrap())];
        (host(y.inner()), of, [host(scale.grad(&gradients).unwrap()), host(shift.grad(&gradients).unwrap())])
    };
    let (ours, theirs) = (run(By::Kernels), run(By::PlainOperations));
    assert!(relative(&ours.0, &theirs.0) < 1e-5, "{}", relative(&ours.0, &theirs.0));
    for (ours, theirs) in ours.1.iter().chain(&ours.2).zip(theirs.1.iter().chain(&theirs.2)) {
        assert!(relative(ours, theirs) < 1e-4, "{}", relative(ours, theirs));
    }
}

/// Frozen, a 3×3 convolution is done in the transformed domain.
#[test]
fn a_frozen_dense_convolution_agrees_with_the_plain_one() {
    let device = Device::flex();
    for (images, height, width) in [(1, 5, 5), (5, 8, 8), (2, 33, 30)] {
        let (inputs, outputs) = (40, 56);
        let geometry = ConvGeometry { kernel: 3, stride: 1, padding: 1, extra: 0, groups: 1 };
        let tensor = |shape: &[usize], seed| TensorData::new(noise(shape.iter().product(), seed), shape.to_vec());
        let x = Tensor::<4>::from_data(tensor(&[images, height, width, inputs], 1), &device);
        let weight = Tensor::<4>::from_data(tensor(&[outputs, inputs, 3, 3], 2), &device);
        let bias = Tensor::<1>::from_data(tensor(&[outputs], 3), &device);
        let plain =
            layer_ops::conv_activate(x.clone(), weight.clone(), Some(bias.clone()), geometry, Some(Activation::Relu));
        let bias_slot = Some(slot(1, outputs));
        let op = OpKind::Conv {
            weight: slot(0, outputs),
            bias: bias_slot,
            kernel: 3,
            stride: 1,
            padding: 1,
            extra_padding: 0,
            padding_rule: PaddingRule::default(),
            groups: 1,
        };
        let step = Step { activation: Some(Activation::Relu), ..Step::new(vec![0], op) };
        let block = Arc::new(Block::new(vec![step]).unwrap());
        let params = [Weight::Kernel(weight), Weight::Vector(bias)];
        let frozen = FrozenBlock::new(block, &params).unwrap();
        let made = host(frozen.run(&x).unwrap());
        assert!(relative(&made, &host(plain.clone())) < 1e-6, "{}", relative(&made, &host(plain)));
    }
}
