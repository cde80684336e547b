//! The precision of a network's products.

use super::transfer::is_host;
use burn::tensor::{DType, Device, FloatDType, Tensor};
use ofa_space::InvalidSetting;
use serde::{Deserialize, Serialize};

/// The numbers that convolutions and linear layers multiply. Weights are kept in f32, and sums, the statistics of batch norm and
/// losses are in f32 whatever is multiplied.
///
/// With bf16, `flex` rounds both factors of products of pixels with a weight, in the forward pass and for the gradient of
/// the input; depthwise convolutions and gradients of weights stay in f32. GPUs round the factors and results of all convolutions
/// and their gradients, LibTorch all values inside of a block but the logits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 bits of mantissa; on NVIDIA GPUs products may be made in TF32, which has 11.
    #[default]
    F32,
    /// The range of f32 and 8 bits of mantissa.
    Bf16,
}

impl Precision {
    /// Names, as configurations and `--precision` have them.
    pub const NAMES: [&'static str; 2] = ["f32", "bf16"];

    /// The precision of a name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "f32" => Some(Self::F32),
            "bf16" => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Whether it is the default.
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }

    /// Makes sure that a device can multiply such numbers.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming `precision` if it cannot.
    pub fn check(self, device: &Device) -> Result<(), InvalidSetting> {
        let device = device.clone().inner();
        if self.is_f32() || is_host(&device) || device.supports_dtype(DType::BF16) {
            return Ok(());
        }
        Err(InvalidSetting {
            field: "precision".to_owned(),
            problem: "is bf16, which this device cannot multiply; leave it out, or use another backend".to_owned(),
        })
    }

    /// The factors of a product, rounded.
    pub(super) fn factors<const D: usize, const E: usize>(
        self,
        x: Tensor<D>,
        weight: Tensor<E>,
    ) -> (Tensor<D>, Tensor<E>) {
        match self {
            Self::F32 => (x, weight),
            Self::Bf16 => {
                let host = is_host(&x.device());
                let (x, weight) = (x.cast(FloatDType::BF16), weight.cast(FloatDType::BF16));
                // The backends for CPUs would form the sums in bf16, too.
                if host { (x.cast(FloatDType::F32), weight.cast(FloatDType::F32)) } else { (x, weight) }
            }
        }
    }
}
