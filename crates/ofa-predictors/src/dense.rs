//! Dense layers at machine speed: weights packed once into panels, products over the widest vectors of the machine.
//!
//! A row's result is the same whatever other rows stand beside it: every output is one sum over the inputs in order, so
//! batches of any size and any number of threads agree bit for bit.

use pulp::{Arch, Simd, WithSimd};

/// A layer `y = Wx + b` with its weights packed for the vectors of this machine.
#[derive(Clone, Debug)]
pub struct PackedLayer {
    inputs: usize,
    outputs: usize,
    /// Columns of a panel.
    panel: usize,
    /// `[panel][input][column]`, the last panel padded with zeros.
    weight: Vec<f32>,
    /// One per output, padded as the weights.
    bias: Vec<f32>,
}

/// What follows the sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// Nothing.
    None,
    /// `max(0, y)`.
    Relu,
}

/// Vectors in a row of a tile, and rows of a tile, by the lanes of a vector: as many accumulators as registers hold.
const fn tile(lanes: usize) -> (usize, usize) {
    match lanes {
        16 => (5, 5),
        8 => (2, 5),
        4 => (4, 5),
        _ => (8, 1),
    }
}

struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

impl PackedLayer {
    /// Packs `weight`, `[outputs, inputs]` row-major.
    ///
    /// # Panics
    /// If the sizes do not agree.
    pub fn new(weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        let outputs = bias.len();
        assert_eq!(weight.len(), inputs * outputs, "weights of {outputs} outputs and {inputs} inputs");
        Self::pack(inputs, bias, |output, input| weight[output * inputs + input])
    }

    /// The layer with the transposed weights and no bias: what carries a gradient back.
    pub fn transposed(weight: &[f32], inputs: usize) -> Self {
        let outputs = weight.len() / inputs.max(1);
        Self::pack(outputs, &vec![0.0; inputs], |output, input| weight[input * inputs + output])
    }

    fn pack(inputs: usize, bias: &[f32], weight: impl Fn(usize, usize) -> f32) -> Self {
        let lanes = Arch::new().dispatch(Lanes);
        let panel = lanes * tile(lanes).0;
        let outputs = bias.len();
        let panels = outputs.div_ceil(panel);
        let mut packed = vec![0.0; panels * inputs * panel];
        let mut padded = vec![0.0; panels * panel];
        padded[..outputs].copy_from_slice(bias);
        for output in 0..outputs {
            let (p, column) = (output / panel, output % panel);
            for input in 0..inputs {
                packed[(p * inputs + input) * panel + column] = weight(output, input);
            }
        }
        Self { inputs, outputs, panel, weight: packed, bias: padded }
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Outputs of `rows` rows; `input` is `[rows, inputs]`, `output` `[rows, outputs]`.
    ///
    /// # Panics
    /// If a slice is shorter than that.
    pub fn forward(&self, rows: usize, input: &[f32], output: &mut [f32], activation: Activation) {
        assert!(input.len() >= rows * self.inputs && output.len() >= rows * self.outputs, "slices hold all rows");
        Arch::new().dispatch(Forward { layer: self, rows, input, output, relu: activation == Activation::Relu });
    }
}

struct Forward<'a> {
    layer: &'a PackedLayer,
    rows: usize,
    input: &'a [f32],
    output: &'a mut [f32],
    relu: bool,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => product::<S, 5, 5>(simd, self),
            8 => product::<S, 2, 5>(simd, self),
            4 => product::<S, 4, 5>(simd, self),
            _ => product::<S, 8, 1>(simd, self),
        }
    }
}

/// Tiles of `ROWS` rows and `VECTORS` vectors.
#[inline(always)]
fn product<S: Simd, const VECTORS: usize, const ROWS: usize>(simd: S, work: Forward<'_>) {
    let Forward { layer, rows, input, output, relu } = work;
    let (inputs, outputs, panel) = (layer.inputs, layer.outputs, layer.panel);
    let mut spill = vec![0.0f32; panel];
    for (p, bias) in layer.bias.chunks_exact(panel).enumerate() {
        let weight = &layer.weight[p * inputs * panel..(p + 1) * inputs * panel];
        let first = p * panel;
        let width = panel.min(outputs - first);
        let mut row = 0;
        while row < rows {
            let taken = ROWS.min(rows - row);
            // A short tile repeats its last row, and forgets the copies.
            let sources: [&[f32]; ROWS] = std::array::from_fn(|i| {
                let at = (row + i.min(taken - 1)) * inputs;
                &input[at..at + inputs]
            });
            let sums = tile_sums::<S, VECTORS, ROWS>(simd, weight, bias, sources, relu);
            for (i, sum) in sums.iter().enumerate().take(taken) {
                let at = (row + i) * outputs + first;
                if width == panel {
                    store::<S, VECTORS>(sum, &mut output[at..at + panel]);
                } else {
                    store::<S, VECTORS>(sum, &mut spill);
                    output[at..at + width].copy_from_slice(&spill[..width]);
                }
            }
            row += ROWS;
        }
    }
}

#[inline(always)]
fn store<S: Simd, const VECTORS: usize>(sums: &[S::f32s; VECTORS], output: &mut [f32]) {
    let (vectors, _) = S::as_mut_simd_f32s(output);
    vectors[..VECTORS].copy_from_slice(sums);
}

#[inline(always)]
fn tile_sums<S: Simd, const VECTORS: usize, const ROWS: usize>(
    simd: S,
    weight: &[f32],
    bias: &[f32],
    sources: [&[f32]; ROWS],
    relu: bool,
) -> [[S::f32s; VECTORS]; ROWS] {
    let (bias, _) = S::as_simd_f32s(bias);
    let (weight, _) = S::as_simd_f32s(weight);
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for row in &mut sums {
        row.copy_from_slice(&bias[..VECTORS]);
    }
    let length = sources[0].len();
    let sources: [&[f32]; ROWS] = std::array::from_fn(|i| &sources[i][..length]);
    for (k, columns) in weight.chunks_exact(VECTORS).take(length).enumerate() {
        let columns: [S::f32s; VECTORS] = std::array::from_fn(|j| columns[j]);
        for (row, source) in sums.iter_mut().zip(&sources) {
            let x = simd.splat_f32s(source[k]);
            for (sum, column) in row.iter_mut().zip(&columns) {
                *sum = simd.mul_add_f32s(x, *column, *sum);
            }
        }
    }
    if relu {
        let zero = simd.splat_f32s(0.0);
        for sum in sums.iter_mut().flatten() {
            *sum = simd.max_f32s(*sum, zero);
        }
    }
    sums
}
