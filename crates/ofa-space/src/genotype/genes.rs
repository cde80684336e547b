//! The trait of whatever has genes: archs are read, written, drawn and counted here, without any network.

use crate::error::SpaceError;
use crate::genotype::arch::{Arch, ArchJson};
use crate::genotype::gene::{Gene, Opened};
use num_bigint::BigUint;
use rand::{Rng, RngExt};
use std::collections::{BTreeMap, HashSet};

/// A set of genes. Every [`SearchSpace`](crate::SearchSpace) is one, and so is a plain list of genes of one's own, which
/// has no resolution.
///
/// ```
/// use ofa_space::{Gene, Genes};
///
/// let genes = vec![Gene::new("layers", [2, 4, 8]), Gene::new("dropout", [0.0, 0.1, 0.5])];
/// assert_eq!(genes.subnets(), 9u32.into());
/// let arch = genes.max_arch();
/// assert_eq!(genes.format(&arch).to_string(), r#"{"dropout":[0.5],"layers":[8]}"#);
/// assert_eq!(genes.value(&arch, "layers", 0)?, 8.0);
/// # Ok::<(), ofa_space::SpaceError>(())
/// ```
pub trait Genes: Send + Sync {
    /// The genes, in the order of an arch's choices.
    fn genes(&self) -> &[Gene];

    /// Elastic resolutions in pixels, ascending; none where nothing has a resolution.
    fn resolutions(&self) -> &[u32] {
        &[]
    }

    /// Name in messages.
    fn name(&self) -> &str {
        "genes"
    }

    /// Refuses genes that cannot form archs.
    ///
    /// # Errors
    /// [`SpaceError::Gene`] if a gene has no choices, too many or unordered ones, not one phase for each, a place that
    /// another gene has or that leaves a gap, or a condition on a gene that does not exist or is conditional itself.
    fn check_genes(&self) -> Result<(), SpaceError> {
        let genes = self.genes();
        let mut lengths: BTreeMap<&str, usize> = BTreeMap::new();
        genes.iter().for_each(|gene| *lengths.entry(&gene.group).or_default() += 1);
        let mut places = HashSet::new();
        for gene in genes {
            let fail =
                |problem: String| Err(SpaceError::Gene { space: self.name().to_owned(), gene: gene.place(), problem });
            if !(1..=MOST_CHOICES).contains(&gene.choices.len()) {
                return fail(format!("has {} choices, expected 1 to {MOST_CHOICES}", gene.choices.len()));
            }
            let is_ascending = gene.choices.windows(2).all(|pair| pair[0] < pair[1]);
            if !is_ascending || !gene.choices.iter().all(|choice| choice.is_finite()) {
                return fail(format!("has the choices {:?}, expected finite numbers, ascending", gene.choices));
            }
            if gene.phases.len() != gene.choices.len() {
                return fail(format!("has {} phases, expected one for each choice", gene.phases.len()));
            }
            if !places.insert((&gene.group, gene.index)) {
                return fail("is there twice, expected an index of its own for each gene of a group".to_owned());
            }
            let length = lengths[gene.group.as_str()];
            if gene.index >= length {
                return fail(format!("has a place beyond its group, expected indices 0 to {}", length - 1));
            }
            if let Some(rule) = gene.active_when.filter(|rule| rule.depth_gene >= genes.len()) {
                return fail(format!("depends on gene {}, expected one of 0 to {}", rule.depth_gene, genes.len() - 1));
            }
            // Counting and sampling look one gene back only.
            let depth = gene.active_when.map(|rule| &genes[rule.depth_gene]);
            if let Some(depth) = depth.filter(|depth| depth.active_when.is_some()) {
                let depth = depth.place();
                return fail(format!(
                    "depends on {depth}, which depends on another gene itself; expected one that does not"
                ));
            }
        }
        Ok(())
    }

    /// The arch with the largest choice everywhere, at the largest resolution.
    fn max_arch(&self) -> Arch {
        Arch {
            choices: self.genes().iter().map(Gene::largest).collect(),
            resolution: self.resolutions().last().copied(),
        }
    }

