//! Timing every block of a space on a device, and a few whole networks.

use crate::block_key;
use crate::devices::block_table::BlockProfile;
use crate::devices::whole_net::{WholeNet, WholeSample};
use crate::error::HwError;
use crate::profiling::reachable;
use crate::profiling::stopwatch::{Group, Item, Part, Stopwatch};
use crate::profiling::timing::percentiles;
use ofa_space::{Arch, Block, NetSpec, Opened, SearchSpace, sampling};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
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

/// A finished profile.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What goes into the file.
    pub profile: BlockProfile,
    /// Networks that took no part in the fit, and their milliseconds.
    pub checks: Vec<(Arch, f64)>,
}

/// What is measured so far; saved after every group, so that a run that was cut off goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    /// What the times depend on; a partial result of anything else is refused.
    pub fingerprint: String,
    /// Groups of times, each with the pacer's time.
    pub groups: Vec<Group>,
}

/// Told how far the work is: done, total, and whatever is measured so far after each group.
pub trait ProfileObserver {
    /// `done` of `total` blocks and networks are timed.
    fn on_progress(&mut self, done: usize, total: usize);
    /// A group is done: the moment to save.
    ///
    /// # Errors
    /// Whatever saving reports; the work stops.
    fn on_group(&mut self, partial: &Partial) -> Result<(), HwError>;
}

/// Networks at random resolutions of the space.
pub fn random_archs(space: &dyn SearchSpace, count: usize, seed: u64) -> Vec<Arch> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut archs: Vec<Arch> = Vec::with_capacity(count);
    let mut tries = 0;
    while archs.len() < count && tries < 100 * count {
        let arch = sampling::sample(space, &Opened::EVERYTHING, &mut rng);
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

/// Measures a space and returns the profile.
///
/// # Errors
/// [`HwError`] if a network cannot be run or the observer fails, [`HwError::Interrupted`] once `stop` is set,
/// [`HwError::OtherProfile`] if `partial` belongs to another run.
pub fn profile(
    space: &dyn SearchSpace,
    stopwatch: &mut dyn Stopwatch,
    options: &ProfileOptions,
    mut partial: Partial,
    observer: &mut dyn ProfileObserver,
    stop: &AtomicBool,
) -> Result<Measured, HwError> {
    let info = space.info();
    let (runtime, threads) = (stopwatch.runtime(), stopwatch.threads());
    let config = serde_json::to_string(space).unwrap_or_default();
    let fingerprint = format!(
        "{runtime}, {threads} threads, {} rounds, {} and {} nets, seed {}, names {}: {config}",
        options.rounds,
        options.whole_nets,
        options.check_nets,
        options.seed,
        block_key::KEY_VERSION
    );
    if partial.groups.is_empty() {
        partial.fingerprint = fingerprint;
    } else if partial.fingerprint != fingerprint {
        return Err(HwError::OtherProfile);
    }

    let blocks = reachable::blocks(space, &info.resolutions)?;
    let mut archs = random_archs(space, options.whole_nets + options.check_nets, options.seed);
    let checks = archs.split_off(options.whole_nets.min(archs.len()));
    let name_of = |arch: &Arch| format!("net {}", space.format(arch));
    let mut items: Vec<Item> = blocks
        .iter()
        .map(|b| Item { name: block_key::key(b), net: block_net(b, info.classes), part: Part::Block })
        .collect();
    for arch in archs.iter().chain(&checks) {
        items.push(Item { name: name_of(arch), net: space.resolve(arch)?, part: Part::Network });
    }
    let total = items.len();
    let done: HashSet<&String> = partial.groups.iter().flat_map(|group| group.ms.keys()).collect();
    let pending: Vec<Item> = items.into_iter().filter(|item| !done.contains(&item.name)).collect();
    let mut count = total - pending.len();
    observer.on_progress(count, total);
    // Networks are timed apart from blocks, and those of the check in turn with those of the fit.
    let (blocks, networks) = pending.split_at(pending.partition_point(|item| item.part == Part::Block));
    let size = stopwatch.group_size();
    for chunk in blocks.chunks(size).chain(networks.chunks(size)) {
        let group = stopwatch.time(chunk, options.rounds, stop)?;
        partial.groups.push(group);
        count += chunk.len();
        observer.on_group(&partial)?;
        observer.on_progress(count, total);
    }

    let ms = levelled(&partial);
    let by_hash: HashMap<u64, f64> = ms.iter().filter_map(|(name, ms)| Some((block_key::parse(name)?, *ms))).collect();
    let mut samples = Vec::with_capacity(archs.len());
    for arch in &archs {
        let net = space.resolve(arch)?;
        let times: Vec<f64> =
            net.blocks.iter().map(|b| by_hash.get(&block_key::hash(b)).copied().unwrap_or(0.0)).collect();
        samples.push(WholeSample::new(&net.blocks, &times, ms.get(&name_of(arch)).copied().unwrap_or(0.0)));
    }
    let checks = checks.into_iter().filter_map(|arch| ms.get(&name_of(&arch)).map(|ms| (arch, *ms))).collect();
    let profile = BlockProfile {
        format: block_key::KEY_VERSION,
        name: String::new(),
        about: format!("measured blocks of {}, {runtime}, {threads} threads", info.name),
        space: info.name.clone(),
        runtime,
        threads,
        rounds: options.rounds,
        whole_net: WholeNet::fit(&samples),
        blocks: ms.into_iter().filter(|(name, _)| block_key::parse(name).is_some()).collect(),
    };
    Ok(Measured { profile, checks })
}

/// Every time, with each group's pace taken out.
///
/// A group's pace is compared with groups of the same kind only: beside whole networks the pacer finds its data pushed
/// out of the caches and runs slower than beside blocks, which says nothing about the machine.
fn levelled(partial: &Partial) -> BTreeMap<String, f64> {
    let is_of_blocks = |group: &Group| group.ms.keys().any(|name| block_key::parse(name).is_some());
    let usual = |blocks: bool| {
        let groups = partial.groups.iter().filter(|group| is_of_blocks(group) == blocks);
        let mut paces: Vec<f64> = groups.map(|group| group.pacer_ms).collect();
        if paces.is_empty() { 1.0 } else { percentiles(&mut paces)[1] }
    };
    let (beside_blocks, beside_networks) = (usual(true), usual(false));
    let level = |group: &Group, ms: f64| {
        let usual = if is_of_blocks(group) { beside_blocks } else { beside_networks };
        if group.pacer_ms > 0.0 { ms * usual / group.pacer_ms } else { ms }
    };
    let groups = partial.groups.iter();
    groups.flat_map(|group| group.ms.iter().map(move |(name, ms)| (name.clone(), level(group, *ms)))).collect()
}
