//! The table of families: what each network is made of, and what its tensors are called.

use ofa_space::plugin::UnknownName;
use ofa_space::{Activation, Gate, InputFormat, PaddingRule, Resize};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Every family, and the architectures and names that they refer to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Families {
    architecture: BTreeMap<String, Architecture>,
    naming: BTreeMap<String, Naming>,
    #[serde(rename = "family")]
    families: Vec<Family>,
}

/// Networks that compute the same, under one or several sets of names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Name to choose it by: that of torchvision or timm.
    pub name: String,
    /// Other names of it.
    #[serde(default)]
    also: Vec<String>,
    /// Where its weights are published.
    pub of: String,
    /// Networks with the same names and shapes that compute something else and are not read.
    #[serde(default)]
    pub lookalikes: Vec<String>,
    architecture: String,
    naming: Vec<String>,
    /// Epsilon of the batch norms.
    pub eps: f64,
    /// Padding of the convolutions.
    #[serde(default)]
    pub padding: PaddingRule,
    /// Mean of the images that the published weights expect; ImageNet's if absent.
    mean: Option<f32>,
    /// Standard deviation, likewise.
    std: Option<f32>,
    /// Height and width of the images in pixels.
    #[serde(default = "default_image_size")]
    pub image_size: u32,
    /// The shorter side is resized to `image_size` times this fraction before the crop.
    #[serde(default = "default_resize")]
    resize: [u32; 2],
}

fn default_image_size() -> u32 {
    224
}

fn default_resize() -> [u32; 2] {
    [8, 7]
}

/// The layers of a network.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The first convolution.
    pub stem: Stem,
    /// Nonlinearity, where a stage has no other.
    pub activation: Activation,
    /// Nonlinearity inside squeeze-excites.
    #[serde(default = "default_inner")]
    pub inner: Activation,
    /// Gate of squeeze-excites.
    #[serde(default)]
    pub gate: Gate,
    /// Kind of the blocks.
    #[serde(default)]
    pub block: BlockShape,
    /// The stages.
    pub stages: Vec<StageShape>,
    /// What is between the stages and the classifier, besides pooling.
    pub head: Option<Head>,
}

fn default_inner() -> Activation {
    Activation::Relu
}

/// The first convolution; its stride is 2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stem {
    /// Its outputs.
    pub channels: usize,
    /// Its kernel size.
    #[serde(default = "three")]
    pub kernel: usize,
    /// Whether a 3×3 maximum pooling with stride 2 follows.
    #[serde(default)]
    pub pool: bool,
}

fn three() -> usize {
    3
}

/// Kinds of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockShape {
    /// 1×1 expansion, depthwise convolution, 1×1 projection.
    #[default]
    InvertedResidual,
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 and 1×1 convolutions.
    Bottleneck,
}

/// A stage: blocks with the same outputs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageShape {
    /// Outputs of every block.
    pub channels: usize,
    /// Channels inside each block.
    pub middle: Vec<usize>,
    /// Depthwise kernel size.
    #[serde(default = "three")]
    pub kernel: usize,
    /// Stride of the first block.
    #[serde(default = "one")]
    pub stride: usize,
    /// Whether the blocks have squeeze-excites.
    #[serde(default)]
    pub squeeze: bool,
    /// Nonlinearity, if not that of the network.
    pub activation: Option<Activation>,
}

fn one() -> usize {
    1
}

/// What is between the stages and the classifier.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Outputs of a 1×1 convolution at full size; the next layer then comes after pooling and has a bias instead of a
    /// batch norm.
    pub expand: Option<usize>,
    /// Outputs of the last 1×1 convolution.
    pub features: usize,
}

/// Names of tensors in a checkpoint, without their last parts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Naming {
    /// The first convolution and its batch norm.
    pub stem: Vec<String>,
    /// [`Head::expand`] and its batch norm.
    #[serde(default)]
    pub expand: Vec<String>,
    /// [`Head::features`] and its batch norm, if it has one.
    #[serde(default)]
    pub features: Vec<String>,
    /// The classifier.
    pub classifier: String,
    plain: Option<BlockNames>,
    plain_squeezed: Option<BlockNames>,
    expanded: Option<BlockNames>,
    expanded_squeezed: Option<BlockNames>,
    /// Names in a basic block.
    pub basic: Option<BlockNames>,
    /// Names in a bottleneck.
    pub bottleneck: Option<BlockNames>,
}

/// Names in a block: a convolution and its batch norm each, or the two convolutions of a squeeze-excite.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlockNames {
    /// What all names begin with.
    pub at: String,
    /// 1×1 expansion.
    pub expand: Vec<String>,
    /// Depthwise convolution.
    pub depthwise: Vec<String>,
    /// Squeeze-excite.
    pub squeeze: Vec<String>,
    /// 1×1 projection.
    pub project: Vec<String>,
    /// First convolution of a basic block or bottleneck.
    pub first: Vec<String>,
    /// Second convolution.
    pub second: Vec<String>,
    /// Third convolution.
    pub third: Vec<String>,
    /// Convolution of the shortcut.
    pub shortcut: Vec<String>,
}

