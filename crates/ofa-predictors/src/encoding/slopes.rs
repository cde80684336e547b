//! What a predictor's derivatives by feature are worth to a search: slopes by choice of every gene, and sums over genes.

use super::code::Code;
use ofa_space::{BlockSum, PlainTerm, Population, SearchSpace};

impl Code {
    /// Turns derivatives by feature into slopes by choice of every gene (see [`ofa_space::Objective::slopes`]). A
    /// column made of costs takes part by how much each choice alone would change it. False if a quantity is no sum over
    /// blocks, so that this is unknown.
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
}
