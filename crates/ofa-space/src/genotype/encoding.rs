//! One-hot encoding of archs as features for predictors.

use crate::error::SpaceError;
use crate::genotype::arch::Arch;
use crate::spaces::space::SearchSpace;

/// One column per choice of every gene, then one per resolution. Inactive genes are all zero.
///
/// Unlike the authors' predictor encoding, depth genes have columns too: linear models cannot derive them.
#[derive(Clone, PartialEq, Debug)]
pub struct OneHot {
    space: String,
    offsets: Vec<usize>,
    resolutions: Vec<u32>,
    labels: Vec<String>,
}

impl OneHot {
    /// The encoding of a space.
    pub fn new(space: &dyn SearchSpace) -> Self {
        let info = space.info();
        let mut offsets = Vec::with_capacity(info.genes.len());
        let mut labels = Vec::new();
        for gene in &info.genes {
            offsets.push(labels.len());
            labels.extend(gene.choices.iter().map(|choice| format!("{}[{}]={choice}", gene.group, gene.index)));
        }
        labels.extend(info.resolutions.iter().map(|r| format!("r={r}")));
        Self { space: info.name.clone(), offsets, resolutions: info.resolutions.clone(), labels }
    }

    /// Number of features.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no features at all.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Names of the features, such as `ks[3]=5`.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The features of an arch of `space`, the space that this encoding was made for.
    ///
    /// # Errors
    /// [`SpaceError::Arch`] if the resolution is not one of the space's, [`SpaceError::MissingResolution`] if absent.
    pub fn encode(&self, space: &dyn SearchSpace, arch: &Arch) -> Result<Vec<f32>, SpaceError> {
        let mut features = vec![0.0; self.len()];
        let genes = &space.info().genes;
        for (index, gene) in genes.iter().enumerate() {
            if gene.is_active(genes, arch.choices()) {
                features[self.offsets[index] + arch.choices()[index] as usize] = 1.0;
            }
        }
        let resolution = space.resolution_of(arch)? as u32;
        match self.resolutions.iter().position(|r| *r == resolution) {
            Some(at) => features[self.len() - self.resolutions.len() + at] = 1.0,
            None => {
                let listed: Vec<String> = self.resolutions.iter().map(u32::to_string).collect();
                return Err(SpaceError::Arch {
                    space: self.space.clone(),
                    problem: format!("resolution {resolution} has no code; the encoding knows {}", listed.join(", ")),
                });
            }
        }
        Ok(features)
    }
}
