//! Time of training and evaluation steps of one network, and memory over many steps.

use crate::elastic::host_mb;
use crate::networks::{Batch, Fresh};
use crate::{Options, Outcome, report};
use ofa::space::NetSpec;
use ofa::train::device::Device;
use ofa::train::to_host;
use ofa::train::training::optimizer::Optimizer;
use ofa::train::training::outcome::Unread;
use ofa::train::training::step::queue_step;
use serde_json::json;
use std::time::Instant;

/// Steps whose outcome is read together, as training does it.
const READ_STEPS: usize = 20;

/// Space, resolution and images of a batch.
fn cases(small: bool) -> Vec<(&'static str, u32, usize)> {
    match small {
        true => vec![("tiny-28", 28, 16)],
        false => vec![("cifar-32", 32, 512), ("ofa-mbv3-w1.0", 128, 256), ("ofa-mbv3-w1.0", 224, 64)],
    }
}

pub fn time(device: &Device, options: &Options) -> Outcome<()> {
    for (space, resolution, images) in cases(options.small) {
        let fresh = Fresh::new(space, 10)?;
        let net = fresh.largest(resolution)?;
        let batch = Batch::random(&net, images, 5);
        let mut model = fresh.on(device, options.precision)?;
        let mut optimizer = Optimizer::new(0.9, 3e-5);
        let mut train = |steps: usize| -> Outcome<f64> {
            let input = batch.input(std::slice::from_ref(&net));
            let begun = Instant::now();
            let unread =
                (0..steps).map(|_| queue_step(&mut model, &mut optimizer, 0.01, &input)).collect::<Result<_, _>>()?;
            for outcome in Unread::read_all(unread)? {
                model.running.follow(&outcome.moments, 0.1);
            }
            Ok(begun.elapsed().as_secs_f64() * 1e3 / steps as f64)
        };
        let first = train(1)?;
        train(3)?;
        let steady = median((0..3).map(|_| train(READ_STEPS)).collect::<Outcome<_>>()?);
        let prepared = model.prepare(&net, &model.running);
        let evaluate = || -> Outcome<f64> {
            let begun = Instant::now();
            to_host(prepared.forward(model.upload(&batch.images)).logits)?;
            Ok(begun.elapsed().as_secs_f64() * 1e3)
        };
        evaluate()?;
        evaluate()?;
        let evaluation = median((0..9).map(|_| evaluate()).collect::<Outcome<_>>()?);
        report(
            "steps",
            json!({
                "backend": options.backend, "precision": options.precision, "space": space, "resolution": resolution,
                "images": images, "first_step_ms": first, "train_step_ms": steady, "evaluation_ms": evaluation, "host_mb": host_mb(),
            }),
        );
    }
    Ok(())
}

/// Memory of the process while random subnets are trained; that of the GPU is watched from outside.
pub fn memory(device: &Device, options: &Options) -> Outcome<()> {
    let (space, steps) = if options.small { ("tiny-28", 60) } else { ("cifar-32", 300) };
    let fresh = Fresh::new(space, 10)?;
    let sizes = fresh.space.info().resolutions.clone();
    let nets = sizes
        .iter()
        .flat_map(|size| [fresh.largest(*size), fresh.smallest(*size)])
        .collect::<Outcome<Vec<NetSpec>>>()?;
    let mut model = fresh.on(device, options.precision)?;
    let mut optimizer = Optimizer::new(0.9, 3e-5);
    let mut unread = Vec::new();
    for index in 0..steps {
        let net = &nets[index % nets.len()];
        let batch = Batch::random(net, 64, index as u64);
        unread.push(queue_step(&mut model, &mut optimizer, 0.01, &batch.input(std::slice::from_ref(net)))?);
        if (index + 1).is_multiple_of(READ_STEPS) {
            Unread::read_all(std::mem::take(&mut unread))?;
            report("memory", json!({ "backend": options.backend, "step": index + 1, "host_mb": host_mb() }));
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