    /// The arch with the smallest choice everywhere, at the smallest resolution.
    fn min_arch(&self) -> Arch {
        Arch { choices: self.genes().iter().map(|_| 0).collect(), resolution: self.resolutions().first().copied() }
    }

    /// The arch with the middle choice everywhere, the lower one of two, at the middle resolution.
    fn mid_arch(&self) -> Arch {
        let middle = |length: usize| length.saturating_sub(1) / 2;
        let mut choices: Vec<u8> = self.genes().iter().map(|gene| middle(gene.choices.len()) as u8).collect();
        canonicalise(self.genes(), &mut choices);
        let resolutions = self.resolutions();
        Arch { choices: choices.into(), resolution: resolutions.get(middle(resolutions.len())).copied() }
    }

    /// The arch of these choices in canonical form: inactive genes take choice 0.
    ///
    /// # Errors
    /// [`SpaceError::Arch`] if the number of choices or a choice is out of range.
    fn arch(&self, mut choices: Vec<u8>, resolution: Option<u32>) -> Result<Arch, SpaceError> {
        let genes = self.genes();
        let problem = |problem: String| SpaceError::Arch { space: self.name().to_owned(), problem };
        if choices.len() != genes.len() {
            return Err(problem(format!("{} choices given, the space has {} genes", choices.len(), genes.len())));
        }
        for (gene, choice) in genes.iter().zip(&choices) {
            if *choice as usize >= gene.choices.len() {
                let (place, n) = (gene.place(), gene.choices.len());
                return Err(problem(format!("choice {choice} of {place} is out of range (0..{n})")));
            }
        }
        canonicalise(genes, &mut choices);
        Ok(Arch { choices: choices.into(), resolution })
    }

    /// The value of a gene in an arch; an inactive gene has its first.
    ///
    /// # Errors
    /// [`SpaceError::UnknownGene`] if there is no such gene, [`SpaceError::Arch`] if the arch is of other genes.
    fn value(&self, arch: &Arch, group: &str, index: usize) -> Result<f64, SpaceError> {
        let genes = self.genes();
        let Some(at) = genes.iter().position(|gene| gene.group == group && gene.index == index) else {
            let known = genes.iter().map(Gene::place).collect::<Vec<_>>().join(", ");
            return Err(SpaceError::UnknownGene { gene: format!("{group}[{index}]"), known });
        };
        let value = arch.choices.get(at).and_then(|choice| genes[at].choices.get(usize::from(*choice)));
        value.copied().ok_or_else(|| SpaceError::Arch {
            space: self.name().to_owned(),
            problem: format!("it has no choice of {}", genes[at].place()),
        })
    }

    /// Reads the official JSON form. Inactive genes may hold any listed choice, or 0.
    ///
    /// # Errors
    /// [`SpaceError::Arch`] naming the field, what was found and what was expected.
    fn parse(&self, json: &ArchJson) -> Result<Arch, SpaceError> {
        let genes = self.genes();
        let problem = |problem: String| SpaceError::Arch { space: self.name().to_owned(), problem };
        let mut lengths: BTreeMap<&str, usize> = BTreeMap::new();
        for gene in genes {
            *lengths.entry(&gene.group).or_default() += 1;
        }
        for (group, length) in &lengths {
            let found = json.groups.get(*group).map(Vec::len);
            if found != Some(*length) {
                let found = found.map_or("nothing".to_owned(), |n| n.to_string());
                return Err(problem(format!("`{group}` must be a list of {length} values, found {found}")));
            }
        }
        if let Some(unknown) = json.groups.keys().find(|group| !lengths.contains_key(group.as_str())) {
            let known: Vec<&str> = lengths.into_keys().collect();
            return Err(problem(format!("unknown field `{unknown}`; expected {} and r", known.join(", "))));
        }
        let value_of = |gene: &Gene| json.groups[&gene.group].get(gene.index).copied().unwrap_or(f64::NAN);
        let listed: Vec<Option<u8>> = genes.iter().map(|gene| gene.choice_of(value_of(gene))).collect();
        let mut choices: Vec<u8> = listed.iter().map(|choice| choice.unwrap_or(0)).collect();
        for (i, gene) in genes.iter().enumerate() {
            let value = value_of(gene);
            let skipped_zero = value == 0.0 && !gene.is_active(genes, &choices);
            if listed[i].is_none() && !skipped_zero {
                let place = gene.place();
                let allowed: Vec<String> = gene.choices.iter().map(f64::to_string).collect();
                return Err(problem(format!("{place} is {value}, expected one of {}", allowed.join(", "))));
            }
        }
        canonicalise(genes, &mut choices);
        Ok(Arch { choices: choices.into(), resolution: json.resolution })
    }

