//! An encoding worked out for one space: which feature every choice of every gene sets, so that encoding a population
//! is a walk through its genes.

use crate::encoder::Encoder;
use crate::error::PredictorError;
use crate::sparse::SparseRows;
use ofa_space::block_objective::BlockTables;
use ofa_space::{BlockSum, NetSpec, ObjectiveError, PlainTerm, Population, SearchSpace, SpaceError, cost};

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
    /// Pixels and feature of every resolution.
    resolutions: Vec<(u32, u32)>,
    one_hot_width: usize,
    /// Quantities of the whole network that follow the one-hot features.
    quantities: Vec<(Quantity, BlockTables)>,
    labels: Vec<String>,
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
            one_hot_width: 0,
            quantities: Vec::new(),
            labels: Vec::new(),
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
        code.quantities = layout.quantities.iter().map(|q| (*q, BlockTables::default())).collect();
        code.labels.extend(layout.quantities.iter().map(|q| format!("ln {q:?}").to_lowercase()));
        Ok(code)
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
        self.one_hot_width + self.quantities.len()
    }

    /// Names of the features, such as `ks[3]=5`.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The features of every arch of `space`, the space that the code was made for.
    ///
    /// # Errors
    /// [`PredictorError::Space`] if a resolution has no code, or is missing.
    pub fn rows(&self, space: &dyn SearchSpace, archs: &Population) -> Result<SparseRows, PredictorError> {
        let mut rows = SparseRows::new(self.width());
        for row in 0..archs.len() {
            let choices = archs.choices(row);
            let resolution = archs.resolution(row).ok_or_else(|| SpaceError::MissingResolution {
                example: space.info().resolutions.last().copied().unwrap_or(224),
            })?;
            let Some((_, coded)) = self.resolutions.iter().find(|(pixels, _)| *pixels == resolution) else {
                let known: Vec<String> = self.resolutions.iter().map(|(r, _)| r.to_string()).collect();
                let known = known.join(", ");
                return Err(self.refused(format!("resolution {resolution} has no code; the encoding knows {known}")));
            };
            let first = self.resolutions[0].1 == 0;
            if first {
                rows.add(*coded, 1.0);
            }
            for (index, feature) in self.genes.iter().enumerate() {
                let Some(feature) = feature else { continue };
                if self.active[index].is_none_or(|(depth, least)| choices[depth] >= least) {
                    rows.add(feature + u32::from(choices[index]), 1.0);
                }
            }
            if !first {
                rows.add(*coded, 1.0);
            }
            for (offset, (quantity, tables)) in self.quantities.iter().enumerate() {
                let value = match tables.sum_at(space, Some(resolution), &quantity.value()) {
                    Some(sum) => sum.value(choices),
                    None => {
                        let net = space.resolve(&archs.arch(row))?;
                        (0..net.blocks.len()).filter_map(|block| quantity.of(&net, block).ok()).sum()
                    }
                };
                rows.add((self.one_hot_width + offset) as u32, value.max(f64::MIN_POSITIVE).ln() as f32);
            }
            rows.end_row();
        }
        Ok(rows)
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
            for (offset, (quantity, tables)) in self.quantities.iter().enumerate() {
                let derivative = gradient[self.one_hot_width + offset];
                let Some(sum) = tables.sum_at(space, archs.resolution(row), &quantity.value()) else { return false };
                let mut choices = archs.choices(row).to_vec();
                let value = sum.value(&choices);
                let mut at = first;
                for (gene, count) in self.choices.iter().enumerate() {
                    let now = choices[gene];
                    for choice in 0..*count as u8 {
                        choices[gene] = choice;
                        slopes[at] += derivative * ((sum.value(&choices) - value) / value) as f32;
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
        let (_, coded) = self.resolutions.iter().find(|(pixels, _)| Some(*pixels) == resolution)?;
        if !self.quantities.is_empty() || weights.len() != self.width() {
            return None;
        }
        let constant = intercept + weights[*coded as usize];
        let constant = PlainTerm { genes: Vec::new(), needs: Vec::new(), values: vec![constant] };
        let of_gene = |(gene, feature): (usize, &Option<u32>)| {
            let first = (*feature)? as usize;
            let count = self.choices[gene];
            let (genes, needs) = (vec![(gene, count)], self.active[gene].into_iter().collect());
            Some(PlainTerm { genes, needs, values: weights[first..first + count].to_vec() })
        };
        Some(BlockSum::of_terms(std::iter::once(constant).chain(self.genes.iter().enumerate().filter_map(of_gene))))
    }

    /// The encoding.
    pub fn encoder(&self) -> Encoder {
        self.encoder
    }
}
