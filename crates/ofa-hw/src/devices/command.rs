//! A device measured by a command: a phone over adb, a board over ssh, a simulator.
//!
//! The command is given the network as an ONNX file and prints JSON. Results are kept on disk, so that a network is
//! measured once.

use crate::backend::{Arithmetic, HardwareBackend, LatencySource};
use crate::devices::host::any_weights_onnx;
use crate::devices::subprocess::{self, Problem};
use crate::error::HwError;
use crate::profiling::measurement_cache::MeasurementCache;
use crate::profiling::timing::Measurement;
use ofa_space::NetSpec;
use ofa_space::plain_text::plain;
use ofa_space::settings::{self, Checked, InvalidSetting, Settings};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use crate::devices::subprocess::end_all;

/// A device measured by a command, made from a [`CommandProfile`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "CommandProfile", into = "CommandProfile")]
pub struct CommandDevice(Checked<CommandProfile>);

/// The user's command.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `name`, `about` | empty | for listings | |
/// | `command` | | program and arguments; `{onnx}` stands for the file, `{shape}` for `1,C,H,W` | one argument with `{onnx}` |
/// | `field` | `latency_ms` | field of the JSON that holds milliseconds | |
/// | `timeout_s` | 120 | the command, and all that it started, is ended after this time | above 0, up to a day |
/// | `retries` | 2 | further tries after a failure | 0–20 |
/// | `arithmetic` | `f32` | type of the numbers that it computes in | `f32`, `f16`, `int8` |
/// | `cache` | the user's cache folder | where results are kept | a folder in that of the profile, or `""` for none |
///
/// The command prints one JSON object on its last line of output, `{"latency_ms": 12.3}`. It may add `p10_ms`, `p90_ms`
/// and `runs`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandProfile {
    /// Name for listings, messages and files; the program if empty.
    #[serde(default)]
    pub name: String,
    /// One line for listings.
    #[serde(default)]
    pub about: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Field of the printed JSON that holds milliseconds.
    #[serde(default = "latency_ms")]
    pub field: String,
    /// Seconds that the command may take.
    #[serde(default = "two_minutes")]
    pub timeout_s: f64,
    /// Further tries after a failure.
    #[serde(default = "two")]
    pub retries: usize,
    /// Type of the numbers that it computes in.
    #[serde(default, skip_serializing_if = "Arithmetic::is_f32")]
    pub arithmetic: Arithmetic,
    /// Folder where results are kept; `None` for the user's own, an empty path for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
}

fn latency_ms() -> String {
    "latency_ms".to_owned()
}

fn two_minutes() -> f64 {
    120.0
}

fn two() -> usize {
    2
}

/// Whether profiles may run programs in this process.
static ALLOWED: AtomicBool = AtomicBool::new(false);

/// Allows profiles to run their commands from here on. Until then, none is run: profiles are files, and files come from
/// elsewhere.
pub fn allow() {
    ALLOWED.store(true, Ordering::SeqCst);
}

/// Refuses a device that runs a program, unless [`allow`] was called; `profile` is for messages.
///
/// # Errors
/// [`HwError::CommandNotAllowed`].
pub(crate) fn check_device(profile: &str, device: &dyn HardwareBackend) -> Result<(), HwError> {
    device.command().map_or(Ok(()), |words| check_allowed(profile, words))
}

/// Refuses a command line, unless [`allow`] was called.
fn check_allowed(profile: &str, words: &[String]) -> Result<(), HwError> {
    match ALLOWED.load(Ordering::SeqCst) {
        true => Ok(()),
        false => {
            let quoted =
                |word: &String| match word.contains(|c: char| c.is_whitespace() || "'\"\\$;|&<>()*".contains(c)) {
                    true => format!("'{}'", word.replace('\'', "'\\''")),
                    false => word.clone(),
                };
            let line = words.iter().map(quoted).collect::<Vec<_>>().join(" ");
            let (profile, command) = (plain(profile).into_owned(), plain(&line).into_owned());
            Err(HwError::CommandNotAllowed { profile, command })
        }
    }
}

