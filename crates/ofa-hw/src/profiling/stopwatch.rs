//! What times the blocks and networks of a profile: this machine, or a command.

use crate::backend::{Arithmetic, HardwareBackend};
use crate::devices::command::CommandDevice;
use crate::devices::host::{Host, Subject, any_weights_onnx};
use crate::error::HwError;
use crate::profiling::timing::percentiles;
use ofa_space::NetSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// One network to time.
#[derive(Clone, Debug)]
pub struct Item {
    /// Name, unique in a group.
    pub name: String,
    /// The network, or one block as a network.
    pub net: NetSpec,
    /// Which of the two.
    pub part: Part,
}

/// What an item is a measurement of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// One block, which in a network runs after others have used the caches.
    Block,
    /// A whole network, which runs again and again, as `ofa measure` times it.
    Network,
}

/// Times that were taken together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Milliseconds of the pacer; 0 if there is none.
    pub pacer_ms: f64,
    /// Milliseconds by name.
    pub ms: BTreeMap<String, f64>,
}

/// Takes times of groups of networks.
pub trait Stopwatch {
    /// Name and version of what runs the networks.
    fn runtime(&self) -> String;

    /// Its threads.
    fn threads(&self) -> usize;

    /// The type of numbers that the device computes in when it runs a delivered network.
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::F32
    }

    /// How many networks to time between two savings.
    fn group_size(&self) -> usize;

    /// A typical time of each network, from `rounds` runs or more.
    ///
    /// # Errors
    /// [`HwError`] if one cannot be run, [`HwError::Interrupted`] once `stop` is set.
    fn time(&mut self, items: &[Item], rounds: usize, stop: &AtomicBool) -> Result<Group, HwError>;
}

/// This machine.
///
/// Blocks and networks run in turn, round after round, instead of each many times in a row: so a block finds the caches
/// as full as in a network, and a moment of noise hits one round of many instead of all rounds of one. Short groups get
/// more rounds. Of a block the tenth percentile counts: noise only ever adds time, and what matters is how blocks
/// compare. Of a whole network the median counts, as `ofa measure` reports it; it runs twice and is timed the second
/// time, when the caches hold its own weights. With every group runs one small network, the pacer: how much slower than
/// usual it ran is how much slower the machine was at that moment.
pub struct HostStopwatch {
    host: Host,
    pacer: Subject,
}

impl HostStopwatch {
    /// Times networks as `host` says, with `pacer` beside them.
    ///
    /// # Errors
    /// [`HwError`] if the runtime cannot load it.
    pub fn new(host: Host, pacer: &NetSpec) -> Result<Self, HwError> {
        let pacer = host.subject(&any_weights_onnx(pacer)?, pacer.input)?;
        Ok(Self { host, pacer })
    }
}

const WARMUP: usize = 2;
/// A group is given at least this long, …
const GROUP_SECONDS: f64 = 2.0;
/// … but not more rounds than these, unless more are asked for.
const MOST_ROUNDS: usize = 300;

impl Stopwatch for HostStopwatch {
    fn runtime(&self) -> String {
        self.pacer.session.runtime_name().to_owned()
    }

    fn threads(&self) -> usize {
        self.host.settings().threads
    }

    fn group_size(&self) -> usize {
        96
    }

    fn time(&mut self, items: &[Item], rounds: usize, stop: &AtomicBool) -> Result<Group, HwError> {
        let mut subjects = Vec::with_capacity(items.len());
        for item in items {
            subjects.push(self.host.subject(&any_weights_onnx(&item.net)?, item.net.input)?);
        }
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); items.len()];
        let mut paces = Vec::new();
        // The pacer runs four times a round, since all times are divided by its own.
        let quarter = subjects.len().div_ceil(4).max(1);
        let mut round = |keep: bool| -> Result<(), HwError> {
            if stop.load(Ordering::Relaxed) {
                return Err(HwError::Interrupted);
            }
            for (index, (subject, times)) in subjects.iter_mut().zip(&mut times).enumerate() {
                if index % quarter == 0 {
                    let ms = self.pacer.time_ms()?;
                    paces.extend(keep.then_some(ms));
                }
                if items[index].part == Part::Network {
                    subject.time_ms()?;
                }
                let ms = subject.time_ms()?;
                times.extend(keep.then_some(ms));
            }
            Ok(())
        };
        let started = Instant::now();
        for _ in 0..WARMUP {
            round(false)?;
        }
        let round_seconds = started.elapsed().as_secs_f64() / WARMUP as f64;
        let affordable = (GROUP_SECONDS / round_seconds.max(1e-6)) as usize;
        for _ in 0..affordable.min(MOST_ROUNDS).max(rounds).max(1) {
            round(true)?;
        }
        let undisturbed = |times: &mut Vec<f64>| if times.is_empty() { 0.0 } else { percentiles(times)[0] };
        let usual = |times: &mut Vec<f64>| if times.is_empty() { 0.0 } else { percentiles(times)[1] };
        let of = |part: Part, times: &mut Vec<f64>| match part {
            Part::Block => undisturbed(times),
            Part::Network => usual(times),
        };
        let ms = items.iter().zip(&mut times).map(|(item, times)| (item.name.clone(), of(item.part, times))).collect();
        Ok(Group { pacer_ms: undisturbed(&mut paces), ms })
    }
}

/// A user's command, which does its own repeating.
impl Stopwatch for CommandDevice {
    fn runtime(&self) -> String {
        format!("command {}", self.name())
    }

    fn threads(&self) -> usize {
        1
    }

    fn arithmetic(&self) -> Arithmetic {
        HardwareBackend::arithmetic(self)
    }

    fn group_size(&self) -> usize {
        8
    }

    fn time(&mut self, items: &[Item], _rounds: usize, stop: &AtomicBool) -> Result<Group, HwError> {
        let mut ms = BTreeMap::new();
        for item in items {
            if stop.load(Ordering::Relaxed) {
                return Err(HwError::Interrupted);
            }
            let measurement = self.measure(&any_weights_onnx(&item.net)?, item.net.input)?;
            ms.insert(item.name.clone(), measurement.median_ms);
        }
        Ok(Group { pacer_ms: 0.0, ms })
    }
}
