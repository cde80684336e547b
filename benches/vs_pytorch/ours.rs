//! Our side: the supernet's subnet, run as training, evaluation and recalibration run it.

use crate::{Outcome, cases};
use ofa::space::supernet;
use ofa::train::device;
use ofa::train::elastic::precision::Precision;
use ofa::train::training::optimizer::Optimizer;
use ofa::train::training::step::{StepInput, Trains, step};
use ofa::train::{Supernet, to_host};
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

/// `ours WHAT FOLDER CASE [BACKEND BATCH_TIMES [PRECISION]]`: answers as the peer does.
pub fn serve(arguments: &[String]) -> Outcome<()> {
    let (what, folder, case, rest) = match arguments {
        [what, folder, case, rest @ ..] => (what, folder, case, rest),
        _ => return Err("usage: ours WHAT FOLDER CASE [BACKEND BATCH_TIMES [PRECISION]]".into()),
    };
    let backend = rest.first().map_or("flex", String::as_str);
    let times = rest.get(1).map_or(Ok(1), |times| times.parse())?;
    let precision =
        rest.get(2).map_or(Some(Precision::F32), |name| Precision::named(name)).ok_or("an unknown precision")?;
    let case = cases::matching(std::slice::from_ref(case), times)?.remove(0);
    let (space, net, weights) = case.load()?;
    let device = device::open(backend)?;
    precision.check(&device)?;
    let defs = supernet::tensors(space.as_ref())?;
    let mut model = Supernet::new(defs, &weights, &device.autodiff())?.with_precision(precision);
    let images = case.images(Path::new(folder), &net)?;
    match what.as_str() {
        "train_step" => {
            let mut optimizer = Optimizer::new(0.9, 3e-5);
            let labels: Vec<usize> = (0..case.batch).map(|image| image % net.classes).collect();
            let input = StepInput {
                images: &images,
                first_images: None,
                labels: &labels,
                subnets: std::slice::from_ref(&net),
                teacher: ofa::train::training::step::Teacher::None,
                loss: &ofa::train::loss::SoftCrossEntropy {},
                distillation: 0.0,
                label_smoothing: 0.1,
                bn_momentum: 0.1,
                trains: Trains::Everything,
                gradient_clip: None,
            };
            answer(|| Ok(f64::from(step(&mut model, &mut optimizer, 0.01, &input)?.losses[0])))
        }
        "eval" => {
            let running = model.running.clone();
            let prepared = model.prepare(&net, &running);
            answer(|| Ok(mean_size(&to_host(prepared.forward(model.upload(&images)).logits)?)))
        }
        _ => answer(|| {
            let output = model.forward_batch_statistics(&net, &images);
            for batch in output.statistics {
                to_host(batch.mean)?;
                to_host(batch.variance)?;
            }
            Ok(mean_size(&to_host(output.logits)?))
        }),
    }
}

fn mean_size(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(value.abs())).sum::<f64>() / values.len() as f64
}

fn answer(mut step: impl FnMut() -> Outcome<f64>) -> Outcome<()> {
    // From here on the peak counts.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let before = memory("VmRSS:")?;
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "step" => {
                let start = Instant::now();
                let check = step()?;
                writeln!(out, "{} {check}", start.elapsed().as_secs_f64() * 1e3)?;
            }
            "memory" => writeln!(out, "{}", memory("VmHWM:")? - before)?,
            other => return Err(format!("unknown request {other}").into()),
        }
        out.flush()?;
    }
    Ok(())
}

/// A field of the process's status, in MB.
fn memory(field: &str) -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes: f64 = line.and_then(|line| line.split_whitespace().next()).unwrap_or("0").parse()?;
    Ok(kilobytes / 1024.0)
}