/// Bytes. Anything larger is an installed program, not a script.
const LARGEST_SCRIPT: u64 = 1 << 20;

/// Why a try gave no measurement.
enum Failed {
    /// For this reason; another try may succeed.
    Try(String),
    /// The user has stopped it.
    Interrupted,
}

/// Seconds of a day, the longest time limit.
const LONGEST_S: f64 = 86_400.0;
const FILE: &str = "{onnx}";
const SHAPE: &str = "{shape}";

impl From<CommandDevice> for CommandProfile {
    fn from(device: CommandDevice) -> Self {
        device.0.into_inner()
    }
}

impl TryFrom<CommandProfile> for CommandDevice {
    type Error = InvalidSetting;

    fn try_from(profile: CommandProfile) -> Result<Self, InvalidSetting> {
        Ok(Self(profile.checked()?))
    }
}

impl Settings for CommandProfile {
    fn check(&self) -> Result<(), InvalidSetting> {
        if self.command.first().is_none_or(|program| program.trim().is_empty()) {
            return Err(InvalidSetting::new("command", "is empty, expected a program and its arguments"));
        }
        if !self.command.iter().any(|argument| argument.contains(FILE)) {
            let problem = format!("has no argument with {FILE}, the network's file");
            return Err(InvalidSetting::new("command", problem));
        }
        settings::number("timeout_s", self.timeout_s, (Bound::Excluded(0.0), Bound::Included(LONGEST_S)))?;
        settings::count("retries", self.retries, 0..=20)?;
        match self.field.is_empty() {
            true => Err(InvalidSetting::new("field", "is empty, expected the name of a JSON field")),
            false => Ok(()),
        }
    }
}

impl CommandDevice {
    /// Name for messages and files.
    pub fn name(&self) -> &str {
        match self.0.name.is_empty() {
            true => &self.0.command[0],
            false => &self.0.name,
        }
    }

    /// Measures an ONNX file that takes images of `[c, h, w]`, or finds the result of an earlier time.
    ///
    /// # Errors
    /// [`HwError::Command`] with the command's output, once every try has failed; [`HwError::Interrupted`] if it was
    /// ended by [`end_all`].
    pub fn measure(&self, onnx: &[u8], shape: [usize; 3]) -> Result<Measurement, HwError> {
        check_allowed(self.name(), &self.0.command)?;
        let cache = match &self.0.cache {
            Some(folder) if folder.as_os_str().is_empty() => None,
            Some(folder) => Some(MeasurementCache::new(folder)),
            None => MeasurementCache::of_user(),
        };
        let key = MeasurementCache::key(onnx, &self.identity(shape));
        if let Some(known) = cache.as_ref().and_then(|cache| cache.get(&key)) {
            return Ok(known);
        }
        let measurement = self.try_often(onnx, shape)?;
        if let Some(cache) = cache {
            cache.put(&key, &measurement)?;
        }
        Ok(measurement)
    }

    /// Everything but the network that a result depends on. A script that the command names counts with its content:
    /// what an edited one measures is something else.
    fn identity(&self, shape: [usize; 3]) -> String {
        let mut text = format!("command {:?} {:?} {} {shape:?}", self.name(), self.0.command, self.0.field);
        for word in &self.0.command {
            if std::fs::metadata(word).is_ok_and(|file| file.is_file() && file.len() <= LARGEST_SCRIPT)
                && let Ok(content) = std::fs::read(word)
            {
                text += &format!(" {word:?} {}", MeasurementCache::key(&content, "script"));
            }
        }
        text
    }

    fn try_often(&self, onnx: &[u8], shape: [usize; 3]) -> Result<Measurement, HwError> {
        let tries = self.0.retries + 1;
        let mut problem = String::new();
        for _ in 0..tries {
            match self.attempt(onnx, shape) {
                Ok(found) => return Ok(found),
                Err(Failed::Interrupted) => return Err(HwError::Interrupted),
                Err(Failed::Try(what)) => problem = what,
            }
        }
        Err(HwError::Command { command: self.0.command.join(" "), tries, problem })
    }

