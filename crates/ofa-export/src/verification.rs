//! Comparing the logits of a file with a reference.

use serde::{Deserialize, Serialize};

/// How far two sets of logits are apart.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Agreement {
    /// Largest absolute difference.
    pub max_abs_diff: f64,
    /// Largest absolute logit of the reference, for comparison.
    pub max_abs_logit: f64,
}

impl Agreement {
    /// Whether the difference is at most `tolerance` of the largest logit.
    pub fn within(&self, tolerance: f64) -> bool {
        self.max_abs_diff <= tolerance * self.max_abs_logit
    }
}

/// Compares logits of equal shape with a reference; a NaN on either side counts as infinitely far.
///
/// # Panics
/// If the lengths differ.
pub fn agreement(reference: &[f32], found: &[f32]) -> Agreement {
    assert_eq!(reference.len(), found.len(), "logits of different shapes");
    let difference = |(a, b): (&f32, &f32)| {
        let difference = (f64::from(*a) - f64::from(*b)).abs();
        if difference.is_nan() { f64::INFINITY } else { difference }
    };
    Agreement {
        max_abs_diff: reference.iter().zip(found).map(difference).fold(0.0, f64::max),
        max_abs_logit: reference.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max),
    }
}

/// What the logits of a file were compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reference {
    /// Logits that the caller gave.
    #[serde(rename = "given")]
    Given,
    /// The f32 file of the same network, run in the same runtime.
    #[serde(rename = "f32 file")]
    F32File,
}

/// How a file was verified, and what came of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Verification {
    /// Name and version of the runtime that ran the file.
    pub runtime: String,
    /// What its logits were compared with.
    pub reference: Reference,
    /// How far they are apart.
    #[serde(flatten)]
    pub agreement: Agreement,
}