/// Position of a block: its number in the network, that of its stage, and its place in the stage, from 0.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Number in the network.
    pub block: usize,
    /// Number of the stage.
    pub stage: usize,
    /// Place in the stage.
    pub layer: usize,
}

impl Place {
    /// A name with `{block}`, `{stage}` and `{layer}` replaced, each plus a number if one is given: `{block+1}`.
    pub fn fill(&self, name: &str) -> String {
        let mut filled = String::with_capacity(name.len());
        let mut rest = name;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let (field, behind) = after.split_once('}').unwrap_or((after, ""));
            let (field, more) = field.split_once('+').unwrap_or((field, "0"));
            let number = match field {
                "block" => self.block,
                "stage" => self.stage,
                _ => self.layer,
            };
            filled.push_str(&(number + more.parse::<usize>().unwrap_or(0)).to_string());
            rest = behind;
        }
        filled.push_str(rest);
        filled
    }
}

impl Naming {
    /// Names in an inverted residual block.
    pub fn inverted_residual(&self, expanded: bool, squeezed: bool) -> Option<&BlockNames> {
        let (special, usual) = match expanded {
            true => (&self.expanded_squeezed, &self.expanded),
            false => (&self.plain_squeezed, &self.plain),
        };
        special.as_ref().filter(|_| squeezed).or(usual.as_ref())
    }
}

impl Families {
    /// The table that comes with the program.
    ///
    /// # Panics
    /// If the table in the source does not parse, which a test rules out.
    pub fn all() -> &'static Families {
        static ALL: OnceLock<Families> = OnceLock::new();
        ALL.get_or_init(|| match toml::from_str(include_str!("families.toml")) {
            Ok(families) => families,
            Err(error) => panic!("the table of families does not parse: {error}"),
        })
    }

    /// The families in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Family> {
        self.families.iter()
    }

    /// The family of this name.
    ///
    /// # Errors
    /// [`UnknownName`] with the nearest name.
    pub fn named(&self, name: &str) -> Result<&Family, UnknownName> {
        let known = |family: &&Family| family.name == name || family.also.iter().any(|other| other == name);
        self.families.iter().find(known).ok_or_else(|| {
            UnknownName::new("family", name, self.families.iter().map(|family| family.name.clone()).collect())
        })
    }

    /// The layers of a family.
    pub fn architecture(&self, family: &Family) -> &Architecture {
        &self.architecture[&family.architecture]
    }

    /// Every set of names of a family.
    pub fn namings<'a>(&'a self, family: &'a Family) -> impl Iterator<Item = &'a Naming> {
        family.naming.iter().map(|name| &self.naming[name])
    }
}

impl Family {
    /// What its published weights expect of images.
    pub fn input(&self) -> InputFormat {
        let [numerator, denominator] = self.resize;
        let published = crate::importing::supernet::imagenet_input();
        InputFormat {
            mean: self.mean.map_or(published.mean, |mean| vec![mean; 3]),
            std: self.std.map_or(published.std, |std| vec![std; 3]),
            resize: Resize::CenterCrop { numerator, denominator },
        }
    }

    /// What no checkpoint holds, in one line.
    pub fn hidden(&self) -> String {
        let InputFormat { mean, std, .. } = self.input();
        let padding = match self.padding {
            PaddingRule::Symmetric => "symmetric padding",
            PaddingRule::Same => "TensorFlow's SAME padding",
        };
        format!("{padding}, batch norm eps {}, mean {mean:?}, std {std:?}", self.eps)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_family_refers_to_what_there_is() {
        let all = Families::all();
        for family in all.iter() {
            assert!(all.architecture.contains_key(&family.architecture), "{}", family.name);
            assert!(!family.naming.is_empty(), "{}", family.name);
            assert!(family.naming.iter().all(|naming| all.naming.contains_key(naming)), "{}", family.name);
            assert_eq!(all.named(&family.name).unwrap().name, family.name);
        }
        assert_eq!(all.named("mobilenetv2_100").unwrap().name, "mobilenet_v2");
        let error = all.named("mobilnet_v2").unwrap_err().to_string();
        assert!(error.contains("did you mean `mobilenet_v2`?"), "{error}");
    }

    #[test]
    fn names_are_filled_in() {
        let place = Place { block: 4, stage: 2, layer: 1 };
        assert_eq!(place.fill("features.{block+1}.conv.{layer}.x{stage}"), "features.5.conv.1.x2");
        assert_eq!(place.fill("plain"), "plain");
    }
}
