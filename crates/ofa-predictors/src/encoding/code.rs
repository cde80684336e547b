//! An encoding worked out for one space: which feature every choice of every gene sets, so that encoding a population
//! is a walk through its genes.

use super::quantities::{Derived, Form, Quantity, stages};
use crate::encoding::Encoder;
use crate::encoding::sparse::SparseRows;
use crate::error::PredictorError;
use crate::target::Target;
use ofa_space::objectives::block_objective::BlockTables;
use ofa_space::{BlockSum, Population, SearchSpace, SpaceError};
use std::sync::Arc;

/// What is added to a search's objective for every choice that no training pair had: more than the target can make up
/// for, so that searches keep to what the predictor has seen.
fn unseen_value(target: Target) -> f64 {
    match target {
        Target::Accuracy => -1.0,
        Target::Latency => 1e6,
    }
}

/// The features of a space's genes and resolutions under an encoding.
#[derive(Debug)]
pub struct Code {
    encoder: Encoder,
    space: String,
    /// For every gene the feature of its first choice; the other choices follow. Nothing if the encoding skips it.
    pub(super) genes: Vec<Option<u32>>,
    /// When each gene is active: its depth gene, and the least choice of it.
    pub(super) active: Vec<Option<(usize, u8)>>,
    pub(super) choices: Vec<usize>,
    /// Pixels and feature of every resolution, ascending.
    resolutions: Vec<(u32, u32)>,
    /// Whether the resolutions' columns come before the genes'.
    resolutions_first: bool,
    /// Whether a resolution between two coded ones is encoded as a mixture of both.
    interpolates: bool,
    pub(super) one_hot_width: usize,
    /// Quantities of the network, one table each.
    quantities: Vec<(Quantity, BlockTables)>,
    /// The columns made of them, which follow the one-hot features.
    pub(super) derived: Vec<Derived>,
    labels: Vec<String>,
    /// Choices of genes that no training pair had; see [`Self::unseen`].
    pub(super) unseen: Vec<(usize, u8)>,
    /// What each of them adds to an objective.
    pub(super) unseen_value: f64,
}

impl Code {
    /// The code of `encoder` for `space`. Encodings with a column per resolution have those of `resolutions`, or of the
    /// space if that is `None`.
    ///
    /// # Errors
    /// [`PredictorError::Space`] if the encoding is for another family.
    pub fn new(encoder: Encoder, space: &dyn SearchSpace, resolutions: Option<&[u32]>) -> Result<Self, PredictorError> {
        let info = space.info();
        let listed = resolutions.unwrap_or(&info.resolutions);
        let mut code = Self {
            encoder,
            space: info.name.clone(),
            genes: vec![None; info.genes.len()],
            active: Vec::with_capacity(info.genes.len()),
            choices: info.genes.iter().map(|gene| gene.choices.len()).collect(),
            resolutions: Vec::new(),
            resolutions_first: false,
            interpolates: false,
            one_hot_width: 0,
            quantities: Vec::new(),
            derived: Vec::new(),
            labels: Vec::new(),
            unseen: Vec::new(),
            unseen_value: 0.0,
        };
        for gene in &info.genes {
            code.active.push(match gene.active_when {
                None => None,
                Some(rule) => {
                    let depths = &info.genes[rule.depth_gene].choices;
                    let least = depths.iter().position(|depth| *depth >= rule.at_least).unwrap_or(depths.len());
                    Some((rule.depth_gene, least as u8))
                }
            });
        }
        let layout = encoder.layout();
        code.resolutions_first = !layout.resolutions_last;
        let mut next = 0u32;
        if !layout.resolutions_last {
            next = code.add_resolutions(next, layout.resolutions, listed);
        }
        for part in layout.genes {
            for (index, gene) in info.genes.iter().enumerate().filter(|(_, gene)| part.takes(gene)) {
                code.genes[index] = Some(next);
                next += gene.choices.len() as u32;
                let named = gene.choices.iter().map(|choice| format!("{}[{}]={choice}", gene.group, gene.index));
                code.labels.extend(named);
            }
        }
        if layout.resolutions_last {
            next = code.add_resolutions(next, layout.resolutions, listed);
        }
        if layout.width.is_some_and(|width| width != next as usize) {
            return Err(code.refused(format!("{}; this space gives {next} columns", layout.needs)));
        }
        code.one_hot_width = next as usize;
        code.interpolates = layout.interpolates;
        code.quantities = layout.quantities.iter().map(|q| (*q, BlockTables::default())).collect();
        for (quantity, (kind, _)) in code.quantities.iter().enumerate() {
            code.labels.push(format!("ln {kind:?}").to_lowercase());
            code.derived.push(Derived { quantity, blocks: None, form: Form::Logarithm });
        }
        for (quantity, (kind, tables)) in code.quantities.iter().enumerate() {
            if layout.stages != Some(*kind) {
                continue;
            }
            for (stage, blocks) in stages(space, tables)?.into_iter().enumerate() {
                for (form, prefix) in [(Form::Logarithm, "ln"), (Form::Inverse, "1e6 /")] {
                    code.labels.push(format!("{prefix} {kind:?} of stage {stage}").to_lowercase());
                    code.derived.push(Derived { quantity, blocks: Some(blocks.clone()), form });
                }
            }
        }
        Ok(code)
    }

