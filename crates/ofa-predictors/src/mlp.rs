//! Multi-layer perceptrons: inference as plain matrix products.

use crate::predictor::Predictor;
use crate::standardise::Moments;
use serde::{Deserialize, Serialize};

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
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Mlp {
    /// Layers in order.
    pub layers: Vec<Layer>,
    /// How features are standardised first; not at all, if empty.
    pub features: Vec<Moments>,
    /// How the output becomes the target.
    pub target: Moments,
}

impl Mlp {
    fn predict_one(&self, row: &[f32]) -> f64 {
        let mut values: Vec<f32> = match self.features.is_empty() {
            true => row.to_vec(),
            false => row.iter().zip(&self.features).map(|(v, m)| m.standardise(f64::from(*v)) as f32).collect(),
        };
        for (index, layer) in self.layers.iter().enumerate() {
            assert_eq!(values.len(), layer.inputs, "features of another encoding");
            let last = index + 1 == self.layers.len();
            values = layer
                .weight
                .chunks_exact(layer.inputs)
                .zip(&layer.bias)
                .map(|(weights, bias)| {
                    let sum = bias + weights.iter().zip(&values).map(|(w, x)| w * x).sum::<f32>();
                    if last { sum } else { sum.max(0.0) }
                })
                .collect();
        }
        self.target.restore(f64::from(values.first().copied().unwrap_or_default()))
    }
}

#[typetag::serde(name = "mlp")]
impl Predictor for Mlp {
    fn predict(&self, features: &[Vec<f32>]) -> Vec<f64> {
        features.iter().map(|row| self.predict_one(row)).collect()
    }
}
