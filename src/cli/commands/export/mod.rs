//! `ofa export`: a network as ONNX, in f32, f16 or int8, compared with our own logits on request; or as a PyTorch module.

mod torch;

use crate::cli::args::calibration::{CalibrationImages, warn_of_shared};
use crate::cli::args::class_choice::ClassArgs;
use crate::cli::args::corrupt_choice::CorruptArgs;
use crate::cli::args::model_choice::{self, Network};
use crate::cli::args::run_choice::RunNetworkArgs;
use crate::cli::args::runtime_choice::RuntimeArgs;
use crate::cli::outputs::{self, netspec_weights};
use crate::cli::{Context, Failure};
use clap::{Args, ValueEnum};
use ofa_export::precision::mixed::Cut;
use ofa_export::torch::MODULE_EXTENSION;
use ofa_export::{
    Batch, ExportError, ExportOptions, ExportReport, Exported, Exporter, OPSET, Precision, Preprocessing,
    SessionOptions,
};
use ofa_space::{Model, NetSpec, atomic_file};
use ofa_train::data::OnCorrupt;
use ofa_train::device;
use ofa_train::evaluation::EVALUATION_BATCH;
use ofa_train::images::Images;
use ofa_train::{Supernet, to_host};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Arguments of `ofa export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Folder of a run, to export its recommended network. Its data are used where images are needed.
    #[arg(value_name = "RUN", required_unless_present = "model", conflicts_with_all = ["model", "arch"])]
    run: Option<PathBuf>,
    #[command(flatten)]
    network: RunNetworkArgs,
    /// Model file, or the name of a pretrained network: mcunet.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Subnet of a supernet, or of the space derived from a whole network: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Onnx)]
    to: Format,
    /// Output file: ONNX, or Python with --to torch. For a network of a run in int8, in f16 or as a PyTorch module, the
    /// default is a file next to it.
    #[arg(short, long = "out", alias = "output", required_unless_present = "run")]
    output: Option<PathBuf>,
    /// Run the file in an independent runtime and compare logits.
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Data set (or .npy batch) with images for the BN statistics of a subnet of a supernet, the ranges of --int8, the
    /// comparisons of --fp16, and --verify.
    #[arg(long)]
    calibrate: Option<String>,
    /// Keep the batch-norm statistics shared by all subnets, without a warning.
    #[arg(long, conflicts_with = "calibrate")]
    no_calibrate: bool,
    /// Operator set, 13 to 21 [default: 17].
    #[arg(long)]
    opset: Option<i64>,
    /// Version of the file format, 7 to 10 [default: the version released with the operator set].
    #[arg(long)]
    ir_version: Option<i64>,
    /// Fixed batch size instead of a dynamic one.
    #[arg(long)]
    static_batch: Option<usize>,
    /// Make a graph that takes bytes (N,H,W,C) and normalises them.
    #[arg(long)]
    preprocess: bool,
    /// Use f16 weights and arithmetic. Input and output stay in f32, and so do as many of the first operations as
    /// needed to stay within --fp16-tolerance.
    #[arg(long, conflicts_with = "int8")]
    fp16: bool,
    /// Largest change of the logits by f16, as a share of the largest logit, on images of --calibrate or random ones;
    /// `inf` leaves no operation in f32.
    #[arg(long, default_value_t = 0.01, requires = "fp16")]
    fp16_tolerance: f64,
    /// Use static int8 quantisation (QDQ, per-channel weights); needs --calibrate or a run.
    #[arg(long)]
    int8: bool,
    /// Additional metadata of the file (for a PyTorch module, notes in its first lines), such as --metadata
    /// licence=CC-BY-4.0.
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    /// Also write the class names, one per line.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Also write the network as JSON (every operation, shape and tensor name), with its tensors in a safetensors file
    /// next to it.
    #[arg(long, value_name = "FILE.json")]
    netspec: Option<PathBuf>,
    #[command(flatten)]
    corrupt: CorruptArgs,
    #[command(flatten)]
    classes: ClassArgs,
}

/// What a network is written as.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// One file for an inference runtime.
    Onnx,
    /// A Python file that needs only PyTorch, with its weights in a second file.
    Torch,
}

/// The report, and whether batch norm has statistics of the network's own.
#[derive(Serialize)]
struct Reported<'a, R> {
    #[serde(flatten)]
    report: &'a R,
    calibrated: bool,
}

/// Training images for BN statistics.
const RECALIBRATION_IMAGES: usize = 2000;

impl ExportArgs {
    fn precision(&self) -> Precision {
        match (self.fp16, self.int8) {
            (true, _) => Precision::F16 { tolerance: self.fp16_tolerance },
            (_, true) => Precision::Int8,
            _ => Precision::F32,
        }
    }

    fn options(&self, model: &Model) -> ExportOptions {
        let preprocessing = match self.preprocess {
            true => Preprocessing::InGraph(model.input.clone()),
            false => Preprocessing::Outside,
        };
        let opset = self.opset.unwrap_or(OPSET);
        ExportOptions { opset, ir_version: self.ir_version, batch: self.static_batch, preprocessing }
    }

    fn metadata(&self) -> Result<BTreeMap<String, String>, Failure> {
        let split = |entry: &String| match entry.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Failure::Input(format!("--metadata `{entry}`: expected KEY=VALUE"))),
        };
        self.metadata.iter().map(split).collect()
    }

    /// Images for the exporter, if it has a use for them.
    fn images(
        &self,
        loaded: Option<&CalibrationImages>,
        net: &NetSpec,
        context: &Context,
    ) -> Result<Option<Batch>, Failure> {
        let Some(loaded) = loaded.filter(|_| self.fp16 || self.int8 || self.verify) else { return Ok(None) };
        let images = loaded.batch(net, self.precision(), context)?;
        // An .npy file of another size serves for BN statistics; an f32 file is then verified on random images.
        Ok(Some(images).filter(|images| self.fp16 || self.int8 || images.image() == net.input))
    }
}

/// What is exported, where to, and the images that it may need.
struct Job {
    model: PathBuf,
    output: PathBuf,
    calibrate: Option<String>,
    on_corrupt: OnCorrupt,
}

impl ExportArgs {
    /// What is to be done; a file of a run whose name follows from the network's is replaced only if the program wrote it.
    fn job(&self, context: &Context) -> Result<Job, Failure> {
        let job = self.wanted(context)?;
        if self.run.is_some() {
            let is_own = self.output.is_some() || Exporter::wrote(&job.output) || torch::wrote(&job.output);
            outputs::check_chosen(&job.output, &[&job.model], is_own, context.outputs)?;
        }
        Ok(job)
    }

    fn wanted(&self, context: &Context) -> Result<Job, Failure> {
        if let Some(model) = &self.model {
            self.network.refuse()?;
            let output = self.output.clone().ok_or_else(|| Failure::Input("--out is missing".into()))?;
            if self.int8 && self.calibrate.is_none() {
                return Err(Failure::Input("--int8 needs images: give --calibrate DATA".into()));
            }
            let (calibrate, on_corrupt) = (self.calibrate.clone(), self.corrupt.choice());
            return Ok(Job { model: model.clone(), output, calibrate, on_corrupt });
        }
        let Some(folder) = &self.run else {
            return Err(Failure::Input("give the folder of a run, or --model M".into()));
        };
        let network = self.network.network(folder, context)?;
        let needs_images = self.int8 || self.fp16 || self.verify;
        let calibrate = match (&self.calibrate, needs_images) {
            (Some(data), _) => Some(data.clone()),
            (None, true) => Some(network.data(None)?),
            (None, false) => None,
        };
        let output = match (&self.output, self.precision()) {
            (Some(output), _) => output.clone(),
            (None, _) if self.to == Format::Torch => network.weights.with_extension(MODULE_EXTENSION),
            (None, Precision::F32) => {
                return Err(Failure::Input(format!(
                    "{} is there already in f32: give --int8, --fp16 or --to torch, or --out for a file with other options",
                    network.weights.with_extension("onnx").display()
                )));
            }
            (None, precision) => {
                let output = network.weights.with_extension(format!("{}.onnx", precision.name()));
                if network.is_converted && network.onnx == output {
                    let name = precision.name();
                    return Err(Failure::Input(format!(
                        "{} is there already in {name}, as its device runs it: give --out for a file with other options",
                        output.display()
                    )));
                }
                output
            }
        };
        let on_corrupt = self.corrupt.given().unwrap_or_else(|| network.on_corrupt());
        Ok(Job { model: network.weights, output, calibrate, on_corrupt })
    }
}

pub fn run(args: &ExportArgs, context: &Context) -> Result<(), Failure> {
    torch::check(args)?;
    let job = args.job(context)?;
    let metadata = args.metadata()?;
    let runtime = args.runtime.runtime()?;
    let seed = context.common.seed;
    let Network { mut model, arch, has_own_statistics } =
        model_choice::network(&job.model, args.arch.as_deref(), seed)?;
    let on_corrupt = job.on_corrupt;
    let load =
        |source: &String| CalibrationImages::load(source, &model, arch.as_ref(), &args.classes, on_corrupt, context);
    let loaded = job.calibrate.as_ref().map(load).transpose()?;
    let mut calibrated = has_own_statistics;
    if let Some(arch) = arch {
        if let Some(images) = &loaded {
            calibrated |=
                images.recalibrate(&mut model, &arch, RECALIBRATION_IMAGES, &[EVALUATION_BATCH], context)? > 0;
        }
        model = model.extract(&arch)?;
        if !calibrated {
            model.mark_uncalibrated();
        }
    }
    if !calibrated {
        warn_of_shared(args.no_calibrate, context);
    }
    let net = model.net(None)?;
    if args.to == Format::Torch {
        return torch::write(args, &model, &metadata, &job.output, calibrated, context);
    }
    let calibration = args.images(loaded.as_ref(), &net, context)?;
    let mut exporter = Exporter::of(&model)?
        .options(args.options(&model))
        .precision(args.precision())
        .runtime(runtime, SessionOptions { threads: context.common.threads })
        .metadata(metadata)
        .seed(seed);
    if let Some(images) = &calibration {
        exporter = exporter.calibration(images);
    }
    let compared;
    if args.verify {
        let images = exporter.verification_images();
        let logits = logits(&model, &net, &images, context)?;
        compared = (images, logits);
        exporter = exporter.verified_against(&compared.0, &compared.1);
    }
    let Exported { onnx, report } = exporter.export().map_err(|error| with_option(error, &job.output))?;
    let report = ExportReport { output: Some(job.output.clone()), ..report };
    if calibration.is_none() && report.in_f32.is_some_and(|cut| cut.operations_in_f32 > 0) {
        context.output.note("f16 was judged on random images; --calibrate DATA may leave fewer operations in f32");
    }
    let mut files = vec![(job.output.clone(), onnx)];
    files.extend(companions(args, &model, &net)?);
    write_together(&files)?;
    let reported = Reported { report: &report, calibrated };
    context.output.result(&reported, || describe(&report, &job.output))
}

/// Our own logits of a model.
fn logits(model: &Model, net: &NetSpec, images: &Batch, context: &Context) -> Result<Vec<f32>, Failure> {
    let device = device::open(&context.common.backend)?;
    let supernet = Supernet::from_model(model, &device)?;
    let images = images.normalised(&model.input);
    let images = supernet.upload(&Images::from_nchw(images.floats().unwrap_or_default(), images.shape()));
    Ok(to_host(supernet.prepare(net, &supernet.running).forward(images).logits)?)
}

/// An error of the library, with the option that is at fault and the file that was not written.
fn with_option(error: ExportError, output: &Path) -> Failure {
    let option = match &error {
        ExportError::Setting(setting) => match setting.field.as_str() {
            "opset" => Some("--opset"),
            "ir_version" => Some("--ir-version"),
            "batch" => Some("--static-batch"),
            "preprocessing" => Some("--preprocess"),
            "tolerance" => Some("--fp16-tolerance"),
            _ => None,
        },
        ExportError::F16Tolerance { .. } => Some("--fp16-tolerance"),
        ExportError::ImageShape { .. } | ExportError::NoCalibrationImages => Some("--calibrate"),
        ExportError::ModuleName { .. } | ExportError::WeightsInTheWay { .. } => Some("--out"),
        _ => None,
    };
    match (option, &error) {
        (Some(option), _) => Failure::Input(format!("{option}: {error}")),
        (None, ExportError::Disagreement { .. } | ExportError::LogitCount { .. }) => {
            Failure::Running(format!("{} was not written: {error}", output.display()))
        }
        _ => error.into(),
    }
}

/// Files to write, with their bytes.
type Files = Vec<(PathBuf, Vec<u8>)>;

/// Class names and the network's description, on request.
fn companions(args: &ExportArgs, model: &Model, net: &NetSpec) -> Result<Files, Failure> {
    let mut files = Vec::new();
    if let Some(path) = &args.labels {
        let text: String = model.class_names.iter().map(|name| format!("{name}\n")).collect();
        files.push((path.clone(), text.into_bytes()));
    }
    if let Some(path) = &args.netspec {
        let json = serde_json::to_vec_pretty(net).map_err(|e| Failure::Running(e.to_string()))?;
        let weights = netspec_weights(path);
        let bytes = model.to_bytes(&weights)?;
        files.extend([(path.clone(), json), (weights, bytes)]);
    }
    Ok(files)
}

/// Writes all files or none.
fn write_together(files: &Files) -> Result<(), Failure> {
    let files: Vec<(&Path, &[u8])> = files.iter().map(|(path, bytes)| (path.as_path(), bytes.as_slice())).collect();
    atomic_file::write_together(&files).map_err(|(path, error)| Failure::writing(path, error))
}

/// The report as a line.
fn describe(report: &ExportReport, output: &Path) -> String {
    let verified = report.verification.as_ref().map(|verification| {
        let agreement = verification.agreement;
        format!(
            "; {} agrees within {:.1e} (largest logit {:.2})",
            verification.runtime, agreement.max_abs_diff, agreement.max_abs_logit
        )
    });
    let layers: Vec<&str> = report.layers_in_f32.iter().map(|layer| layer.name.as_str()).collect();
    let layers = (!layers.is_empty()).then(|| format!(" (in f32: {})", layers.join(", ")));
    let kept = report.in_f32.filter(|cut| cut.operations_in_f32 > 0).map(|cut| {
        let Cut { operations_in_f32, operations, weights_in_f32 } = cut;
        let share = 100.0 * weights_in_f32;
        format!(" (the first {operations_in_f32} of {operations} operations in f32, {share:.1} % of the weights)")
    });
    format!(
        "{}: {} bytes, {}{}, opset {}{}",
        output.display(),
        report.bytes,
        report.precision.name(),
        kept.or(layers).unwrap_or_default(),
        report.opset,
        verified.unwrap_or_default()
    )
}