    /// The same code where no training pair had these choices (gene, choice), and only these resolutions: others have
    /// no code, even where they have a column.
    pub(crate) fn with_seen(mut self, unseen: &[(usize, u8)], resolutions: &[u32], target: Target) -> Self {
        self.unseen = unseen.to_vec();
        self.unseen_value = unseen_value(target);
        if !resolutions.is_empty() {
            self.resolutions.retain(|(pixels, _)| resolutions.contains(pixels));
        }
        self
    }

    /// The first active choice of a row that no training pair had, such as `ks[3]=7`.
    pub fn unseen(&self, space: &dyn SearchSpace, choices: &[u8]) -> Option<String> {
        let (gene, choice) = self.unseen_of(choices).next()?;
        let gene = &space.info().genes[*gene];
        Some(format!("{}[{}]={}", gene.group, gene.index, gene.choices[usize::from(*choice)]))
    }

    /// The number of active choices of a row that no training pair had.
    pub(crate) fn count_unseen(&self, choices: &[u8]) -> usize {
        self.unseen_of(choices).count()
    }

    /// What the active choices of a row that no training pair had add to an objective.
    pub(crate) fn value_of_unseen(&self, choices: &[u8]) -> f64 {
        self.unseen_value * self.count_unseen(choices) as f64
    }

    /// The active choices of a row that no training pair had.
    fn unseen_of(&self, choices: &[u8]) -> impl Iterator<Item = &(usize, u8)> {
        let active = |gene: usize| self.active[gene].is_none_or(|(depth, least)| choices[depth] >= least);
        self.unseen.iter().filter(move |(gene, choice)| choices[*gene] == *choice && active(*gene))
    }

    /// Features of a resolution, and the share of each.
    pub(super) fn coded(&self, resolution: u32) -> Option<[(u32, f32); 2]> {
        let at = |index: usize| self.resolutions[index];
        let above = self.resolutions.iter().position(|(pixels, _)| *pixels >= resolution)?;
        if at(above).0 == resolution {
            return Some([(at(above).1, 1.0), (at(above).1, 0.0)]);
        }
        let ((low, first), (high, second)) = (at(above.checked_sub(1)?), at(above));
        let share = (resolution - low) as f32 / (high - low) as f32;
        self.interpolates.then_some([(first, 1.0 - share), (second, share)])
    }

    /// Whether archs of this resolution have a code.
    pub fn has_resolution(&self, resolution: u32) -> bool {
        self.coded(resolution).is_some()
    }

    fn add_resolutions(&mut self, first: u32, fixed: Option<&[u32]>, listed: &[u32]) -> u32 {
        let known = fixed.unwrap_or(listed);
        self.resolutions = known.iter().copied().zip(first..).collect();
        self.labels.extend(known.iter().map(|r| format!("r={r}")));
        first + known.len() as u32
    }

    fn refused(&self, problem: String) -> PredictorError {
        SpaceError::Arch { space: self.space.clone(), problem }.into()
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.one_hot_width + self.derived.len()
    }

    /// Names of the features, such as `ks[3]=5`.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The features of every arch of `space`, the space that the code was made for.
    ///
    /// # Errors
    /// [`PredictorError::UnseenResolution`] if a resolution has no code, [`PredictorError::Space`] if it is missing.
    pub fn rows(&self, space: &dyn SearchSpace, archs: &Population) -> Result<SparseRows, PredictorError> {
        let mut rows = SparseRows::new(self.width());
        for row in 0..archs.len() {
            let choices = archs.choices(row);
            let resolution = archs.resolution(row).ok_or_else(|| SpaceError::MissingResolution {
                example: space.info().resolutions.last().copied().unwrap_or(224),
            })?;
            let Some(coded) = self.coded(resolution) else {
                let known = self.resolutions.iter().map(|(r, _)| *r).collect();
                return Err(PredictorError::UnseenResolution { resolution, known, interpolates: self.interpolates });
            };
            let first = self.resolutions_first;
            let add_resolution = |rows: &mut SparseRows| {
                for (feature, share) in coded.into_iter().filter(|(_, share)| *share != 0.0) {
                    rows.add(feature, share);
                }
            };
            if first {
                add_resolution(&mut rows);
            }
            for (index, feature) in self.genes.iter().enumerate() {
                let Some(feature) = feature else { continue };
                if self.active[index].is_none_or(|(depth, least)| choices[depth] >= least) {
                    rows.add(feature + u32::from(choices[index]), 1.0);
                }
            }
            if !first {
                add_resolution(&mut rows);
            }
            let tables = self.tables_at(space, Some(resolution));
            for (offset, derived) in self.derived.iter().enumerate() {
                let value = match &tables[derived.quantity] {
                    Some(sum) => derived.sum(sum, choices),
                    None => {
                        let quantity = self.quantities[derived.quantity].0;
                        let net = space.resolve(&archs.arch(row))?;
                        (0..net.blocks.len()).filter_map(|block| quantity.of(&net, block).ok()).sum()
                    }
                };
                rows.add((self.one_hot_width + offset) as u32, derived.form.of(value) as f32);
            }
            rows.end_row();
        }
        Ok(rows)
    }

    /// The table of every quantity at a resolution.
    pub(super) fn tables_at(&self, space: &dyn SearchSpace, resolution: Option<u32>) -> Vec<Option<Arc<BlockSum>>> {
        self.quantities.iter().map(|(quantity, tables)| tables.sum_at(space, resolution, &quantity.value())).collect()
    }

    /// The encoding.
    pub fn encoder(&self) -> Encoder {
        self.encoder
    }
}
