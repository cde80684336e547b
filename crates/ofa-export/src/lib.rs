#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod batch;
pub mod error;
pub mod exporter;
pub mod importing;
pub mod onnx;
pub mod precision;
pub mod runtime;
pub mod torch;
pub mod verification;

pub use batch::Batch;
pub use error::{ExportError, RuntimeError};
pub use exporter::{ExportReport, Exported, Exporter};
pub use onnx::file::OnnxFile;
pub use onnx::{ExportOptions, OPSET, Preprocessing, export, export_net, model_metadata};
pub use precision::Precision;
pub use runtime::{Runtime, Session, SessionOptions, Values};
pub use torch::{TorchModule, TorchReport};
pub use verification::{Agreement, Reference, Verification, agreement};

// For programs on this crate alone.
pub use ofa_space;
