//! A finished run as something to work with: its networks, its data, and the network to ship for a device.

use super::PLAN;
use super::config::PipelineConfig;
use super::folder::layout::{self, Holds, look};
use super::results::results_of;
use crate::failure::Failure;
use crate::report::{ANY_DEVICE, Case, RunResults};
use ofa_space::listing;
use std::path::{Path, PathBuf};

/// A finished run's folder.
pub struct FinishedRun {
    folder: PathBuf,
    /// What it was made with.
    pub config: PipelineConfig,
    /// What it delivered.
    pub results: RunResults,
}

/// Which network of a run is meant; neither: that of the run's first device.
#[derive(Clone, Copy, Default, Debug)]
pub struct WhichNetwork<'a> {
    /// The recommended one of this device.
    pub device: Option<&'a str>,
    /// The one with this name.
    pub name: Option<&'a str>,
}

impl FinishedRun {
    /// Whether a folder holds a run: its record of steps is there.
    pub fn is_at(folder: &Path) -> bool {
        layout::is_run(folder)
    }

    /// Reads a run's folder.
    ///
    /// # Errors
    /// [`Failure::Input`] if it holds no run, or one that is not finished.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let shown = folder.display();
        let unfinished =
            || Failure::Input(format!("{shown}: the run is not finished: `ofa run {shown}` goes on with it"));
        match (look(folder), folder.join("results.json").is_file()) {
            (Holds::Run, true) => {}
            (Holds::Run | Holds::Plan, _) => return Err(unfinished()),
            _ => {
                return Err(Failure::Input(format!(
                    "{shown} is not the folder of a run, as `ofa run --out {shown}` makes it"
                )));
            }
        }
        let config = PipelineConfig::load(&folder.join(PLAN))?;
        let results = results_of(folder)?;
        Ok(Self { folder: folder.to_owned(), config, results })
    }

    /// Its folder, as it was named.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every delivered network, the full one last.
    fn networks(&self) -> impl Iterator<Item = &Case> {
        self.results.cases.iter().chain(&self.results.reference)
    }

    /// The network that is meant.
    ///
    /// # Errors
    /// [`Failure::Input`] with the names that there are.
    pub fn network(&self, which: WhichNetwork<'_>) -> Result<&Case, Failure> {
        let unknown = |kind: &str, wanted: &str, known: &[String]| {
            let known = listing::beginning(known, MOST_NAMES);
            Failure::Input(format!("{}: the run has no {kind} `{wanted}`; it has {known}", self.folder.display()))
        };
        if let Some(name) = which.name {
            let names: Vec<String> = self.networks().map(|case| case.name().to_owned()).collect();
            return self.networks().find(|case| case.name() == name).ok_or_else(|| unknown("network", name, &names));
        }
        if which.device == Some(ANY_DEVICE) {
            return self.of_device(None).ok_or_else(|| unknown("network for the device", ANY_DEVICE, &self.devices()));
        }
        let first = self.config.search.devices.first().and_then(|device| device.device.as_deref());
        let wanted = which.device.or(first);
        // The first device may have got no network.
        let any = || self.results.cases.iter().find(|case| case.recommended).or_else(|| self.networks().next());
        match (which.device, self.of_device(wanted)) {
            (_, Some(case)) => Ok(case),
            (None, None) => {
                any().ok_or_else(|| Failure::Input(format!("{}: the run has no networks", self.folder.display())))
            }
            (Some(device), None) => Err(unknown("network for the device", device, &self.devices())),
        }
    }

    /// The network to ship on a device; the first of them in runs that recommend none.
    fn of_device(&self, device: Option<&str>) -> Option<&Case> {
        let here = || self.results.cases.iter().filter(|case| case.device.as_deref() == device);
        here().find(|case| case.recommended).or_else(|| here().next())
    }

    /// Devices that have networks, each once.
    fn devices(&self) -> Vec<String> {
        let mut known: Vec<String> = Vec::new();
        for case in &self.results.cases {
            if !known.iter().any(|device| device == case.device()) {
                known.push(case.device().to_owned());
            }
        }
        known
    }

    /// The weights of a network.
    ///
    /// # Errors
    /// [`Failure::Input`] if the file is gone.
    pub fn weights(&self, case: &Case) -> Result<PathBuf, Failure> {
        let path = self.folder.join(case.f32_file()).with_extension("safetensors");
        match path.is_file() {
            true => Ok(path),
            false => Err(Failure::Input(format!(
                "{} is gone: `ofa run {}` writes it again",
                path.display(),
                self.folder.display()
            ))),
        }
    }

    /// The data of the run, as it was named when the run began.
    ///
    /// # Errors
    /// [`Failure::Input`] if a folder of that name is not there any more.
    pub fn data(&self) -> Result<&str, Failure> {
        let data = &self.config.train.data;
        match data == BUNDLED || Path::new(data).exists() {
            true => Ok(data),
            false => Err(Failure::Input(format!(
                "{}: the run's data `{data}` are not there, seen from the current folder: give --data with the folder where \
                 they are now",
                self.folder.display()
            ))),
        }
    }
}

/// The data inside the program.
const BUNDLED: &str = "bundled";
/// Names in an error message.
const MOST_NAMES: usize = 20;
