//! Multi-layer perceptrons: inference as matrix products, in batches.

use crate::encoding::sparse::SparseRows;
use crate::inference::{Predictor, finite, length};
use crate::standardise::Moments;
use ofa_kernels::dense::{Activation, PackedLayer};
use ofa_space::settings::{self, InvalidSetting};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// One fully connected layer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// Number of inputs.
    pub inputs: usize,
    /// `[outputs, inputs]`, row-major.
    pub weight: Vec<f32>,
    /// One per output.
    pub bias: Vec<f32>,
}

/// Layers with ReLU between them and a single output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mlp {
    /// Layers in order.
    layers: Vec<Layer>,
    /// How features are standardised first; not at all, if empty.
    features: Vec<Moments>,
    /// How the output becomes the target.
    target: Moments,
    #[serde(skip)]
    packed: OnceLock<Packed>,
}

/// The form that inference works on: standardisation folded into the first layer, weights packed.
#[derive(Clone, Debug)]
struct Packed {
    /// Number of units of the first layer.
    units: usize,
    /// `[feature, block]` of the first layer, and its biases: a one-hot row is a sum of a few of these rows. The last
    /// block is filled up with zeros.
    first: Vec<[f32; BLOCK]>,
    first_bias: Vec<[f32; BLOCK]>,
    /// The layers between the first and the last.
    hidden: Vec<PackedLayer>,
    /// The same layers transposed, for gradients.
    backward: Vec<PackedLayer>,
    last: Vec<f32>,
    last_bias: f32,
}

/// Units of the first layer whose sums stay in registers while the features of a row go by; five of them make the 400 of
/// the authors' predictors.
const BLOCK: usize = 80;

/// Rows that go through the layers together: their activations stay in the second-level cache.
const CHUNK: usize = 80;

impl Mlp {
    /// An MLP of at least two layers, of which the last has one output.
    ///
    /// # Panics
    /// If layers do not fit each other.
    pub fn new(layers: Vec<Layer>, features: Vec<Moments>, target: Moments) -> Self {
        assert!(layers.len() >= 2, "an MLP has a hidden layer");
        assert!(layers.windows(2).all(|pair| pair[1].inputs == pair[0].bias.len()), "layers fit each other");
        assert!(layers.last().is_some_and(|layer| layer.bias.len() == 1), "the last layer has one output");
        Self { layers, features, target, packed: OnceLock::new() }
    }

    fn packed(&self) -> &Packed {
        self.packed.get_or_init(|| {
            let (first, last) = (&self.layers[0], &self.layers[self.layers.len() - 1]);
            let units = first.bias.len();
            let blocks = units.div_ceil(BLOCK);
            let mut rows = vec![[0.0; BLOCK]; first.inputs * blocks];
            let mut biases = vec![[0.0; BLOCK]; blocks];
            for unit in 0..units {
                let mut shift = 0.0f64;
                for feature in 0..first.inputs {
                    let mut weight = f64::from(first.weight[unit * first.inputs + feature]);
                    if let Some(moments) = self.features.get(feature) {
                        weight /= moments.deviation;
                        shift += weight * moments.mean;
                    }
                    rows[feature * blocks + unit / BLOCK][unit % BLOCK] = weight as f32;
                }
                biases[unit / BLOCK][unit % BLOCK] = (f64::from(first.bias[unit]) - shift) as f32;
            }
            let between = &self.layers[1..self.layers.len() - 1];
            Packed {
                units,
                first: rows,
                first_bias: biases,
                hidden: between.iter().map(|l| PackedLayer::new(&l.weight, &l.bias, l.inputs)).collect(),
                backward: between.iter().map(|l| PackedLayer::transposed(&l.weight, l.inputs)).collect(),
                last: last.weight.clone(),
                last_bias: last.bias[0],
            }
        })
    }
}

impl Packed {
    fn units(&self) -> usize {
        self.units
    }

