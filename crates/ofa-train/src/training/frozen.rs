//! A frozen network whose logits others learn from.

use crate::data::{DataError, Dataset, TrainedOn};
use crate::elastic::Supernet;
use crate::elastic::executor::Prepared;
use crate::elastic::precision::Precision;
use crate::error::TrainError;
use crate::images::Images;
use burn::tensor::{Device, Tensor};
use ofa_space::digest::Digest;
use ofa_space::{InputFormat, Model, NetSpec};
use std::sync::OnceLock;

/// A frozen network with its running statistics folded. It sees the crops of its pupils at its own resolution, where its
/// statistics are right and it is most accurate, and in its own normalisation.
pub(crate) struct FrozenNetwork {
    /// The network, for fingerprints.
    pub model: Model,
    /// Its structure.
    pub net: NetSpec,
    prepared: Prepared,
    normalisation: Vec<Normalisation>,
    /// Made when first asked for.
    hash: OnceLock<String>,
}

/// From a channel's values in the pupils' normalisation to the teacher's: `value · scale + shift`.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Normalisation {
    scale: f32,
    shift: f32,
}

impl FrozenNetwork {
    /// Prepares a standalone network to teach on this data set, in the precision of its pupils.
    ///
    /// # Errors
    /// [`TrainError::Model`] if the model is a supernet, [`TrainError::Data`] if it has other classes or was trained on
    /// another part of the data, or what the backend reports.
    pub fn new(model: &Model, dataset: &Dataset, device: &Device, precision: Precision) -> Result<Self, TrainError> {
        TrainedOn { input: dataset.input.clone(), ..TrainedOn::of(model)? }.check(dataset)?;
        if model.input.mean.len() != dataset.channels {
            let dataset = dataset.name.clone();
            return Err(DataError::OtherInput { dataset }.into());
        }
        let net = model.net(None)?;
        let network = Supernet::from_model(model, device)?.with_precision(precision);
        let prepared = network.prepare(&net, &network.running);
        let normalisation = between(&dataset.input, &model.input);
        Ok(Self { model: model.clone(), net, prepared, normalisation, hash: OnceLock::new() })
    }

    /// Hash of structure and weights, hexadecimal.
    pub fn hash(&self) -> &str {
        self.hash.get_or_init(|| {
            let mut digest = Digest::default();
            digest.add(serde_json::to_string(&self.net).unwrap_or_default());
            digest.add(format!("{:?}", self.model.input));
            self.model.weights.add_to(&mut digest);
            digest.hex()
        })
    }

    /// Its resolution in pixels.
    fn resolution(&self) -> u32 {
        self.net.input[1] as u32
    }

    /// The crops of a batch as the network takes them; `None` if they are those of its pupils, which are `images` at
    /// `resolution`. `at` gives the same crops at another resolution.
    ///
    /// # Errors
    /// What `at` reports.
    pub fn crops(
        &self,
        images: &Images,
        resolution: u32,
        at: impl Fn(u32) -> Result<(Images, Vec<usize>), DataError>,
    ) -> Result<Option<Images>, DataError> {
        let renormalised =
            self.normalisation.iter().any(|channel| *channel != Normalisation { scale: 1.0, shift: 0.0 });
        let mut images = match (resolution == self.resolution(), renormalised) {
            (true, false) => return Ok(None),
            (true, true) => images.clone(),
            (false, _) => at(self.resolution())?.0,
        };
        for pixel in images.data.chunks_exact_mut(self.normalisation.len()) {
            for (value, Normalisation { scale, shift }) in pixel.iter_mut().zip(&self.normalisation) {
                *value = *value * scale + shift;
            }
        }
        Ok(Some(images))
    }

    /// Logits, `[n, classes]`, of uploaded [`crops`](Self::crops).
    pub fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        self.prepared.forward(images).logits
    }
}

/// Per channel: `((value · std + mean) − mean′) / std′`.
fn between(from: &InputFormat, to: &InputFormat) -> Vec<Normalisation> {
    let channels = from.mean.iter().zip(&from.std).zip(to.mean.iter().zip(&to.std));
    channels
        .map(|((mean, std), (other_mean, other_std))| Normalisation {
            scale: std / other_std,
            shift: (mean - other_mean) / other_std,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ofa_space::Resize;

    #[test]
    fn values_change_their_normalisation() {
        let half = InputFormat { mean: vec![0.5; 2], std: vec![0.5; 2], resize: Resize::Stretch };
        let other = InputFormat { mean: vec![0.4, 0.5], std: vec![0.2, 0.5], resize: Resize::Stretch };
        let made = between(&half, &other);
        // A white pixel is 1 in the first and (1 − 0.4) / 0.2 in the second.
        assert!((made[0].scale + made[0].shift - 3.0).abs() < 1e-6);
        assert_eq!(made[1], Normalisation { scale: 1.0, shift: 0.0 });
    }
}
