//! Arguments that several commands share, and how each is read.

pub mod arch_choice;
pub mod calibration;
pub mod class_choice;
pub mod corrupt_choice;
pub mod estimator_choice;
pub mod labels;
pub mod measurable_device;
pub mod memory_limits;
pub mod model_choice;
pub mod model_data;
pub mod net_input;
pub mod npy_batch;
pub mod onnx_network;
pub mod precision_choice;
pub mod run_choice;
pub mod runtime_choice;
pub mod search_devices;
pub mod space_choice;

use super::{Context, Failure};
