//! A search over two genes of your own: oven settings for the best bread within an hour.
#![allow(clippy::print_stdout)]
use ofa_search::{Arch, Constraint, FnObjective, Gene, Genes, Search};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let genes = vec![Gene::new("celsius", [180, 200, 220, 240]), Gene::new("minutes", [30, 45, 60, 75])];
    let crust = |arch: &Arch| Ok(genes.value(arch, "celsius", 0)? * genes.value(arch, "minutes", 0)?.sqrt());
    let oven = genes.clone();
    let minutes = FnObjective::new("minutes", move |arch: &Arch| Ok(oven.value(arch, "minutes", 0)?));
    let limit = Constraint::at_most(minutes, 60.0);
    let found = Search::default().run(&genes, &FnObjective::new("crust", crust), &[limit])?;
    let best = found.best.ok_or("no bread is baked within an hour")?;
    println!("crust {:.0} with {}", best.score, genes.format(&best.arch));
    Ok(())
}
