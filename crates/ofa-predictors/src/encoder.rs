//! How an arch becomes features. A predictor file names its encoder, so predicting always uses the one it was fitted
//! with.

use crate::error::PredictorError;
use crate::official;
use ofa_space::encoding::OneHot;
use ofa_space::{Arch, SearchSpace, SpaceError, cost};
use serde::{Deserialize, Serialize};

/// An encoding of archs as features.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoder {
    /// One column per choice of every gene and per resolution ([`OneHot`]).
    OneHot,
    /// The same, and the logarithms of MACs and parameters.
    OneHotCost,
    /// The authors' 128 values for MobileNetV3: 20 × 3 kernel sizes, 20 × 3 expansions, 8 resolutions from 112 to 224;
    /// skipped blocks are zero, depth has no columns.
    OfficialMbv3,
    /// The authors' 82 values for ResNet-50: 8 resolutions from 128 to 256, the stem's block, 6 × 3 widths, 18 × 3
    /// expansions; skipped blocks are zero, depth has no columns.
    OfficialResnet50,
}

/// Resolutions of the authors' encoding: 112, 128, …, 224.
const OFFICIAL_RESOLUTIONS: std::ops::RangeInclusive<usize> = 112..=224;
const OFFICIAL_RESOLUTION_STEP: usize = 16;

impl Encoder {
    /// Features of every arch.
    ///
    /// # Errors
    /// [`PredictorError::Space`] if a resolution has no code.
    pub fn encode(&self, space: &dyn SearchSpace, archs: &[Arch]) -> Result<Vec<Vec<f32>>, PredictorError> {
        match self {
            Encoder::OneHot => {
                let code = OneHot::new(space);
                archs.iter().map(|arch| Ok(code.encode(space, arch)?)).collect()
            }
            Encoder::OneHotCost => {
                let code = OneHot::new(space);
                archs.iter().map(|arch| with_costs(&code, space, arch)).collect()
            }
            Encoder::OfficialMbv3 => archs.iter().map(|arch| official_mbv3(space, arch)).collect(),
            Encoder::OfficialResnet50 => archs.iter().map(|arch| official::encode_resnet50(space, arch)).collect(),
        }
    }
}

fn with_costs(code: &OneHot, space: &dyn SearchSpace, arch: &Arch) -> Result<Vec<f32>, PredictorError> {
    let mut features = code.encode(space, arch)?;
    let net = space.resolve(arch)?;
    features.push((cost::macs(&net) as f64).ln() as f32);
    features.push((cost::params(&net) as f64).ln() as f32);
    Ok(features)
}

fn official_mbv3(space: &dyn SearchSpace, arch: &Arch) -> Result<Vec<f32>, PredictorError> {
    let mut features = Vec::with_capacity(128);
    let genes = &space.info().genes;
    for group in ["ks", "e"] {
        for (index, gene) in genes.iter().enumerate().filter(|(_, gene)| gene.group == group) {
            let active = gene.is_active(genes, arch.choices());
            let chosen = usize::from(arch.choices()[index]);
            features.extend((0..gene.choices.len()).map(|c| f32::from(u8::from(active && c == chosen))));
        }
    }
    let resolution = space.resolution_of(arch)?;
    let known = OFFICIAL_RESOLUTIONS.contains(&resolution)
        && (resolution - OFFICIAL_RESOLUTIONS.start()).is_multiple_of(OFFICIAL_RESOLUTION_STEP);
    if !known || features.len() != 120 {
        let problem = format!(
            "the official encoding needs 20 kernel sizes and 20 expansions of three choices each, and a resolution of \
             112, 128, …, 224; found {} gene columns and {resolution} pixels",
            features.len()
        );
        return Err(SpaceError::Arch { space: space.name().to_owned(), problem }.into());
    }
    let code = (resolution - OFFICIAL_RESOLUTIONS.start()) / OFFICIAL_RESOLUTION_STEP;
    features.extend((0..8).map(|r| f32::from(u8::from(r == code))));
    Ok(features)
}
