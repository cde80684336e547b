//! Timing every block of a space on a device, and a few whole networks.

use super::measurable::MeasurableDevice;
use super::reachable;
use super::stopwatch::{Group, Item, Part, Stopwatch};
use super::timing::percentiles;
use super::unfinished::Unfinished;
use crate::block_key;
use crate::devices::block_table::{BlockProfile, BlockTable};
use crate::devices::whole_net::{WholeNet, WholeSample};
use crate::error::HwError;
use ofa_space::settings::{self, InvalidSetting, Settings};
use ofa_space::{Arch, Block, NetSpec, Opened, SearchSpace};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// What to measure.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `rounds` | 15 | timed runs of each block at least | ≥ 1 |
/// | `whole_nets` | 32 | random networks measured whole, for the fit | 0 = the sum alone |
/// | `check_nets` | 0 | other random networks measured in turn with these, to check predictions on | |
/// | `seed` | 0 | of the random networks | |
#[derive(Clone, Copy, Debug)]
pub struct ProfileOptions {
    /// Timed runs of each block at least.
    pub rounds: usize,
    /// Networks measured whole.
    pub whole_nets: usize,
    /// Other networks measured whole, which take no part in the fit.
    pub check_nets: usize,
    /// Seed of the random networks.
    pub seed: u64,
}

impl Default for ProfileOptions {
    fn default() -> Self {
        Self { rounds: 15, whole_nets: 32, check_nets: 0, seed: 0 }
    }
}

impl Settings for ProfileOptions {
    fn check(&self) -> Result<(), InvalidSetting> {
        settings::count("rounds", self.rounds, 1..=usize::MAX)
    }
}

/// A finished profile.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The device.
    pub table: BlockTable,
    /// Networks that took no part in the fit, and their milliseconds.
    pub checks: Vec<(Arch, f64)>,
}

/// Measures the blocks of a space, and some whole networks to fit what turns their sum into a network's time.
///
/// ```no_run
/// # use ofa_hw::devices::host::Host;
/// # use ofa_hw::profiling::profiler::{Profiler, ProfileOptions};
/// # let stop = std::sync::atomic::AtomicBool::new(false);
/// let space = ofa_space::registry::named("tiny-28")?;
/// let measured = Profiler::new(space.as_ref())
///     .options(ProfileOptions { check_nets: 30, ..Default::default() })
///     .on_progress(|done, total| eprintln!("{done} of {total}"))
///     .stop_at(&stop)
///     .run(Host::default())?;
/// measured.table.save("this-machine.toml".as_ref())?;
/// # Ok::<(), ofa_hw::HwError>(())
/// ```
pub struct Profiler<'a> {
    space: &'a dyn SearchSpace,
    name: String,
    options: ProfileOptions,
    unfinished: Option<PathBuf>,
    on_progress: Box<dyn FnMut(usize, usize) + 'a>,
    stop: &'a AtomicBool,
}

static NEVER: AtomicBool = AtomicBool::new(false);

impl<'a> Profiler<'a> {
    /// Measures every subnet's blocks at every resolution of `space`, with the default options.
    pub fn new(space: &'a dyn SearchSpace) -> Self {
        Self {
            space,
            name: String::new(),
            options: ProfileOptions::default(),
            unfinished: None,
            on_progress: Box::new(|_, _| ()),
            stop: &NEVER,
        }
    }

    /// What to measure.
    #[must_use]
    pub fn options(self, options: ProfileOptions) -> Self {
        Self { options, ..self }
    }

    /// Name of the measured device, for listings and messages.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Saves what is measured in this file after every group, and goes on from it if it is there (see
    /// [`Unfinished::beside`]). Whoever has saved the result removes the file.
    #[must_use]
    pub fn resumable(self, unfinished: &Path) -> Self {
        Self { unfinished: Some(unfinished.to_owned()), ..self }
    }

    /// Called with the number of blocks and networks that are timed, and of all: at the start, and after every group.
    #[must_use]
    pub fn on_progress(self, on_progress: impl FnMut(usize, usize) + 'a) -> Self {
        Self { on_progress: Box::new(on_progress), ..self }
    }

