//! A device described by a latency predictor, which reads archs of one space rather than networks.

use crate::backend::{HardwareBackend, LatencySource};
use crate::error::HwError;
use ofa_predictors::{FittedPredictor, PredictedObjective, PredictorError, Target};
use ofa_space::settings::{Checked, InvalidSetting, Settings};
use ofa_space::{Arch, NetSpec, Objective, SearchSpace, SpaceError, registry};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A latency predictor as a device, made from a [`PredictorProfile`] and opened by
/// [`DeviceProfile`](crate::DeviceProfile). It answers for subnets of its space only, at the resolutions and with the choices
/// that it was fitted on; a network without its arch is an error.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "PredictorProfile", into = "PredictorProfile")]
pub struct PredictorDevice {
    profile: Checked<PredictorProfile>,
    opened: Option<Opened>,
}

/// A latency predictor and the space that it was fitted for.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `name`, `about` | empty | for listings and messages | |
/// | `predictor` | | file of a predictor fitted to latencies (`ofa fit --target latency`), from the profile's folder | |
/// | `space` | | the space that it was fitted for: a registered name, or a TOML file from the profile's folder | not empty |
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictorProfile {
    /// Name for listings and messages.
    #[serde(default)]
    pub name: String,
    /// One line for listings.
    #[serde(default)]
    pub about: String,
    /// Predictor file, from the profile's folder.
    pub predictor: PathBuf,
    /// Registered name of the space, or its TOML file, from the profile's folder.
    pub space: String,
}

/// The files of the profile.
#[derive(Clone, Debug)]
struct Opened {
    space: Arc<dyn SearchSpace>,
    predictor: Arc<FittedPredictor>,
}

impl Settings for PredictorProfile {
    fn check(&self) -> Result<(), InvalidSetting> {
        let empty = [("predictor", self.predictor.as_os_str().is_empty()), ("space", self.space.is_empty())];
        match empty.into_iter().find(|(_, is_empty)| *is_empty) {
            Some((field, _)) => Err(InvalidSetting::new(field, "is empty, expected a file or a name")),
            None => Ok(()),
        }
    }
}

impl From<PredictorDevice> for PredictorProfile {
    fn from(device: PredictorDevice) -> Self {
        device.profile.into_inner()
    }
}

impl TryFrom<PredictorProfile> for PredictorDevice {
    type Error = InvalidSetting;

    fn try_from(profile: PredictorProfile) -> Result<Self, InvalidSetting> {
        Ok(Self { profile: profile.checked()?, opened: None })
    }
}

impl PredictorDevice {
    /// The fields of the profile.
    pub fn profile(&self) -> &PredictorProfile {
        &self.profile
    }

    fn name(&self) -> String {
        match self.profile.name.is_empty() {
            true => self.profile.predictor.display().to_string(),
            false => self.profile.name.clone(),
        }
    }

    fn opened(&self) -> Result<&Opened, HwError> {
        self.opened.as_ref().ok_or_else(|| HwError::NotOpened { device: self.name() })
    }

    /// The device's own space, if `space` is the same but for the list of resolutions and the number of classes.
    fn own_space(&self, space: &dyn SearchSpace) -> Result<&Opened, HwError> {
        let opened = self.opened()?;
        if std::ptr::addr_eq(space, Arc::as_ptr(&opened.space)) || shape(space) == shape(opened.space.as_ref()) {
            return Ok(opened);
        }
        let (fitted, asked) = (opened.space.name().to_owned(), space.name().to_owned());
        Err(HwError::OtherSpace { device: self.name(), fitted, asked })
    }
}

/// What latency depends on in a space; a classifier for more classes hardly takes longer.
fn shape(space: &dyn SearchSpace) -> serde_json::Value {
    let mut config = serde_json::to_value(space).unwrap_or_default();
    if let Some(fields) = config.as_object_mut() {
        fields.remove("resolutions");
        fields.remove("classes");
    }
    config
}

/// A registered space, or the file of one.
fn space_from(folder: &Path, name_or_file: &str) -> Result<Arc<dyn SearchSpace>, SpaceError> {
    let file = folder.join(name_or_file);
    match file.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml")) || file.is_file() {
        true => registry::load(&file.to_string_lossy()),
        false => registry::named(name_or_file),
    }
}

#[typetag::serde(name = "predictor")]
impl HardwareBackend for PredictorDevice {
    fn latency_ms(&self, _net: &NetSpec) -> Result<f64, HwError> {
        Err(HwError::NeedsArch { device: self.name(), space: self.profile.space.clone() })
    }

    fn subnet_latency_ms(&self, space: &dyn SearchSpace, arch: &Arch) -> Result<f64, HwError> {
        let Opened { space, predictor } = self.own_space(space)?;
        // One prediction for one arch.
        Ok(predictor.predict(space.as_ref(), std::slice::from_ref(arch))?.remove(0))
    }

    fn source(&self) -> LatencySource {
        LatencySource::Analytic
    }

    fn latency_objective(&self, space: &Arc<dyn SearchSpace>) -> Option<Box<dyn Objective>> {
        let Opened { space, predictor } = self.own_space(space.as_ref()).ok()?.clone();
        Some(Box::new(PredictedObjective::new(space, predictor, Target::Latency).ok()?))
    }

    fn open(&mut self, folder: &Path) -> Result<(), HwError> {
        let space = space_from(folder, &self.profile.space)?;
        let path = folder.join(&self.profile.predictor);
        let predictor = FittedPredictor::load_for(&path, Target::Latency)?;
        // Refuses a predictor of another space, or of the same name with other choices.
        let of_file =
            |e: PredictorError| HwError::Profile { origin: path.display().to_string(), problem: e.to_string() };
        predictor.code(space.as_ref()).map_err(of_file)?;
        self.opened = Some(Opened { space, predictor: Arc::new(predictor) });
        Ok(())
    }
}
