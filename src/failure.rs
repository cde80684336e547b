//! How a command fails: one readable paragraph and an exit code.

use ofa_space::ModelError;
use ofa_space::{InvalidSetting, SpaceError, WeightsError};
use ofa_train::TrainError;
use ofa_train::communication::CommunicationError;
use ofa_train::data::DataError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Bad usage or bad input: exit code 2.
    #[error("{0}")]
    Input(String),
    /// Failed while running: exit code 1.
    #[error("{0}")]
    Running(String),
    /// Stopped by the user, with the work saved: exit code 130.
    #[error("{0}")]
    Interrupted(String),
}

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Input(_) => 2,
            Failure::Running(_) => 1,
            Failure::Interrupted(_) => 130,
        }
    }
}

impl From<SpaceError> for Failure {
    fn from(error: SpaceError) -> Self {
        Failure::Input(error.to_string())
    }
}

impl From<WeightsError> for Failure {
    fn from(error: WeightsError) -> Self {
        match error {
            WeightsError::Io { action: "write", .. } => Failure::Running(error.to_string()),
            _ => Failure::Input(error.to_string()),
        }
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Weights(error) => error.into(),
            ModelError::ArchNeeded { .. } => {
                Failure::Input(format!("{error} with --arch (max, min, random, JSON or a file)"))
            }
            ModelError::NotElastic { .. } => Failure::Input(format!("{error}: leave --arch out")),
            other => Failure::Input(other.to_string()),
        }
    }
}

impl From<InvalidSetting> for Failure {
    fn from(error: InvalidSetting) -> Self {
        Failure::Input(error.to_string())
    }
}

impl From<CommunicationError> for Failure {
    fn from(error: CommunicationError) -> Self {
        TrainError::from(error).into()
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Interrupted => Failure::Interrupted(error.to_string()),
            TrainError::Weights(error) => error.into(),
            TrainError::Model(error) => error.into(),
            TrainError::Data(error) => error.into(),
            TrainError::Communication(
                CommunicationError::Start(_)
                | CommunicationError::Differs { .. }
                | CommunicationError::Gone { .. }
                | CommunicationError::Message { .. },
            )
            | TrainError::Diverged { .. }
            | TrainError::Overflown { .. }
            | TrainError::NotFinite { .. }
            | TrainError::Compute(_)
            | TrainError::DiskSpace { .. }
            | TrainError::Io { action: "write", .. } => Failure::Running(error.to_string()),
            other => Failure::Input(other.to_string()),
        }
    }
}

impl From<ofa_export::ExportError> for Failure {
    fn from(error: ofa_export::ExportError) -> Self {
        use ofa_export::ExportError;
        match error {
            ExportError::Runtime(_)
            | ExportError::Protobuf(_)
            | ExportError::TorchArchive(_)
            | ExportError::Write { .. }
            | ExportError::LogitCount { .. }
            | ExportError::Disagreement { .. } => Failure::Running(error.to_string()),
            other => Failure::Input(other.to_string()),
        }
    }
}

impl From<ofa_export::RuntimeError> for Failure {
    fn from(error: ofa_export::RuntimeError) -> Self {
        Failure::Running(error.to_string())
    }
}

impl From<ofa_predictors::PredictorError> for Failure {
    fn from(error: ofa_predictors::PredictorError) -> Self {
        use ofa_predictors::PredictorError;
        match error {
            PredictorError::TooManyPairs { .. } => Failure::Input(format!("{error} (--subset PAIRS of `ofa fit`)")),
            PredictorError::Io { action: "write", .. } | PredictorError::Fit { .. } => {
                Failure::Running(error.to_string())
            }
            other => Failure::Input(other.to_string()),
        }
    }
}

impl From<ofa_hw::HwError> for Failure {
    fn from(error: ofa_hw::HwError) -> Self {
        match error {
            ofa_hw::HwError::Runtime(error) => error.into(),
            ofa_hw::HwError::Predictor(error) => error.into(),
            ofa_hw::HwError::Noisy { .. }
            | ofa_hw::HwError::Command { .. }
            | ofa_hw::HwError::Unusable(_)
            | ofa_hw::HwError::Io { action: "write", .. } => Failure::Running(error.to_string()),
            ofa_hw::HwError::CommandNotAllowed { .. } => {
                Failure::Input(format!("{error}\nGive --allow-commands if this is what you want to run"))
            }
            ofa_hw::HwError::Interrupted => Failure::Interrupted(error.to_string()),
            other => Failure::Input(other.to_string()),
        }
    }
}

impl From<ofa_search::SearchError> for Failure {
    fn from(error: ofa_search::SearchError) -> Self {
        Failure::Input(match error {
            ofa_search::SearchError::NotAdditive { .. } => {
                format!("{error} (`ofa fit --predictor elastic-net --encoder one-hot` fits such a predictor)")
            }
            other => other.to_string(),
        })
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Undecodable { .. } => Failure::Input(format!("{error} with `--on-corrupt skip`")),
            DataError::Classes { .. } => {
                Failure::Input(format!("{error}: `ofa finetune --new-head` gives a network the classes of the data"))
            }
            DataError::UnknownClass { .. } | DataError::AmbiguousClasses { .. } => Failure::Input(format!(
                "{error}. `--class-map FILE` maps classes (lines `theirs,ours`), `--classes-by-position` takes them in \
                 their order, and `ofa finetune --new-head` gives a network the classes of the data"
            )),
            other => Failure::Input(other.to_string()),
        }
    }
}

impl From<ofa_train::device::BackendError> for Failure {
    fn from(error: ofa_train::device::BackendError) -> Self {
        Failure::Input(error.to_string())
    }
}

impl Failure {
    /// A file that could not be written.
    pub fn writing(path: &std::path::Path, error: std::io::Error) -> Self {
        Failure::Running(format!("cannot write {}: {error}", path.display()))
    }
}
