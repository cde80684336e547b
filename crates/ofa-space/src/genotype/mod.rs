//! Genotypes: the genes of a space, the archs that they form, and how archs are read, drawn, counted and stored.

pub mod arch;
pub mod gene;
pub mod genes;
pub mod population;
