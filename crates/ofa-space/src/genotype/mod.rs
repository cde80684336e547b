//! Genotypes: the genes of a space, the archs that they form, and how archs are drawn, stored and encoded.

pub mod arch;
pub mod encoding;
pub mod gene;
pub mod population;
pub mod sampling;
