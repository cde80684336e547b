//! `ofa forward`: logits of a batch in an .npy file, fed as it is.

use crate::cli::args::model_choice::{self, Network};
use crate::cli::args::npy_batch::{check_channels, read_npy};
use crate::cli::{Context, Failure};
use crate::npy;
use clap::Args;
use ofa_train::device;
use ofa_train::evaluation::check_finite;
use ofa_train::{Supernet, to_host};
use serde::Serialize;
use std::path::PathBuf;

/// Arguments of `ofa forward`.
#[derive(Args, Debug)]
pub struct ForwardArgs {
    /// Model file, or the name of a pretrained network: mcunet.
    #[arg(long)]
    model: PathBuf,
    /// Subnet of a supernet, or of the space derived from a whole network: max, min, random, JSON, or a file. The input
    /// determines the resolution.
    #[arg(long)]
    arch: Option<String>,
    /// Input batch: .npy, f32, (N,C,H,W), already normalised.
    #[arg(long)]
    input: PathBuf,
    /// Output logits: .npy, f32, (N, classes).
    #[arg(short, long = "out", alias = "output")]
    output: PathBuf,
    /// Batch on which to recalibrate BN first (.npy, like the input).
    #[arg(long)]
    calibrate: Option<PathBuf>,
    /// Sizes of the calibration batches, in order; the last one repeats.
    #[arg(long, value_delimiter = ',', default_value = "64")]
    calibrate_batches: Vec<usize>,
}

#[derive(Serialize)]
struct ForwardReport {
    shape: [usize; 2],
}

/// Images per forward pass.
const BATCH: usize = 64;

pub fn run(args: &ForwardArgs, context: &Context) -> Result<(), Failure> {
    let Network { model, arch, .. } = model_choice::network(&args.model, args.arch.as_deref(), context.common.seed)?;
    let images = read_npy(&args.input)?;
    let [n, height, width, _] = images.shape;
    if height != width {
        return Err(Failure::Input(format!("{}: images are {height}×{width}, expected square", args.input.display())));
    }
    let arch = arch.map(|arch| arch.with_resolution(height as u32));
    let net = model.net(arch.as_ref())?;
    check_channels(&images, net.input[0], &args.input)?;
    let device = device::open(&context.common.backend)?;
    let supernet = Supernet::from_model(&model, &device)?;
    let running = match &args.calibrate {
        Some(path) => {
            if args.calibrate_batches.contains(&0) {
                return Err(Failure::Input("--calibrate-batches holds a 0, expected sizes of at least 1".into()));
            }
            let calibration = read_npy(path)?;
            check_channels(&calibration, net.input[0], path)?;
            supernet.recalibrate(&net, &calibration.split(&args.calibrate_batches))?
        }
        None => supernet.running.clone(),
    };
    let prepared = supernet.prepare(&net, &running);
    let mut logits = Vec::with_capacity(n * net.classes);
    for batch in images.split(&[BATCH]) {
        logits.extend(to_host(prepared.forward(supernet.upload(&batch)).logits)?);
    }
    let shape = [n, net.classes];
    check_finite(&logits)?;
    npy::write(&args.output, &logits, &shape)
        .map_err(|e| Failure::Running(format!("cannot write {}: {e}", args.output.display())))?;
    let report = ForwardReport { shape };
    context.output.result(&report, || format!("{}: logits of {n} images", args.output.display()))
}
