//! The authors' accuracy predictors, from their `.pth` files.

use crate::encoder::Encoder;
use crate::error::PredictorError;
use crate::mlp::{Layer, Mlp};
use crate::standardise::Moments;
use pytorch_reader::PytorchReader;
use std::path::Path;

/// Reads `acc_predictor.pth` of MobileNetV3: 128-400-400-400-1 with ReLU, layers `0`, `2`, `4`, `6`; the output is the
/// accuracy itself. The pickle reader builds tensors only.
///
/// # Errors
/// [`PredictorError::Format`] naming the file and what is missing.
pub fn read(path: &Path) -> Result<(Mlp, Encoder), PredictorError> {
    let bad = |problem: String| PredictorError::Format { path: path.to_owned(), line: None, problem };
    let reader = PytorchReader::with_top_level_key(path, "state_dict")
        .or_else(|_| PytorchReader::new(path))
        .map_err(|e| bad(format!("is not a readable PyTorch file: {e}")))?;
    let tensor = |name: &str| -> Result<(Vec<usize>, Vec<f32>), PredictorError> {
        let tensor = reader.get(name).ok_or_else(|| bad(format!("has no tensor `{name}`")))?;
        let bytes = tensor.read().map_err(|e| bad(format!("`{name}`: {e}")))?;
        let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok((tensor.shape().to_vec(), values))
    };
    let mut layers: Vec<Layer> = Vec::new();
    for index in [0, 2, 4, 6] {
        let (shape, weight) = tensor(&format!("{index}.weight"))?;
        let (_, bias) = tensor(&format!("{index}.bias"))?;
        let [outputs, inputs] = shape[..] else {
            return Err(bad(format!("`{index}.weight` has shape {shape:?}, expected two dimensions")));
        };
        let fits = layers.last().is_none_or(|before| before.bias.len() == inputs);
        if bias.len() != outputs || weight.len() != outputs * inputs || !fits {
            return Err(bad(format!("layer {index} ({shape:?}) does not fit its neighbours")));
        }
        layers.push(Layer { inputs, weight, bias });
    }
    const MBV3_FEATURES: usize = 128;
    match (layers[0].inputs, layers[3].bias.len()) {
        (MBV3_FEATURES, 1) => {
            let target = Moments { mean: 0.0, deviation: 1.0 };
            Ok((Mlp { layers, features: Vec::new(), target }, Encoder::OfficialMbv3))
        }
        (inputs, outputs) => Err(bad(format!(
            "maps {inputs} features to {outputs} values; the MobileNetV3 predictor maps {MBV3_FEATURES} to 1"
        ))),
    }
}
