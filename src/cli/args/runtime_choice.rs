//! `--runtime`: the inference runtime.

use super::Failure;
use clap::Args;
use ofa_export::Runtime;

/// Which inference runtime.
#[derive(Args, Debug)]
pub struct RuntimeArgs {
    /// Inference runtime: rten (the default), onnxruntime or onnxruntime-cuda (if built in).
    #[arg(long)]
    runtime: Option<String>,
}

impl RuntimeArgs {
    /// The runtime, if it exists and is built in.
    pub fn runtime(&self) -> Result<Runtime, Failure> {
        Ok(self.chosen()?.unwrap_or_default())
    }

    /// The runtime on the command line, if there is one.
    pub fn chosen(&self) -> Result<Option<Runtime>, Failure> {
        let Some(name) = &self.runtime else { return Ok(None) };
        let runtime: Runtime = name.parse().map_err(input)?;
        match runtime.is_available() {
            true => Ok(Some(runtime)),
            false => Err(input(ofa_export::RuntimeError::NotCompiledIn { runtime: runtime.name() })),
        }
    }
}

fn input(error: ofa_export::RuntimeError) -> Failure {
    Failure::Input(format!("--runtime: {error}"))
}
