//! `--precision`: the numbers that convolutions and linear layers multiply.

use clap::{Args, ValueEnum};
use ofa_train::elastic::precision::Precision;

/// The numbers that convolutions and linear layers multiply.
#[derive(ValueEnum, Clone, Copy, Debug, Default)]
enum PrecisionChoice {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16, with sums in f32.
    Bf16,
}

/// The numbers that convolutions and linear layers multiply.
#[derive(Args, Clone, Copy, Debug)]
pub struct PrecisionArgs {
    /// Numbers that convolutions and linear layers multiply: `bf16` is faster on CPUs with AMX or AVX-512 BF16 and on
    /// GPUs, and rounds weights and activations to 8 bits of mantissa.
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "f32|bf16")]
    precision: PrecisionChoice,
}

impl PrecisionArgs {
    /// The choice.
    pub fn choice(self) -> Precision {
        match self.precision {
            PrecisionChoice::F32 => Precision::F32,
            PrecisionChoice::Bf16 => Precision::Bf16,
        }
    }
}
