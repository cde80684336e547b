//! `ofa import pretrained`: networks that others trained, of the known families.

use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::labels::labels;
use crate::cli::args::model_data::announce;
use crate::cli::args::net_input::{LEAST_MEAN, LEAST_STD, MEAN, NetInputArgs, STD, of_channels};
use crate::cli::args::npy_batch::{check_channels, read_npy};
use crate::cli::{Context, Failure};
use clap::Args;
use ofa_export::ExportError;
use ofa_export::importing::import;
use ofa_export::importing::net::import_net;
use ofa_export::importing::net_config::{Layout, NetConfig};
use ofa_export::importing::pretrained::{NewHead, PretrainedImport, Wanted};
use ofa_export::importing::supernet::imagenet_input;
use ofa_space::{InputFormat, Model, cost};
use ofa_train::data::{OnCorrupt, TrainedOn};
use ofa_train::{device, unfolding};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `ofa import pretrained`.
#[derive(Args, Debug)]
pub struct PretrainedArgs {
    /// Checkpoint (.pth or .safetensors) or .onnx file.
    file: PathBuf,
    /// Description of the network (JSON of MCUNet or ProxylessNAS, or a net.config), if it belongs to no known family.
    #[arg(long, conflicts_with = "family")]
    config: Option<PathBuf>,
    /// Family of the network, if names and shapes match several.
    #[arg(long)]
    family: Option<String>,
    /// Mean of the pixels in 0..1, instead of that of the family: one number for all channels, or one for each.
    #[arg(long, value_delimiter = ',')]
    mean: Option<Vec<f32>>,
    /// Standard deviation of the pixels in 0..1, instead of that of the family.
    #[arg(long, value_delimiter = ',')]
    std: Option<Vec<f32>>,
    /// Height and width of the input in pixels, instead of those of the family.
    #[arg(long)]
    image_size: Option<u32>,
    /// Class names: a file with one name per line or a JSON list, or `imagenet`.
    #[arg(long)]
    labels: Option<String>,
    /// Number of classes; with --new-head, the number you need.
    #[arg(long)]
    classes: Option<usize>,
    /// Import everything but the classifier, which gets random weights (--seed).
    #[arg(long)]
    new_head: bool,
    /// Data set (or .npy batch) for inserting batch norms where an exporter folded them, measured on 512 training
    /// images. The network computes the same and can be trained.
    #[arg(long)]
    calibrate: Option<String>,
    /// Output model file.
    #[arg(short, long = "out", alias = "output")]
    output: PathBuf,
    #[command(flatten)]
    corrupt: CorruptArgs,
}

#[derive(Serialize)]
struct Report {
    family: String,
    tensors: usize,
    params: u64,
    macs: u64,
    mean: Vec<f32>,
    std: Vec<f32>,
    normalisation_from: String,
    image_size: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fresh: Vec<String>,
    output: PathBuf,
}

pub(super) fn run(args: &PretrainedArgs, context: &Context) -> Result<(), Failure> {
    // The file gives the number of channels, so a single number stays one here.
    let given = |option: &str, values: &Option<Vec<f32>>, least: f32| {
        values.as_ref().map(|values| of_channels(option, values, values.len(), least)).transpose()
    };
    let wanted = Wanted {
        family: args.family.clone(),
        mean: given(MEAN, &args.mean, LEAST_MEAN)?,
        std: given(STD, &args.std, LEAST_STD)?,
        image_size: args.image_size,
        labels: args.labels.as_deref().map(labels).transpose()?,
        head: args.new_head.then_some(NewHead { classes: args.classes, seed: context.common.seed }),
    };
    let made = match &args.config {
        Some(config) => described(config, args, wanted.labels, wanted.head)?,
        None => import(&args.file, &wanted).map_err(with_options)?,
    };
    let PretrainedImport { import: made, family, normalisation_from, lookalikes } = made;
    if !lookalikes.is_empty() {
        context.output.note(&format!(
            "read as {family}; {} have the same names and shapes but compute something else, and are not supported",
            lookalikes.join(" and ")
        ));
    }
    let mut model = made.model;
    if let Some(source) = &args.calibrate {
        model = unfolded(&model, source, args.corrupt.choice(), context)?;
    }
    let net = model.net(None)?;
    if let Some(classes) = args.classes.filter(|classes| *classes != net.classes) {
        return Err(Failure::Input(format!(
            "{} has {} classes, not {classes}: add --new-head to start the classifier afresh",
            args.file.display(),
            net.classes
        )));
    }
    if !made.fresh.is_empty() {
        context.output.note(&format!(
            "the classifier starts afresh with {} classes (seed {}): {} are random until trained, all else is the \
             checkpoint's",
            net.classes,
            context.common.seed,
            made.fresh.join(" and ")
        ));
    }
    model.save(&args.output)?;
    let report = Report {
        family,
        tensors: model.weights.len(),
        params: cost::params(&net),
        macs: cost::macs(&net),
        mean: model.input.mean.clone(),
        std: model.input.std.clone(),
        normalisation_from,
        image_size: net.input[1] as u32,
        fresh: made.fresh,
        output: args.output.clone(),
    };
    context.output.result(&report, || {
        let Report { output, family, tensors, params, macs, mean, std, normalisation_from, image_size, .. } = &report;
        format!(
            "{}: {family}, {tensors} tensors, {params} parameters, {:.1} M MACs at {image_size} px\nmean {mean:?}, std \
             {std:?} ({normalisation_from})",
            output.display(),
            *macs as f64 * 1e-6
        )
    })
}

