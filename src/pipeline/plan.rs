//! A plan for a user's own labelled images: space, resolutions and schedule chosen from the data.

use super::config::{PipelineConfig, QUICKSTART};
use crate::failure::Failure;
use ofa_train::data::{self, LoadOptions, OnCorrupt};
use std::fmt::Write;

/// A plan, and why it is as it is.
pub struct Plan {
    /// The configuration.
    pub config: PipelineConfig,
    /// What was chosen and from what, for the user.
    pub reasons: Vec<String>,
}

/// Photos are read at this resolution to look at them.
const LOOK_RESOLUTION: u32 = 96;
/// Images that a small machine can train on in a few minutes.
const IMAGES_PER_RUN: f64 = 60_000.0;
const PHOTO_IMAGES_PER_RUN: f64 = 12_000.0;

/// Chooses a plan of the same kind as the quickstart for the images at `spec`.
///
/// # Errors
/// [`Failure::Input`] if the data cannot be read.
pub fn for_data(spec: &str, seed: u64, on_corrupt: OnCorrupt) -> Result<Plan, Failure> {
    if spec == "bundled" {
        let mut config = PipelineConfig::parse(QUICKSTART, "the bundled quickstart")?;
        config.train.seed = seed;
        return Ok(Plan { config, reasons: vec!["the bundled quickstart".into()] });
    }
    let options = LoadOptions { seed, max_resolution: LOOK_RESOLUTION, validation: 2000, on_corrupt };
    let dataset = data::load(spec, &options)?;
    let small = dataset.input.resize == ofa_space::model::Resize::Stretch;
    let images = dataset.train.len();
    let classes = dataset.class_names.len();
    let mut reasons = vec![format!("{images} training images of {classes} classes")];
    let (space, budget) = match (small, dataset.channels) {
        (true, 1) => {
            reasons.push("small grey images: space tiny-28".into());
            ("space = \"tiny-28\"".to_owned(), IMAGES_PER_RUN)
        }
        (true, _) => {
            reasons.push("small colour images: space cifar-32".into());
            ("space = \"cifar-32\"".to_owned(), IMAGES_PER_RUN / 3.0)
        }
        (false, _) => {
            reasons.push("photos: a MobileNetV3 space of width 0.35 at 64 to 96 px".into());
            let table = "space = { kind = \"mbv3\", name = \"photos-96\", width = 0.35, resolutions = [64, 80, 96], \
                         expand_ratios = [2, 3, 4], depths = [1, 2, 3] }";
            (table.to_owned(), PHOTO_IMAGES_PER_RUN)
        }
    };
    // Enough passes to learn from few images, few enough to end soon with many.
    let epochs = (budget / images.max(1) as f64).clamp(1.0, 60.0);
    let batch_size = (images / 8).clamp(4, 64);
    reasons.push(format!("{epochs:.1} epochs in all, batches of {batch_size}"));
    let mut text = format!(
        "[train]\n{space}\ndata = {}\nseed = {seed}\nbatch_size = {batch_size}\nvalidation_images = 2000\n",
        serde_json::Value::from(spec)
    );
    let phases = [
        ("resolution", "{}", 0.55, 0.08, 1),
        ("kernel", "{ kernel_size = 1 }", 0.1, 0.03, 1),
        ("depth", "{ depth = 2 }", 0.1, 0.03, 2),
        ("expansion", "{ expansion = 2 }", 0.25, 0.04, 2),
    ];
    for (name, opens, share, rate, subnets) in phases {
        let _ = write!(
            text,
            "[[train.phases]]\nname = \"{name}\"\nopens = {opens}\nepochs = {:.3}\nlearning_rate = {rate}\n\
             subnets_per_step = {subnets}\n",
            epochs * share
        );
    }
    let _ = write!(
        text,
        "[collect]\ncount = 80\ncalibration_images = 300\n[search]\nstrategy = {{ kind = \"evolution\", generations = 40 }}\n\
         evaluations = 4000\n"
    );
    for device in ["pixel4-cpu", "raspberry-pi-4", "jetson-nano"] {
        let _ = write!(text, "[[search.devices]]\ndevice = \"{device}\"\n");
    }
    Ok(Plan { config: PipelineConfig::parse(&text, "the plan for your images")?, reasons })
}
