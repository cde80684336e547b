//! Whole blocks against plain loops in f64, with every instruction set of this processor: values, statistics, the gradient
//! of the input and of every parameter (against finite differences of the loops), evaluation, and the same bits on any
//! number of threads. Every set is also compared with scalar code.
#![allow(clippy::unwrap_used, missing_docs)]

mod reference;

use ofa_kernels::block::backward::{Backward, InputGradient};
use ofa_kernels::block::evaluation::{Layouts, evaluate};
use ofa_kernels::block::forward::{Keep, forward};
use ofa_kernels::block::{Block, Slot};
use ofa_kernels::instruction_set::{InstructionSet, force, in_use};
use ofa_kernels::precision::Precision;
use ofa_space::{Activation, BatchNorm, ConvGeometry, Gate, OpKind, PaddingRule, PoolRounding, Step};
use reference::Value;
use std::sync::{Mutex, PoisonError};

const EPS: f64 = 1e-5;

/// Runs the body with every instruction set in turn; the choice is the process's, so tests take turns.
fn with_every_instruction_set(mut body: impl FnMut(InstructionSet)) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for set in InstructionSet::available() {
        assert!(force(Some(set)));
        assert_eq!(in_use(), set);
        body(set);
    }
    assert!(force(None));
}

fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A block and a batch for it.
struct Case {
    name: &'static str,
    steps: Vec<Step<Slot>>,
    params: Vec<Vec<f32>>,
    input: [usize; 4],
}

impl Case {
    fn new(name: &'static str, input: [usize; 4]) -> Self {
        Self { name, steps: Vec::new(), params: Vec::new(), input }
    }

    /// Another parameter: noise times `size` around `centre`.
    fn param(&mut self, rows: usize, columns: usize, size: f32, centre: f32) -> Slot {
        let index = self.params.len();
        let values = noise(rows * columns, 31 * index as u64 + 7).into_iter().map(|v| v * size + centre).collect();
        self.params.push(values);
        Slot { index, rows }
    }

    fn conv_op(&mut self, inputs: usize, outputs: usize, geometry: ConvGeometry, bias: bool) -> OpKind<Slot> {
        let ConvGeometry { kernel, stride, padding, extra, groups } = geometry;
        let weight = self.param(outputs, inputs / groups * kernel * kernel, 0.7, 0.05);
        let bias = bias.then(|| self.param(outputs, 1, 0.4, 0.1));
        let (extra_padding, padding_rule) = (extra, PaddingRule::default());
        OpKind::Conv { weight, bias, kernel, stride, padding, extra_padding, padding_rule, groups }
    }

    /// Convolution, batch norm, nonlinearity.
    fn conv(
        mut self,
        read: usize,
        [inputs, outputs]: [usize; 2],
        geometry: ConvGeometry,
        activation: Option<Activation>,
    ) -> Self {
        let op = self.conv_op(inputs, outputs, geometry, false);
        let (weight, bias) = (self.param(outputs, 1, 0.4, 1.0), self.param(outputs, 1, 0.4, 0.2));
        let norm = BatchNorm { weight, bias, mean: weight, variance: bias, eps: EPS };
        self.steps.push(Step { inputs: vec![read], op, norm: Some(norm), activation });
        self
    }

    /// Convolution with bias, nonlinearity.
    fn biased(
        mut self,
        read: usize,
        [inputs, outputs]: [usize; 2],
        geometry: ConvGeometry,
        activation: Option<Activation>,
    ) -> Self {
        let op = self.conv_op(inputs, outputs, geometry, true);
        self.steps.push(Step { activation, ..Step::new(vec![read], op) });
        self
    }

    fn gate(self, read: usize, channels: usize) -> Self {
        self.gated_by(read, channels, Activation::Relu, Gate::HardSigmoid)
    }

    fn gated_by(mut self, read: usize, channels: usize, inner: Activation, gate: Gate) -> Self {
        let squeezed = channels.div_ceil(4);
        let op = OpKind::SqueezeExcite {
            reduce_weight: self.param(squeezed, channels, 0.7, 0.0),
            reduce_bias: self.param(squeezed, 1, 0.4, 0.3),
            expand_weight: self.param(channels, squeezed, 0.7, 0.0),
            expand_bias: self.param(channels, 1, 0.4, 0.1),
            inner,
            gate,
        };
        self.op(read, op)
    }

