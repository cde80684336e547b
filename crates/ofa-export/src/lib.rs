#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(feature = "rten")]
pub mod calibration;
pub mod error;
pub mod fold;
pub mod half_precision;
pub mod import_net;
pub mod import_supernet;
#[cfg(feature = "rten")]
pub mod mixed_precision;
pub mod net_config;
pub mod nodes;
pub mod onnx;
pub mod onnx_file;
#[cfg(feature = "rten")]
pub mod quantise;
pub mod runtime;
pub mod state_dict;
pub mod verify;

pub use error::{ExportError, RuntimeError};
pub use onnx::{ExportOptions, OPSET, Preprocessing, export, export_net, export_with, model_metadata};
pub use onnx_file::OnnxFile;
pub use runtime::{Runtime, Session, SessionOptions, Values};
pub use verify::{Agreement, agreement};