    /// The official JSON form of an arch.
    ///
    /// # Panics
    /// If the arch is of other genes.
    fn format(&self, arch: &Arch) -> ArchJson {
        let mut json = ArchJson { groups: BTreeMap::new(), resolution: arch.resolution };
        for (gene, choice) in self.genes().iter().zip(&arch.choices) {
            let list = json.groups.entry(gene.group.clone()).or_default();
            if list.len() <= gene.index {
                list.resize(gene.index + 1, 0.0);
            }
            list[gene.index] = gene.choices[*choice as usize];
        }
        json
    }

    /// Exact number of distinct archs at one resolution; inactive genes count once.
    fn subnets(&self) -> BigUint {
        let genes = self.genes();
        let mut total = BigUint::from(1u8);
        for (index, gene) in genes.iter().enumerate() {
            let governed: Vec<&Gene> =
                genes.iter().filter(|g| g.active_when.is_some_and(|rule| rule.depth_gene == index)).collect();
            if gene.active_when.is_some() {
                continue;
            }
            let ways = |value: f64| -> BigUint {
                governed
                    .iter()
                    .filter(|g| g.active_when.is_some_and(|rule| value >= rule.at_least))
                    .map(|g| BigUint::from(g.choices.len()))
                    .product()
            };
            total *= gene.choices.iter().map(|value| ways(*value)).sum::<BigUint>();
        }
        total
    }

    /// Draws every gene uniformly among its open choices, and the resolution uniformly among those listed.
    ///
    /// This is the paper's rule: uniform over genes, hence not over distinct archs (inactive genes are drawn too, and
    /// then set to choice 0).
    fn sample(&self, opened: &Opened, rng: &mut dyn Rng) -> Arch {
        let genes = self.genes();
        let mut choices: Vec<u8> = genes.iter().map(|gene| draw(gene, opened, rng)).collect();
        canonicalise(genes, &mut choices);
        Arch { choices: choices.into(), resolution: draw_resolution(self.resolutions(), rng) }
    }

    /// Redraws every gene, and the resolution, each with probability `probability` (`mutate_prob` of the paper's search).
    fn mutate(&self, arch: &Arch, probability: f64, rng: &mut dyn Rng) -> Arch {
        let genes = self.genes();
        let mut choices = arch.choices.to_vec();
        for (gene, choice) in genes.iter().zip(&mut choices) {
            if rng.random_bool(probability) {
                *choice = draw(gene, &Opened::EVERYTHING, rng);
            }
        }
        canonicalise(genes, &mut choices);
        let resolution =
            if rng.random_bool(probability) { draw_resolution(self.resolutions(), rng) } else { arch.resolution };
        Arch { choices: choices.into(), resolution }
    }

    /// Takes every gene, and the resolution, from one parent or the other with equal chance.
    ///
    /// # Panics
    /// If the parents have different numbers of genes.
    fn crossover(&self, one: &Arch, other: &Arch, rng: &mut dyn Rng) -> Arch {
        assert_eq!(one.choices.len(), other.choices.len(), "parents of different spaces");
        let mut choices: Vec<u8> =
            one.choices.iter().zip(&other.choices).map(|(a, b)| if rng.random_bool(0.5) { *a } else { *b }).collect();
        canonicalise(self.genes(), &mut choices);
        let resolution = if rng.random_bool(0.5) { one.resolution } else { other.resolution };
        Arch { choices: choices.into(), resolution }
    }
}