    /// Stops with [`HwError::Interrupted`] soon after this flag is set.
    #[must_use]
    pub fn stop_at(self, stop: &'a AtomicBool) -> Self {
        Self { stop, ..self }
    }

    /// Measures on this machine or through a command.
    ///
    /// # Errors
    /// As [`run_with`](Self::run_with).
    pub fn run(self, device: impl Into<MeasurableDevice>) -> Result<Measured, HwError> {
        let mut stopwatch = device.into().stopwatch(self.space)?;
        self.run_with(stopwatch.as_mut())
    }

    /// Measures with any stopwatch.
    ///
    /// # Errors
    /// [`HwError`] if a network cannot be run or the unfinished profile cannot be read or saved; [`HwError::Interrupted`]
    /// once the stop flag is set; [`HwError::OtherProfile`] if the unfinished profile was measured in another way.
    pub fn run_with(mut self, stopwatch: &mut dyn Stopwatch) -> Result<Measured, HwError> {
        self.options.check()?;
        let nets = self.nets()?;
        let measured = self.measure(&nets, stopwatch)?;
        self.finish(nets, &measured, stopwatch)
    }

    /// The random networks of the fit and of the check.
    fn nets(&self) -> Result<Nets, HwError> {
        let ProfileOptions { whole_nets, check_nets, seed, .. } = self.options;
        let mut fitted = random_archs(self.space, whole_nets + check_nets, seed);
        let checks = fitted.split_off(whole_nets.min(fitted.len()));
        let resolved = |archs: Vec<Arch>| -> Result<Vec<Net>, HwError> {
            let net = |arch: Arch| {
                let name = format!("net {}", self.space.format(&arch));
                Ok(Net { name, net: self.space.resolve(&arch)?, arch })
            };
            archs.into_iter().map(net).collect()
        };
        Ok(Nets { fitted: resolved(fitted)?, checks: resolved(checks)? })
    }

    /// Everything that measured times depend on.
    fn fingerprint(&self, stopwatch: &dyn Stopwatch) -> String {
        let ProfileOptions { rounds, whole_nets, check_nets, seed } = self.options;
        let (runtime, threads) = (stopwatch.runtime(), stopwatch.threads());
        let config = serde_json::to_string(self.space).unwrap_or_default();
        let version = block_key::KEY_VERSION;
        format!(
            "{runtime}, {threads} threads, {rounds} rounds, {whole_nets} and {check_nets} nets, seed {seed}, names \
             {version}: {config}"
        )
    }

    /// Times what is not timed yet, group by group.
    fn measure(&mut self, nets: &Nets, stopwatch: &mut dyn Stopwatch) -> Result<Unfinished, HwError> {
        let mut measured = self.unfinished.as_deref().map(Unfinished::load).transpose()?.unwrap_or_default();
        let fingerprint = self.fingerprint(stopwatch);
        if measured.groups.is_empty() {
            measured.fingerprint = fingerprint;
        } else if measured.fingerprint != fingerprint {
            return Err(HwError::OtherProfile);
        }
        let info = self.space.info();
        let blocks = reachable::blocks(self.space, &info.resolutions)?;
        let block = |b: &Block| Item { name: block_key::key(b), net: block_net(b, info.classes), part: Part::Block };
        let network = |net: &Net| Item { name: net.name.clone(), net: net.net.clone(), part: Part::Network };
        let mut pending: Vec<Item> = blocks.iter().map(block).collect();
        pending.extend(nets.fitted.iter().chain(&nets.checks).map(network));
        let total = pending.len();
        let done: HashSet<&String> = measured.groups.iter().flat_map(|group| group.ms.keys()).collect();
        pending.retain(|item| !done.contains(&item.name));
        let mut count = total - pending.len();
        (self.on_progress)(count, total);
        // Networks are timed apart from blocks, and those of the check in turn with those of the fit.
        let (blocks, networks) = pending.split_at(pending.partition_point(|item| item.part == Part::Block));
        let size = stopwatch.group_size();
        for chunk in blocks.chunks(size).chain(networks.chunks(size)) {
            measured.groups.push(stopwatch.time(chunk, self.options.rounds, self.stop)?);
            count += chunk.len();
            if let Some(path) = &self.unfinished {
                measured.save(path)?;
            }
            (self.on_progress)(count, total);
        }
        Ok(measured)
    }

