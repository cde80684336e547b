//! The plan that starts from a pretrained network: a new head, the whole network, then its subnets; and every chosen net is
//! fine-tuned.

use super::{Plan, VALIDATION_IMAGES, Wishes, normalisation_of};
use crate::failure::Failure;
use crate::pipeline::config::{DeviceConfig, HOST, PipelineConfig};
use ofa_train::data::Dataset;
use ofa_train::shrinking::{InitConfig, Origin};
use std::fmt::Write;

/// The network that a plan for photos starts from.
pub(super) const DEFAULT: &str = "mcunet";

/// Images of a step.
const BATCH: usize = 32;
/// Training images that the epochs below are meant for. With fewer there are more epochs, with more there are fewer.
const USUAL_IMAGES: std::ops::RangeInclusive<f64> = 1800.0..=4000.0;
/// Steps below which kernels stay whole: their transforms would hardly be trained.
const STEPS_FOR_KERNELS: f64 = 150.0;
/// Epochs for the usual number of images: of the head alone, of the whole network in two cycles, of its subnets, and of each
/// chosen net. The whole network is trained at the largest resolution only: at all of them in its first cycle, it lost up to 4
/// points on validation images (docs/results.md).
const HEAD_EPOCHS: f64 = 1.0;
const FULL_EPOCHS: f64 = 5.0;
const AGAIN_EPOCHS: f64 = 6.0;
const SUBNETS_EPOCHS: f64 = 3.0;
const FINETUNE_EPOCHS: f64 = 10.0;
/// Photos are kept at this multiple of the largest size, so that crops have real detail, unless there are more of them than
/// memory holds at that size.
const DETAIL: f64 = 1.7;
const MOST_DETAILED: usize = 10_000;
/// Limits where none are given: shares of the largest subnet's multiply-accumulates.
const LIMITS: [&str; 3] = ["16%", "27%", "50%"];
/// A predictor of 40 measured subnets is coarse: often it is one of cost alone, which predicts many subnets alike, and `memetic`
/// takes the same odd ones among them each time. So some that it cannot tell from the best are measured for each limit
/// (docs/results.md).
const CANDIDATES: usize = 36;
/// Random networks on which the profile of this machine is checked.
const CHECKED_NETS: usize = 20;

