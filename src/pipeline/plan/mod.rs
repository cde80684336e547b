//! A plan for a user's own labelled images: what to start from, space, resolutions and schedule chosen from the data.

mod pretrained;

use super::config::{DeviceConfig, HOST, PipelineConfig, QUICKSTART};
use crate::failure::Failure;
use ofa_space::{InputFormat, Resize, Settings, listing};
use ofa_train::data::{self, Dataset, LoadOptions, OnCorrupt};
use ofa_train::shrinking::InitConfig;
use std::fmt::Write;

/// A plan, and why it is as it is.
pub struct Plan {
    /// The configuration.
    pub config: PipelineConfig,
    /// Classes and images, one line each, for the user.
    pub data: Vec<String>,
    /// What was chosen and why, one line each.
    pub reasons: Vec<String>,
    /// The data set, if it was read for the plan in the way that the plan's training reads it.
    pub dataset: Option<Dataset>,
}

/// What a plan starts from.
#[derive(Clone, Debug, Default)]
pub enum Start {
    /// The pretrained network inside the program for photos, random weights for small or grey images.
    #[default]
    Automatic,
    /// Random weights.
    Scratch,
    /// A model file, or the name of a pretrained network.
    Model(InitConfig),
}

/// What a user may decide about a plan.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// What to start from.
    pub start: Start,
    /// Seed of everything random.
    pub seed: u64,
    /// Devices and limits, instead of the plan's.
    pub devices: Vec<DeviceConfig>,
    /// Epochs of fine-tuning each chosen net, instead of the plan's.
    pub finetune_epochs: Option<f64>,
    /// What to do about images that cannot be decoded, instead of the plan's.
    pub on_corrupt: Option<OnCorrupt>,
    /// Whether to leave images out of training that are validation or test images too, whatever the plan.
    pub drop_duplicates: bool,
}

/// The name of a model file in a run's folder, made of the checkpoint with this SHA-256 to start from.
pub fn start_model(sha256: &str) -> String {
    format!("{START}{}{MODEL}", &sha256[..8])
}

/// Whether a file has a name of [`start_model`].
pub fn is_start_model(name: &str) -> bool {
    name.strip_prefix(START).and_then(|rest| rest.strip_suffix(MODEL)).is_some_and(|hash| hash.len() == 8)
}

const START: &str = "start-";
const MODEL: &str = ".safetensors";

/// Photos are read at this resolution to look at them; it is what the plan from a pretrained network keeps, so they are read
/// once.
const LOOK_RESOLUTION: u32 = 164;
/// Validation images asked for; a fifth of each class at most is taken.
const VALIDATION_IMAGES: usize = 2000;
/// What the phases of a plan take of its epochs, with learning rate and subnets a step.
const PHASES: [(&str, &str, f64, f64, usize); 4] = [
    ("resolution", "{}", 0.55, 0.08, 1),
    ("kernel", "{ kernel_size = 1 }", 0.1, 0.03, 1),
    ("depth", "{ depth = 2 }", 0.1, 0.03, 2),
    ("expansion", "{ expansion = 2 }", 0.25, 0.04, 2),
];
/// Devices of a plan, with three limits each. Photos are searched for this machine first.
const DEVICES: [&str; 3] = ["pixel4-cpu", "raspberry-pi-4", "jetson-nano"];
const THIS_AND_OTHERS: [&str; 4] = [HOST, "pixel4-cpu", "raspberry-pi-4", "jetson-nano"];

/// What a kind of image is trained with.
struct Recipe {
    /// The `space` line.
    space: &'static str,
    /// In words.
    about: &'static str,
    /// Devices to search for.
    devices: &'static [&'static str],
    /// Images that a machine with two cores trains on in a few minutes, all epochs together.
    budget: f64,
}