/// The model with batch norms instead of folded ones.
fn unfolded(model: &Model, source: &str, on_corrupt: OnCorrupt, context: &Context) -> Result<Model, Failure> {
    let net = model.net(None)?;
    if !unfolding::is_folded(&net) {
        context.output.note("--calibrate has no effect: no batch norm of the network is folded");
        return Ok(model.clone());
    }
    let (device, size) = (device::open(&context.common.backend)?, net.input[1]);
    if source.ends_with(".npy") {
        let path = Path::new(source);
        let images = read_npy(path)?;
        check_channels(&images, net.input[0], path)?;
        if images.shape[1..3] != [size, size] {
            return Err(Failure::Input(format!("{source}: images are not of the network's {size}×{size} pixels")));
        }
        return Ok(unfolding::insert_batch_norms(model, &images.split(&[unfolding::BATCH]), &device)?);
    }
    // The images may be of other classes: their labels are not read.
    let dataset = TrainedOn::of(model)?.load_of_any_classes(source, size as u32, on_corrupt)?;
    announce(&dataset, context);
    Ok(unfolding::trainable(model, &dataset, context.common.seed, &device)?)
}

/// A network with a description of its own.
fn described(
    config: &Path,
    args: &PretrainedArgs,
    labels: Option<Vec<String>>,
    head: Option<NewHead>,
) -> Result<PretrainedImport, Failure> {
    let description = NetConfig::read(config)?;
    let inputs =
        NetInputArgs { run_config: None, image_size: args.image_size, mean: args.mean.clone(), std: args.std.clone() };
    let input = inputs.resolve(&description, config)?;
    let format = InputFormat { mean: input.mean.clone(), std: input.std.clone(), ..imagenet_input() };
    let mut import = import_net(&description, &args.file, input.image_size, format)?;
    let own = import.model.class_names.len();
    let classes = head.and_then(|head| head.classes.or(labels.as_ref().map(Vec::len))).unwrap_or(own);
    if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != classes) {
        let problem = format!("{} has {classes} classes, --labels {}", args.file.display(), labels.len());
        return Err(Failure::Input(problem));
    }
    let names = labels.unwrap_or_else(|| (0..classes).map(|class| class.to_string()).collect());
    match head {
        Some(NewHead { seed, .. }) => {
            import.model = import.model.with_new_head(names, seed)?;
            let net = import.model.net(None)?;
            let tensors = net.head().into_iter().flat_map(|(weight, bias)| std::iter::once(weight).chain(bias));
            import.fresh = tensors.map(|tensor| tensor.name.clone()).collect();
        }
        None => import.model.class_names = names,
    }
    let family = match description.layout() {
        Layout::McuNet => "mcunet",
        Layout::OnceForAll => "ofa",
    };
    let normalisation_from = match (&args.mean, &args.std) {
        (Some(_), Some(_)) => "given".to_owned(),
        _ => format!("the layout of {}", config.display()),
    };
    Ok(PretrainedImport { import, family: family.to_owned(), normalisation_from, lookalikes: Vec::new() })
}

/// An error of the library, with the options that import the checkpoint nevertheless.
fn with_options(error: ExportError) -> Failure {
    match error {
        ExportError::Family { .. } => Failure::Input(format!("{error}\n(--family NAME)")),
        ExportError::NormalisationNeeded { .. } => {
            Failure::Input(format!("{error}: {MEAN} 0.485,0.456,0.406 {STD} 0.229,0.224,0.225 for most networks"))
        }
        ExportError::ImageSizeNeeded { .. } => Failure::Input(format!("{error}: --image-size PIXELS")),
        ExportError::DescriptionNeeded { .. } => Failure::Input(format!("{error}: --config FILE.json")),
        ExportError::Unknown(_) => Failure::Input(format!("--family: {error}")),
        other => other.into(),
    }
}