/// The plan for these images from this model.
pub(super) fn plan(spec: &str, init: &InitConfig, mut dataset: Dataset, wishes: &Wishes) -> Result<Plan, Failure> {
    let images = dataset.train.len();
    let batch_size = (images / 8).clamp(4, BATCH);
    // Enough passes to learn from few images, few enough to end soon with many.
    let given = images.max(1) as f64;
    let usual = given.clamp(*USUAL_IMAGES.start(), *USUAL_IMAGES.end());
    let factor = (usual / given).powf(0.7).clamp(0.05, 6.0);
    let epochs = |usual: f64| (usual * factor).max(0.05);
    let steps = epochs(SUBNETS_EPOCHS) * images as f64 / batch_size as f64;
    let start = init.load()?;
    let model = &init.model;
    let largest = start.space.info().resolutions.last().copied().unwrap_or_default();
    let new_head = start.model.class_names != dataset.class_names;
    let all = images + dataset.validation.len() + dataset.test.len();
    let detail = if all <= MOST_DETAILED { DETAIL } else { 1.0 };
    let is_single = start.origin == Origin::Network;
    let kernels = match is_single && steps < STEPS_FOR_KERNELS {
        true => "elastic = { kernel_sizes = [] }\n",
        false => "",
    };
    let mut text = format!(
        "[train]\ndata = {}\nseed = {}\nbatch_size = {batch_size}\nvalidation_images = {VALIDATION_IMAGES}\n\
         calibration_images = 1000\nweight_decay = 4e-5\nhead_rate = 0.1\ngradient_clip = 5.0\n\
         photo_detail = {detail:?}\nsampler = {{ kind = \"cost_window\", to = 0.55 }}\n\
         [train.init]\nmodel = {}\nnew_head = {new_head}\n{kernels}",
        toml::Value::from(spec),
        wishes.seed,
        toml::Value::from(model.to_string_lossy().as_ref()),
    );
    if new_head {
        let _ = write!(
            text,
            "[[train.phases]]\nname = \"head\"\ntrains = \"head\"\nepochs = {:.3}\nlearning_rate = 0.004\n\
             distil = false\n",
            epochs(HEAD_EPOCHS)
        );
    }
    let _ = write!(
        text,
        "[[train.phases]]\nname = \"full\"\nepochs = {:.3}\nlearning_rate = 0.03\ndistil = false\n\
         resolutions = [{largest}]\n\
         [[train.phases]]\nname = \"full-again\"\nepochs = {:.3}\nlearning_rate = 0.03\ndistil = false\n\
         resolutions = [{largest}]\n\
         [[train.phases]]\nname = \"subnets\"\nopens = {{ kernel_size = 1, depth = 64, expansion = 2 }}\n\
         epochs = {:.3}\nwarmup_epochs = {:.3}\nlearning_rate = 0.03\nsubnets_per_step = 2\nsort_channels = {is_single}\n\
         [collect]\ncount = 40\ncalibration_images = 500\n\
         [search]\nevaluations = 4000\ncandidates = {CANDIDATES}\n\
         [[search.devices]]\ndevice = \"{HOST}\"\nmax_macs = {LIMITS:?}\n\
         [deploy]\nhost_nets = {CHECKED_NETS}\n\
         [deploy.finetune]\nepochs = {:.3}\nlearning_rate = 0.03\nbatch_size = {batch_size}\nweight_decay = 4e-5\n\
         head_rate = 0.1\ndistillation = 0.0\ngradient_clip = 5.0\nseed = {}\n",
        epochs(FULL_EPOCHS),
        epochs(AGAIN_EPOCHS),
        epochs(SUBNETS_EPOCHS),
        epochs(0.3),
        epochs(FINETUNE_EPOCHS),
        wishes.seed,
    );
    let mut config = PipelineConfig::parse(&text, "the plan for your images")?;
    config.train = config.train.changed(|train| {
        train.init = train.init.take().map(|made| made.as_unwritten_in(init));
    })?;
    let config = wishes.apply(config)?;
    let space = &start.space;
    let data = super::described(&dataset);
    let reasons = vec![
        format!("photos, so from the pretrained network {} at {:?} px", model.display(), space.info().resolutions),
        format!("normalisation of that network: {}", normalisation_of(&start.model.input)),
        format!(
            "{} in batches of {batch_size}",
            config
                .train
                .phases
                .iter()
                .map(|phase| format!("{} {:.1} epochs", phase.name, phase.epochs))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        match &config.deploy.finetune {
            Some(tuning) => format!("each chosen net is fine-tuned for {:.1} epochs", tuning.epochs),
            None => "chosen nets are not fine-tuned".to_owned(),
        },
        format!("limits: {}", limits_of(&config)),
    ];
    let read_as_trained = config.train.kept_resolution(largest) == super::LOOK_RESOLUTION;
    dataset.input = start.model.input.clone();
    dataset.channels = dataset.input.mean.len();
    Ok(Plan { config, data, reasons, dataset: read_as_trained.then_some(dataset) })
}

/// Devices and limits in words.
fn limits_of(config: &PipelineConfig) -> String {
    let one = |device: &DeviceConfig| {
        let mut parts: Vec<String> = device.device.iter().cloned().collect();
        for (name, limits) in device.given() {
            let limits: Vec<String> = limits.iter().map(ToString::to_string).collect();
            parts.push(format!("{name} {}", limits.join(", ")));
        }
        if device.spreads_latencies() {
            parts.push(format!("{} latencies", device.limits));
        }
        parts.join(" ")
    };
    config.search.devices.iter().map(one).collect::<Vec<_>>().join("; ")
}
