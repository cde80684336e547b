//! Search compared with the reference: throughput of the objectives, and the five Note10 limits.
//!
//! ```text
//! cargo bench --bench search_vs_reference                    # needs ../shared or OFA_SHARED
//! OFA_PYTHON=/path/to/python cargo bench --bench search_vs_reference   # beside PyTorch and NumPy
//! ```
//! Two threads on both sides, the minimum of three runs. PyTorch's rate excludes the encoding, ours includes it.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, missing_docs)]

use ofa::hw::LatencyObjective;
use ofa::predictors::{self, FittedPredictor, PredictedObjective};
use ofa::search::Silent;
use ofa::search::{Budget, Search, strategy};
use ofa::search::{LimitList, Target as SearchTarget};
use ofa::space::{BlockObjective, Objective, Opened, Population, SearchSpace, cost, registry};
use rand::SeedableRng;
use rayon::prelude::*;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const THREADS: usize = 2;
const LIMITS: [f64; 5] = [15.0, 20.0, 25.0, 30.0, 35.0];
/// Best known within each limit, from minutes of search on many islands.
const BEST_KNOWN: [f64; 5] = [0.78800, 0.80789, 0.82222, 0.83187, 0.83791];
/// Seconds of the authors' finder for one limit (`golden/search-peer.json`), the fastest of five.
const REFERENCE_SECONDS: [f64; 5] = [9.3, 6.1, 5.7, 5.5, 5.3];

fn main() {
    let name = "data/official/acc_predictor.pth";
    let Some(shared) = ofa_reference_data::folder_with(&[name]) else { return };
    let file = shared.join(name);
    rayon::ThreadPoolBuilder::new().num_threads(THREADS).build_global().unwrap();
    let named = registry::named("ofa-mbv3-w1.2").unwrap();
    let kept = serde_json::json!([160, 176, 192, 208, 224]);
    let space = registry::with_field(named.as_ref(), "resolutions", kept).unwrap();
    let device = ofa::hw::load("note10").unwrap();
    let latency: Arc<dyn Objective> = Arc::new(LatencyObjective::new(space.clone(), device));
    let macs: Arc<dyn Objective> = Arc::new(BlockObjective::cost("macs", space.clone(), cost::block_macs));
    let predictor = Arc::new(FittedPredictor::load(&file).unwrap());
    let accuracy = PredictedObjective::new(space.clone(), predictor, predictors::Target::Accuracy).unwrap();
    println!("throughput on {THREADS} threads, archs a second");
    rate("Note10 table", latency.as_ref(), space.as_ref(), 400_000);
    rate("MACs", macs.as_ref(), space.as_ref(), 400_000);
    rate("official MLP, encoding included", &accuracy, space.as_ref(), 100_000);
    if let Some(python) = std::env::var_os("OFA_PYTHON") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/search_peer.py");
        let status = Command::new(python).arg(script).arg(&file).arg(THREADS.to_string()).status();
        status.map_or_else(|e| eprintln!("no peer: {e}"), |status| assert!(status.success(), "the peer failed"));
    }
    for (name, evaluations) in [("memetic", None), ("evolution", Some(50_100))] {
        println!("\n{name}: gap to the best known, 5 seeds");
        let mut seconds = f64::INFINITY;
        for seed in 0..5 {
            let strategy = strategy::named(name).unwrap();
            let budget = Budget::evaluations(evaluations.unwrap_or_else(|| strategy.default_evaluations()));
            let search = Search { strategy, budget, seed };
            let list = LimitList { objective: latency.clone(), limits: LIMITS.to_vec() };
            let started = Instant::now();
            let never = AtomicBool::new(false);
            let outcomes = search
                .run_grid(&accuracy, SearchTarget { genes: space.as_ref(), lists: &[list] }, &mut Silent, &never)
                .unwrap();
            let took = started.elapsed().as_secs_f64();
            seconds = seconds.min(took);
            let gaps: Vec<String> = outcomes
                .iter()
                .zip(BEST_KNOWN)
                .map(|(outcome, best)| format!("{:+.5}", outcome.best.as_ref().unwrap().score - best))
                .collect();
            let evaluations: usize = outcomes.iter().map(|outcome| outcome.evaluations).sum();
            println!("  seed {seed}: {}  {evaluations} evaluations, {took:.2} s", gaps.join("  "));
        }
        let reference: f64 = REFERENCE_SECONDS.iter().sum();
        println!(
            "  fastest of 5: {seconds:.2} s; the reference takes {reference:.1} s: {:.0} times",
            reference / seconds
        );
    }
}

/// Archs a second of an objective, the best of three runs over one population.
fn rate(name: &str, objective: &dyn Objective, space: &dyn SearchSpace, count: usize) {
    const CHUNK: usize = 1000;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let genes = space.info().genes.len();
    let chunks: Vec<Population> = (0..count / CHUNK)
        .map(|_| {
            let mut rows = Population::new(genes);
            (0..CHUNK).for_each(|_| rows.push(&space.sample(&Opened::EVERYTHING, &mut rng)));
            rows
        })
        .collect();
    let run = || {
        let started = Instant::now();
        chunks.par_iter().for_each(|rows| {
            let mut values = Vec::new();
            objective.evaluate_rows(rows, &mut values).unwrap();
        });
        count as f64 / started.elapsed().as_secs_f64()
    };
    run();
    let best = (0..3).map(|_| run()).fold(0.0, f64::max);
    println!("  {name:<34} {best:>12.0}");
}
