//! The folder of a run as an argument: its networks and its data.

use super::{Context, Failure};
use crate::pipeline::finished_run::{FinishedRun, WhichNetwork};
use clap::Args;
use ofa_train::data::OnCorrupt;
use std::path::{Path, PathBuf};

/// Which network of a run.
#[derive(Args, Debug)]
pub struct RunNetworkArgs {
    /// Name of a network of the run, instead of the recommended one.
    #[arg(long, value_name = "NAME")]
    net: Option<String>,
    /// Device of the run whose recommended network is used.
    #[arg(long, conflicts_with_all = ["model", "net"])]
    device: Option<String>,
}

/// A network of a run.
pub struct RunNetwork {
    /// Its weights.
    pub weights: PathBuf,
    /// The file that its device runs.
    pub onnx: PathBuf,
    /// Whether that is another than the f32 file.
    pub is_converted: bool,
    run: FinishedRun,
}

impl RunNetworkArgs {
    /// The network of the run in `folder` that is meant; it is named in a line.
    pub fn network(&self, folder: &Path, context: &Context) -> Result<RunNetwork, Failure> {
        let run = FinishedRun::open(folder)?;
        let case = run.network(WhichNetwork { device: self.device.as_deref(), name: self.net.as_deref() })?;
        let why = match (&self.net, case.recommended) {
            (None, true) => format!(", recommended for {}", case.device()),
            _ => String::new(),
        };
        context.output.note(&format!("{}: {}{why}", folder.display(), case.name()));
        let onnx = folder.join(&case.onnx);
        Ok(RunNetwork { weights: run.weights(case)?, onnx, is_converted: case.onnx_f32.is_some(), run })
    }

    /// Refuses `--net` where there is no run.
    pub fn refuse(&self) -> Result<(), Failure> {
        match &self.net {
            Some(name) => Err(Failure::Input(format!("--net {name}: expected the folder of a run to take it from"))),
            None => Ok(()),
        }
    }
}

impl RunNetwork {
    /// The size at which the run keeps images, pixels: scores are then those of its report.
    pub fn kept_resolution(&self) -> Result<u32, Failure> {
        let train = &self.run.config.train;
        let largest = train.space()?.info().resolutions.last().copied().unwrap_or_default();
        Ok(train.kept_resolution(largest))
    }

    /// What the run does about images that cannot be decoded.
    pub fn on_corrupt(&self) -> OnCorrupt {
        self.run.config.train.on_corrupt
    }

    /// The data set that is given, or else the run's.
    pub fn data(&self, given: Option<&str>) -> Result<String, Failure> {
        match given {
            Some(data) => Ok(data.to_owned()),
            None => Ok(self.run.data()?.to_owned()),
        }
    }
}
