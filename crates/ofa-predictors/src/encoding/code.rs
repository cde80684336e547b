//! An encoding worked out for one space: which feature every choice of every gene sets, so that encoding a population
//! is a walk through its genes.

use crate::encoding::Encoder;
use crate::encoding::sparse::SparseRows;
use crate::error::PredictorError;
use crate::target::Target;
use ofa_space::objectives::block_objective::BlockTables;
use ofa_space::{BlockSum, NetSpec, ObjectiveError, PlainTerm, Population, SearchSpace, SpaceError, cost};
use std::ops::Range;
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
    genes: Vec<Option<u32>>,
    /// When each gene is active: its depth gene, and the least choice of it.
    active: Vec<Option<(usize, u8)>>,
    choices: Vec<usize>,
    /// Pixels and feature of every resolution, ascending.
    resolutions: Vec<(u32, u32)>,
    /// Whether the resolutions' columns stand before the genes'.
    resolutions_first: bool,
    /// Whether a resolution between two coded ones is encoded as a mixture of both.
    interpolates: bool,
    one_hot_width: usize,
    /// Quantities of the network, one table each.
    quantities: Vec<(Quantity, BlockTables)>,
    /// The columns made of them, which follow the one-hot features.
    derived: Vec<Derived>,
    labels: Vec<String>,
    /// Choices of genes that no training pair had; see [`Self::unseen`].
    unseen: Vec<(usize, u8)>,
    /// What each of them adds to an objective.
    unseen_value: f64,
}

/// A column made of a quantity.
#[derive(Clone, PartialEq, Debug)]
struct Derived {
    /// Index among the quantities.
    quantity: usize,
    /// Blocks of the largest network that are summed; all, if there are none.
    blocks: Option<Range<usize>>,
    form: Form,
}

/// What becomes of a quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Its natural logarithm.
    Logarithm,
    /// A million over it.
    Inverse,
}

impl Form {
    const MILLION: f64 = 1e6;

    /// The column's value; 0 where there is nothing to take a logarithm or the inverse of.
    fn of(self, value: f64) -> f64 {
        match self {
            _ if value <= 0.0 => 0.0,
            Form::Logarithm => value.ln(),
            Form::Inverse => Self::MILLION / value,
        }
    }

    /// The derivative of the column by the quantity.
    fn slope(self, value: f64) -> f64 {
        match self {
            _ if value <= 0.0 => 0.0,
            Form::Logarithm => 1.0 / value,
            Form::Inverse => -Self::MILLION / (value * value),
        }
    }
}

impl Derived {
    fn sum(&self, sum: &BlockSum, choices: &[u8]) -> f64 {
        match &self.blocks {
            None => sum.value(choices),
            Some(blocks) => sum.terms()[blocks.clone()].iter().map(|term| sum.term_value(term, choices)).sum(),
        }
    }
}

/// Runs of blocks of the largest network whose outputs have one shape, where any gene changes or skips one of them; none
/// if the space's MACs are no sum over blocks.
fn stages(space: &dyn SearchSpace, tables: &BlockTables) -> Result<Vec<Range<usize>>, SpaceError> {
    let largest = space.max_arch();
    let Some(sum) = tables.sum_at(space, largest.resolution(), &Quantity::Macs.value()) else { return Ok(Vec::new()) };
    let net = space.resolve(&largest)?;
    let mut runs: Vec<Range<usize>> = Vec::new();
    for block in 0..net.blocks.len().min(sum.terms().len()) {
        match runs.last_mut() {
            Some(run) if net.blocks[run.start].output == net.blocks[block].output => run.end = block + 1,
            _ => runs.push(block..block + 1),
        }
    }
    let elastic = |run: &Range<usize>| {
        sum.terms()[run.clone()].iter().any(|term| term.genes().next().is_some() || !term.needs().is_empty())
    };
    runs.retain(elastic);
    Ok(runs)
}

/// A quantity of a network that is encoded by its logarithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Quantity {
    Macs,
    Params,
}

