//! The numbers of a written f32 graph in another type: f16 throughout or in part, or int8 from images.

mod bias_correction;
#[cfg(feature = "rten")]
pub mod calibration;
#[cfg(feature = "rten")]
mod equalisation;
pub mod half;
pub mod histogram;
pub mod int8;
pub mod mixed;
#[cfg(feature = "rten")]
pub(crate) mod quantisation;
mod readers;
// Layers are ranked in rten.
#[cfg_attr(not(feature = "rten"), allow(dead_code))]
pub mod sensitivity;

use ofa_space::settings::{self, InvalidSetting, Settings};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Lowest and highest value of every activation, always with 0 in between.
pub type Ranges = BTreeMap<String, (f32, f32)>;

/// The type of a file's numbers.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Precision {
    /// 32-bit floats, as trained.
    #[default]
    F32,
    /// 16-bit weights and arithmetic, but for as many of the first operations as it takes.
    F16 {
        /// How far logits may move, as a share of the largest; more than 0. Infinity leaves no operation in f32.
        tolerance: f64,
    },
    /// 8-bit integers by static quantisation (QDQ, per-channel weights), but for a few layers where answers would change.
    /// Needs calibration images.
    Int8,
}

impl Precision {
    /// f16 that moves logits by at most 1 % of the largest.
    pub const fn f16() -> Self {
        Self::F16 { tolerance: 0.01 }
    }

    /// `f32`, `f16` or `int8`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 { .. } => "f16",
            Self::Int8 => "int8",
        }
    }

    /// The largest difference of logits that verification accepts, as a share of the largest logit. An int8 file has
    /// none: only its accuracy shows whether it is good enough.
    pub const fn largest_difference(self) -> f64 {
        match self {
            Self::F32 => 1e-4,
            Self::F16 { .. } => 2e-2,
            Self::Int8 => f64::INFINITY,
        }
    }
}

impl Settings for Precision {
    fn check(&self) -> Result<(), InvalidSetting> {
        match *self {
            Self::F16 { tolerance } => {
                settings::number("tolerance", tolerance, (Bound::Excluded(0.0), Bound::Unbounded))
            }
            Self::F32 | Self::Int8 => Ok(()),
        }
    }
}

impl Serialize for Precision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
