//! ofa