    fn op(mut self, read: usize, op: OpKind<Slot>) -> Self {
        self.steps.push(Step::new(vec![read], op));
        self
    }

    fn add(mut self, inputs: [usize; 2], activation: Option<Activation>) -> Self {
        self.steps.push(Step { activation, ..Step::new(inputs.into(), OpKind::Add) });
        self
    }

    fn linear(mut self, read: usize, [inputs, outputs]: [usize; 2]) -> Self {
        let op = OpKind::Linear {
            weight: self.param(outputs, inputs, 0.7, 0.0),
            bias: Some(self.param(outputs, 1, 0.4, 0.1)),
        };
        self.op(read, op)
    }

    fn x(&self) -> Vec<f32> {
        noise(self.input.iter().product(), 99)
    }

    /// Gradient of the output.
    fn pull(&self, length: usize) -> Vec<f32> {
        noise(length, 12)
    }

    /// The loss Σ pull · output of the loops, x and parameters moved along a direction.
    fn loss(&self, directions: &[Vec<f32>], step: f64) -> f64 {
        let moved = |values: &[f32], direction: &[f32]| -> Vec<f64> {
            values.iter().zip(direction).map(|(v, d)| f64::from(*v) + step * f64::from(*d)).collect()
        };
        let x = Value { data: moved(&self.x(), &directions[0]), shape: self.input };
        let params: Vec<Vec<f64>> = self.params.iter().zip(&directions[1..]).map(|(p, d)| moved(p, d)).collect();
        let output = reference::run(&self.steps, &x, &params).data;
        output.iter().zip(self.pull(output.len())).map(|(y, pull)| y * f64::from(pull)).sum()
    }
}

fn square(kernel: usize, stride: usize, groups: usize) -> ConvGeometry {
    ConvGeometry { kernel, stride, padding: kernel / 2, extra: 0, groups }
}

/// One more row and column of zeros at the end than at the beginning.
fn lopsided(kernel: usize, stride: usize, groups: usize) -> ConvGeometry {
    ConvGeometry { kernel, stride, padding: (kernel - 1) / 2 - stride / 2, extra: 1, groups }
}

const POINTWISE: ConvGeometry = ConvGeometry::POINTWISE;

/// Blocks as the families have them, around the edges of vectors and tiles.
fn training_cases() -> Vec<Case> {
    use Activation::{HSwish, Relu, Relu6, Silu};
    let pooled = OpKind::AveragePool { kernel: 2, stride: 2, padding: 0, rounding: PoolRounding::Ceil };
    let max_pool = OpKind::MaxPool { kernel: 3, stride: 2, padding: 1 };
    vec![
        Case::new("gated inverted residual", [3, 9, 7, 12])
            .conv(0, [12, 36], POINTWISE, Some(HSwish))
            .conv(1, [36, 36], square(5, 1, 36), Some(HSwish))
            .gate(2, 36)
            .conv(3, [36, 12], POINTWISE, None)
            .add([4, 0], None),
        Case::new("SiLU, gated, stride 2", [2, 9, 8, 5])
            .conv(0, [5, 17], POINTWISE, Some(Silu))
            .conv(1, [17, 17], square(3, 2, 17), Some(Silu))
            .gate(2, 17)
            .conv(3, [17, 7], POINTWISE, None),
        Case::new("gated without expansion, padded at the end", [2, 8, 6, 17])
            .conv(0, [17, 17], lopsided(5, 2, 17), Some(Silu))
            .gated_by(1, 17, Silu, Gate::Sigmoid)
            .conv(2, [17, 9], POINTWISE, None),
        Case::new("SiLU inside, sigmoid outside", [3, 5, 7, 12])
            .conv(0, [12, 24], POINTWISE, Some(HSwish))
            .conv(1, [24, 24], square(3, 1, 24), Some(HSwish))
            .gated_by(2, 24, HSwish, Gate::Sigmoid)
            .conv(3, [24, 12], POINTWISE, None)
            .add([4, 0], None),
        Case::new("dense, padded at the end", [2, 8, 10, 3]).conv(0, [3, 18], lopsided(3, 2, 1), Some(Silu)).conv(
            1,
            [18, 5],
            lopsided(3, 1, 1),
            None,
        ),
        Case::new("depthwise, padded at the end", [2, 9, 12, 20])
            .conv(0, [20, 20], lopsided(3, 2, 20), Some(Relu6))
            .conv(1, [20, 20], lopsided(4, 1, 20), None),
        Case::new("inverted residual, kernel 7", [2, 8, 11, 6])
            .conv(0, [6, 33], POINTWISE, Some(Relu6))
            .conv(1, [33, 33], square(7, 1, 33), Some(Relu6))
            .conv(2, [33, 6], POINTWISE, None)
            .add([3, 0], None),
        Case::new("bottleneck with a pooled shortcut", [2, 9, 7, 20])
            .conv(0, [20, 24], POINTWISE, Some(Relu))
            .conv(1, [24, 24], square(3, 2, 1), Some(Relu))
            .conv(2, [24, 40], POINTWISE, None)
            .op(0, pooled)
            .conv(4, [20, 40], POINTWISE, None)
            .add([3, 5], Some(Relu)),
        Case::new("residual stem", [3, 6, 7, 18]).conv(0, [18, 18], square(3, 1, 1), Some(Silu)).add([0, 1], None),
        Case::new("even kernel, no padding", [2, 7, 6, 3]).conv(
            0,
            [3, 10],
            ConvGeometry { kernel: 2, stride: 2, padding: 0, extra: 0, groups: 1 },
            Some(Relu),
        ),
        Case::new("pooling", [3, 9, 7, 19]).op(0, max_pool),
        Case::new("classifier", [4, 5, 3, 21]).op(0, OpKind::GlobalAveragePool).linear(1, [21, 11]),
    ]
}

