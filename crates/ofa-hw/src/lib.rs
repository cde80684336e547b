//! ofa-hw
