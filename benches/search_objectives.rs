//! How much a limit slows down a search: the same number of evaluations with each kind of objective and with the Note10
//! table.
//!
//! ```text
//! cargo bench --bench search_objectives
//! ```
//! One thread; the minimum of three searches of 20,000 random evaluations and of evolution's 20,000, for each
//! objective; the score is the number of parameters, so that only the limited quantity differs. Tables are built in an
//! untimed search first.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use ofa::hw::devices::regression::Regression;
use ofa::hw::memory::Schedule;
use ofa::hw::profiling::calibrate::MeasuredNet;
use ofa::hw::profiling::profiler::{ProfileOptions, Profiler};
use ofa::hw::profiling::stopwatch::{Group, Item, Stopwatch};
use ofa::hw::registry::from_profile;
use ofa::hw::{
    EnergyObjective, FlashObjective, HardwareBackend, HwError, LatencyObjective, LatencySource, SramObjective,
    random_archs,
};
use ofa::search::{Budget, LimitList, Search, Silent, Target, strategy};
use ofa::space::{BlockObjective, NetSpec, Objective, SearchSpace, cost, registry};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const EVALUATIONS: usize = 20_000;

/// The device of docs/adding-a-device.md.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Dsp {
    gmacs: f64,
}

#[typetag::serde(name = "dsp")]
impl HardwareBackend for Dsp {
    fn source(&self) -> LatencySource {
        LatencySource::Analytic
    }

    fn block_ms(&self, net: &NetSpec, block: usize) -> Result<Option<f64>, HwError> {
        Ok(Some(cost::block_macs(&net.blocks[block]) as f64 / (self.gmacs * 1e6)))
    }
}

/// A stopwatch that is a formula: profiles of a board that is not here.
struct Formula;

impl Stopwatch for Formula {
    fn runtime(&self) -> String {
        "formula".into()
    }

    fn threads(&self) -> usize {
        1
    }

    fn group_size(&self) -> usize {
        64
    }

    fn time(&mut self, items: &[Item], _rounds: usize, _stop: &AtomicBool) -> Result<Group, HwError> {
        Ok(Group { pacer_ms: 1.0, ms: items.iter().map(|item| (item.name.clone(), formula_ms(&item.net))).collect() })
    }
}

fn formula_ms(net: &NetSpec) -> f64 {
    0.01 + cost::macs(net) as f64 * 1e-6
}

fn main() {
    let named = registry::named("ofa-mbv3-w1.2").unwrap();
    let space = registry::with_field(named.as_ref(), "resolutions", serde_json::json!([160, 192, 224])).unwrap();
    let latency = |device: Arc<dyn HardwareBackend>| -> Arc<dyn Objective> {
        Arc::new(LatencyObjective::new(space.clone(), device))
    };
    let options = ProfileOptions { rounds: 1, whole_nets: 16, check_nets: 0, seed: 0 };
    let profile = Profiler::new(space.as_ref()).options(options).run_with(&mut Formula).unwrap().table;
    let nets: Vec<MeasuredNet> = random_archs(space.as_ref(), 40, 1)
        .iter()
        .map(|arch| space.resolve(arch).unwrap())
        .map(|net| MeasuredNet { latency_ms: formula_ms(&net), net })
        .collect();
    let board = "[device]\nkind = \"roofline\"\npeak_gmacs = 10.0\npeak_source = \"s\"\nbandwidth_gb_s = 50.0\n\
                 bandwidth_source = \"s\"\npj_per_mac = 2.0\npj_per_byte = 10.0\nenergy_source = \"s\"\n";
    let board = from_profile(board, "board.toml").unwrap();
    let objectives: Vec<(&str, Arc<dyn Objective>)> = vec![
        ("note10, a published table", latency(ofa::hw::load("note10").unwrap())),
        ("a profile", latency(Arc::new(profile))),
        ("a regression", latency(Arc::new(Regression::fit("board", &nets).unwrap()))),
        ("a plugin, as the guide shows", latency(Arc::new(Dsp { gmacs: 8.0 }))),
        ("a roofline", latency(board.clone())),
        ("energy", Arc::new(EnergyObjective::new(space.clone(), board).unwrap())),
        ("flash", Arc::new(FlashObjective::new(space.clone(), 1))),
        ("SRAM", Arc::new(SramObjective::new(space.clone(), Schedule::MICROCONTROLLER))),
    ];
    for strategy in ["random", "evolution"] {
        println!("{strategy}, {EVALUATIONS} evaluations");
        let mut first = None;
        for (name, objective) in &objectives {
            let seconds = search(strategy, objective, &space);
            let reference = *first.get_or_insert(seconds);
            println!("  {name:<34} {:>8.1} ms {:>6.2}", 1e3 * seconds, seconds / reference);
        }
    }
}

/// The fastest of three searches, in seconds.
fn search(name: &str, objective: &Arc<dyn Objective>, space: &Arc<dyn SearchSpace>) -> f64 {
    let score = BlockObjective::cost("params", space.clone(), cost::block_params);
    let middle = objective.evaluate(&random_archs(space.as_ref(), 51, 2)).unwrap();
    let mut sorted = middle;
    sorted.sort_by(f64::total_cmp);
    let limit = sorted[sorted.len() / 2];
    let run = || {
        let search =
            Search { strategy: strategy::named(name).unwrap(), budget: Budget::evaluations(EVALUATIONS), seed: 0 };
        let list = LimitList { objective: objective.clone(), limits: vec![limit] };
        let started = Instant::now();
        let never = AtomicBool::new(false);
        search.run_grid(&score, Target { genes: space.as_ref(), lists: &[list] }, &mut Silent, &never).unwrap();
        started.elapsed().as_secs_f64()
    };
    run();
    (0..3).map(|_| run()).fold(f64::INFINITY, f64::min)
}