const SMALL_GREY: Recipe = Recipe {
    space: "space = \"tiny-28\"",
    about: "small grey images, so space tiny-28 at 20 to 28 px",
    devices: &DEVICES,
    budget: 150_000.0,
};
const SMALL_COLOUR: Recipe = Recipe {
    space: "space = \"cifar-32\"",
    about: "small colour images, so space cifar-32 at 20 to 32 px",
    devices: &DEVICES,
    budget: 40_000.0,
};
const PHOTOS: Recipe = Recipe {
    space: "space = { kind = \"mbv3\", name = \"photos-96\", width = 0.35, resolutions = [64, 80, 96], \
            expand_ratios = [2, 3, 4], depths = [1, 2, 3] }",
    about: "photos, so a MobileNetV3 space of width 0.35 at 64 to 96 px",
    devices: &THIS_AND_OTHERS,
    budget: 60_000.0,
};

/// Images whose longer side is at most this are icons, to be trained from random weights.
const ICON_SIDE: usize = 40;

/// Chooses a plan for the images at `spec`.
///
/// # Errors
/// [`Failure::Input`] if the data or the model to start from cannot be read.
pub fn for_data(spec: &str, wishes: &Wishes) -> Result<Plan, Failure> {
    match wishes.quickstart(spec)? {
        Some(plan) => Ok(plan),
        None => for_dataset(spec, wishes, look_at(spec, wishes)?),
    }
}

/// The images at `spec`, as they are read to choose a plan.
///
/// # Errors
/// [`Failure::Input`] if the data cannot be read.
pub fn look_at(spec: &str, wishes: &Wishes) -> Result<Dataset, Failure> {
    let options = LoadOptions {
        seed: wishes.seed,
        max_resolution: LOOK_RESOLUTION,
        validation: VALIDATION_IMAGES,
        on_corrupt: wishes.on_corrupt.unwrap_or_default(),
        drop_duplicates: wishes.drop_duplicates,
        ..LoadOptions::default()
    };
    Ok(data::load(spec, &options)?)
}

/// [`for_data`] for images that were [looked at](look_at).
///
/// # Errors
/// As [`for_data`].
pub fn for_dataset(spec: &str, wishes: &Wishes, dataset: Dataset) -> Result<Plan, Failure> {
    if let Some(plan) = wishes.quickstart(spec)? {
        return Ok(plan);
    }
    let seed = wishes.seed;
    let model = match &wishes.start {
        Start::Model(model) => Some(model.clone()),
        Start::Automatic if dataset.channels == 3 && dataset.longest_side() > ICON_SIDE => {
            Some(InitConfig::new(pretrained::DEFAULT))
        }
        Start::Automatic | Start::Scratch => None,
    };
    if let Some(model) = model {
        return pretrained::plan(spec, &model, dataset, wishes);
    }
    let recipe = match (dataset.input.resize, dataset.channels) {
        (Resize::Stretch, 1) => SMALL_GREY,
        (Resize::Stretch, _) if dataset.longest_side() <= ICON_SIDE => SMALL_COLOUR,
        (Resize::Stretch | Resize::CenterCrop { .. }, _) => PHOTOS,
    };
    let images = dataset.train.len();
    // Enough passes to learn from few images, few enough to end soon with many.
    let epochs = (recipe.budget / images.max(1) as f64).clamp(1.0, 200.0);
    let batch_size = (images / 8).clamp(4, 64);
    let reasons = vec![
        recipe.about.to_owned(),
        format!("normalisation from the training images: {}", normalisation(&dataset)),
        format!(
            "{epochs:.1} epochs in batches of {batch_size}: {}",
            PHASES.map(|(name, _, share, ..)| format!("{name} {:.1}", epochs * share)).join(", ")
        ),
        format!("three latency limits on each of {}", recipe.devices.join(", ")),
    ];
    let text = toml_of(&recipe, &Schedule { spec, seed, batch_size, epochs });
    let config = wishes.apply(PipelineConfig::parse(&text, "the plan for your images")?)?;
    let same = config.train.space()?.info().resolutions.last() == Some(&LOOK_RESOLUTION);
    Ok(Plan { config, data: described(&dataset), reasons, dataset: same.then_some(dataset) })
}

