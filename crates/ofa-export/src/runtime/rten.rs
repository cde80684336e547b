//! rten: a pure-Rust runtime.

use super::{Run, Session, SessionOptions, Values};
use crate::error::RuntimeError;
use rten::{Model, NodeId, RunOptions, ThreadPool, ValueOrView};
use rten_tensor::NdTensorView;
use rten_tensor::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A network in rten.
pub(super) struct Rten {
    model: Model,
    input: NodeId,
    output: NodeId,
    pool: Option<Arc<ThreadPool>>,
}

const RTEN: &str = "rten 0.27";

impl Rten {
    pub(super) fn load(onnx: &[u8], options: &SessionOptions) -> Result<Self, RuntimeError> {
        let failed = |problem: String| RuntimeError::Load { runtime: RTEN, problem };
        let model = Model::load(onnx.to_vec()).map_err(|e| failed(e.to_string()))?;
        let (input, output) = match (model.input_ids(), model.output_ids()) {
            ([input], [output]) => (*input, *output),
            (inputs, outputs) => {
                let (inputs, outputs) = (inputs.len(), outputs.len());
                return Err(failed(format!("{inputs} inputs and {outputs} outputs, expected one of each")));
            }
        };
        Ok(Self { model, input, output, pool: options.threads.map(pool) })
    }
}

/// One pool for each number of threads, shared by all sessions: what many sessions would leave idle disturbs timings.
fn pool(threads: usize) -> Arc<ThreadPool> {
    static POOLS: Mutex<BTreeMap<usize, Arc<ThreadPool>>> = Mutex::new(BTreeMap::new());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    pools.entry(threads).or_insert_with(|| Arc::new(ThreadPool::with_num_threads(threads))).clone()
}

impl Session for Rten {
    fn run_timed(&mut self, input: Values<'_>, shape: [usize; 4]) -> Result<Run, RuntimeError> {
        input.fill(shape)?;
        let failed = |problem: String| RuntimeError::Run { runtime: RTEN, problem };
        let view: ValueOrView<'_> = match input {
            Values::F32(values) => NdTensorView::from_data(shape, values).into(),
            Values::U8(values) => NdTensorView::from_data(shape, values).into(),
        };
        let options = RunOptions::default().with_thread_pool(self.pool.clone());
        let (model, input, wanted) = (&self.model, self.input, [self.output]);
        // The clock runs within the pool: handing the work to another thread is not the network's time.
        let timed = move || {
            let start = Instant::now();
            let outputs = model.run(vec![(input, view)], &wanted, Some(options));
            (outputs, start.elapsed().as_secs_f64())
        };
        let (outputs, seconds) = match &self.pool {
            Some(pool) => pool.run(timed),
            None => timed(),
        };
        let mut outputs = outputs.map_err(|e| failed(e.to_string()))?;
        let output: rten_tensor::Tensor<f32> = outputs
            .pop()
            .ok_or_else(|| failed("no output".into()))?
            .try_into()
            .map_err(|_| failed("the output is not f32".into()))?;
        Ok(Run { output: output.to_vec(), seconds })
    }

    fn runtime_name(&self) -> &str {
        RTEN
    }
}
