//! Fully connected layers over rows that are mostly zeros, as the features of archs and the outputs of a ReLU are: weights
//! packed once into panels, products that skip what is zero in all rows of a tile.
//!
//! A row's result is the same whatever other rows are in the batch: every output is one sum over the inputs in order, so
//! batches of any size and any number of threads agree bit for bit.

use crate::instruction_set::arch;
use pulp::{Arch, Simd, WithSimd};

/// A layer `y = Wx + b` with its weights packed for the vectors of the instruction set in use.
#[derive(Clone, Debug)]
pub struct PackedLayer {
    /// What it was packed for.
    arch: Arch,
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
        let arch = arch();
        let lanes = arch.dispatch(Lanes);
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
        Self { arch, inputs, outputs, panel, weight: packed, bias: padded }
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
        self.arch.dispatch(Forward { layer: self, rows, input, output, relu: activation == Activation::Relu });
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

/// Inputs of a panel whose weights are used for all rows before the next: they stay in the first-level cache.
const DEPTH: usize = 128;

/// Inputs of one tile: those that are not zero in all of its rows, in order. After a ReLU and for similar rows these are
/// about half.
struct Tile<const ROWS: usize> {
    /// Where each block of inputs ends in `places`.
    ends: Vec<usize>,
    places: Vec<u32>,
    /// Of every row at each place.
    values: Vec<[f32; ROWS]>,
}

/// Tiles of `ROWS` rows and `VECTORS` vectors. Each output is one sum over the inputs in order, whatever the blocking:
/// a tile takes up its sums where the block of inputs before has left them, and what is skipped is zero.
#[inline(always)]
fn product<S: Simd, const VECTORS: usize, const ROWS: usize>(simd: S, work: Forward<'_>) {
    let Forward { layer, rows, input, output, relu } = work;
    let (inputs, outputs, panel) = (layer.inputs, layer.outputs, layer.panel);
    let depth = match rows <= ROWS {
        true => inputs.max(1),
        false => inputs.div_ceil(inputs.div_ceil(DEPTH).max(1)).max(1),
    };
    let mut tiles: Vec<Tile<ROWS>> = Vec::with_capacity(rows.div_ceil(ROWS));
    for tile in 0..rows.div_ceil(ROWS) {
        tiles.push(gather(tile, rows, inputs, depth, input));
    }
    let mut sums = vec![0.0f32; tiles.len() * ROWS * panel];
    for (p, bias) in layer.bias.chunks_exact(panel).enumerate() {
        let weight = &layer.weight[p * inputs * panel..(p + 1) * inputs * panel];
        sums.chunks_exact_mut(panel).for_each(|row| row.copy_from_slice(bias));
        for block in 0..inputs.div_ceil(depth) {
            for (tile, sums) in tiles.iter().zip(sums.chunks_exact_mut(ROWS * panel)) {
                let range = if block == 0 { 0 } else { tile.ends[block - 1] }..tile.ends[block];
                let (places, values) = (&tile.places[range.clone()], &tile.values[range]);
                tile_sums::<S, VECTORS, ROWS>(simd, weight, places, values, sums);
            }
        }
        let first = p * panel;
        let width = panel.min(outputs - first);
        for (row, sums) in sums.chunks_exact(panel).take(rows).enumerate() {
            let output = &mut output[row * outputs + first..][..width];
            match relu {
                true => output.iter_mut().zip(sums).for_each(|(output, sum)| *output = sum.max(0.0)),
                false => output.copy_from_slice(&sums[..width]),
            }
        }
    }
}

#[inline(always)]
fn gather<const ROWS: usize>(tile: usize, rows: usize, inputs: usize, depth: usize, input: &[f32]) -> Tile<ROWS> {
    // A short tile repeats its last row; the copies are not written.
    let sources: [&[f32]; ROWS] = std::array::from_fn(|i| {
        let row = (tile * ROWS + i).min(rows - 1);
        &input[row * inputs..(row + 1) * inputs]
    });
    let mut ends = Vec::with_capacity(inputs.div_ceil(depth));
    let (mut places, mut values) = (vec![0u32; inputs], vec![[0.0f32; ROWS]; inputs]);
    let (mut count, mut place) = (0, 0);
    while place < inputs {
        let end = (place + depth).min(inputs);
        while place < end {
            let (mut bits, mut here) = (0, [0.0; ROWS]);
            for (value, source) in here.iter_mut().zip(&sources) {
                *value = source[place];
                bits |= value.to_bits() << 1;
            }
            // Written in any case, kept if something is not zero: no branch to mispredict.
            places[count] = place as u32;
            values[count] = here;
            count += usize::from(bits != 0);
            place += 1;
        }
        ends.push(count);
    }
    Tile { ends, places, values }
}

#[inline(always)]
fn tile_sums<S: Simd, const VECTORS: usize, const ROWS: usize>(
    simd: S,
    weight: &[f32],
    places: &[u32],
    values: &[[f32; ROWS]],
    sums: &mut [f32],
) {
    let (weight, _) = S::as_simd_f32s(weight);
    let (kept, _) = S::as_mut_simd_f32s(sums);
    let mut sums: [[S::f32s; VECTORS]; ROWS] = std::array::from_fn(|i| std::array::from_fn(|j| kept[i * VECTORS + j]));
    for (place, values) in places.iter().zip(values) {
        let at = *place as usize * VECTORS;
        let columns = &weight[at..at + VECTORS];
        let columns: [S::f32s; VECTORS] = std::array::from_fn(|j| columns[j]);
        for (row, value) in sums.iter_mut().zip(values) {
            let x = simd.splat_f32s(*value);
            for (sum, column) in row.iter_mut().zip(&columns) {
                *sum = simd.mul_add_f32s(x, *column, *sum);
            }
        }
    }
    for (kept, row) in kept.chunks_exact_mut(VECTORS).zip(&sums) {
        kept.copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise;

    /// Rows of which two thirds are zero.
    fn sparse(count: usize, seed: u64) -> Vec<f32> {
        noise(count, seed).into_iter().map(|value| if value > 0.33 { value } else { 0.0 }).collect()
    }

    #[test]
    fn layers_agree_with_plain_loops_and_rows_do_not_depend_on_each_other() {
        for (rows, inputs, outputs) in [(1, 1, 1), (3, 7, 5), (5, 130, 80), (17, 300, 81), (64, 129, 400)] {
            let (weight, bias) = (noise(inputs * outputs, 1), noise(outputs, 2));
            let input = sparse(rows * inputs, 3);
            let layer = PackedLayer::new(&weight, &bias, inputs);
            assert_eq!((layer.inputs(), layer.outputs()), (inputs, outputs));
            for activation in [Activation::None, Activation::Relu] {
                let mut output = vec![f32::NAN; rows * outputs];
                layer.forward(rows, &input, &mut output, activation);
                for (row, output) in output.chunks_exact(outputs).enumerate() {
                    let input = &input[row * inputs..(row + 1) * inputs];
                    for (column, made) in output.iter().enumerate() {
                        let weight = &weight[column * inputs..(column + 1) * inputs];
                        let sum: f64 = input.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                        let sum = sum + f64::from(bias[column]);
                        let expected = if activation == Activation::Relu { sum.max(0.0) } else { sum };
                        assert!((f64::from(*made) - expected).abs() < 1e-4, "row {row}, column {column}");
                    }
                    let mut alone = vec![f32::NAN; outputs];
                    layer.forward(1, input, &mut alone, activation);
                    assert_eq!(alone, output);
                }
            }
        }
    }

    #[test]
    fn the_transposed_layer_carries_gradients_back() {
        let (inputs, outputs) = (37, 21);
        let weight = noise(inputs * outputs, 1);
        let layer = PackedLayer::transposed(&weight, inputs);
        let gradient = noise(outputs, 4);
        let mut back = vec![f32::NAN; inputs];
        layer.forward(1, &gradient, &mut back, Activation::None);
        for (input, made) in back.iter().enumerate() {
            let exact: f64 = (0..outputs).map(|o| f64::from(gradient[o]) * f64::from(weight[o * inputs + input])).sum();
            assert!((f64::from(*made) - exact).abs() < 1e-5);
        }
    }
}
