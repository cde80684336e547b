//! What each step of a run depends on. A step is redone exactly when one of these changes; each also depends on the steps
//! before it that are named. Data count by content, wherever they are kept; how the work is done counts nowhere.
//!
//! | step | before it | settings | images and files |
//! |---|---|---|---|
//! | train | | `train`, without where the data are | training, validation; the model to start from |
//! | collect | train | `collect` | training (recalibration), validation: those of train |
//! | fit | collect | `fit` | |
//! | refine | fit | `search.refine`, `search.evaluations` | the first device; training, validation: those of train |
//! | search | fit, or refine | `search` | devices, with the files that their profiles name, this machine's measured profile among them |
//! | deploy | search | `deploy`, without `host_nets` | training, validation: those of train; test |
//! | fine-tuned nets of deploy | train | `deploy.calibration_images`, `deploy.finetune` | training, validation: those of train |
//! | profile | | `deploy.host_nets`, seed and space of `train` | |

use crate::failure::Failure;
use crate::pipeline::config::PipelineConfig;
use crate::pipeline::folder::RunFolder;
use crate::pipeline::steps::profile;
use ofa_space::dependencies::Dependencies;
use ofa_space::digest::Digest;
use ofa_train::data::Dataset;
use ofa_train::shrinking::Trainer;
use serde::Serialize;

/// What a step depends on.
#[derive(Clone, Debug)]
pub struct Key {
    /// By name.
    pub depends_on: Dependencies,
    /// The hash that earlier versions wrote for the same step of the same run.
    pub earlier: String,
}

/// The keys of all steps.
pub struct Keys {
    /// Progressive shrinking.
    pub train: Key,
    /// Accuracy pairs.
    pub collect: Key,
    /// Accuracy predictor.
    pub fit: Key,
    /// Fine-tuned networks: what a chosen net becomes does not depend on why it was chosen.
    pub tuned: Key,
    /// This machine's blocks timed.
    pub profile: Key,
}

/// The keys of the steps that read the devices, among them this machine's profile, which is measured before them.
pub struct ChoiceKeys {
    /// The predictor in the loop.
    pub refine: Key,
    /// Best net for every case.
    pub search: Key,
    /// Extraction, export, verification.
    pub deploy: Key,
}

impl Keys {
    /// The keys of a run.
    ///
    /// # Errors
    /// [`Failure::Input`] if an image cannot be read.
    pub fn of(config: &PipelineConfig, trainer: &Trainer<'_>) -> Self {
        let PipelineConfig { collect, fit, deploy, .. } = config;
        let train = Key { depends_on: trainer.dependencies(), earlier: trainer.earlier_fingerprint() };
        let collect = train.then("train", |all| all.add("collect", collect), &[&collect]);
        let fit = collect.then("collect", |all| all.add("fit", fit), &[&fit]);
        let of_tuned = |all: &mut Dependencies| {
            all.add("deploy.calibration_images", &deploy.calibration_images);
            all.add("deploy.finetune", &deploy.finetune);
        };
        let tuned = train.then("train", of_tuned, &[&deploy]);
        let mut space = Dependencies::default();
        space.add("train.space", trainer.space().as_ref());
        space.add("train.seed", &config.train.seed);
        // Where networks are chosen by the profile, how many check it decides nothing.
        if !config.chooses_for_host() {
            space.add("deploy.host_nets", &deploy.host_nets);
        }
        let profile = Key { depends_on: space, earlier: earlier(&train.earlier, &[&deploy.host_nets]) };
        Self { train, collect, fit, tuned, profile }
    }

    /// The keys of what is chosen for the devices, by the run in `folder`.
    ///
    /// # Errors
    /// [`Failure::Input`] if an image or a device's file cannot be read.
    pub fn choices(
        &self,
        config: &PipelineConfig,
        dataset: &Dataset,
        folder: &RunFolder,
    ) -> Result<ChoiceKeys, Failure> {
        let PipelineConfig { search, deploy, .. } = config;
        let mut devices = Dependencies::default();
        for (index, device) in search.devices.iter().enumerate() {
            let name = format!("search.devices[{index}]");
            devices.add(&name, device);
            if let Some(content) = profile::content(device, folder)? {
                devices.add(&format!("{name}.content"), &format!("sha256 {content}"));
            }
        }
        let of_search = |all: &mut Dependencies| {
            all.add("search.strategy", &search.strategy);
            all.add("search.evaluations", &search.evaluations);
            if search.candidates > 0 {
                all.add("search.candidates", &search.candidates);
            }
            all.extend(&devices);
        };
        let mut first = Dependencies::default();
        if let Some(device) = search.devices.first() {
            first.add("search.devices[0].device", &device.device);
            let content = profile::content(device, folder)?;
            first.add("search.devices[0].content", &content);
        }
        let of_refine = |all: &mut Dependencies| {
            all.add("search.refine", &search.refine);
            all.add("search.evaluations", &search.evaluations);
            all.extend(&first);
        };
        let refine = self.fit.then("fit", of_refine, &[&search]);
        let search = match search.refine {
            Some(_) => refine.then("refine", of_search, &[&search]),
            None => self.fit.then("fit", of_search, &[&search]),
        };

        let test = dataset.test.content()?;
        let of_deploy = |all: &mut Dependencies| {
            all.add("deploy", deploy);
            all.remove("deploy.host_nets");
            all.add("data.test_images", &test);
        };
        let deploy = search.then("search", of_deploy, &[&deploy]);
        Ok(ChoiceKeys { refine, search, deploy })
    }
}

impl Key {
    /// A key that depends on the step of this one, and more. `earlier_parts` are the settings in the hash of earlier versions.
    fn then(&self, step: &str, more: impl FnOnce(&mut Dependencies), earlier_parts: &[&dyn AsJson]) -> Self {
        let mut depends_on = Dependencies::default();
        depends_on.add(step, &self.depends_on.digest());
        more(&mut depends_on);
        Self { depends_on, earlier: earlier(&self.earlier, earlier_parts) }
    }
}

/// The hash of earlier versions: over the hash of the step before, and settings as they are written.
fn earlier(before: &String, settings: &[&dyn AsJson]) -> String {
    let mut digest = Digest::default();
    for part in std::iter::once(&(before as &dyn AsJson)).chain(settings) {
        digest.add(part.json());
        digest.add([0]);
    }
    digest.hex()
}

trait AsJson {
    fn json(&self) -> Vec<u8>;
}

impl<T: Serialize> AsJson for T {
    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