/// Blocks without batch norm, as evaluation runs them; the dense one is done in the Winograd domain.
fn evaluation_cases() -> Vec<Case> {
    use Activation::{HSwish, Relu, Silu};
    vec![
        Case::new("inverted residual", [5, 9, 7, 12])
            .biased(0, [12, 36], POINTWISE, Some(Silu))
            .biased(1, [36, 36], square(3, 1, 36), Some(Silu))
            .gate(2, 36)
            .biased(3, [36, 12], POINTWISE, None)
            .add([4, 0], None),
        Case::new("depthwise 5, stride 2", [2, 11, 13, 19]).biased(0, [19, 19], square(5, 2, 19), Some(HSwish)),
        Case::new("gated, padded at the end", [3, 10, 8, 18])
            .biased(0, [18, 18], lopsided(3, 2, 18), Some(Silu))
            .gated_by(1, 18, Silu, Gate::Sigmoid)
            .biased(2, [18, 10], POINTWISE, None),
        Case::new("dense, padded at the end", [2, 12, 14, 3]).biased(0, [3, 33], lopsided(3, 2, 1), Some(Relu)),
        Case::new("dense 3, stride 1, padded at the end", [2, 6, 7, 40]).biased(0, [40, 40], lopsided(3, 1, 1), None),
        Case::new("dense 3", [3, 7, 9, 40]).biased(0, [40, 56], square(3, 1, 1), Some(Silu)),
        Case::new("dense 7, stride 2", [2, 17, 15, 3]).biased(0, [3, 33], square(7, 2, 1), Some(Relu)),
        Case::new("classifier", [9, 4, 4, 70]).op(0, OpKind::GlobalAveragePool).linear(1, [70, 37]),
    ]
}

struct Made {
    output: Vec<f32>,
    statistics: Vec<(Vec<f32>, Vec<f32>)>,
    /// Of the input, then of every parameter.
    gradients: Vec<Vec<f32>>,
}

fn train(case: &Case) -> Made {
    train_in(case, Precision::F32)
}

fn train_in(case: &Case, precision: Precision) -> Made {
    let block = Block::new(case.steps.clone()).unwrap().with_precision(precision);
    let [images, h, w, c] = case.input;
    let shapes = block.shapes([h, w, c]).unwrap();
    let params: Vec<&[f32]> = case.params.iter().map(Vec::as_slice).collect();
    let x = case.x();
    let made = forward(&block, &shapes, images, &x, &params, Keep::ForBackward).unwrap();
    let dy = case.pull(made.output.len());
    let backward = Backward {
        block: &block,
        shapes: &shapes,
        images,
        x: &x,
        y: &made.output,
        params: &params,
        dy: &dy,
        input: InputGradient::Wanted,
    };
    let gradients = backward.run(made.kept).unwrap();
    let mut all = vec![gradients.input.unwrap().to_vec()];
    all.extend(gradients.params);
    Made { output: made.output.to_vec(), statistics: made.statistics, gradients: all }
}

