//! Prints the table of `docs/official-models.md`: every published specialised network in a folder, with its published
//! figures and those computed by `ofa`.
//!
//! ```text
//! cargo run --release --example official_models -- FOLDER
//! ```
//!
//! FOLDER contains one folder for each network, named as published (`note10_lat-16ms_top1-75.5_finetune-25`), with its
//! `net.config` and `run.config`.

use ofa::export::importing::net_config::{NetConfig, read_run_config};
use ofa::hw::{HardwareBackend, HwError};
use ofa::space::cost;
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("give the folder of published networks")?;
    let entries = std::fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut networks: Vec<PathBuf> =
        entries.into_iter().map(|entry| entry.path()).filter(|path| path.join("net.config").is_file()).collect();
    networks.sort();
    let note10 = ofa::hw::load("note10")?;
    println!(
        "| network | published for | published top-1 (%) | image | MACs (M) | parameters (M) | Note10 table (ms) |"
    );
    println!("|---|---|---|---|---|---|---|");
    for network in networks {
        println!("{}", row(&network, note10.as_ref())?);
    }
    Ok(())
}

fn row(network: &Path, note10: &dyn HardwareBackend) -> Result<String, Box<dyn Error>> {
    let name = network.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // target_figure_top1-NN.N_finetune-NN; the networks of a MACs limit have no target.
    let before = |mark: &str| name.find(mark).map(|at| &name[..at]).unwrap_or(&name);
    let published_for = before("_top1-").replace('_', ", ");
    let top1 = name.split("_top1-").nth(1).and_then(|rest| rest.split('_').next()).unwrap_or("–");
    let image_size = read_run_config(&network.join("run.config"))?;
    let net = NetConfig::read(&network.join("net.config"))?.net(image_size)?;
    let latency = match name.starts_with("note10").then(|| note10.latency_ms(&net)) {
        None => "–".to_owned(),
        Some(Ok(latency)) => format!("{latency:.1}"),
        // The tables were measured for the channels of width 1.2.
        Some(Err(HwError::MissingKey { key, .. })) => format!("no entry `{key}`"),
        Some(Err(error)) => return Err(error.into()),
    };
    let (macs, params) = (cost::macs(&net) as f64 / 1e6, cost::params(&net) as f64 / 1e6);
    Ok(format!("| `{name}` | {published_for} | {top1} | {image_size} | {macs:.1} | {params:.2} | {latency} |"))
}
