//! ofa-train
