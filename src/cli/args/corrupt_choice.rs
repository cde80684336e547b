//! `--on-corrupt`: what to do with an image that cannot be decoded.

use clap::{Args, ValueEnum};
use ofa_train::data::OnCorrupt;

/// What to do with an image that cannot be decoded.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum CorruptChoice {
    /// Stop and name it.
    Error,
    /// Leave it out and count it.
    Skip,
}

/// What to do with an image that cannot be decoded.
#[derive(Args, Clone, Copy, Debug)]
pub struct CorruptArgs {
    /// What to do if an image cannot be decoded: `error` stops and names it, `skip` skips and counts it [default:
    /// error].
    #[arg(long, value_enum, hide_possible_values = true, value_name = "error|skip")]
    on_corrupt: Option<CorruptChoice>,
}

impl CorruptArgs {
    /// The choice, if it was given on the command line.
    pub fn given(self) -> Option<OnCorrupt> {
        self.on_corrupt.map(|choice| match choice {
            CorruptChoice::Error => OnCorrupt::Error,
            CorruptChoice::Skip => OnCorrupt::Skip,
        })
    }

    /// The choice, or the default.
    pub fn choice(self) -> OnCorrupt {
        self.given().unwrap_or_default()
    }
}