/// Size of the difference as a share of the size of `b`.
fn relative(a: &[f32], b: impl ExactSizeIterator<Item = f64>) -> f64 {
    assert_eq!(a.len(), b.len());
    let (mut difference, mut size) = (0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        difference += (f64::from(*a) - b).powi(2);
        size += b * b;
    }
    (difference / f64::max(size, 1e-4)).sqrt()
}

fn widened(values: &[f32]) -> impl ExactSizeIterator<Item = f64> + '_ {
    values.iter().map(|value| f64::from(*value))
}

#[test]
fn values_and_gradients_are_those_of_plain_loops() {
    for case in training_cases() {
        let still: Vec<Vec<f32>> =
            std::iter::once(case.x()).chain(case.params.clone()).map(|values| vec![0.0; values.len()]).collect();
        let x = Value { data: widened(&case.x()).collect(), shape: case.input };
        let params: Vec<Vec<f64>> = case.params.iter().map(|values| widened(values).collect()).collect();
        let expected = reference::run(&case.steps, &x, &params).data;
        // One direction for every tensor by itself, so that no small gradient hides behind a large one.
        let slopes: Vec<(Vec<f32>, f64)> = (0..still.len())
            .map(|index| {
                let mut directions = still.clone();
                directions[index] = noise(still[index].len(), 5 + index as u64);
                let step = 1e-7;
                let slope = (case.loss(&directions, step) - case.loss(&directions, -step)) / (2.0 * step);
                (directions.swap_remove(index), slope)
            })
            .collect();
        with_every_instruction_set(|set| {
            let made = train(&case);
            let error = relative(&made.output, expected.iter().copied());
            assert!(error < 1e-5, "{} with {set:?}: output off by {error}", case.name);
            for (index, ((direction, slope), gradient)) in slopes.iter().zip(&made.gradients).enumerate() {
                let along: f64 = widened(gradient).zip(widened(direction)).map(|(g, d)| g * d).sum();
                let size = widened(gradient).map(|g| g * g).sum::<f64>().sqrt();
                let error = (along - slope).abs();
                assert!(error < 2e-4 * size.max(1.0), "{} with {set:?}: gradient {index}: {along}, {slope}", case.name);
            }
        });
    }
}

#[test]
fn every_instruction_set_agrees_with_scalar_code() {
    for case in training_cases() {
        let mut scalar: Option<Made> = None;
        with_every_instruction_set(|set| {
            let made = train(&case);
            let Some(scalar) = &scalar else {
                assert_eq!(set, InstructionSet::Scalar);
                scalar = Some(made);
                return;
            };
            let error = relative(&made.output, widened(&scalar.output));
            assert!(error < 1e-5, "{} with {set:?}: output {error}", case.name);
            for ((mean, variance), (m, v)) in made.statistics.iter().zip(&scalar.statistics) {
                assert!(relative(mean, widened(m)) < 1e-4 && relative(variance, widened(v)) < 1e-5, "{}", case.name);
            }
            for (index, (ours, theirs)) in made.gradients.iter().zip(&scalar.gradients).enumerate() {
                let error = relative(ours, widened(theirs));
                assert!(error < 1e-4, "{} with {set:?}: gradient {index}: {error}", case.name);
            }
        });
    }
}

#[test]
fn evaluation_agrees_with_plain_loops() {
    for case in evaluation_cases() {
        let x = Value { data: widened(&case.x()).collect(), shape: case.input };
        let wide: Vec<Vec<f64>> = case.params.iter().map(|values| widened(values).collect()).collect();
        let expected = reference::run(&case.steps, &x, &wide).data;
        let block = Block::new(case.steps.clone()).unwrap();
        let [images, h, w, c] = case.input;
        let shapes = block.shapes([h, w, c]).unwrap();
        let params: Vec<&[f32]> = case.params.iter().map(Vec::as_slice).collect();
        with_every_instruction_set(|set| {
            let layouts = Layouts::new(&block, &params).unwrap();
            let made = evaluate(&block, &shapes, images, &case.x(), &params, &layouts).unwrap();
            let error = relative(&made, expected.iter().copied());
            assert!(error < 1e-5, "{} with {set:?}: off by {error}", case.name);
        });
    }
}

