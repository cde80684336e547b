//! Matrix products: by the `gemm` crate, and with a weight that is packed once.

pub mod matmul;
pub mod packed;
