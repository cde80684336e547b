//! `distillation` of a training file: how much a teacher counts, and which network it is.

use crate::data::Dataset;
use crate::elastic::precision::Precision;
use crate::error::TrainError;
use crate::training::frozen::FrozenNetwork;
use burn::tensor::Device;
use ofa_space::{InvalidSetting, Model, Settings, settings};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Learning from a teacher. A bare number is the weight.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `weight` | 1.0 | weight of the teacher's term | ≥ 0 |
/// | `teacher` | the largest subnet, frozen or of the step, depending on the sampler | model file of a network with the classes of the data; it sees the same crops at its own resolution | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Distillation {
    /// Weight of the teacher's term.
    pub weight: f64,
    /// Model file of the teacher; `None` = the supernet's own largest subnet.
    pub teacher: Option<PathBuf>,
}

impl Default for Distillation {
    fn default() -> Self {
        Self { weight: 1.0, teacher: None }
    }
}

impl Distillation {
    /// The teacher of the file; `None` without one, or with weight 0.
    ///
    /// # Errors
    /// [`TrainError::Config`] naming the file, if it cannot be read.
    pub(super) fn model(&self) -> Result<Option<Model>, TrainError> {
        let Some(path) = self.teacher.as_ref().filter(|_| self.weight > 0.0) else { return Ok(None) };
        Model::load(path).map(Some).map_err(|error| unsuitable(path, error.into()))
    }

    /// The teacher of the file, ready for this data set; `None` without one, or with weight 0.
    ///
    /// # Errors
    /// [`TrainError::Config`] naming the file, if it cannot be read, is a supernet, or does not suit the data.
    pub(super) fn load(
        &self,
        dataset: &Dataset,
        device: &Device,
        precision: Precision,
    ) -> Result<Option<FrozenNetwork>, TrainError> {
        let (Some(path), Some(model)) = (&self.teacher, self.model()?) else { return Ok(None) };
        FrozenNetwork::new(&model, dataset, device, precision).map(Some).map_err(|error| unsuitable(path, error))
    }
}

fn unsuitable(path: &Path, error: TrainError) -> TrainError {
    TrainError::Config {
        file: path.display().to_string(),
        field: "distillation.teacher".to_owned(),
        problem: format!("cannot teach: {error}"),
    }
}

impl Settings for Distillation {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::number("weight", self.weight, 0.0..f64::INFINITY)
    }
}

/// The form in the file.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "invalid distillation, expected a number, or a table of `weight` and `teacher`")]
enum Written {
    Weight(f64),
    Table(Table),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default = "one")]
    weight: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    teacher: Option<PathBuf>,
}

fn one() -> f64 {
    Distillation::default().weight
}

impl From<Written> for Distillation {
    fn from(written: Written) -> Self {
        match written {
            Written::Weight(weight) => Self { weight, teacher: None },
            Written::Table(Table { weight, teacher }) => Self { weight, teacher },
        }
    }
}

impl From<Distillation> for Written {
    fn from(Distillation { weight, teacher }: Distillation) -> Self {
        match teacher {
            None => Self::Weight(weight),
            Some(_) => Self::Table(Table { weight, teacher }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct File {
        distillation: Distillation,
    }

    #[test]
    fn a_number_or_a_table() {
        let read = |text: &str| toml::from_str::<File>(&format!("distillation = {text}"));
        assert_eq!(read("0.5").unwrap().distillation, Distillation { weight: 0.5, teacher: None });
        assert_eq!(read("2").unwrap().distillation.weight, 2.0);
        let teacher = Some(PathBuf::from("t.safetensors"));
        let made = read("{ teacher = \"t.safetensors\" }").unwrap();
        assert_eq!(made.distillation, Distillation { weight: 1.0, teacher });
        for wrong in ["\"much\"", "{ strength = 1.0 }"] {
            let error = read(wrong).err().unwrap().to_string();
            assert!(error.contains("`weight` and `teacher`"), "{error}");
        }
        // Old files and their fingerprints hold a number.
        let text = serde_json::to_string(&Distillation::default()).unwrap();
        assert_eq!(text, "1.0");
    }
}
