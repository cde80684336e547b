//! Inference runtimes that load the exported files. None of them shares code with the trainer or the exporter.
//!
//! Each stands behind a feature of its name: `rten` (on by default, compiled in) and `onnxruntime` (Microsoft's
//! library, loaded when first used: nothing is downloaded or linked).

#[cfg(feature = "onnxruntime")]
mod onnxruntime;
#[cfg(feature = "rten")]
mod rten;

use crate::batch::Batch;
use crate::error::RuntimeError;
use ofa_space::plugin::UnknownName;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A runtime, by the name that users give it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Runtime {
    /// rten, compiled in.
    #[default]
    #[serde(rename = "rten")]
    Rten,
    /// ONNX Runtime on the CPU, loaded from `ORT_DYLIB_PATH` or the system's library path.
    #[serde(rename = "onnxruntime")]
    OnnxRuntime,
    /// ONNX Runtime's CUDA provider, from the same library. Refuses to fall back to the CPU.
    #[serde(rename = "onnxruntime-cuda")]
    OnnxRuntimeCuda,
}

impl Runtime {
    /// Every supported runtime, compiled in or not.
    pub const ALL: [Runtime; 3] = [Runtime::Rten, Runtime::OnnxRuntime, Runtime::OnnxRuntimeCuda];

    /// The name that users give it.
    pub fn name(self) -> &'static str {
        match self {
            Runtime::Rten => "rten",
            Runtime::OnnxRuntime => "onnxruntime",
            Runtime::OnnxRuntimeCuda => "onnxruntime-cuda",
        }
    }

    /// Whether it was compiled in.
    pub fn is_available(self) -> bool {
        match self {
            Runtime::Rten => cfg!(feature = "rten"),
            Runtime::OnnxRuntime => cfg!(feature = "onnxruntime"),
            Runtime::OnnxRuntimeCuda => cfg!(feature = "cuda"),
        }
    }

    /// Loads an ONNX file's bytes.
    ///
    /// # Errors
    /// [`RuntimeError::NotCompiledIn`], or [`RuntimeError::Load`] with the runtime's message.
    pub fn load(self, onnx: &[u8], options: &SessionOptions) -> Result<Box<dyn Session>, RuntimeError> {
        match self {
            #[cfg(feature = "rten")]
            Runtime::Rten => Ok(Box::new(rten::Rten::load(onnx, options)?)),
            #[cfg(feature = "onnxruntime")]
            Runtime::OnnxRuntime => Ok(Box::new(onnxruntime::OnnxRuntime::load(onnx, options, self)?)),
            #[cfg(feature = "cuda")]
            Runtime::OnnxRuntimeCuda => Ok(Box::new(onnxruntime::OnnxRuntime::load(onnx, options, self)?)),
            #[allow(unreachable_patterns)]
            _ => {
                let _ = (onnx, options);
                Err(RuntimeError::NotCompiledIn { runtime: self.name() })
            }
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Runtime {
    type Err = RuntimeError;

    fn from_str(name: &str) -> Result<Self, RuntimeError> {
        Runtime::ALL.into_iter().find(|runtime| runtime.name() == name).ok_or_else(|| {
            let known = Runtime::ALL.map(|runtime| runtime.name().to_owned());
            RuntimeError::Unknown(UnknownName::new("runtime", name, known.to_vec()))
        })
    }
}

/// How to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SessionOptions {
    /// Threads; the runtime's own choice if `None`.
    pub threads: Option<usize>,
}

/// A batch for a network, in the element type of its input.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// f32, for the usual input (N,C,H,W).
    F32(&'a [f32]),
    /// Bytes, for a network with its preprocessing in the graph (N,H,W,C).
    U8(&'a [u8]),
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::U8(values) => values.len(),
        }
    }

    /// Checks that the values fill the shape.
    pub(crate) fn fill(&self, shape: [usize; 4]) -> Result<(), RuntimeError> {
        let expected: usize = shape.iter().product();
        match self.len() {
            found if found == expected => Ok(()),
            found => Err(RuntimeError::InputShape { shape, expected, found }),
        }
    }
}

/// What one run gave.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// Every value of the output, row by row.
    pub output: Vec<f32>,
    /// Seconds within the runtime: without copying input and output to and from our side.
    pub seconds: f64,
}

/// A loaded network.
pub trait Session: Send {
    /// Runs a batch and times it.
    ///
    /// # Errors
    /// [`RuntimeError`] if the input does not fit or the runtime fails.
    fn run_timed(&mut self, input: Values<'_>, shape: [usize; 4]) -> Result<Run, RuntimeError>;

    /// Name and version of the runtime.
    fn runtime_name(&self) -> &str;

    /// Runs a batch in the layout of the input and returns the logits, row by row.
    ///
    /// # Errors
    /// [`RuntimeError`] if the input does not fit or the runtime fails.
    fn logits(&mut self, images: &Batch) -> Result<Vec<f32>, RuntimeError> {
        Ok(self.run_timed(images.values(), images.shape())?.output)
    }

    /// Runs a batch (N,C,H,W) and returns the logits, row by row.
    ///
    /// # Errors
    /// [`RuntimeError`] if the input does not fit or the runtime fails.
    fn run(&mut self, input: &[f32], shape: [usize; 4]) -> Result<Vec<f32>, RuntimeError> {
        Ok(self.run_timed(Values::F32(input), shape)?.output)
    }
}

/// Loads an ONNX file's bytes into the default runtime, rten.
///
/// # Errors
/// [`RuntimeError::Load`] with the runtime's message.
pub fn load(onnx: &[u8], options: &SessionOptions) -> Result<Box<dyn Session>, RuntimeError> {
    Runtime::default().load(onnx, options)
}
