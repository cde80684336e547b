//! Profiles: which blocks are measured, going on after an interruption, both layouts, and devices fitted to
//! measurements. The stopwatch is a formula here, so that every expected value is known.
#![allow(clippy::unwrap_used, missing_docs)]

use ofa_hw::devices::block_table::BlockTable;
use ofa_hw::devices::lut::official_layout;
use ofa_hw::devices::regression::Regression;
use ofa_hw::devices::roofline::Roofline;
use ofa_hw::profiling::calibrate::{self, MeasuredNet};
use ofa_hw::profiling::profiler::{self, ProfileOptions, Profiler};
use ofa_hw::profiling::reachable;
use ofa_hw::profiling::stopwatch::{Group, Item, Part, Stopwatch};
use ofa_hw::profiling::unfinished::Unfinished;
use ofa_hw::{HardwareBackend, Host, HostSettings, HwError, LatencyObjective, block_key, load, registry};
use ofa_space::{NetSpec, Objective, Opened, SearchSpace, cost};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes a time that is a formula: a cost for every call, and for every multiply-accumulate.
struct Formula {
    groups_before_stop: usize,
    groups: usize,
}

/// How slow the machine is, from group to group.
const PACES: [f64; 5] = [1.0, 1.2, 1.0, 0.9, 1.0];

fn formula_ms(net: &NetSpec) -> f64 {
    0.01 + cost::macs(net) as f64 * 1e-6
}

impl Stopwatch for Formula {
    fn runtime(&self) -> String {
        "formula".into()
    }

    fn threads(&self) -> usize {
        1
    }

    fn group_size(&self) -> usize {
        20
    }

    fn time(&mut self, items: &[Item], _rounds: usize, _stop: &AtomicBool) -> Result<Group, HwError> {
        if self.groups_before_stop == 0 {
            return Err(HwError::Interrupted);
        }
        self.groups_before_stop -= 1;
        let pace = PACES[self.groups % PACES.len()];
        self.groups += 1;
        let ms = items.iter().map(|item| (item.name.clone(), pace * formula_ms(&item.net))).collect();
        // The pacer slows down with the machine; and beside whole networks it always runs slower.
        let crowded = if items.iter().any(|item| item.part == Part::Network) { 1.15 } else { 1.0 };
        Ok(Group { pacer_ms: 0.3 * pace * crowded, ms })
    }
}

const OPTIONS: ProfileOptions = ProfileOptions { rounds: 3, whole_nets: 24, check_nets: 20, seed: 7 };

fn tiny() -> Arc<dyn SearchSpace> {
    ofa_space::registry::named("tiny-28").unwrap()
}

/// Measures with a stopwatch that stops after `groups`; what is measured is kept in `unfinished`.
fn measured(space: &dyn SearchSpace, groups: usize, unfinished: &Path) -> Result<BlockTable, HwError> {
    let mut stopwatch = Formula { groups_before_stop: groups, groups: 0 };
    let profiler = Profiler::new(space).options(OPTIONS).resumable(unfinished);
    let measured = profiler.on_progress(|done, total| assert!(done <= total)).run_with(&mut stopwatch)?;
    assert_eq!(measured.checks.len(), OPTIONS.check_nets);
    Ok(measured.table)
}

fn table_of(space: &dyn SearchSpace) -> BlockTable {
    let folder = tempfile::tempdir().unwrap();
    measured(space, usize::MAX, &folder.path().join("partial")).unwrap()
}

#[test]
fn a_profile_that_was_cut_off_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join("partial");
    let space = tiny();
    let whole = table_of(space.as_ref());
    assert!(matches!(measured(space.as_ref(), 3, &partial), Err(HwError::Interrupted)));
    assert_eq!(Unfinished::load(&partial).unwrap().groups.len(), 3);
    let kept = std::fs::read(&partial).unwrap();
    // Another space, or another number of rounds, would mix results.
    let other = ofa_space::registry::named("cifar-32").unwrap();
    assert!(matches!(measured(other.as_ref(), 1, &partial), Err(HwError::OtherProfile)));
    assert_eq!(std::fs::read(&partial).unwrap(), kept);
    let resumed = measured(space.as_ref(), usize::MAX, &partial).unwrap();
    let names = |table: &BlockTable| table.profile().blocks.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&resumed), names(&whole));
    std::fs::write(&partial, "nonsense").unwrap();
    let error = measured(space.as_ref(), 1, &partial).unwrap_err().to_string();
    assert!(error.contains("partial") && error.contains("remove it"), "{error}");
}

