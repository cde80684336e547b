//! `--to torch`: the network as a PyTorch module.

use super::{ExportArgs, Format, Reported, companions, with_option, write_together};
use crate::cli::{Context, Failure};
use ofa_export::TorchModule;
use ofa_export::torch::{MODULE_EXTENSION, TorchReport, weights_beside};
use ofa_space::Model;
use std::collections::BTreeMap;
use std::path::Path;

/// Refuses options that the format does not have, and names that belong to the other.
pub fn check(args: &ExportArgs) -> Result<(), Failure> {
    let named_as_module = |path: &Path| path.extension().is_some_and(|extension| extension == MODULE_EXTENSION);
    match (args.to, &args.output) {
        (Format::Onnx, Some(output)) if named_as_module(output) => Err(Failure::Input(format!(
            "--out {}: the name of a Python file for an ONNX file: give --to torch for a PyTorch module",
            output.display()
        ))),
        (Format::Onnx, _) => Ok(()),
        (Format::Torch, output) => {
            if let Some((option, why)) = of_onnx_alone(args)? {
                return Err(Failure::Input(format!("{option} is for ONNX files, not for --to torch: {why}")));
            }
            // Before anything is computed.
            match output {
                Some(output) => weights_beside(output).map(drop).map_err(|error| with_option(error, output)),
                None => Ok(()),
            }
        }
    }
}

/// The first option given that only ONNX files have, and what it comes to in PyTorch.
fn of_onnx_alone(args: &ExportArgs) -> Result<Option<(&'static str, &'static str)>, Failure> {
    let options = [
        (args.int8, "--int8", "the module is in f32, and PyTorch's own tools quantise it"),
        (args.fp16, "--fp16", "the module is in f32, and net.half() turns it into f16"),
        (
            args.verify,
            "--verify",
            "this program runs ONNX files only: compare the module's logits with those of `ofa forward`",
        ),
        (args.runtime.chosen()?.is_some(), "--runtime", "this program runs ONNX files only"),
        (args.opset.is_some(), "--opset", "a module has no operator set"),
        (args.ir_version.is_some(), "--ir-version", "a module has no version of a file format"),
        (args.static_batch.is_some(), "--static-batch", "a module takes batches of any size"),
        (args.preprocess, "--preprocess", "the module's normalise() takes bytes"),
    ];
    Ok(options.into_iter().find(|(is_given, ..)| *is_given).map(|(_, option, why)| (option, why)))
}

/// Whether a Python file was written by an export: the weights beside it were.
pub fn wrote(module: &Path) -> bool {
    weights_beside(module).is_ok_and(|weights| weights.exists())
}

/// Writes the module, its weights and what else is asked for.
pub fn write(
    args: &ExportArgs,
    model: &Model,
    metadata: &BTreeMap<String, String>,
    output: &Path,
    calibrated: bool,
    context: &Context,
) -> Result<(), Failure> {
    let TorchModule { source, weights } = TorchModule::of(model, metadata)?;
    let report = TorchReport {
        output: output.to_owned(),
        weights: weights_beside(output).map_err(|error| with_option(error, output))?,
        bytes: weights.len(),
    };
    let mut files = vec![(report.weights.clone(), weights), (report.output.clone(), source.into_bytes())];
    files.extend(companions(args, model, &model.net(None)?)?);
    write_together(&files)?;
    let line = || {
        let (output, weights) = (report.output.display(), report.weights.display());
        format!("{output}: a PyTorch module; {weights}: its weights, {} bytes", report.bytes)
    };
    context.output.result(&Reported { report: &report, calibrated }, line)
}
