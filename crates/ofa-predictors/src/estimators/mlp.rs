//! Fitting an MLP with Burn.

use crate::error::PredictorError;
use crate::estimators::{Effort, Estimator, EstimatorEntry, at_least};
use crate::inference::Predictor;
use crate::inference::mlp::{Layer, Mlp};
use crate::standardise::{Moments, columns, standardised};
use burn::module::{Module, Param};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use ofa_space::settings::{self, InvalidSetting, Settings};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// An MLP with ReLU, fitted by Adam with early stopping.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `hidden` | 64, 64, 64 | units of the hidden layers | 1–4096 each |
/// | `epochs` | 300 | at most | ≥ 1 |
/// | `patience` | 40 | epochs without improvement on the held-back tenth before stopping | ≥ 1 |
/// | `learning_rate` | 3e-3 | of Adam | > 0 |
/// | `batch_size` | 64 | pairs a step | ≥ 1 |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpEstimator {
    /// Units of the hidden layers.
    pub hidden: Vec<usize>,
    /// Epochs at most.
    pub epochs: usize,
    /// Epochs without improvement before stopping.
    pub patience: usize,
    /// Learning rate of Adam.
    pub learning_rate: f64,
    /// Pairs a step.
    pub batch_size: usize,
}

impl Default for MlpEstimator {
    fn default() -> Self {
        Self { hidden: vec![64, 64, 64], epochs: 300, patience: 40, learning_rate: 3e-3, batch_size: 64 }
    }
}

impl Settings for MlpEstimator {
    fn check(&self) -> Result<(), InvalidSetting> {
        if self.hidden.is_empty() {
            return Err(InvalidSetting::new("hidden", "is empty, expected the units of at least one layer"));
        }
        for (layer, units) in self.hidden.iter().enumerate() {
            settings::count(&format!("hidden[{layer}]"), *units, 1..=4096)?;
        }
        settings::count("epochs", self.epochs, 1..=usize::MAX)?;
        settings::count("patience", self.patience, 1..=usize::MAX)?;
        settings::positive("learning_rate", self.learning_rate)?;
        settings::count("batch_size", self.batch_size, 1..=usize::MAX)
    }
}

/// The trainable layers.
#[derive(Module, Debug)]
struct Network {
    weights: Vec<Param<Tensor<2>>>,
    biases: Vec<Param<Tensor<1>>>,
}

impl Network {
    /// Uniform within ±1/√inputs, as PyTorch's linear layers.
    fn new(sizes: &[usize], rng: &mut ChaCha8Rng, device: &Device) -> Self {
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for pair in sizes.windows(2) {
            let bound = 1.0 / (pair[0] as f32).sqrt();
            let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-bound..bound)).collect::<Vec<f32>>();
            let weight = TensorData::new(draw(pair[0] * pair[1]), [pair[1], pair[0]]);
            let bias = TensorData::new(draw(pair[1]), [pair[1]]);
            weights.push(Param::from_tensor(Tensor::from_data(weight, device).require_grad()));
            biases.push(Param::from_tensor(Tensor::from_data(bias, device).require_grad()));
        }
        Self { weights, biases }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let last = self.weights.len() - 1;
        let mut x = x;
        for (index, (weight, bias)) in self.weights.iter().zip(&self.biases).enumerate() {
            x = x.matmul(weight.val().transpose()) + bias.val().unsqueeze();
            if index < last {
                x = relu(x);
            }
        }
        x
    }

    fn layers(&self) -> Result<Vec<Layer>, PredictorError> {
        let each = self.weights.iter().zip(&self.biases).map(|(weight, bias)| {
            let [_, inputs] = weight.val().dims();
            Ok(Layer { inputs, weight: host(weight.val())?, bias: host(bias.val())? })
        });
        each.collect()
    }
}

fn host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, PredictorError> {
    let failed = |e| PredictorError::Fit { estimator: "mlp", problem: format!("{e:?}") };
    tensor.into_data().try_into_vec::<f32>().map_err(failed)
}

#[typetag::serde(name = "mlp")]
impl Estimator for MlpEstimator {
    fn fit(&self, features: &[Vec<f32>], targets: &[f64], seed: u64) -> Result<Box<dyn Predictor>, PredictorError> {
        const FEWEST: usize = 10;
        at_least(FEWEST, features.len(), "mlp")?;
        let device = Device::flex().autodiff();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let moments = columns(features);
        let target = Moments::of(targets.iter().copied());
        let rows = standardised(features, &moments);
        let values: Vec<f32> = targets.iter().map(|t| target.standardise(*t) as f32).collect();
        let batch = |indices: &[usize]| {
            let x: Vec<f32> = indices.iter().flat_map(|i| rows[*i].iter().map(|v| *v as f32)).collect();
            let y: Vec<f32> = indices.iter().map(|i| values[*i]).collect();
            let x = Tensor::<2>::from_data(TensorData::new(x, [indices.len(), moments.len()]), &device);
            let y = Tensor::<2>::from_data(TensorData::new(y, [indices.len(), 1]), &device);
            (x, y)
        };
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.shuffle(&mut rng);
        let held_back = order.split_off(order.len() - (order.len() / 10).max(1));
        let (check_x, check_y) = batch(&held_back);
        let mut sizes = vec![moments.len()];
        sizes.extend(&self.hidden);
        sizes.push(1);
        let mut network = Network::new(&sizes, &mut rng, &device);
        let mut optimizer = AdamConfig::new().init();
        let mut best: Option<(f32, Vec<Layer>)> = None;
        let mut stale = 0;
        for epoch in 0..self.epochs {
            order.shuffle(&mut rng);
            let rate = self.learning_rate * (1.0 - epoch as f64 / self.epochs as f64);
            for indices in order.chunks(self.batch_size) {
                let (x, y) = batch(indices);
                let loss = (network.forward(x) - y).square().mean();
                let gradients = GradientsParams::from_grads(loss.backward(), &network);
                network = optimizer.step(rate, network, gradients);
            }
            let error = host((network.forward(check_x.clone()) - check_y.clone()).square().mean())?[0];
            if best.as_ref().is_none_or(|(lowest, _)| error < *lowest) {
                best = Some((error, network.layers()?));
                stale = 0;
            } else {
                stale += 1;
                if stale >= self.patience {
                    break;
                }
            }
        }
        let layers = match best {
            Some((_, layers)) => layers,
            None => network.layers()?,
        };
        Ok(Box::new(Mlp::new(layers, moments, target)))
    }
}

inventory::submit! {
    EstimatorEntry {
        name: "mlp",
        about: "multi-layer perceptron, fitted by Adam with early stopping (Burn)",
        effort: Effort::Slow,
        build: || Box::new(MlpEstimator::default()),
    }
}
