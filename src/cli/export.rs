//! `ofa export`: a network as ONNX, compared with our own logits on request.

use super::extract::recalibrate_model;
use super::{Context, Failure, arch_choice};
use clap::Args;
use ofa_export::OPSET;
use ofa_export::verify::verify;
use ofa_space::{Model, atomic_file};
use ofa_train::device;
use ofa_train::supernet::{Images, Supernet, to_host};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use std::path::PathBuf;

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
    /// Recalibrate BN of a supernet's subnet on this data set's training images, or on an .npy batch.
    #[arg(long)]
    calibrate: Option<String>,
}

#[derive(Serialize)]
struct ExportReport {
    output: PathBuf,
    opset: i64,
    bytes: usize,
    runtime: Option<String>,
    max_abs_diff: Option<f64>,
    max_abs_logit: Option<f64>,
}

const VERIFY_IMAGES: usize = 16;
const CALIBRATION_IMAGES: usize = 2000;
const TOLERANCE: f64 = 1e-4;

pub(super) fn run(args: &ExportArgs, context: &Context) -> Result<(), Failure> {
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
    let onnx = ofa_export::export(&model, &net)?;
    atomic_file::write(&args.output, &onnx).map_err(|e| Failure::writing(&args.output, e))?;
    let mut report = ExportReport {
        output: args.output.clone(),
        opset: OPSET,
        bytes: onnx.len(),
        runtime: None,
        max_abs_diff: None,
        max_abs_logit: None,
    };
    if args.verify {
        let [c, h, w] = net.input;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shape = [VERIFY_IMAGES, c, h, w];
        let input: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-2.0..2.0)).collect();
        let device = device::open(&context.common.backend)?;
        let supernet = Supernet::from_model(&model, &device)?;
        let images = supernet.upload(&Images::from_nchw(&input, shape));
        let logits = to_host(supernet.prepare(&net, &supernet.running).forward(images).logits)?;
        let (agreement, runtime) = verify(&onnx, &input, shape, &logits)?;
        report.runtime = Some(runtime);
        report.max_abs_diff = Some(agreement.max_abs_diff);
        report.max_abs_logit = Some(agreement.max_abs_logit);
        if !agreement.within(TOLERANCE) {
            return Err(Failure::Running(format!("{}: logits differ: {agreement:?}", args.output.display())));
        }
    }
    context.output.result(&report, || {
        let verified = match (&report.runtime, report.max_abs_diff, report.max_abs_logit) {
            (Some(runtime), Some(diff), Some(logit)) => {
                format!("; {runtime} agrees within {diff:.1e} (largest logit {logit:.2}) on random images")
            }
            _ => String::new(),
        };
        format!("{}: {} bytes, opset {}{verified}", report.output.display(), report.bytes, report.opset)
    })
}