    /// The table of block times, and the fit on whole networks.
    fn finish(self, nets: Nets, measured: &Unfinished, stopwatch: &dyn Stopwatch) -> Result<Measured, HwError> {
        let (runtime, threads) = (stopwatch.runtime(), stopwatch.threads());
        let ms = levelled(measured);
        let by_hash: HashMap<u64, f64> =
            ms.iter().filter_map(|(name, ms)| Some((block_key::parse(name)?, *ms))).collect();
        let sample = |Net { net, name, .. }: &Net| {
            let time = |block| by_hash.get(&block_key::hash(block)).copied().unwrap_or(0.0);
            let times: Vec<f64> = net.blocks.iter().map(time).collect();
            WholeSample::new(&net.blocks, &times, ms.get(name).copied().unwrap_or(0.0))
        };
        let samples: Vec<WholeSample> = nets.fitted.iter().map(sample).collect();
        let checks = nets.checks.into_iter().filter_map(|net| Some((net.arch, *ms.get(&net.name)?))).collect();
        let space = self.space.info().name.clone();
        let profile = BlockProfile {
            format: block_key::KEY_VERSION,
            name: self.name,
            arithmetic: stopwatch.arithmetic(),
            about: format!("measured blocks of {space}, {runtime}, {threads} threads"),
            space,
            runtime,
            threads,
            rounds: self.options.rounds,
            whole_net: WholeNet::fit(&samples),
            blocks: ms.into_iter().filter(|(name, _)| block_key::parse(name).is_some()).collect(),
        };
        Ok(Measured { table: BlockTable::try_from(profile).map_err(HwError::Unusable)?, checks })
    }
}

/// A random network.
struct Net {
    arch: Arch,
    /// Its name among the measured times.
    name: String,
    net: NetSpec,
}

/// The random networks of a profile.
struct Nets {
    fitted: Vec<Net>,
    checks: Vec<Net>,
}

/// Networks at random resolutions of the space.
pub fn random_archs(space: &dyn SearchSpace, count: usize, seed: u64) -> Vec<Arch> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut archs: Vec<Arch> = Vec::with_capacity(count);
    let mut tries = 0;
    while archs.len() < count && tries < 100 * count {
        let arch = space.sample(&Opened::EVERYTHING, &mut rng);
        if !archs.contains(&arch) {
            archs.push(arch);
        }
        tries += 1;
    }
    archs
}

/// A block as a network of its own.
fn block_net(block: &Block, classes: usize) -> NetSpec {
    NetSpec { input: block.input, classes, blocks: vec![block.clone()] }
}

/// Every time, with each group's pace taken out.
///
/// A group's pace is compared with groups of the same kind only: beside whole networks the pacer finds its data pushed
/// out of the caches and runs slower than beside blocks, however fast the machine is.
fn levelled(measured: &Unfinished) -> BTreeMap<String, f64> {
    let is_of_blocks = |group: &Group| group.ms.keys().any(|name| block_key::parse(name).is_some());
    let usual = |blocks: bool| {
        let groups = measured.groups.iter().filter(|group| is_of_blocks(group) == blocks);
        let mut paces: Vec<f64> = groups.map(|group| group.pacer_ms).collect();
        if paces.is_empty() { 1.0 } else { percentiles(&mut paces)[1] }
    };
    let (beside_blocks, beside_networks) = (usual(true), usual(false));
    let level = |group: &Group, ms: f64| {
        let usual = if is_of_blocks(group) { beside_blocks } else { beside_networks };
        if group.pacer_ms > 0.0 { ms * usual / group.pacer_ms } else { ms }
    };
    let groups = measured.groups.iter();
    groups.flat_map(|group| group.ms.iter().map(move |(name, ms)| (name.clone(), level(group, *ms)))).collect()
}
