//! How an arch becomes features. A predictor file names its encoder, so predicting always uses the one it was fitted
//! with.

pub mod code;
mod quantities;
pub(crate) mod seen;
mod slopes;
pub mod sparse;

use crate::encoding::code::Code;
use crate::encoding::quantities::Quantity;
use crate::error::PredictorError;
use ofa_space::Gene;
use ofa_space::{Arch, Population, SearchSpace};
use serde::{Deserialize, Serialize};

/// An encoding of archs as features.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoder {
    /// One column per choice of every gene and per resolution. Inactive genes are all zero.
    OneHot,
    /// The same, and the logarithms of MACs and parameters.
    OneHotCost,
    /// `one-hot-cost`, and for every stage (blocks whose outputs have one shape) the logarithm and the inverse of its
    /// MACs: what a block adds depends on how much its stage has already. A resolution between two that were seen is
    /// encoded as a mixture of both.
    #[default]
    Stages,
    /// The authors' 128 values for MobileNetV3: 20 × 3 kernel sizes, 20 × 3 expansions, 8 resolutions from 112 to 224;
    /// skipped blocks are zero, depth has no columns.
    OfficialMbv3,
    /// The authors' 82 values for ResNet-50: 8 resolutions from 128 to 256, the stem's block, 6 × 3 widths, 18 × 3
    /// expansions; skipped blocks are zero, depth has no columns.
    ///
    /// Source: `ResNetArchEncoder.arch2feature` in `arch_encoder.py`.
    OfficialResnet50,
}

/// Resolutions of the authors' MobileNetV3 encoding.
const OFFICIAL_MBV3_RESOLUTIONS: [u32; 8] = [112, 128, 144, 160, 176, 192, 208, 224];
/// Resolutions of the authors' ResNet-50 encoding.
const OFFICIAL_RESNET50_RESOLUTIONS: [u32; 8] = [128, 144, 160, 176, 192, 224, 240, 256];

/// The order of an encoding's columns.
pub(crate) struct Layout {
    /// Genes, part after part, in the order of the space within a part.
    pub genes: &'static [Part],
    /// Fixed resolutions, or those of the space.
    pub resolutions: Option<&'static [u32]>,
    /// Whether resolutions follow the genes.
    pub resolutions_last: bool,
    /// Number of columns that the genes and resolutions must have together.
    pub width: Option<usize>,
    /// What the encoding is for, in words.
    pub needs: &'static str,
    /// What follows: the logarithms of these.
    pub quantities: &'static [Quantity],
    /// The one of them that also has columns for every stage.
    pub stages: Option<Quantity>,
    /// Whether resolutions between two listed ones are mixtures of both.
    pub interpolates: bool,
}

/// Genes whose columns are adjacent.
pub(crate) enum Part {
    Everything,
    Group(&'static str),
    One(&'static str, usize),
}

impl Part {
    pub(crate) fn takes(&self, gene: &Gene) -> bool {
        match self {
            Part::Everything => true,
            Part::Group(group) => gene.group == *group,
            Part::One(group, index) => gene.group == *group && gene.index == *index,
        }
    }
}

const ONE_HOT: Layout = Layout {
    genes: &[Part::Everything],
    resolutions: None,
    resolutions_last: true,
    width: None,
    needs: "",
    quantities: &[],
    stages: None,
    interpolates: false,
};

impl Encoder {
    /// The order of the columns.
    pub(crate) fn layout(&self) -> Layout {
        match self {
            Encoder::OneHot => ONE_HOT,
            Encoder::OneHotCost => Layout { quantities: &[Quantity::Macs, Quantity::Params], ..ONE_HOT },
            Encoder::Stages => Layout {
                quantities: &[Quantity::Macs, Quantity::Params],
                stages: Some(Quantity::Macs),
                interpolates: true,
                ..ONE_HOT
            },
            Encoder::OfficialMbv3 => Layout {
                genes: &[Part::Group("ks"), Part::Group("e")],
                resolutions: Some(&OFFICIAL_MBV3_RESOLUTIONS),
                width: Some(128),
                needs: "the official encoding needs 20 kernel sizes and 20 expansions of three choices each, and has \
                        128 columns",
                ..ONE_HOT
            },
            Encoder::OfficialResnet50 => Layout {
                genes: &[Part::One("d", 0), Part::Group("w"), Part::Group("e")],
                resolutions: Some(&OFFICIAL_RESNET50_RESOLUTIONS),
                resolutions_last: false,
                width: Some(82),
                needs: "the official ResNet-50 encoding needs a stem block that is there or not, six widths and 18 \
                        expansions of three choices each, and has 82 columns",
                ..ONE_HOT
            },
        }
    }

    /// Features of every arch.
    ///
    /// # Errors
    /// [`PredictorError::Space`] if the encoding is for another family, [`PredictorError::UnseenResolution`].
    pub fn encode(&self, space: &dyn SearchSpace, archs: &[Arch]) -> Result<Vec<Vec<f32>>, PredictorError> {
        Ok(Code::new(*self, space, None)?.rows(space, &Population::of(archs))?.dense())
    }
}