/// Factors of 8 bits move a block's results by some thousandths; one that was rounded the other way, because a sum before it
/// was formed in another order, moves them as much.
#[test]
fn bf16_is_near_f32_with_every_instruction_set() {
    for case in training_cases() {
        let exact = train(&case);
        with_every_instruction_set(|set| {
            let made = train_in(&case, Precision::Bf16);
            let error = relative(&made.output, widened(&exact.output));
            assert!(error < 1e-2, "{} with {set:?}: output {error}", case.name);
            let multiplies = case.name != "pooling" && !case.name.starts_with("depthwise");
            assert_eq!(error > 1e-4, multiplies, "{} with {set:?}: output {error}", case.name);
            for (index, (ours, exact)) in made.gradients.iter().zip(&exact.gradients).enumerate() {
                let error = relative(ours, widened(exact));
                assert!(error < 0.1, "{} with {set:?}: gradient {index}: {error}", case.name);
            }
        });
    }
    for case in evaluation_cases() {
        let params: Vec<&[f32]> = case.params.iter().map(Vec::as_slice).collect();
        let [images, h, w, c] = case.input;
        let evaluate_in = |precision| {
            let block = Block::new(case.steps.clone()).unwrap().with_precision(precision);
            let layouts = Layouts::new(&block, &params).unwrap();
            evaluate(&block, &block.shapes([h, w, c]).unwrap(), images, &case.x(), &params, &layouts).unwrap().to_vec()
        };
        let exact = evaluate_in(Precision::F32);
        with_every_instruction_set(|set| {
            let error = relative(&evaluate_in(Precision::Bf16), widened(&exact));
            assert!(error < 1e-2, "{} with {set:?}: off by {error}", case.name);
        });
    }
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    for (case, precision) in training_cases().iter().flat_map(|case| [(case, Precision::F32), (case, Precision::Bf16)])
    {
        with_every_instruction_set(|set| {
            let on = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| train_in(case, precision))
            };
            let (one, three) = (on(1), on(3));
            assert_eq!(one.output, three.output, "{} with {set:?}, {precision:?}", case.name);
            assert_eq!(one.statistics, three.statistics);
            assert_eq!(one.gradients, three.gradients);
        });
    }
}

#[test]
fn blocks_that_the_kernels_cannot_run_are_refused() {
    let block = |case: Case| Block::new(case.steps);
    let chain = || Case::new("", [1, 4, 4, 8]).conv(0, [8, 8], POINTWISE, None);
    assert!(block(Case::new("", [1, 4, 4, 8])).is_none());
    assert!(block(chain()).is_some());
    // A value from the future, a sum that something follows, a sum of one value, a gate before a depthwise convolution.
    assert!(block(Case::new("", [1, 4, 4, 8]).conv(1, [8, 8], POINTWISE, None)).is_none());
    assert!(block(chain().add([0, 1], None).conv(2, [8, 8], POINTWISE, None)).is_none());
    assert!(block(chain().add([1, 1], None)).is_none());
    assert!(block(chain().gate(1, 8).conv(2, [8, 8], square(3, 1, 8), None)).is_none());
    assert!(block(chain().op(1, OpKind::Activation { function: Activation::Relu })).is_none());
    // A grouped convolution that is not depthwise, and a linear layer over more than single pixels.
    let grouped = block(Case::new("", [1, 4, 4, 8]).conv(0, [8, 8], square(3, 1, 2), None)).unwrap();
    assert!(grouped.shapes([4, 4, 8]).is_none());
    let linear = block(Case::new("", [1, 1, 1, 8]).linear(0, [8, 3])).unwrap();
    assert!(linear.shapes([2, 1, 8]).is_none() && !linear.takes_any_size());
    assert_eq!(linear.shapes([1, 1, 8]).unwrap()[1], [1, 1, 3]);
}
