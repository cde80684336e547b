//! Inference runtimes that load the exported files. None of them shares code with the trainer or the exporter.

use crate::error::RuntimeError;
use rten::{Model, NodeId, RunOptions, ThreadPool};
use rten_tensor::NdTensorView;
use rten_tensor::prelude::*;
use std::sync::Arc;

/// How to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SessionOptions {
    /// Threads; the runtime's own choice if `None`.
    pub threads: Option<usize>,
}

/// A loaded network.
pub trait Session: Send {
    /// Runs a batch (N,C,H,W) and returns the logits, row by row.
    ///
    /// # Errors
    /// [`RuntimeError`] if the input does not fit or the runtime fails.
    fn run(&mut self, input: &[f32], shape: [usize; 4]) -> Result<Vec<f32>, RuntimeError>;

    /// Name and version of the runtime.
    fn runtime_name(&self) -> &str;
}

/// Loads an ONNX file's bytes into the default runtime, rten.
///
/// # Errors
/// [`RuntimeError::Load`] with the runtime's message.
pub fn load(onnx: &[u8], options: &SessionOptions) -> Result<Box<dyn Session>, RuntimeError> {
    Ok(Box::new(Rten::load(onnx, options)?))
}

/// A network in rten.
struct Rten {
    model: Model,
    input: NodeId,
    output: NodeId,
    pool: Option<Arc<ThreadPool>>,
}

const RTEN: &str = "rten 0.27";

impl Rten {
    fn load(onnx: &[u8], options: &SessionOptions) -> Result<Self, RuntimeError> {
        let failed = |problem: String| RuntimeError::Load { runtime: RTEN, problem };
        let model = Model::load(onnx.to_vec()).map_err(|e| failed(e.to_string()))?;
        let (input, output) = match (model.input_ids(), model.output_ids()) {
            ([input], [output]) => (*input, *output),
            (inputs, outputs) => {
                let (inputs, outputs) = (inputs.len(), outputs.len());
                return Err(failed(format!("{inputs} inputs and {outputs} outputs, expected one of each")));
            }
        };
        let pool = options.threads.map(|threads| Arc::new(ThreadPool::with_num_threads(threads)));
        Ok(Self { model, input, output, pool })
    }
}

impl Session for Rten {
    fn run(&mut self, input: &[f32], shape: [usize; 4]) -> Result<Vec<f32>, RuntimeError> {
        let expected: usize = shape.iter().product();
        if input.len() != expected {
            return Err(RuntimeError::InputShape { shape, expected, found: input.len() });
        }
        let failed = |problem: String| RuntimeError::Run { runtime: RTEN, problem };
        let view = NdTensorView::from_data(shape, input);
        let options = RunOptions::default().with_thread_pool(self.pool.clone());
        let mut outputs = self
            .model
            .run(vec![(self.input, view.into())], &[self.output], Some(options))
            .map_err(|e| failed(e.to_string()))?;
        let logits: rten_tensor::Tensor<f32> = outputs
            .pop()
            .ok_or_else(|| failed("no output".into()))?
            .try_into()
            .map_err(|_| failed("the output is not f32".into()))?;
        Ok(logits.to_vec())
    }

    fn runtime_name(&self) -> &str {
        RTEN
    }
}