/// What a search reads from its table is what the device answers for the network.
#[test]
fn every_device_that_is_a_sum_is_tabulated() {
    let space = tiny();
    let profile = table_of(space.as_ref());
    let nets: Vec<MeasuredNet> = ofa_hw::random_archs(space.as_ref(), 30, 1)
        .iter()
        .map(|arch| space.resolve(arch).unwrap())
        .map(|net| MeasuredNet { latency_ms: formula_ms(&net), net })
        .collect();
    let regression = Regression::fit("formula", &nets).unwrap();
    let devices: [Arc<dyn HardwareBackend>; 3] = [Arc::new(profile), Arc::new(regression), load("pixel4-cpu").unwrap()];
    let archs = ofa_hw::random_archs(space.as_ref(), 40, 2);
    for device in devices {
        let objective = LatencyObjective::new(space.clone(), device.clone());
        assert!(objective.block_sum(archs[0].resolution()).is_some(), "{device:?} has no table");
        for (arch, tabled) in archs.iter().zip(objective.evaluate(&archs).unwrap()) {
            let whole = device.latency_ms(&space.resolve(arch).unwrap()).unwrap();
            assert!((tabled - whole).abs() <= 1e-9 * whole, "{device:?}: {tabled}, {whole}");
        }
    }
}

#[test]
fn drift_is_taken_out_and_whole_networks_are_predicted() {
    let space = tiny();
    let table = table_of(space.as_ref());
    let first = table.profile().blocks.values().next().copied().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..40 {
        let net = space.resolve(&space.sample(&Opened::EVERYTHING, &mut rng)).unwrap();
        for block in &net.blocks {
            let alone = NetSpec { blocks: vec![block.clone()], ..net.clone() };
            let ratio = table.block_alone_ms(block).unwrap() / formula_ms(&alone);
            assert!((ratio - 1.0).abs() < 1e-9, "{}: {ratio}", block.name);
        }
        let predicted = table.latency_ms(&net).unwrap();
        assert!((predicted / formula_ms(&net) - 1.0).abs() < 1e-3, "{predicted}");
    }
    assert!(first > 0.0);
    assert!(table.profile().whole_net.mape < 1e-3);
}

