//! The authors' accuracy predictors, from their `.pth` files.

use crate::encoding::Encoder;
use crate::error::PredictorError;
use crate::inference::mlp::{Layer, Mlp};
use crate::standardise::Moments;
use pytorch_reader::{DType, PickleValue, PytorchReader};
use std::path::Path;

/// The authors' two predictors, by their tensors' names.
struct Layout {
    /// Weight and, if there is one, bias of every layer.
    layers: [(&'static str, Option<&'static str>); 4],
    /// A number added to the output.
    base: Option<&'static str>,
    features: usize,
    encoder: Encoder,
}

/// `acc_predictor.pth`: the tutorial's, for MobileNetV3.
const MBV3: Layout = Layout {
    layers: [
        ("0.weight", Some("0.bias")),
        ("2.weight", Some("2.bias")),
        ("4.weight", Some("4.bias")),
        ("6.weight", Some("6.bias")),
    ],
    base: None,
    features: 128,
    encoder: Encoder::OfficialMbv3,
};

/// `ofa_resnet50_acc_predictor.pth`: `AccuracyPredictor` of `ofa/nas`, for ResNet-50.
const RESNET50: Layout = Layout {
    layers: [
        ("layers.0.0.weight", Some("layers.0.0.bias")),
        ("layers.1.0.weight", Some("layers.1.0.bias")),
        ("layers.2.0.weight", Some("layers.2.0.bias")),
        ("layers.3.weight", None),
    ],
    base: Some("base_acc"),
    features: 82,
    encoder: Encoder::OfficialResnet50,
};

/// Reads an official predictor: `acc_predictor.pth` of MobileNetV3 (128-400-400-400-1 with ReLU) or
/// `ofa_resnet50_acc_predictor.pth` (82-400-400-400-1 without last bias, plus `base_acc`), distinguished by their
/// tensors' names. The output is the accuracy as a fraction. The pickle reader builds tensors only.
///
/// # Errors
/// [`PredictorError::Format`] naming the file and what is missing.
pub fn read(path: &Path) -> Result<(Mlp, Encoder), PredictorError> {
    let bad = |problem: String| PredictorError::Format { path: path.to_owned(), line: None, problem };
    refuse_objects(path)?;
    let reader = PytorchReader::with_top_level_key(path, "state_dict")
        .or_else(|_| PytorchReader::new(path))
        .map_err(|e| bad(format!("is not a readable PyTorch file: {e}")))?;
    let layout = if reader.get("layers.0.0.weight").is_some() { RESNET50 } else { MBV3 };
    // No layer of either is larger; a view may claim any size.
    const MAX_ELEMENTS: usize = 1 << 24;
    let tensor = |name: &str| -> Result<(Vec<usize>, Vec<f32>), PredictorError> {
        let tensor = reader.get(name).ok_or_else(|| bad(format!("has no tensor `{name}`")))?;
        let shape = tensor.shape().to_vec();
        let elements = shape.iter().try_fold(1usize, |total, size| total.checked_mul(*size));
        if tensor.dtype() != DType::F32 || elements.is_none_or(|n| n > MAX_ELEMENTS) {
            return Err(bad(format!("`{name}` is of shape {shape:?} and {:?}, expected float32", tensor.dtype())));
        }
        let bytes = tensor.read().map_err(|e| bad(format!("`{name}`: {e}")))?;
        let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok((shape, values))
    };
    let mut layers: Vec<Layer> = Vec::new();
    for (weight_name, bias_name) in layout.layers {
        let (shape, weight) = tensor(weight_name)?;
        let [outputs, inputs] = shape[..] else {
            return Err(bad(format!("`{weight_name}` has shape {shape:?}, expected two dimensions")));
        };
        let bias = match bias_name {
            Some(name) => tensor(name)?.1,
            None => vec![0.0; outputs],
        };
        let fits = layers.last().is_none_or(|before| before.bias.len() == inputs);
        if inputs == 0 || bias.len() != outputs || weight.len() != outputs * inputs || !fits {
            return Err(bad(format!("`{weight_name}` of shape {shape:?} does not fit its neighbours")));
        }
        layers.push(Layer { inputs, weight, bias });
    }
    let base = match layout.base {
        None => 0.0,
        Some(name) => match tensor(name)?.1[..] {
            [base] => f64::from(base),
            _ => return Err(bad(format!("`{name}` must hold one number"))),
        },
    };
    match (layers[0].inputs, layers[3].bias.len()) {
        (inputs, 1) if inputs == layout.features => {
            let target = Moments { mean: base, deviation: 1.0 };
            Ok((Mlp::new(layers, Vec::new(), target), layout.encoder))
        }
        (inputs, outputs) => Err(bad(format!(
            "maps {inputs} features to {outputs} values; the official predictors map {} (MobileNetV3) or {} (ResNet-50) \
             to 1",
            MBV3.features, RESNET50.features
        ))),
    }
}

/// Refuses a file with objects beside its tensors, which the reader would leave out in silence.
fn refuse_objects(path: &Path) -> Result<(), PredictorError> {
    let bad = |problem: String| PredictorError::Format { path: path.to_owned(), line: None, problem };
    let unreadable = |e| bad(format!("is not a readable PyTorch file: {e}"));
    let mut values =
        vec![("the whole file".to_owned(), PytorchReader::read_pickle_data(path, None).map_err(unreadable)?)];
    while let Some((place, value)) = values.pop() {
        match value {
            PickleValue::Unsupported(kind) if !kind.starts_with("torch.") => {
                return Err(bad(format!(
                    "{place} is an object of `{kind}`; expected tensors only. Nothing of it was run"
                )));
            }
            PickleValue::Dict(entries) => {
                values.extend(entries.into_iter().map(|(key, value)| (format!("`{key}`"), value)))
            }
            PickleValue::List(items) => values.extend(items.into_iter().map(|item| (place.clone(), item))),
            _ => {}
        }
    }
    Ok(())
}