    /// Activations of the first layer for some rows.
    fn first(&self, rows: &SparseRows, range: std::ops::Range<usize>, output: &mut [f32]) {
        let units = self.units();
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (row, sums) in range.zip(output.chunks_exact_mut(units)) {
                    for (block, (sums, bias)) in sums.chunks_mut(BLOCK).zip(&self.first_bias).enumerate() {
                        let mut kept = *bias;
                        for (feature, value) in rows.row(row) {
                            let weights = &self.first[*feature as usize * self.first_bias.len() + block];
                            for (sum, weight) in kept.iter_mut().zip(weights) {
                                *sum += value * weight;
                            }
                        }
                        for (sum, kept) in sums.iter_mut().zip(&kept) {
                            *sum = kept.max(0.0);
                        }
                    }
                }
            },
        );
    }

    /// The output for one row of activations.
    fn last(&self, values: &[f32]) -> f32 {
        self.last_bias + dot(values, &self.last)
    }
}

/// Sixteen sums side by side, so that it is the same on machines with any vectors.
fn dot(one: &[f32], other: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let (a, b) = (one.chunks_exact(LANES), other.chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[typetag::serde(name = "mlp")]
impl Predictor for Mlp {
    fn check(&self) -> Result<(), InvalidSetting> {
        let fits = |pair: &[Layer]| pair[1].inputs == pair[0].bias.len();
        let ends_in_one = self.layers.last().is_some_and(|layer| layer.bias.len() == 1);
        if self.layers.len() < 2 || !ends_in_one || !self.layers.windows(2).all(fits) {
            let problem = "do not fit each other, expected at least two, each with the outputs of the one before as its \
                           inputs, and one output at the end";
            return Err(InvalidSetting::new("layers", problem));
        }
        for layer in &self.layers {
            settings::count("inputs", layer.inputs, 1..=layer.weight.len().max(1))?;
            length("weight", layer.weight.len(), layer.inputs.saturating_mul(layer.bias.len()))?;
            finite("weight", layer.weight.iter().chain(&layer.bias).map(|value| f64::from(*value)))?;
        }
        if !self.features.is_empty() {
            length("features", self.features.len(), self.layers[0].inputs)?;
        }
        let moments = self.features.iter().map(|moments| ("features", moments)).chain([("target", &self.target)]);
        moments.into_iter().try_for_each(|(field, moments)| moments.check().map_err(|invalid| invalid.within(field)))
    }

    fn width(&self) -> Option<usize> {
        self.layers.first().map(|layer| layer.inputs)
    }

    fn predict(&self, features: &[Vec<f32>]) -> Vec<f64> {
        self.predict_sparse(&SparseRows::of(features))
    }

    fn predict_sparse(&self, rows: &SparseRows) -> Vec<f64> {
        assert!(rows.is_empty() || rows.width() == self.layers[0].inputs, "features of another encoding");
        let packed = self.packed();
        let widest = packed.hidden.iter().map(PackedLayer::outputs).max().unwrap_or(0).max(packed.units());
        let (mut values, mut next) = (vec![0.0; CHUNK * widest], vec![0.0; CHUNK * widest]);
        let mut predictions = Vec::with_capacity(rows.len());
        for start in (0..rows.len()).step_by(CHUNK) {
            let count = CHUNK.min(rows.len() - start);
            packed.first(rows, start..start + count, &mut values);
            for layer in &packed.hidden {
                layer.forward(count, &values, &mut next, Activation::Relu);
                std::mem::swap(&mut values, &mut next);
            }
            let outputs = values.chunks_exact(packed.last.len()).take(count);
            predictions.extend(outputs.map(|row| self.target.restore(f64::from(packed.last(row)))));
        }
        predictions
    }

    fn gradients(&self, rows: &SparseRows, gradients: &mut Vec<f32>) -> bool {
        assert!(rows.is_empty() || rows.width() == self.layers[0].inputs, "features of another encoding");
        let packed = self.packed();
        gradients.clear();
        gradients.reserve(rows.len() * rows.width());
        for start in (0..rows.len()).step_by(CHUNK) {
            let count = CHUNK.min(rows.len() - start);
            let mut activations = vec![vec![0.0; count * packed.units()]];
            packed.first(rows, start..start + count, &mut activations[0]);
            for layer in &packed.hidden {
                let mut next = vec![0.0; count * layer.outputs()];
                layer.forward(count, &activations[activations.len() - 1], &mut next, Activation::Relu);
                activations.push(next);
            }
            let scale = self.target.deviation as f32;
            let mut back: Vec<f32> = (0..count).flat_map(|_| packed.last.iter().map(|w| w * scale)).collect();
            let gate = |back: &mut [f32], values: &[f32]| {
                for (gradient, value) in back.iter_mut().zip(values) {
                    *gradient = if *value > 0.0 { *gradient } else { 0.0 };
                }
            };
            for (layer, values) in packed.backward.iter().zip(&activations[1..]).rev() {
                gate(&mut back, values);
                let mut next = vec![0.0; count * layer.outputs()];
                layer.forward(count, &back, &mut next, Activation::None);
                back = next;
            }
            gate(&mut back, &activations[0]);
            let units = packed.units();
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || {
                    for row in back.chunks_exact(units) {
                        gradients.extend(packed.first.chunks_exact(packed.first_bias.len()).map(
                            #[inline(always)]
                            |weights| dot(row, &weights.as_flattened()[..units]),
                        ));
                    }
                },
            );
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The layers one by one, as they are written down.
    fn plain(mlp: &Mlp, row: &[f32]) -> f64 {
        let mut values: Vec<f64> = match mlp.features.is_empty() {
            true => row.iter().map(|v| f64::from(*v)).collect(),
            false => row.iter().zip(&mlp.features).map(|(v, m)| m.standardise(f64::from(*v))).collect(),
        };
        for (index, layer) in mlp.layers.iter().enumerate() {
            let last = index + 1 == mlp.layers.len();
            values = layer
                .weight
                .chunks_exact(layer.inputs)
                .zip(&layer.bias)
                .map(|(weights, bias)| {
                    let sum =
                        f64::from(*bias) + weights.iter().zip(&values).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
                    if last { sum } else { sum.max(0.0) }
                })
                .collect();
        }
        mlp.target.restore(values[0])
    }

    fn network(sizes: &[usize], standardise: bool) -> Mlp {
        let draw = |n: usize, salt: usize| -> Vec<f32> {
            (0..n).map(|i| (((i * 7919 + salt * 104_729) % 1009) as f32 / 1009.0 - 0.5) * 0.4).collect()
        };
        let layers = sizes.windows(2).enumerate().map(|(i, pair)| Layer {
            inputs: pair[0],
            weight: draw(pair[0] * pair[1], i),
            bias: draw(pair[1], i + 50),
        });
        let features = match standardise {
            true => (0..sizes[0]).map(|i| Moments { mean: 0.1 * i as f64, deviation: 1.0 + 0.3 * i as f64 }).collect(),
            false => Vec::new(),
        };
        Mlp::new(layers.collect(), features, Moments { mean: 0.7, deviation: 0.1 })
    }

    fn rows(count: usize, width: usize) -> Vec<Vec<f32>> {
        let value = |i: usize, j: usize| match (i * 31 + j * 17) % 5 {
            0 => 1.0,
            1 => 0.25 * j as f32,
            _ => 0.0,
        };
        (0..count).map(|i| (0..width).map(|j| value(i, j)).collect()).collect()
    }

    #[test]
    fn batches_give_what_the_layers_say_one_by_one() {
        for (sizes, standardise) in
            [(vec![9, 7, 1], true), (vec![12, 33, 100, 1], false), (vec![5, 90, 81, 17, 1], true)]
        {
            let mlp = network(&sizes, standardise);
            let features = rows(203, sizes[0]);
            let ours = mlp.predict(&features);
            for (row, value) in features.iter().zip(&ours) {
                let expected = plain(&mlp, row);
                assert!((value - expected).abs() < 1e-5, "{sizes:?}: {value} {expected}");
            }
            // A row's prediction does not depend on its neighbours.
            for row in [0, 79, 80, 202] {
                assert_eq!(mlp.predict(&features[row..=row])[0].to_bits(), ours[row].to_bits());
            }
        }
    }

    #[test]
    fn gradients_are_differences() {
        let mlp = network(&[6, 40, 30, 1], true);
        let features = rows(90, 6);
        let mut gradients = Vec::new();
        assert!(mlp.gradients(&SparseRows::of(&features), &mut gradients));
        for (index, row) in features.iter().enumerate() {
            for feature in 0..6 {
                const STEP: f32 = 1e-4;
                let mut moved = row.clone();
                moved[feature] += STEP;
                let difference = (plain(&mlp, &moved) - plain(&mlp, row)) / f64::from(moved[feature] - row[feature]);
                let ours = f64::from(gradients[index * 6 + feature]);
                assert!((ours - difference).abs() < 2e-3, "row {index}, feature {feature}: {ours} {difference}");
            }
        }
    }
}
