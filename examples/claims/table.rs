//! The tables of an experiment.

use crate::experiment::{Experiment, NAMED, Unit};
use crate::lines::{Line, Lines, Mean};

/// Accuracies of the networks of one line.
struct Row<'a> {
    name: String,
    line: &'a Line,
}

pub fn print(experiment: &Experiment, lines: &Lines<Line>) {
    let seed = experiment.first_seed();
    supernets(lines);
    println!();
    networks(experiment, lines, seed);
    println!();
    against_alone(experiment, lines);
}

/// Every supernet: what it cost and what its subnets reach.
fn supernets(lines: &Lines<Line>) {
    println!("| supernet | steps | CPU s | min | mid | max | 10 random, mean | 13, mean | 13, validation |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let rows = lines.all().iter().filter(|line| line.networks.len() > 1);
    for Row { name, line } in rows.map(|line| Row { name: line.unit.clone(), line }) {
        let test: Vec<f64> = line.networks.values().map(|a| 100.0 * a.test).collect();
        let validation: Vec<f64> = line.networks.values().map(|a| 100.0 * a.validation).collect();
        let random: Vec<f64> =
            line.networks.iter().filter(|(name, _)| name.starts_with("random")).map(|(_, a)| 100.0 * a.test).collect();
        let named = NAMED.map(|name| line.networks.get(name).map_or(f64::NAN, |a| 100.0 * a.test));
        println!(
            "| {name} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            line.steps,
            line.cpu_seconds,
            named[0],
            named[1],
            named[2],
            Mean::of(&random).mean,
            Mean::of(&test).mean,
            Mean::of(&validation).mean,
        );
    }
}

/// Every network: alone, in the supernets of the first seed, and fine-tuned.
fn networks(experiment: &Experiment, lines: &Lines<Line>, seed: u64) {
    let supernets: Vec<&Line> =
        lines.all().iter().filter(|line| line.networks.len() > 1 && line.unit.ends_with(&format!("/{seed}"))).collect();
    let title = |line: &Line| line.unit.trim_end_matches(&format!("/{seed}")).to_owned();
    let mut columns = vec!["network".to_owned(), "M MACs".to_owned(), "alone".to_owned(), "alone, long".to_owned()];
    columns.extend(supernets.iter().map(|line| title(line)));
    columns.extend(experiment.tuned_epochs.iter().map(|epochs| format!("tuned {epochs}")));
    println!("| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
    for name in experiment.arch_names() {
        let of = |unit: Unit| lines.of(&unit.to_string()).and_then(|line| line.networks.get(&name));
        let alone = |epochs| of(Unit::Alone { arch: name.clone(), epochs, seed });
        let tuned =
            |epochs| of(Unit::Tuned { recipe: experiment.tuned_recipe.clone(), arch: name.clone(), epochs, seed });
        let mut accuracies = vec![alone(experiment.alone.epochs), alone(experiment.long_epochs)];
        accuracies.extend(supernets.iter().map(|line| line.networks.get(&name)));
        accuracies.extend(experiment.tuned_epochs.iter().map(|epochs| tuned(*epochs)));
        let macs = accuracies.iter().flatten().next().map_or(f64::NAN, |a| a.macs as f64 / 1e6);
        let cells = accuracies.iter().map(|a| a.map_or("–".to_owned(), |a| format!("{:.2}", 100.0 * a.test)));
        println!("| {name} | {macs:.2} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
}

/// Differences between networks of a supernet and the same alone.
fn against_alone(experiment: &Experiment, lines: &Lines<Line>) {
    println!("| | networks | minus alone, mean | worst |\n|---|---|---|---|");
    let epochs = experiment.alone.epochs;
    for line in lines.all() {
        let Some(seed) = line.unit.rsplit('/').next().and_then(|seed| seed.parse().ok()) else { continue };
        let title = match line.unit.strip_prefix("tuned/") {
            _ if line.networks.len() > 1 => line.unit.clone(),
            Some(_) if line.networks.contains_key("min") => line.unit.replace("/min", ""),
            _ => continue,
        };
        let gain = |name: &String| {
            let alone = Unit::Alone { arch: name.clone(), epochs, seed }.to_string();
            let line = match line.networks.len() > 1 {
                true => Some(line),
                false => lines.of(&line.unit.replace("/min/", &format!("/{name}/"))),
            };
            let (ours, alone) = (line?.networks.get(name)?, lines.of(&alone)?.networks.get(name)?);
            Some(100.0 * (ours.test - alone.test))
        };
        let gains: Vec<f64> = experiment.arch_names().iter().filter_map(gain).collect();
        if gains.len() > 1 {
            let Mean { mean, error, least, count } = Mean::of(&gains);
            println!("| {title} | {count} | {mean:+.2} ± {error:.2} | {least:+.2} |");
        }
    }
}
