//! `ofa import`: official PyTorch checkpoints as model files.

mod pretrained;

use crate::cli::args::net_input::{NetInput, NetInputArgs};
use crate::cli::args::space_choice::space;
use crate::cli::{Context, Failure};
use clap::{Args, Subcommand};
use ofa_export::ExportError;
use ofa_export::importing::net::import_net;
use ofa_export::importing::net_config::NetConfig;
use ofa_export::importing::supernet::{Head, Import, imagenet_input, import_supernet};
use ofa_space::InputFormat;
use ofa_space::{ModelBody, TensorRole, cost, supernet};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What to import.
#[derive(Subcommand, Debug)]
pub enum ImportCommand {
    /// Import an official supernet checkpoint.
    Supernet(SupernetArgs),
    /// Import a network with its description: net.config, or the JSON of MCUNet or ProxylessNAS.
    Net(NetArgs),
    /// Import a pretrained network: a checkpoint of torchvision, timm or efficientnet_lite_pytorch (.pth,
    /// .safetensors), or an ONNX file.
    Pretrained(pretrained::PretrainedArgs),
}

/// Arguments of `ofa import supernet`.
#[derive(Args, Debug)]
pub struct SupernetArgs {
    /// Checkpoint (.pth).
    checkpoint: PathBuf,
    /// Space of the supernet: a registered name or a TOML file.
    #[arg(long)]
    space: String,
    /// Number of classes, instead of that of the space; with --new-head, the number you need.
    #[arg(long)]
    classes: Option<usize>,
    /// Import everything but the classifier, which gets random weights (--seed).
    #[arg(long)]
    new_head: bool,
    /// Output model file.
    #[arg(short, long = "out", alias = "output")]
    output: PathBuf,
}

/// Arguments of `ofa import net`.
#[derive(Args, Debug)]
pub struct NetArgs {
    /// Description of the network (JSON).
    #[arg(long)]
    config: PathBuf,
    /// Checkpoint (.pth).
    #[arg(long)]
    weights: PathBuf,
    #[command(flatten)]
    input: NetInputArgs,
    /// Output model file.
    #[arg(short, long = "out", alias = "output")]
    output: PathBuf,
}

#[derive(Serialize)]
struct ImportReport {
    tensors: usize,
    params: u64,
    unused: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fresh: Vec<String>,
    output: PathBuf,
    #[serde(flatten)]
    input: Option<NetInput>,
}

pub fn run(command: &ImportCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ImportCommand::Supernet(args) => run_supernet(args, context),
        ImportCommand::Net(args) => run_net(args, context),
        ImportCommand::Pretrained(args) => pretrained::run(args, context),
    }
}

fn run_supernet(args: &SupernetArgs, context: &Context) -> Result<(), Failure> {
    let space = space(&args.space, args.classes)?;
    let head = match args.new_head {
        true => Head::Fresh { seed: context.common.seed },
        false => Head::Imported,
    };
    let import = import_supernet(&args.checkpoint, &space, head).map_err(with_options)?;
    if !import.fresh.is_empty() {
        context.output.note(&format!(
            "the classifier starts afresh with {} classes (seed {}): {} are random until trained, all else is the \
             checkpoint's",
            space.info().classes,
            context.common.seed,
            import.fresh.join(" and ")
        ));
    }
    report(import, &args.output, None, context)
}

/// An error of the library, with the options that import the checkpoint nevertheless.
fn with_options(error: ExportError) -> Failure {
    match error {
        ExportError::Classes { found, expected, .. } => {
            Failure::Input(format!("{error}: --classes {found}, or --classes {expected} --new-head"))
        }
        other => other.into(),
    }
}

fn run_net(args: &NetArgs, context: &Context) -> Result<(), Failure> {
    let config = NetConfig::read(&args.config)?;
    let input = args.input.resolve(&config, &args.config)?;
    let format = InputFormat { mean: input.mean.clone(), std: input.std.clone(), ..imagenet_input() };
    let import = import_net(&config, &args.weights, input.image_size, format)?;
    if args.input.mean.is_none() || args.input.std.is_none() {
        // Published networks lost 18 to 31 points of top-1 on the other layout's constants.
        context.output.note(&format!(
            "mean {:?} and std {:?} were chosen by the description's layout; wrong ones cost much accuracy, so give \
             --mean and --std if the network was trained with others",
            input.mean, input.std
        ));
    }
    report(import, &args.output, Some(input), context)
}

/// Saves the model and prints what it is made of.
fn report(import: Import, output: &Path, input: Option<NetInput>, context: &Context) -> Result<(), Failure> {
    import.model.save(output)?;
    let params = match &import.model.body {
        ModelBody::Net { spec, .. } => cost::params(spec),
        ModelBody::Supernet { space } => supernet::tensors(space.as_ref())?
            .values()
            .filter(|def| def.role.is_parameter() && def.role != TensorRole::KernelTransform)
            .map(|def| def.shape.iter().product::<usize>() as u64)
            .sum(),
    };
    let report = ImportReport {
        tensors: import.model.weights.len(),
        params,
        unused: import.unused,
        fresh: import.fresh,
        output: output.to_owned(),
        input,
    };
    context.output.result(&report, || {
        let mut text = format!("{}: {} tensors, {} parameters", report.output.display(), report.tensors, report.params);
        if !report.unused.is_empty() {
            text += &format!("; not used: {}", report.unused.join(", "));
        }
        if let Some(input) = &report.input {
            text += &format!("\n{}", input.describe());
        }
        text
    })
}
