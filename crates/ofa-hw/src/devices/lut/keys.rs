//! Keys of published lookup tables, in their three dialects.

use ofa_space::Activation;
use ofa_space::{Block, BlockKind, Shape};
use serde::{Deserialize, Serialize};

/// How a table spells its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The authors' Note10 tables: `expand:` is the number of middle channels; with `se:` and `hs:`.
    Note10,
    /// NSGANetV2's i7-8700K table: `MBConv`, `expand:` is the ratio; with `se:`.
    Nsganet,
    /// ProxylessNAS's Pixel 1 table: `expand:` is the ratio; neither `se:` nor `hs:`.
    Pixel1,
}

impl Dialect {
    /// The dialect of a table, by its keys.
    pub fn detect<'a>(mut keys: impl Iterator<Item = &'a str>) -> Option<Self> {
        keys.find_map(|key| {
            if key.starts_with("MBConv-") {
                Some(Dialect::Nsganet)
            } else if key.starts_with("expanded_conv-") {
                Some(if key.contains("-hs:") { Dialect::Note10 } else { Dialect::Pixel1 })
            } else {
                None
            }
        })
    }

    /// The key of a block; `None` for a kind of block that the dialect does not count (pooling, but for Note10).
    /// `unpooled` is the shape before the pooling that the block follows, if it follows one: the Pixel 1 table names
    /// the classifier by it.
    pub fn key(self, block: &Block, unpooled: Shape) -> Option<String> {
        let (input, output) = (shape(block.input), shape(block.output));
        let plain = |name: &str| Some(format!("{name}-input:{input}-output:{output}"));
        match (&block.kind, self) {
            (BlockKind::Stem { .. }, Dialect::Nsganet) => plain("first_conv"),
            (BlockKind::Stem { .. }, _) => plain("Conv"),
            (BlockKind::FinalExpand { .. }, Dialect::Nsganet) => plain("final_expand_layer"),
            (BlockKind::FinalExpand { .. }, _) => plain("Conv_1"),
            (BlockKind::Pool, Dialect::Note10) => plain("AvgPool2D"),
            (BlockKind::Pool, _) => None,
            (BlockKind::FeatureMix { .. }, Dialect::Nsganet) => plain("feature_mix_layer"),
            (BlockKind::FeatureMix { .. }, Dialect::Note10) => plain("Conv_2"),
            (BlockKind::FeatureMix { .. }, Dialect::Pixel1) => plain("Conv_1"),
            (BlockKind::Classifier, Dialect::Nsganet) => {
                Some(format!("classifier-input:{}-output:{}", block.input[0], block.output[0]))
            }
            (BlockKind::Classifier, Dialect::Note10) => {
                Some(format!("Logits-input:{input}-output:{}", block.output[0]))
            }
            (BlockKind::Classifier, Dialect::Pixel1) => {
                let input = shape([block.input[0], unpooled[1], unpooled[2]]);
                Some(format!("Logits-input:{input}-output:{}", block.output[0]))
            }
            (
                BlockKind::InvertedResidual { kernel, stride, expansion, middle, residual, squeeze_excite, activation },
                _,
            ) => {
                let skip = u8::from(*residual);
                let (se, hs) = (u8::from(*squeeze_excite), u8::from(*activation == Activation::HSwish));
                let tail = format!("kernel:{kernel}-stride:{stride}-idskip:{skip}");
                let head = format!("input:{input}-output:{output}");
                Some(match self {
                    Dialect::Note10 => format!("expanded_conv-{head}-expand:{middle}-{tail}-se:{se}-hs:{hs}"),
                    Dialect::Nsganet => format!("MBConv-{head}-expand:{expansion}-{tail}-se:{se}"),
                    Dialect::Pixel1 => format!("expanded_conv-{head}-expand:{expansion}-{tail}"),
                })
            }
            (BlockKind::Bottleneck { .. }, _) => plain("Bottleneck"),
            (BlockKind::BasicBlock { .. }, _) => plain("BasicBlock"),
        }
    }
}

/// `HxWxC`, as the tables write shapes.
fn shape([channels, height, width]: Shape) -> String {
    format!("{height}x{width}x{channels}")
}
