//! Logits, gradients and three training steps compared with `flex`.
//!
//! A difference is the norm of the difference of all values together, relative to their norm in `flex`. Single values are no measure:
//! where a value is within rounding of the kink of a nonlinearity, its whole gradient changes. How much a fresh network amplifies
//! rounding is measured too, by images that differ in their last bits, and ten times that is allowed.
//!
//! Networks in bf16 are compared with `flex` in f32. There the noise is what `flex` in bf16 differs, and three times that is allowed:
//! the backends round at different places, so their differences from f32 are of the same size and not the same.

use crate::networks::{Batch, Fresh};
use crate::{Options, Outcome, report};
use ofa::space::NetSpec;
use ofa::train::device::Device;
use ofa::train::elastic::precision::Precision;
use ofa::train::training::optimizer::Optimizer;
use ofa::train::training::step::{StepInput, gradients, step};
use ofa::train::{Supernet, device, to_host};
use serde_json::json;

/// Largest differences that count as agreement, in f32. Sums in another order differ by about 1e-6 in one layer; the gradients of
/// deep networks and three steps amplify that.
const LOGITS: f64 = 1e-4;
const GRADIENTS: f64 = 1e-3;
const STEPS: f64 = 5e-3;
/// Where products round their factors to the 11 bits of TF32, as tensor cores may: a thousand times coarser than f32.
const LOGITS_TF32: f64 = 1e-2;
const GRADIENTS_TF32: f64 = 5e-2;
const STEPS_TF32: f64 = 5e-2;
/// In bf16, see above.
const BF16_NOISE: f64 = 3.0;
const F32_NOISE: f64 = 10.0;

/// Space, classes, resolution and images of a batch.
type Case = (&'static str, usize, u32, usize);

fn cases(small: bool) -> Vec<Case> {
    // Few and many classes, and one image, are shapes of their own. No space takes a single class.
    let mut cases: Vec<Case> = Vec::new();
    for classes in [2, 10, 1000] {
        cases.extend([1, 64].map(|images| ("tiny-28", classes, 28, images)));
    }
    let (images, size) = if small { (16, 64) } else { (64, 96) };
    cases.push(("cifar-32", 10, 32, if small { 16 } else { 64 }));
    for space in ["ofa-mbv3-w1.0", "ofa-proxyless-w1.3", "ofa-resnet50"] {
        cases.push((space, 10, size, images));
    }
    cases
}

pub fn check(on: &Device, options: &Options) -> Outcome<bool> {
    let mut all = true;
    for case @ (space, classes, resolution, images) in cases(options.small) {
        let fresh = Fresh::new(space, classes)?;
        let nets = [fresh.largest(resolution)?, fresh.smallest(resolution)?];
        let batch = Batch::random(&nets[0], images, 11);
        let reference = device::open("flex")?;
        let expected = run(&fresh, &nets, &batch, case, &reference, Precision::F32)?;
        let found = run(&fresh, &nets, &batch, case, on, options.precision)?;
        let [logits, gradients, steps] = expected.differences(&found);
        let (other, factor) = match options.precision {
            Precision::F32 => (run(&fresh, &nets, &batch.nudged(), case, &reference, Precision::F32)?, F32_NOISE),
            Precision::Bf16 => (run(&fresh, &nets, &batch, case, &reference, Precision::Bf16)?, BF16_NOISE),
        };
        let noise = expected.differences(&other);
        let within = |limits: [f64; 3]| {
            let allowed = |index: usize| limits[index].max(factor * noise[index]);
            logits <= allowed(0) && gradients <= allowed(1) && steps <= allowed(2)
        };
        let f32_agrees = within([LOGITS, GRADIENTS, STEPS]);
        let tf32_agrees = within([LOGITS_TF32, GRADIENTS_TF32, STEPS_TF32]);
        let coarse = options.backend.contains("cuda") || !options.precision.is_f32();
        let agrees = f32_agrees || (coarse && tf32_agrees);
        all &= agrees;
        report(
            "agreement",
            json!({
                "backend": options.backend, "precision": options.precision, "space": space, "classes": classes, "resolution": resolution, "images": images,
                "logits": logits, "gradients": gradients, "steps": steps, "noise": noise, "within_f32": f32_agrees, "within_coarse": tf32_agrees,
                "agrees": agrees,
            }),
        );
    }
    Ok(all)
}

/// Values of one device.
struct Values {
    logits: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
    /// Losses of three steps, and the weights after them.
    steps: Vec<Vec<f32>>,
}

impl Values {
    fn differences(&self, other: &Self) -> [f64; 3] {
        [(&self.logits, &other.logits), (&self.gradients, &other.gradients), (&self.steps, &other.steps)]
            .map(|(expected, found)| relative(expected, found))
    }
}

fn relative(expected: &[Vec<f32>], found: &[Vec<f32>]) -> f64 {
    let lengths = |values: &[Vec<f32>]| values.iter().map(Vec::len).collect::<Vec<_>>();
    if lengths(expected) != lengths(found) {
        return f64::INFINITY;
    }
    let pairs = expected.iter().flatten().zip(found.iter().flatten());
    let (mut difference, mut norm) = (0.0, 0.0);
    for (expected, found) in pairs.map(|(expected, found)| (f64::from(*expected), f64::from(*found))) {
        difference += (expected - found).powi(2);
        norm += expected.powi(2);
    }
    if norm == 0.0 { difference.sqrt() } else { (difference / norm).sqrt() }
}

fn run(
    fresh: &Fresh,
    nets: &[NetSpec; 2],
    batch: &Batch,
    case: Case,
    device: &Device,
    precision: Precision,
) -> Outcome<Values> {
    let mut model = fresh.on(device, precision)?;
    let mut logits = Vec::new();
    for net in nets {
        let prepared = model.prepare(net, &model.running);
        logits.push(to_host(prepared.forward(model.upload(&batch.images)).logits)?);
    }
    let (_, _, _, images) = case;
    // The variance of one image's single pixel is 0, and its square root amplifies rounding without bound.
    if images == 1 {
        return Ok(Values { logits, gradients: Vec::new(), steps: Vec::new() });
    }
    let input = batch.input(nets);
    let (found, report) = gradients(&mut model, &input)?;
    let module = &model.parameters.module;
    let mut values = vec![report.losses];
    let mut push = |tensor: Option<Vec<f32>>| values.extend(tensor);
    for param in &module.vectors {
        push(found.get::<1>(param.id).map(to_host).transpose()?);
    }
    for param in &module.matrices {
        push(found.get::<2>(param.id).map(to_host).transpose()?);
    }
    for param in &module.kernels {
        push(found.get::<4>(param.id).map(to_host).transpose()?);
    }
    Ok(Values { logits, gradients: values, steps: three_steps(fresh, nets, batch, device, precision)? })
}

fn three_steps(
    fresh: &Fresh,
    nets: &[NetSpec; 2],
    batch: &Batch,
    device: &Device,
    precision: Precision,
) -> Outcome<Vec<Vec<f32>>> {
    let mut model: Supernet = fresh.on(device, precision)?;
    let mut optimizer = Optimizer::new(0.9, 3e-5);
    let mut values = Vec::new();
    for _ in 0..3 {
        let input = StepInput { gradient_clip: Some(1.0), ..batch.input(nets) };
        values.push(step(&mut model, &mut optimizer, 0.01, &input)?.losses);
    }
    values.extend(model.weights()?.iter().map(|(_, tensor)| tensor.data.clone()));
    Ok(values)
}