impl Genes for Vec<Gene> {
    fn genes(&self) -> &[Gene] {
        self
    }
}

/// Choices that a gene may have: archs hold their indices in a byte, and searches their number.
const MOST_CHOICES: usize = u8::MAX as usize;

/// Sets inactive genes to choice 0.
fn canonicalise(genes: &[Gene], choices: &mut [u8]) {
    for (index, gene) in genes.iter().enumerate() {
        if !gene.is_active(genes, choices) {
            choices[index] = 0;
        }
    }
}

fn draw(gene: &Gene, opened: &Opened, rng: &mut dyn Rng) -> u8 {
    let open: Vec<u8> = gene.open_choices(opened).collect();
    match open.len() {
        // A gene with nothing open yet (a plugin's oversight) stays at its largest.
        0 => gene.largest(),
        n => open[rng.random_range(0..n)],
    }
}

fn draw_resolution(resolutions: &[u32], rng: &mut dyn Rng) -> Option<u32> {
    (!resolutions.is_empty()).then(|| resolutions[rng.random_range(0..resolutions.len())])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn problem(genes: Vec<Gene>) -> String {
        genes.check_genes().unwrap_err().to_string()
    }

    #[test]
    fn genes_that_form_no_arch_are_refused() {
        let none: [f64; 0] = [];
        assert!(problem(vec![Gene::new("a", none)]).contains("`a[0]` has 0 choices, expected 1 to 255"));
        assert!(problem(vec![Gene::new("a", [4, 2])]).contains("[4.0, 2.0], expected finite numbers, ascending"));
        assert!(problem(vec![Gene::new("a", [1.0, f64::NAN])]).contains("expected finite numbers"));
        assert!(problem(vec![Gene::new("a", [1]), Gene::new("a", [2])]).contains("`a[0]` is there twice"));
        assert!(problem(vec![Gene::new("a", [1]).at(2)]).contains("expected indices 0 to 0"));
        let problem_of_rule = problem(vec![Gene::new("a", [1]).only_if(7, 1.0)]);
        assert!(problem_of_rule.contains("depends on gene 7, expected one of 0 to 0"), "{problem_of_rule}");
        let nested =
            vec![Gene::new("a", [1, 2]), Gene::new("b", [1, 2]).only_if(0, 2.0), Gene::new("c", [1]).only_if(1, 2.0)];
        assert!(problem(nested).contains("depends on b[0], which depends on another gene itself"));
        let missing_phase = Gene { phases: vec![0], ..Gene::new("a", [1, 2]) };
        assert!(problem(vec![missing_phase]).contains("1 phases, expected one for each choice"));
        assert!(Vec::<Gene>::new().check_genes().is_ok());
    }

    #[test]
    fn values_are_read_by_group_and_index() {
        let genes = vec![
            Gene::new("depth", [1, 2]),
            Gene::new("units", [8, 16]).at(0),
            Gene::new("units", [8, 16, 32]).at(1).only_if(0, 2.0),
        ];
        genes.check_genes().unwrap();
        let arch = genes.arch(vec![1, 0, 2], None).unwrap();
        assert_eq!(genes.value(&arch, "units", 1).unwrap(), 32.0);
        let shallow = genes.arch(vec![0, 0, 2], None).unwrap();
        assert_eq!(genes.value(&shallow, "units", 1).unwrap(), 8.0);
        let error = genes.value(&arch, "unit", 1).unwrap_err().to_string();
        assert_eq!(error, "there is no gene unit[1], expected one of depth[0], units[0], units[1]");
        let other = vec![Gene::new("depth", [1, 2])];
        assert!(genes.value(&other.max_arch(), "units", 0).unwrap_err().to_string().contains("no choice of units[0]"));
    }
}
