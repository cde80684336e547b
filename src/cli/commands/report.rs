//! `ofa report`: the report of a finished run, rendered again.

use crate::cli::{Context, Failure};
use crate::pipeline;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `ofa report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Folder of a finished run.
    folder: PathBuf,
}

#[derive(Serialize)]
struct Written {
    output: PathBuf,
}

pub fn run(args: &ReportArgs, context: &Context) -> Result<(), Failure> {
    let written = Written { output: pipeline::report_of(&args.folder)? };
    context.output.result(&written, || written.output.display().to_string())
}