#[test]
fn the_official_layout_gives_the_same_latencies() {
    let folder = tempfile::tempdir().unwrap();
    let space = tiny();
    let table = table_of(space.as_ref());
    let path = folder.path().join("table.yaml");
    std::fs::write(&path, official_layout::yaml(&table, space.as_ref()).unwrap()).unwrap();
    let official = load(path.to_str().unwrap()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..40 {
        let net = space.resolve(&space.sample(&Opened::EVERYTHING, &mut rng)).unwrap();
        let (ours, theirs) = (table.latency_ms(&net).unwrap(), official.latency_ms(&net).unwrap());
        assert!((ours / theirs - 1.0).abs() < 1e-6, "{ours} {theirs}");
    }
    // The layout has no attributes of bottlenecks.
    let resnet = ofa_space::registry::named("ofa-resnet50").unwrap();
    let narrow = ofa_space::registry::with_field(resnet.as_ref(), "resolutions", serde_json::json!([128])).unwrap();
    let table = table_of(narrow.as_ref());
    assert!(matches!(official_layout::yaml(&table, narrow.as_ref()), Err(HwError::Layout(_))));
}

#[test]
fn a_profile_survives_its_file_and_a_damaged_one_names_the_field() {
    let space = tiny();
    let table = table_of(space.as_ref());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    table.save(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# Written by `ofa profile`. "), "{text}");
    let read = load(path.to_str().unwrap()).unwrap();
    let net = space.resolve(&space.max_arch()).unwrap();
    assert_eq!(read.latency_ms(&net).unwrap(), table.latency_ms(&net).unwrap());
    let missing = space.resolve(&space.max_arch().with_resolution(36)).unwrap();
    assert!(matches!(read.latency_ms(&missing), Err(HwError::MissingKey { .. })));
    let key = table.profile().blocks.keys().next().unwrap();
    let cases = [
        (text.replace("format = 1", "format = 9"), "format"),
        (text.replace("scale = ", "scale = -"), "whole_net.scale"),
        (text.replace(&format!("\"{key}\" = "), &format!("\"{key}\" = -")), key.as_str()),
        (text.replace(key, "nonsense"), "nonsense"),
    ];
    for (text, place) in cases {
        let error = registry::from_profile(&text, "p.toml").unwrap_err().to_string();
        assert!(error.contains("p.toml") && error.contains(place), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_block_of_every_subnet_is_found(seed in any::<u64>()) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for name in ["tiny-28", "cifar-32", "ofa-mbv3-w1.0", "ofa-proxyless-w1.3", "ofa-resnet50"] {
            let space = ofa_space::registry::named(name).unwrap();
            let found = cached_blocks(name, space.as_ref());
            for _ in 0..20 {
                let resolution = *space.info().resolutions.last().unwrap();
                let arch = space.sample(&Opened::EVERYTHING, &mut rng).with_resolution(resolution);
                for block in space.resolve(&arch).unwrap().blocks {
                    prop_assert!(found.contains(&block_key::hash(&block)), "{name} {}", block_key::key(&block));
                }
            }
        }
    }
}

/// Names of all blocks at the largest resolution.
fn cached_blocks(name: &'static str, space: &dyn SearchSpace) -> Arc<HashSet<u64>> {
    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock};
    type Cache = Mutex<HashMap<&'static str, Arc<HashSet<u64>>>>;
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let mut cache = CACHE.get_or_init(Cache::default).lock().unwrap();
    let largest = *space.info().resolutions.last().unwrap();
    let find = || {
        let blocks = reachable::blocks(space, &[largest]).unwrap();
        let names: BTreeSet<String> = blocks.iter().map(block_key::key).collect();
        assert_eq!(names.len(), blocks.len(), "{name}: names are unique");
        assert!(names.iter().zip(&names).all(|(name, _)| block_key::parse(name).is_some()));
        Arc::new(blocks.iter().map(block_key::hash).collect::<HashSet<u64>>())
    };
    cache.entry(name).or_insert_with(find).clone()
}

#[test]
fn a_roofline_is_calibrated_by_a_handful_of_networks() {
    let space = tiny();
    let text = |dense: f64, overhead: f64| {
        format!(
            "[device]\nkind = \"roofline\"\npeak_gmacs = 10.0\npeak_source = \"s\"\nbandwidth_gb_s = 50.0\n\
             bandwidth_source = \"s\"\noverhead_us = {overhead}\nefficiency = {{ dense = {dense}, depthwise = 0.3, \
             linear = 0.5 }}\n"
        )
    };
    #[derive(serde::Deserialize)]
    struct File {
        device: toml::Table,
    }
    let roofline = |text: &str| -> Roofline {
        let mut table = toml::from_str::<File>(text).unwrap().device;
        table.remove("kind");
        table.try_into().unwrap()
    };
    let (truth, guess) = (roofline(&text(0.2, 5.0)), roofline(&text(0.8, 1.0)));
    let archs = profiler::random_archs(space.as_ref(), 10, 1);
    let nets: Vec<MeasuredNet> = archs
        .iter()
        .map(|arch| {
            let net = space.resolve(arch).unwrap();
            MeasuredNet { latency_ms: truth.latency_ms(&net).unwrap(), net }
        })
        .collect();
    let (fitted, improvement) = calibrate::roofline(&guess, &nets).unwrap();
    assert!(improvement.mape_before > 0.3 && improvement.mape_after < 0.02, "{improvement:?}");
    let other = space.resolve(&space.max_arch()).unwrap();
    let (ours, expected) = (fitted.latency_ms(&other).unwrap(), truth.latency_ms(&other).unwrap());
    assert!((ours / expected - 1.0).abs() < 0.1, "{ours} {expected}");
}

#[test]
fn a_regression_learns_from_whole_networks() {
    let space = tiny();
    let truth = load("raspberry-pi-4").unwrap();
    let timed = |count, seed| -> Vec<MeasuredNet> {
        let archs = profiler::random_archs(space.as_ref(), count, seed);
        let nets = archs.iter().map(|arch| space.resolve(arch).unwrap());
        nets.map(|net| MeasuredNet { latency_ms: truth.latency_ms(&net).unwrap(), net }).collect()
    };
    let fitted = Regression::fit("pi", &timed(40, 0)).unwrap();
    for MeasuredNet { net, latency_ms: expected } in timed(30, 99) {
        let ours = fitted.latency_ms(&net).unwrap();
        assert!((ours / expected - 1.0).abs() < 0.1, "{ours} {expected}");
    }
    assert!(Regression::fit("pi", &timed(5, 0)).unwrap_err().to_string().contains("at least 8"));
}

#[test]
fn a_stop_is_obeyed() {
    let space = tiny();
    let stop = AtomicBool::new(false);
    stop.store(true, Ordering::Relaxed);
    let outcome = Profiler::new(space.as_ref()).options(OPTIONS).stop_at(&stop).run(Host::default());
    assert!(matches!(outcome, Err(HwError::Interrupted)));
}

#[test]
fn a_measurement_is_kept_by_what_it_depends_on() {
    let folder = tempfile::tempdir().unwrap();
    let space = tiny();
    let net = space.resolve(&space.min_arch()).unwrap();
    let settings = |runs| HostSettings { runs, cache: Some(folder.path().join("kept")), ..HostSettings::default() };
    let host = |runs| Host::try_from(settings(runs)).unwrap();
    let first = host(5).latency_ms(&net).unwrap();
    assert_eq!(host(5).latency_ms(&net).unwrap(), first);
    let files = || std::fs::read_dir(folder.path().join("kept")).unwrap().count();
    assert_eq!(files(), 1);
    host(6).latency_ms(&net).unwrap();
    let other = space.resolve(&space.max_arch()).unwrap();
    host(5).latency_ms(&other).unwrap();
    assert_eq!(files(), 3);
    Host::try_from(HostSettings { threads: 2, ..settings(5) }).unwrap().latency_ms(&net).unwrap();
    assert_eq!(files(), 4);
    host(5).latency_ms(&net).unwrap();
    assert_eq!(files(), 4);
    // What is kept says what ran the network.
    let kept = std::fs::read_dir(folder.path().join("kept")).unwrap();
    let mut threads: Vec<u64> = kept
        .map(|file| serde_json::from_slice::<serde_json::Value>(&std::fs::read(file.unwrap().path()).unwrap()).unwrap())
        .map(|entry| {
            assert!(entry["runtime"].as_str().unwrap().starts_with("rten "), "{entry}");
            entry["threads"].as_u64().unwrap()
        })
        .collect();
    threads.sort_unstable();
    assert_eq!(threads, [1, 1, 1, 2]);
}

#[test]
fn a_noisy_machine_is_refused() {
    let space = tiny();
    let net = space.resolve(&space.min_arch()).unwrap();
    let settings = HostSettings { runs: 40, max_spread: 0.0, attempts: 1, ..HostSettings::default() };
    let host = Host::try_from(settings).unwrap();
    // Not even the quietest machine repeats a time to the last bit forty times.
    let error = host.latency_ms(&net).unwrap_err();
    assert!(matches!(error, HwError::Noisy { .. }) && error.to_string().contains("`max_spread`"), "{error}");
}
