//! `ofa import`: official PyTorch checkpoints as model files.

use super::{Context, Failure, info};
use clap::{Args, Subcommand};
use ofa_export::importing::net::import_net;
use ofa_export::importing::net_config::{Layout, NetConfig, read_run_config};
use ofa_export::importing::supernet::{Head, Import, imagenet_input, import_supernet};
use ofa_space::model::InputFormat;
use ofa_space::{ModelBody, TensorRole, cost, supernet};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What to import.
#[derive(Subcommand, Debug)]
pub enum ImportCommand {
    /// An official supernet checkpoint.
    Supernet(SupernetArgs),
    /// A single network: net.config, or the JSON of MCUNet and ProxylessNAS, and its checkpoint.
    Net(NetArgs),
}

/// Arguments of `ofa import supernet`.
#[derive(Args, Debug)]
pub struct SupernetArgs {
    /// Checkpoint (.pth).
    checkpoint: PathBuf,
    /// Its space: registered name or TOML file.
    #[arg(long)]
    space: String,
    /// Its number of classes, instead of the space's own; with --new-head, the number wanted.
    #[arg(long)]
    classes: Option<usize>,
    /// Keep everything but the classifier, which is drawn afresh from --seed.
    #[arg(long)]
    new_head: bool,
    /// Output model file.
    #[arg(short, long)]
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
    #[arg(short, long)]
    output: PathBuf,
}

/// What a description may leave open about a network's input.
#[derive(Args, Debug)]
pub struct NetInputArgs {
    /// The run.config beside the description, which holds the image size.
    #[arg(long)]
    run_config: Option<PathBuf>,
    /// Height and width of the input in pixels.
    #[arg(long)]
    image_size: Option<u32>,
    /// Mean of pixels in 0..1: one number for all channels, or one for each.
    #[arg(long, value_delimiter = ',')]
    mean: Option<Vec<f32>>,
    /// Standard deviation of pixels in 0..1: one number for all channels, or one for each.
    #[arg(long, value_delimiter = ',')]
    std: Option<Vec<f32>>,
}

/// Values chosen for a network's input, and where each came from.
#[derive(Clone, Debug, Serialize)]
pub struct NetInput {
    /// Mean per channel.
    pub mean: Vec<f32>,
    /// Standard deviation per channel.
    pub std: Vec<f32>,
    /// Height and width in pixels.
    pub image_size: u32,
    /// Where the three came from.
    pub from: NetInputOrigins,
}

/// Where values came from: an option, a file, or a rule.
#[derive(Clone, Debug, Serialize)]
pub struct NetInputOrigins {
    mean: String,
    std: String,
    image_size: String,
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

pub(super) fn run(command: &ImportCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ImportCommand::Supernet(args) => run_supernet(args, context),
        ImportCommand::Net(args) => run_net(args, context),
    }
}

fn run_supernet(args: &SupernetArgs, context: &Context) -> Result<(), Failure> {
    let space = info::space(&args.space, args.classes)?;
    let head = match args.new_head {
        true => Head::Fresh { seed: context.common.seed },
        false => Head::Imported,
    };
    let import = import_supernet(&args.checkpoint, &space, head)?;
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

/// Saves the model and says what it is made of.
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

impl NetInput {
    /// Three lines for a person.
    pub fn describe(&self) -> String {
        let Self { mean, std, image_size, from } = self;
        format!(
            "image size {image_size} (from {})\nmean {mean:?} (from {})\nstd {std:?} (from {})",
            from.image_size, from.mean, from.std
        )
    }
}

impl NetInputArgs {
    /// Chooses what the options leave open, from the files alone.
    pub fn resolve(&self, config: &NetConfig, path: &Path) -> Result<NetInput, Failure> {
        let (image_size, size_from) = match (self.image_size, &self.run_config, config.image_size) {
            (Some(size), ..) => (size, "--image-size".to_owned()),
            (None, Some(run), _) => (read_run_config(run)?, format!("image_size in {}", run.display())),
            (None, None, Some(size)) => (size, format!("resolution in {}", path.display())),
            (None, None, None) => {
                return Err(Failure::Input(format!(
                    "{} does not say how large the network's images are: give --run-config FILE (the run.config beside \
                     it) or --image-size PIXELS",
                    path.display()
                )));
            }
        };
        let published = imagenet_input();
        let (mean, std, rule) = match config.layout() {
            Layout::OnceForAll => {
                (published.mean, published.std, "ImageNet's, as all networks in this layout were trained with")
            }
            Layout::McuNet => {
                (vec![0.5; 3], vec![0.5; 3], "0.5, as all networks in MCUNet's layout (with `resolution`) were trained")
            }
        };
        let net = config.net(image_size).map_err(|problem| Failure::Input(format!("{}: {problem}", path.display())))?;
        let channels = net.input[0];
        let choose = |option: &str, given: &Option<Vec<f32>>, rule_values: Vec<f32>, least: f32| match given {
            None if rule_values.len() == channels => {
                Ok((rule_values, format!("the layout of {}: {rule}", path.display())))
            }
            None => Err(Failure::Input(format!("give {option}: the network's images have {channels} channels"))),
            Some(values) => {
                if values.iter().any(|value| !(least..=255.0).contains(value)) {
                    return Err(Failure::Input(format!("{option} {values:?}: expected pixels in 0..1, such as 0.5")));
                }
                match values.len() {
                    1 => Ok((vec![values[0]; channels], option.to_owned())),
                    n if n == channels => Ok((values.clone(), option.to_owned())),
                    n => Err(Failure::Input(format!("{option} has {n} numbers, expected 1 or {channels}"))),
                }
            }
        };
        let (mean, mean_from) = choose("--mean", &self.mean, mean, 0.0)?;
        let (std, std_from) = choose("--std", &self.std, std, 1e-6)?;
        let from = NetInputOrigins { mean: mean_from, std: std_from, image_size: size_from };
        Ok(NetInput { mean, std, image_size, from })
    }
}
