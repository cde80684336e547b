//! `ofa import`: official PyTorch checkpoints as model files.

use super::{Context, Failure, info};
use clap::{Args, Subcommand};
use ofa_export::state_dict::import_supernet;
use ofa_space::TensorRole;
use serde::Serialize;
use std::path::PathBuf;

/// What to import.
#[derive(Subcommand, Debug)]
pub enum ImportCommand {
    /// An official supernet checkpoint.
    Supernet(SupernetArgs),
}

/// Arguments of `ofa import supernet`.
#[derive(Args, Debug)]
pub struct SupernetArgs {
    /// Checkpoint (.pth).
    checkpoint: PathBuf,
    /// Its space: registered name or TOML file.
    #[arg(long)]
    space: String,
    /// Its number of classes, instead of the space's own.
    #[arg(long)]
    classes: Option<usize>,
    /// Output model file.
    #[arg(short, long)]
    output: PathBuf,
}

#[derive(Serialize)]
struct ImportReport {
    tensors: usize,
    params: usize,
    unused: Vec<String>,
    output: PathBuf,
}

pub(super) fn run(command: &ImportCommand, context: &Context) -> Result<(), Failure> {
    let ImportCommand::Supernet(args) = command;
    let space = info::space(&args.space, args.classes)?;
    let import = import_supernet(&args.checkpoint, &space)?;
    import.model.save(&args.output)?;
    let parameters = ofa_space::supernet::tensors(space.as_ref())?;
    let counted = parameters.values().filter(|def| def.role.is_parameter() && def.role != TensorRole::KernelTransform);
    let report = ImportReport {
        tensors: import.model.weights.len(),
        params: counted.map(|def| def.shape.iter().product::<usize>()).sum(),
        unused: import.unused,
        output: args.output.clone(),
    };
    context.output.result(&report, || {
        let unused = match report.unused.as_slice() {
            [] => String::new(),
            names => format!("; not used: {}", names.join(", ")),
        };
        format!("{}: {} tensors, {} parameters{unused}", report.output.display(), report.tensors, report.params)
    })
}
