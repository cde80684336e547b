//! The search-space trait: genes, and how an arch becomes a network.

use crate::error::SpaceError;
use crate::genotype::arch::{Arch, ArchJson};
use crate::genotype::gene::Gene;
use crate::network::net_spec::NetSpec;
use num_bigint::BigUint;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// What is known about a space before any arch is chosen.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SpaceInfo {
    /// Registered name, or the name given in its TOML.
    pub name: String,
    /// Channels of the input image.
    pub input_channels: usize,
    /// Number of logits.
    pub classes: usize,
    /// Elastic resolutions in pixels, ascending.
    pub resolutions: Vec<u32>,
    /// Structural genes; depth genes may stand anywhere.
    pub genes: Vec<Gene>,
}

/// A family of elastic networks.
///
/// Implementors write [`info`](Self::info) and [`resolve`](Self::resolve); everything else follows from the genes.
/// Configuration is the implementor's own serde form, selected by `kind` in a TOML `[space]` table; a field called
/// `classes` is what [`crate::spaces::registry::with_classes`] overrides.
#[typetag::serde(tag = "kind")]
pub trait SearchSpace: Debug + Send + Sync {
    /// Name, genes and resolutions.
    fn info(&self) -> &SpaceInfo;

    /// The network of an arch, reading slices of the supernet's tensors. Any positive resolution is accepted, so
    /// that costs and tables can be asked outside the training list.
    ///
    /// # Errors
    /// [`SpaceError::MissingResolution`] if the arch has none.
    fn resolve(&self, arch: &Arch) -> Result<NetSpec, SpaceError>;

    /// Name of the space.
    fn name(&self) -> &str {
        &self.info().name
    }

    /// The arch's resolution.
    ///
    /// # Errors
    /// [`SpaceError::MissingResolution`] if it has none.
    fn resolution_of(&self, arch: &Arch) -> Result<usize, SpaceError> {
        match arch.resolution {
            Some(resolution) => Ok(resolution as usize),
            None => {
                Err(SpaceError::MissingResolution { example: self.info().resolutions.last().copied().unwrap_or(224) })
            }
        }
    }

    /// The largest subnet at the largest resolution.
    fn max_arch(&self) -> Arch {
        let info = self.info();
        Arch {
            choices: info.genes.iter().map(|gene| (gene.choices.len() - 1) as u8).collect(),
            resolution: info.resolutions.last().copied(),
        }
    }

    /// The smallest subnet at the smallest resolution.
    fn min_arch(&self) -> Arch {
        let info = self.info();
        Arch { choices: info.genes.iter().map(|_| 0).collect(), resolution: info.resolutions.first().copied() }
    }

    /// The arch of these choices in canonical form: inactive genes take choice 0.
    ///
    /// # Errors
    /// [`SpaceError::Arch`] if the number of choices or a choice is out of range.
    fn arch(&self, mut choices: Vec<u8>, resolution: Option<u32>) -> Result<Arch, SpaceError> {
        let genes = &self.info().genes;
        let problem = |problem: String| SpaceError::Arch { space: self.name().to_owned(), problem };
        if choices.len() != genes.len() {
            return Err(problem(format!("{} choices given, the space has {} genes", choices.len(), genes.len())));
        }
        for (gene, choice) in genes.iter().zip(&choices) {
            if *choice as usize >= gene.choices.len() {
                let (group, index, n) = (&gene.group, gene.index, gene.choices.len());
                return Err(problem(format!("choice {choice} of {group}[{index}] is out of range (0..{n})")));
            }
        }
        canonicalise(genes, &mut choices);
        Ok(Arch { choices: choices.into(), resolution })
    }

    /// Reads the official JSON form. Inactive genes may hold any listed choice, or 0.
    ///
    /// # Errors
    /// [`SpaceError::Arch`] naming the field, what was found and what was expected.
    fn parse(&self, json: &ArchJson) -> Result<Arch, SpaceError> {
        let genes = &self.info().genes;
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
        let value_of = |gene: &Gene| json.groups[&gene.group][gene.index];
        let listed: Vec<Option<u8>> = genes.iter().map(|gene| gene.choice_of(value_of(gene))).collect();
        let mut choices: Vec<u8> = listed.iter().map(|choice| choice.unwrap_or(0)).collect();
        for (i, gene) in genes.iter().enumerate() {
            let value = value_of(gene);
            let skipped_zero = value == 0.0 && !gene.is_active(genes, &choices);
            if listed[i].is_none() && !skipped_zero {
                let (group, index) = (&gene.group, gene.index);
                let allowed: Vec<String> = gene.choices.iter().map(f64::to_string).collect();
                return Err(problem(format!("{group}[{index}] is {value}, expected one of {}", allowed.join(", "))));
            }
        }
        canonicalise(genes, &mut choices);
        Ok(Arch { choices: choices.into(), resolution: json.resolution })
    }

    /// The official JSON form of an arch.
    ///
    /// # Panics
    /// If the arch belongs to a space with other genes.
    fn format(&self, arch: &Arch) -> ArchJson {
        let mut json = ArchJson { groups: BTreeMap::new(), resolution: arch.resolution };
        for (gene, choice) in self.info().genes.iter().zip(&arch.choices) {
            let list = json.groups.entry(gene.group.clone()).or_default();
            if list.len() <= gene.index {
                list.resize(gene.index + 1, 0.0);
            }
            list[gene.index] = gene.choices[*choice as usize];
        }
        json
    }

    /// Exact number of distinct subnets at one resolution; genes of skipped blocks count once.
    fn subnets(&self) -> BigUint {
        let genes = &self.info().genes;
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
}

/// Sets inactive genes to choice 0.
pub(crate) fn canonicalise(genes: &[Gene], choices: &mut [u8]) {
    for (index, gene) in genes.iter().enumerate() {
        if !gene.is_active(genes, choices) {
            choices[index] = 0;
        }
    }
}
