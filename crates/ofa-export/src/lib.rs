#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod error;
pub mod fold;
pub mod import_net;
pub mod import_supernet;
pub mod net_config;
pub mod nodes;
pub mod onnx;
pub mod runtime;
pub mod state_dict;
pub mod verify;

pub use error::{ExportError, RuntimeError};
pub use onnx::{OPSET, export, export_net};
pub use runtime::{Session, SessionOptions};
pub use verify::{Agreement, agreement};