impl Wishes {
    /// The plan for the digits inside the program, unless a model to start from is given.
    fn quickstart(&self, spec: &str) -> Result<Option<Plan>, Failure> {
        if spec != "bundled" || matches!(self.start, Start::Model(_)) {
            return Ok(None);
        }
        let mut config = PipelineConfig::parse(QUICKSTART, "the bundled quickstart")?;
        config.train = config.train.changed(|train| train.seed = self.seed)?;
        let config = self.apply(config)?;
        let reasons = vec!["the bundled quickstart: handwritten digits (MNIST)".into()];
        Ok(Some(Plan { config, data: Vec::new(), reasons, dataset: None }))
    }

    /// Puts devices, limits, epochs of fine-tuning and the reading of images into a plan.
    ///
    /// # Errors
    /// [`Failure::Input`] if a value is impossible.
    pub fn apply(&self, mut config: PipelineConfig) -> Result<PipelineConfig, Failure> {
        if !self.devices.is_empty() {
            config.search.devices.clone_from(&self.devices);
        }
        if let Some(epochs) = self.finetune_epochs {
            config.set_finetune_epochs(epochs)?;
        }
        config.train = config.train.changed(|train| {
            train.on_corrupt = self.on_corrupt.unwrap_or(train.on_corrupt);
            train.drop_duplicates |= self.drop_duplicates;
        })?;
        config.check().map_err(|invalid| Failure::Input(invalid.to_string()))?;
        Ok(config)
    }
}

struct Schedule<'a> {
    spec: &'a str,
    seed: u64,
    batch_size: usize,
    epochs: f64,
}

fn toml_of(recipe: &Recipe, schedule: &Schedule<'_>) -> String {
    let Schedule { spec, seed, batch_size, epochs } = schedule;
    let mut text = format!(
        "[train]\n{}\ndata = {}\nseed = {seed}\nbatch_size = {batch_size}\nvalidation_images = {VALIDATION_IMAGES}\n",
        recipe.space,
        toml::Value::from(*spec)
    );
    for (name, opens, share, rate, subnets) in PHASES {
        let _ = write!(
            text,
            "[[train.phases]]\nname = \"{name}\"\nopens = {opens}\nepochs = {:.3}\nlearning_rate = {rate}\n\
             subnets_per_step = {subnets}\n",
            epochs * share
        );
    }
    text.push_str(
        "[collect]\ncount = 80\ncalibration_images = 300\n\
         [search]\nstrategy = { kind = \"memetic\" }\nevaluations = 20000\n",
    );
    for device in recipe.devices {
        let _ = write!(text, "[[search.devices]]\ndevice = \"{device}\"\n");
    }
    text
}

/// Names of classes in a plan.
const CLASSES_SHOWN: usize = 10;

/// Classes and number of images.
fn described(dataset: &Dataset) -> Vec<String> {
    vec![
        format!("{} classes: {}", dataset.class_names.len(), listing::beginning(&dataset.class_names, CLASSES_SHOWN)),
        format!(
            "{} images to learn from, {} for validation, {} for the final test",
            dataset.train.len(),
            dataset.validation.len(),
            dataset.test.len()
        ),
    ]
}

fn normalisation(dataset: &Dataset) -> String {
    normalisation_of(&dataset.input)
}

fn normalisation_of(input: &InputFormat) -> String {
    let list = |values: &[f32]| values.iter().map(|v| format!("{v:.3}")).collect::<Vec<_>>().join(", ");
    format!("mean {}, standard deviation {}", list(&input.mean), list(&input.std))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_recipe_gives_a_valid_configuration_whatever_the_folder_is_called() {
        for recipe in [SMALL_GREY, SMALL_COLOUR, PHOTOS] {
            for spec in ["photos", "mine\\and \"yours\"/ñ 猫"] {
                let text = toml_of(&recipe, &Schedule { spec, seed: 3, batch_size: 8, epochs: 4.0 });
                let config = PipelineConfig::parse(&text, "plan").unwrap();
                assert_eq!((config.train.data.as_str(), config.train.seed), (spec, 3));
                config.train.space().unwrap();
            }
        }
    }
}