    fn attempt(&self, onnx: &[u8], [c, h, w]: [usize; 3]) -> Result<Measurement, Failed> {
        let failed = |what: &str, e: std::io::Error| Failed::Try(format!("{what}: {e}"));
        let mut file = tempfile::Builder::new()
            .prefix("ofa-")
            .suffix(".onnx")
            .tempfile()
            .map_err(|e| failed("a temporary file cannot be written", e))?;
        file.write_all(onnx).and_then(|()| file.flush()).map_err(|e| failed("the network cannot be written", e))?;
        let (path, shape) = (file.path().display().to_string(), format!("1,{c},{h},{w}"));
        let words: Vec<String> =
            self.0.command.iter().map(|word| word.replace(FILE, &path).replace(SHAPE, &shape)).collect();
        let limit = Duration::from_secs_f64(self.0.timeout_s);
        let finished = subprocess::run(&words, limit).map_err(|problem| match problem {
            Problem::Ended => Failed::Interrupted,
            Problem::System(error) => Failed::Try(format!("`{}` cannot be run: {error}", words[0])),
            Problem::TimedOut => {
                let seconds = limit.as_secs_f64();
                Failed::Try(format!("it took longer than {seconds:.1} s (`timeout_s`) and was ended"))
            }
        })?;
        if !finished.status.success() {
            let (status, complaint) = (finished.status, shortened(&finished.complaint));
            return Err(Failed::Try(format!("it failed ({status}): {complaint}")));
        }
        self.parse(&finished.output).map_err(Failed::Try)
    }

    fn parse(&self, output: &str) -> Result<Measurement, String> {
        let field = &self.0.field;
        let expected = |what: &str| {
            format!("{what}, expected a line such as {{\"{field}\": 12.3}}; it printed: {}", shortened(output))
        };
        let line = output.lines().rev().find(|line| !line.trim().is_empty());
        let line = line.ok_or_else(|| expected("it printed nothing"))?;
        let json: serde_json::Value = serde_json::from_str(line).map_err(|_| expected("its last line is not JSON"))?;
        let number = |name: &str| json.get(name).and_then(serde_json::Value::as_f64);
        let median_ms = number(field).ok_or_else(|| expected(&format!("its JSON has no number `{field}`")))?;
        if !(median_ms > 0.0 && median_ms.is_finite()) {
            return Err(expected(&format!("`{field}` is {median_ms}")));
        }
        Ok(Measurement {
            median_ms,
            p10_ms: number("p10_ms").filter(|ms| *ms > 0.0).unwrap_or(median_ms),
            p90_ms: number("p90_ms").filter(|ms| *ms > 0.0).unwrap_or(median_ms),
            runs: number("runs").unwrap_or(1.0) as usize,
            runtime: format!("command {}", self.name()),
            threads: number("threads").unwrap_or(1.0) as usize,
        })
    }
}

/// The end of a text, where programs print their errors.
fn shortened(text: &str) -> String {
    const LENGTH: usize = 400;
    let text = text.trim();
    match text.char_indices().rev().nth(LENGTH) {
        Some((start, _)) => format!("… {}", &text[start..]),
        None if text.is_empty() => "(nothing)".to_owned(),
        None => text.to_owned(),
    }
}

#[typetag::serde(name = "command")]
impl HardwareBackend for CommandDevice {
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError> {
        Ok(self.measure(&any_weights_onnx(net)?, net.input)?.median_ms)
    }

    fn arithmetic(&self) -> Arithmetic {
        self.0.arithmetic
    }

    fn command(&self) -> Option<&[String]> {
        Some(&self.0.command)
    }

    fn open(&mut self, folder: &Path) -> Result<(), HwError> {
        let Some(cache) = MeasurementCache::confined(self.0.cache.as_deref(), folder)? else { return Ok(()) };
        self.0 = self.0.clone().changed(|profile| profile.cache = Some(cache)).map_err(HwError::Setting)?;
        Ok(())
    }

    fn source(&self) -> LatencySource {
        LatencySource::Measured
    }
}
