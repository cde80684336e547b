//! ofa-export
