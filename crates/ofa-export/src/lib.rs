#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod error;
pub mod importing;
pub mod onnx;
pub mod precision;
pub mod runtime;
pub mod verification;

pub use error::{ExportError, RuntimeError};
pub use onnx::file::OnnxFile;
pub use onnx::{ExportOptions, OPSET, Preprocessing, export, export_net, export_with, model_metadata};
pub use runtime::{Runtime, Session, SessionOptions, Values};
pub use verification::{Agreement, agreement};
