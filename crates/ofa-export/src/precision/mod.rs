//! The numbers of a written f32 graph in another type: f16 throughout or in part, or int8 from ranges of activations.

#[cfg(feature = "rten")]
pub mod calibration;
pub mod half;
#[cfg(feature = "rten")]
pub mod int8;
#[cfg(feature = "rten")]
pub mod mixed;
