//! The precision of products.

/// The numbers that products multiply. Sums are always formed in f32, and whatever is not a product of pixels with a
/// weight stays in f32: depthwise convolutions, batch norm, nonlinearities, gates, and the gradients of weights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Precision {
    /// Both factors as they are.
    #[default]
    F32,
    /// Both factors rounded to bf16, which has the range of f32 and 8 bits of mantissa. Processors with AMX or AVX-512
    /// BF16 multiply such numbers faster; on others only the rounding is the same.
    Bf16,
}