impl Quantity {
    fn of(self, net: &NetSpec, block: usize) -> Result<f64, ObjectiveError> {
        Ok(match self {
            Quantity::Macs => cost::block_macs(&net.blocks[block]),
            Quantity::Params => cost::block_params(&net.blocks[block]),
        } as f64)
    }

    fn value(self) -> fn(&NetSpec, usize) -> Result<f64, ObjectiveError> {
        match self {
            Quantity::Macs => |net, block| Quantity::Macs.of(net, block),
            Quantity::Params => |net, block| Quantity::Params.of(net, block),
        }
    }
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
    fn coded(&self, resolution: u32) -> Option<[(u32, f32); 2]> {
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
    pub fn knows(&self, resolution: u32) -> bool {
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
    fn tables_at(&self, space: &dyn SearchSpace, resolution: Option<u32>) -> Vec<Option<Arc<BlockSum>>> {
        self.quantities.iter().map(|(quantity, tables)| tables.sum_at(space, resolution, &quantity.value())).collect()
    }

    /// Turns derivatives by feature into slopes by choice of every gene (see [`ofa_space::Objective::slopes`]). A
    /// logarithm among the features takes part by how much each choice alone would change it. False if a quantity is no
    /// sum over blocks, so that this cannot be told.
    pub fn slopes(
        &self,
        space: &dyn SearchSpace,
        archs: &Population,
        gradients: &[f32],
        slopes: &mut Vec<f32>,
    ) -> bool {
        slopes.clear();
        for (row, gradient) in gradients.chunks_exact(self.width()).enumerate() {
            let first = slopes.len();
            for (feature, choices) in self.genes.iter().zip(&self.choices) {
                match feature {
                    Some(feature) => slopes.extend(&gradient[*feature as usize..*feature as usize + choices]),
                    None => slopes.extend(std::iter::repeat_n(0.0, *choices)),
                }
            }
            for (gene, choice) in &self.unseen {
                let at = self.choices[..*gene].iter().sum::<usize>() + usize::from(*choice);
                slopes[first + at] += self.unseen_value as f32;
            }
            let tables = self.tables_at(space, archs.resolution(row));
            for (offset, derived) in self.derived.iter().enumerate() {
                let Some(sum) = &tables[derived.quantity] else { return false };
                let mut choices = archs.choices(row).to_vec();
                let value = derived.sum(sum, &choices);
                let derivative = f64::from(gradient[self.one_hot_width + offset]) * derived.form.slope(value);
                let mut at = first;
                for (gene, count) in self.choices.iter().enumerate() {
                    let now = choices[gene];
                    for choice in 0..*count as u8 {
                        choices[gene] = choice;
                        slopes[at] += (derivative * (derived.sum(sum, &choices) - value)) as f32;
                        at += 1;
                    }
                    choices[gene] = now;
                }
            }
        }
        true
    }

    /// A linear function of the features as a sum over genes, at one resolution; `None` where a feature is no one-hot
    /// column, or the resolution has no code.
    pub fn linear_sum(&self, weights: &[f64], intercept: f64, resolution: Option<u32>) -> Option<BlockSum> {
        let coded = self.coded(resolution?)?;
        if !self.derived.is_empty() || weights.len() != self.width() {
            return None;
        }
        let constant: f64 = intercept
            + coded.iter().map(|(feature, share)| f64::from(*share) * weights[*feature as usize]).sum::<f64>();
        let constant = PlainTerm { genes: Vec::new(), needs: Vec::new(), values: vec![constant] };
        let of_gene = |(gene, feature): (usize, &Option<u32>)| {
            let first = (*feature)? as usize;
            let count = self.choices[gene];
            let (genes, needs) = (vec![(gene, count)], self.active[gene].into_iter().collect());
            let mut values = weights[first..first + count].to_vec();
            let unseen = self.unseen.iter().filter(|(of, _)| *of == gene);
            unseen.for_each(|(_, choice)| values[usize::from(*choice)] += self.unseen_value);
            Some(PlainTerm { genes, needs, values })
        };
        Some(BlockSum::of_terms(std::iter::once(constant).chain(self.genes.iter().enumerate().filter_map(of_gene))))
    }

    /// The encoding.
    pub fn encoder(&self) -> Encoder {
        self.encoder
    }
}
