//! What is predicted of an arch.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The quantity that pairs hold and a predictor predicts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Top-1 accuracy, a fraction from 0 to 1; `top1` in pairs files.
    #[default]
    Accuracy,
    /// Latency of one image in milliseconds, more than 0; `latency_ms` in pairs files.
    Latency,
}

impl Target {
    /// Every target.
    pub const ALL: [Target; 2] = [Target::Accuracy, Target::Latency];

    /// Its name, as in predictor files: `accuracy`, `latency`.
    pub fn name(self) -> &'static str {
        match self {
            Target::Accuracy => "accuracy",
            Target::Latency => "latency",
        }
    }

    /// The field of a pairs file that holds it.
    pub fn field(self) -> &'static str {
        match self {
            Target::Accuracy => "top1",
            Target::Latency => "latency_ms",
        }
    }

    /// What a value of it must be, in words.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Target::Accuracy => "a fraction from 0 to 1",
            Target::Latency => "milliseconds, more than 0",
        }
    }

    /// Whether a measurement can have this value.
    pub(crate) fn allows(self, value: f64) -> bool {
        match self {
            Target::Accuracy => (0.0..=1.0).contains(&value),
            Target::Latency => value > 0.0 && value.is_finite(),
        }
    }

    /// Whether it is the target of files that name none.
    pub(crate) fn is_accuracy(&self) -> bool {
        *self == Target::Accuracy
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Target::ALL.into_iter().find(|target| target.name() == text);
        found.ok_or_else(|| format!("is `{text}`, expected accuracy or latency"))
    }
}
