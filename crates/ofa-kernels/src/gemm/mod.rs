//! Matrix products: by the `gemm` crate, and with a weight that is packed once.

#[cfg(target_arch = "x86_64")]
pub mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod bf16;
pub mod matmul;
pub mod packed;
