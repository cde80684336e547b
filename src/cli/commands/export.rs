//! `ofa export`: a network as ONNX, in f32, f16 or int8, compared with our own logits on request.

use crate::cli::args::arch_choice;
use crate::cli::args::calibration::recalibrate_model;
use crate::cli::args::model_data::load_for;
use crate::cli::args::npy_batch::{check_channels, read_npy};
use crate::cli::args::runtime_choice::RuntimeArgs;
use crate::cli::{Context, Failure};
use clap::Args;
use ofa_export::precision::calibration::Calibration;
use ofa_export::precision::mixed::{self, Cut};
use ofa_export::precision::{half, int8};
use ofa_export::{Agreement, ExportOptions, OPSET, Preprocessing, SessionOptions, Values, agreement};
use ofa_space::InputFormat;
use ofa_space::{Model, NetSpec, atomic_file};
use ofa_train::data::{OnCorrupt, SplitName, stratified};
use ofa_train::device;
use ofa_train::supernet::{Images, Supernet, to_host};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Arguments of `ofa export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// Model file.
    #[arg(long)]
    model: PathBuf,
    /// Subnet of a supernet: max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    /// Output ONNX file.
    #[arg(short, long)]
    output: PathBuf,
    /// Run the file in an independent runtime and compare logits.
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Images of this data set (or an .npy batch): for BN statistics of a supernet's subnet, ranges for --int8, and
    /// --verify.
    #[arg(long)]
    calibrate: Option<String>,
    /// Operator set, 13 to 21.
    #[arg(long, default_value_t = OPSET)]
    opset: i64,
    /// Version of the file format, 7 to 10; if left out, the one that came with the operator set.
    #[arg(long)]
    ir_version: Option<i64>,
    /// A fixed batch size instead of a dynamic one.
    #[arg(long)]
    static_batch: Option<usize>,
    /// Take bytes (N,H,W,C) and normalise them inside the graph.
    #[arg(long)]
    preprocess: bool,
    /// Weights and arithmetic in f16; input and output stay f32, and so do as many of the first operations as
    /// --fp16-tolerance needs.
    #[arg(long, conflicts_with = "int8")]
    fp16: bool,
    /// How far f16 may move the logits, as a share of the largest, on images of --calibrate or else random ones;
    /// `inf` leaves no operation in f32.
    #[arg(long, default_value_t = 0.01, requires = "fp16")]
    fp16_tolerance: f64,
    /// Static int8 quantisation (QDQ, per-channel weights); needs --calibrate.
    #[arg(long, requires = "calibrate")]
    int8: bool,
    /// Further metadata of the file, such as --metadata licence=CC-BY-4.0.
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    /// Also write the class names, one a line.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Also write the network as JSON (every operation, shape and tensor name), with its tensors in a safetensors file
    /// beside it.
    #[arg(long, value_name = "FILE.json")]
    netspec: Option<PathBuf>,
}

#[derive(Serialize)]
struct ExportReport {
    output: PathBuf,
    opset: i64,
    bytes: usize,
    precision: &'static str,
    /// What stays in f32 beside f16.
    #[serde(flatten)]
    in_f32: Option<Cut>,
    runtime: Option<String>,
    max_abs_diff: Option<f64>,
    max_abs_logit: Option<f64>,
}

const VERIFY_IMAGES: usize = 16;
const CALIBRATION_IMAGES: usize = 2000;
const INT8_IMAGES: usize = 512;
const INT8_BATCH: usize = 32;

impl ExportArgs {
    fn check(&self) -> Result<(), Failure> {
        match self.fp16_tolerance > 0.0 {
            true => Ok(()),
            false => Err(Failure::Input(format!("--fp16-tolerance is {}, expected more than 0", self.fp16_tolerance))),
        }
    }

    /// The arithmetic, and how far logits may be apart, as a share of the largest; int8 is judged by accuracy.
    fn precision(&self) -> (&'static str, f64) {
        match (self.fp16, self.int8) {
            (true, _) => ("f16", 2e-2),
            (_, true) => ("int8", f64::INFINITY),
            _ => ("f32", 1e-4),
        }
    }

    fn metadata(&self) -> Result<BTreeMap<String, String>, Failure> {
        let split = |entry: &String| match entry.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Failure::Input(format!("--metadata `{entry}`: expected KEY=VALUE"))),
        };
        self.metadata.iter().map(split).collect()
    }
}

pub fn run(args: &ExportArgs, context: &Context) -> Result<(), Failure> {
    args.check()?;
    let own_metadata = args.metadata()?;
    let mut model = Model::load(&args.model)?;
    let seed = context.common.seed;
    if let Some(arch) = arch_choice::for_model(&model, args.arch.as_deref(), &args.model, seed)? {
        match &args.calibrate {
            Some(source) => recalibrate_model(&mut model, &arch, source, CALIBRATION_IMAGES, context)?,
            None => context.output.note("keeping the supernet's shared BN statistics; add --calibrate DATA"),
        }
        model = model.extract(&arch)?;
    }
    let net = model.net(None)?;
    let mut entries = ofa_export::model_metadata(&model, &net);
    let (precision, tolerance) = args.precision();
    let in_f32 = if args.fp16 { Some(cut(args, &model, &net, seed)?) } else { None };
    if args.calibrate.is_none() && in_f32.is_some_and(|cut| cut.operations_in_f32 > 0) {
        context.output.note("f16 was judged on random images; --calibrate DATA may leave fewer operations in f32");
    }
    entries.insert("precision".to_owned(), precision.to_owned());
    entries.extend(in_f32.map(|cut| ("operations_in_f32".to_owned(), cut.operations_in_f32.to_string())));
    entries.extend(own_metadata);
    let options = ExportOptions {
        opset: args.opset,
        ir_version: args.ir_version,
        batch: args.static_batch,
        preprocessing: match args.preprocess {
            true => Preprocessing::InGraph(model.input.clone()),
            false => Preprocessing::Outside,
        },
    };
    let mut onnx = ofa_export::export_with(&net, &model.weights, &entries, &options)?;
    if let Some(cut) = in_f32 {
        onnx = half::convert(&onnx, cut.operations_in_f32)?;
    }
    if let (true, Some(source)) = (args.int8, &args.calibrate) {
        let plain = ofa_export::export_net(&net, &model.weights, &BTreeMap::new())?;
        let mut calibration = Calibration::new(&plain)?;
        for (images, shape) in calibration_batches(&model, &net, source, seed)? {
            calibration.add(&images, shape)?;
        }
        onnx = int8::quantise(&onnx, &calibration.ranges())?;
    }
    atomic_file::write(&args.output, &onnx).map_err(|e| Failure::writing(&args.output, e))?;
    write_companions(args, &model, &net)?;
    let mut report = ExportReport {
        output: args.output.clone(),
        opset: args.opset,
        bytes: onnx.len(),
        precision,
        in_f32,
        runtime: None,
        max_abs_diff: None,
        max_abs_logit: None,
    };
    if args.verify {
        let (agreement, runtime) = verify(&onnx, args, &model, &net, context)?;
        report.runtime = Some(runtime);
        report.max_abs_diff = Some(agreement.max_abs_diff);
        report.max_abs_logit = Some(agreement.max_abs_logit);
        if !agreement.within(tolerance) {
            return Err(Failure::Running(format!("{}: logits differ: {agreement:?}", args.output.display())));
        }
    }
    context.output.result(&report, || {
        let verified = match (&report.runtime, report.max_abs_diff, report.max_abs_logit) {
            (Some(runtime), Some(diff), Some(logit)) => {
                format!("; {runtime} agrees within {diff:.1e} (largest logit {logit:.2})")
            }
            _ => String::new(),
        };
        let kept = match report.in_f32.filter(|cut| cut.operations_in_f32 > 0) {
            Some(Cut { operations_in_f32, operations, weights_in_f32 }) => format!(
                " (the first {operations_in_f32} of {operations} operations in f32, {:.1} % of the weights)",
                100.0 * weights_in_f32
            ),
            None => String::new(),
        };
        let (output, bytes, opset) = (report.output.display(), report.bytes, report.opset);
        format!("{output}: {bytes} bytes, {precision}{kept}, opset {opset}{verified}")
    })
}

/// What must stay in f32 for f16 to move the logits no further than allowed.
fn cut(args: &ExportArgs, model: &Model, net: &NetSpec, seed: u64) -> Result<Cut, Failure> {
    let plain = ofa_export::export_net(net, &model.weights, &BTreeMap::new())?;
    if args.fp16_tolerance == f64::INFINITY {
        let first = mixed::cuts(&plain)?.into_iter().next();
        return first.ok_or_else(|| Failure::Input(format!("{}: has no operations", args.model.display())));
    }
    let (images, shape) = match &args.calibrate {
        Some(source) => calibration_batches(model, net, source, seed)?.into_iter().next(),
        None => None,
    }
    .unwrap_or_else(|| random_batch(net, VERIFY_IMAGES, &mut ChaCha8Rng::seed_from_u64(seed)));
    let (cut, _) = mixed::first_cut_within(&plain, &images, shape, args.fp16_tolerance)?;
    Ok(cut)
}

/// Values of a batch, and its N, C, H, W.
type Batch = (Vec<f32>, [usize; 4]);

fn random_batch(net: &NetSpec, n: usize, rng: &mut ChaCha8Rng) -> Batch {
    let [c, h, w] = net.input;
    ((0..n * c * h * w).map(|_| rng.random_range(-2.0..2.0)).collect(), [n, c, h, w])
}

/// Normalised batches (N,C,H,W) of training images, or of an .npy file.
fn calibration_batches(model: &Model, net: &NetSpec, source: &str, seed: u64) -> Result<Vec<Batch>, Failure> {
    let nchw = |images: &Images| {
        let [n, h, w, c] = images.shape;
        (images.to_nchw(), [n, c, h, w])
    };
    if source.ends_with(".npy") {
        let images = read_npy(Path::new(source))?;
        check_channels(&images, net.input[0], Path::new(source))?;
        return Ok(images.split(&[INT8_BATCH]).iter().map(nchw).collect());
    }
    let resolution = net.input[1] as u32;
    let dataset = load_for(model, source, resolution, OnCorrupt::Error)?;
    let indices = stratified::sample(&dataset.train, INT8_IMAGES, seed);
    let batches = indices.chunks(INT8_BATCH).map(|chunk| {
        let (images, _) = dataset.eval_batch(SplitName::Train, chunk, resolution)?;
        Ok(nchw(&images))
    });
    batches.collect()
}

/// Class names and the network's description, where they were asked for.
fn write_companions(args: &ExportArgs, model: &Model, net: &NetSpec) -> Result<(), Failure> {
    if let Some(path) = &args.labels {
        let text: String = model.class_names.iter().map(|name| format!("{name}\n")).collect();
        atomic_file::write(path, text.as_bytes()).map_err(|e| Failure::writing(path, e))?;
    }
    if let Some(path) = &args.netspec {
        let json = serde_json::to_vec_pretty(net).map_err(|e| Failure::Running(e.to_string()))?;
        atomic_file::write(path, &json).map_err(|e| Failure::writing(path, e))?;
        model.save(&path.with_extension("safetensors"))?;
    }
    Ok(())
}

/// Our logits against a runtime's on images of the calibration data, or random ones; also the runtime's name.
fn verify(
    onnx: &[u8],
    args: &ExportArgs,
    model: &Model,
    net: &NetSpec,
    context: &Context,
) -> Result<(Agreement, String), Failure> {
    let [c, h, w] = net.input;
    let n = args.static_batch.unwrap_or(VERIFY_IMAGES);
    let mut rng = ChaCha8Rng::seed_from_u64(context.common.seed);
    let mut session = args.runtime.runtime()?.load(onnx, &SessionOptions { threads: context.common.threads })?;
    let given = match &args.calibrate {
        Some(source) if !args.preprocess => {
            calibration_batches(model, net, source, context.common.seed)?.into_iter().next()
        }
        _ => None,
    };
    let (images, theirs) = if args.preprocess {
        let bytes: Vec<u8> = (0..n * h * w * c).map(|_| rng.random()).collect();
        let theirs = session.run_timed(Values::U8(&bytes), [n, h, w, c])?.output;
        (Images { data: normalise(&bytes, &model.input), shape: [n, h, w, c] }, theirs)
    } else {
        let (mut input, _) = random_batch(net, n, &mut rng);
        // Images of the calibration data come first, as many as there are.
        if let Some((given, _)) = given {
            let shared = given.len().min(input.len());
            input[..shared].copy_from_slice(&given[..shared]);
        }
        let theirs = session.run(&input, [n, c, h, w])?;
        (Images::from_nchw(&input, [n, c, h, w]), theirs)
    };
    let device = device::open(&context.common.backend)?;
    let supernet = Supernet::from_model(model, &device)?;
    let images = supernet.upload(&images);
    let ours = to_host(supernet.prepare(net, &supernet.running).forward(images).logits)?;
    if ours.len() != theirs.len() {
        let (found, expected) = (theirs.len(), ours.len());
        return Err(Failure::Running(format!("{}: {found} logits, expected {expected}", args.output.display())));
    }
    Ok((agreement(&ours, &theirs), session.runtime_name().to_owned()))
}

/// Bytes (…,C) as the network sees them.
fn normalise(bytes: &[u8], format: &InputFormat) -> Vec<f32> {
    let channels = format.mean.len().max(1);
    let value = |(index, byte): (usize, &u8)| {
        (f32::from(*byte) / 255.0 - format.mean[index % channels]) / format.std[index % channels]
    };
    bytes.iter().enumerate().map(value).collect()
}
