//! Comparing our logits with a runtime's.

use crate::error::RuntimeError;
use crate::runtime::{Session, SessionOptions, load};

/// How far two sets of logits are apart.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Agreement {
    /// Largest absolute difference.
    pub max_abs_diff: f64,
    /// Largest absolute logit of ours, for comparison.
    pub max_abs_logit: f64,
}

impl Agreement {
    /// Whether the difference is at most `tolerance` of the largest logit.
    pub fn within(&self, tolerance: f64) -> bool {
        self.max_abs_diff <= tolerance * self.max_abs_logit
    }
}

/// Compares logits of equal shape; a NaN on either side counts as infinitely far.
///
/// # Panics
/// If the lengths differ.
pub fn agreement(ours: &[f32], theirs: &[f32]) -> Agreement {
    assert_eq!(ours.len(), theirs.len(), "logits of different shapes");
    let difference = |(a, b): (&f32, &f32)| {
        let difference = (f64::from(*a) - f64::from(*b)).abs();
        if difference.is_nan() { f64::INFINITY } else { difference }
    };
    Agreement {
        max_abs_diff: ours.iter().zip(theirs).map(difference).fold(0.0, f64::max),
        max_abs_logit: ours.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max),
    }
}

/// Runs an ONNX file on a batch (N,C,H,W) in the default runtime and compares with `logits`; also the runtime's name.
///
/// # Errors
/// [`RuntimeError`] if the runtime cannot load or run the file.
pub fn verify(
    onnx: &[u8],
    input: &[f32],
    shape: [usize; 4],
    logits: &[f32],
) -> Result<(Agreement, String), RuntimeError> {
    let mut session: Box<dyn Session> = load(onnx, &SessionOptions::default())?;
    let theirs = session.run(input, shape)?;
    let name = session.runtime_name().to_owned();
    if theirs.len() != logits.len() {
        let problem = format!("{} logits, ours are {}", theirs.len(), logits.len());
        return Err(RuntimeError::Run { runtime: "the runtime", problem });
    }
    Ok((agreement(logits, &theirs), name))
}
