//! Drawing archs: uniform sampling, mutation and crossover over the genes of any space.

use crate::genotype::arch::Arch;
use crate::genotype::gene::{Gene, Opened};
use crate::spaces::space::{SearchSpace, canonicalise};
use rand::{Rng, RngExt};

/// Draws every gene uniformly among its open choices, and the resolution uniformly among the space's.
///
/// This is the paper's rule: uniform over genes, hence not over distinct subnets (genes of skipped blocks are drawn
/// and forgotten).
pub fn sample(space: &dyn SearchSpace, opened: &Opened, rng: &mut dyn Rng) -> Arch {
    let info = space.info();
    let mut choices: Vec<u8> = info.genes.iter().map(|gene| draw(gene, opened, rng)).collect();
    canonicalise(&info.genes, &mut choices);
    Arch { choices: choices.into(), resolution: draw_resolution(&info.resolutions, rng) }
}

/// Redraws every gene, and the resolution, each with probability `probability` (`mutate_prob` of the paper's search).
pub fn mutate(space: &dyn SearchSpace, arch: &Arch, probability: f64, rng: &mut dyn Rng) -> Arch {
    let info = space.info();
    let mut choices = arch.choices.to_vec();
    for (gene, choice) in info.genes.iter().zip(&mut choices) {
        if rng.random_bool(probability) {
            *choice = draw(gene, &Opened::EVERYTHING, rng);
        }
    }
    canonicalise(&info.genes, &mut choices);
    let resolution =
        if rng.random_bool(probability) { draw_resolution(&info.resolutions, rng) } else { arch.resolution };
    Arch { choices: choices.into(), resolution }
}

/// Takes every gene, and the resolution, from one parent or the other with equal chance.
///
/// # Panics
/// If the parents belong to spaces with different numbers of genes.
pub fn crossover(space: &dyn SearchSpace, one: &Arch, other: &Arch, rng: &mut dyn Rng) -> Arch {
    assert_eq!(one.choices.len(), other.choices.len(), "parents of different spaces");
    let mut choices: Vec<u8> =
        one.choices.iter().zip(&other.choices).map(|(a, b)| if rng.random_bool(0.5) { *a } else { *b }).collect();
    canonicalise(&space.info().genes, &mut choices);
    let resolution = if rng.random_bool(0.5) { one.resolution } else { other.resolution };
    Arch { choices: choices.into(), resolution }
}

fn draw(gene: &Gene, opened: &Opened, rng: &mut dyn Rng) -> u8 {
    let open: Vec<u8> = gene.open_choices(opened).collect();
    match open.len() {
        // A gene with nothing open yet (a plugin's oversight) stays at its largest.
        0 => (gene.choices.len() - 1) as u8,
        n => open[rng.random_range(0..n)],
    }
}

fn draw_resolution(resolutions: &[u32], rng: &mut dyn Rng) -> Option<u32> {
    (!resolutions.is_empty()).then(|| resolutions[rng.random_range(0..resolutions.len())])
}
