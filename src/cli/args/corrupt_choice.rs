//! `--on-corrupt`: what to do with an image that cannot be decoded.

use ofa_train::data::OnCorrupt;

/// What to do with an image that cannot be decoded.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub enum CorruptChoice {
    /// Stop and name it.
    Error,
    /// Leave it out and count it.
    Skip,
}

impl From<CorruptChoice> for OnCorrupt {
    fn from(choice: CorruptChoice) -> Self {
        match choice {
            CorruptChoice::Error => OnCorrupt::Error,
            CorruptChoice::Skip => OnCorrupt::Skip,
        }
    }
}
