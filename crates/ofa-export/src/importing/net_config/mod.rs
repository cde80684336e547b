//! `net.config` of the authors' specialised networks, and the JSON of MCUNet and ProxylessNAS, as networks.
//!
//! A field that is missing, unknown or impossible is an error that names its place: a network that differs from the
//! published one in a detail computes something else without complaint.

mod layers;

use crate::error::ExportError;
use layers::{BlockFile, ConvFile, LinearFile};
use ofa_space::network::block_builder::global_pool_block;
use ofa_space::settings::{self, InvalidSetting};
use ofa_space::{Block, BlockKind, NetSpec, Shape, input_file, json};
use serde::{Deserialize, Deserializer};
use std::ops::Bound;
use std::path::Path;

/// A network description that was read and checked.
#[derive(Debug)]
pub struct NetConfig {
    file: NetFile,
    /// Image size that the description itself names (MCUNet's do).
    pub image_size: Option<u32>,
}

/// The layout of a description, which implies the normalisation that its networks were trained with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// The authors' `net.config`: ImageNet's mean and standard deviation.
    OnceForAll,
    /// MCUNet's JSON, which names a `resolution`: 0.5 for both.
    McuNet,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetFile {
    name: String,
    bn: NormFile,
    first_conv: ConvFile,
    blocks: Vec<BlockFile>,
    #[serde(default)]
    final_expand_layer: Option<ConvFile>,
    #[serde(deserialize_with = "given")]
    feature_mix_layer: Option<ConvFile>,
    classifier: LinearFile,
    #[serde(default)]
    resolution: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NormFile {
    #[serde(rename = "momentum")]
    _momentum: f64,
    eps: f64,
    #[serde(default)]
    ws_eps: Option<f64>,
}

/// A field that may be `null` but must be there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Image size of a `run.config`.
///
/// # Errors
/// [`ExportError::Description`] naming the file and field, or [`ExportError::Checkpoint`] if it cannot be read.
pub fn read_run_config(path: &Path) -> Result<u32, ExportError> {
    // Published run configs also hold training settings, which do not concern us.
    #[derive(Deserialize)]
    struct RunFile {
        image_size: u32,
    }
    let run: RunFile = read_json(path)?;
    check_image_size("image_size", run.image_size)
        .map_err(|problem| ExportError::Description { path: path.to_owned(), problem })?;
    Ok(run.image_size)
}

/// No published description is nearly as large.
const MAX_BYTES: u64 = 16 << 20;

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ExportError> {
    let bad = |problem: String| ExportError::Checkpoint { path: path.to_owned(), problem };
    let bytes = input_file::read(path, MAX_BYTES).map_err(|e| bad(format!("cannot be read: {e}")))?;
    json::from_slice(&bytes).map_err(|e| bad(e.to_string()))
}

/// In pixels.
fn check_image_size(field: &str, size: u32) -> Result<(), InvalidSetting> {
    settings::count(field, size as usize, 4..=4096)
}

impl NetConfig {
    /// Reads and checks a description.
    ///
    /// # Errors
    /// [`ExportError::Description`] naming the file and field, or [`ExportError::Checkpoint`] with line and column if it
    /// cannot be read.
    pub fn read(path: &Path) -> Result<Self, ExportError> {
        let file: NetFile = read_json(path)?;
        let image_size = file.resolution;
        let config = Self { file, image_size };
        let check = || {
            if let Some(size) = image_size {
                check_image_size("resolution", size)?;
            }
            config.blocks([3, 224, 224]).map(|_| ())
        };
        check().map_err(|problem| ExportError::Description { path: path.to_owned(), problem })?;
        Ok(config)
    }

    /// Whose layout it is in.
    pub fn layout(&self) -> Layout {
        if self.image_size.is_some() { Layout::McuNet } else { Layout::OnceForAll }
    }

    /// The network on square images of this size.
    ///
    /// # Errors
    /// [`InvalidSetting`] if the size is impossible.
    pub fn net(&self, image_size: u32) -> Result<NetSpec, InvalidSetting> {
        check_image_size("image_size", image_size)?;
        let size = image_size as usize;
        let input = [self.file.first_conv.in_channels, size, size];
        Ok(NetSpec { input, classes: self.file.classifier.out_features, blocks: self.blocks(input)? })
    }

    fn blocks(&self, input: Shape) -> Result<Vec<Block>, InvalidSetting> {
        const MOBILENET_V3: [&str; 3] = ["MobileNetV3", "MobileNetV3Large", "MobileNetV3Small"];
        const PROXYLESS: [&str; 2] = ["ProxylessNASNets", "MobileNetV2"];
        let file = &self.file;
        let eps = file.bn.eps;
        settings::number("bn.eps", eps, (Bound::Excluded(0.0), Bound::Excluded(1.0)))?;
        let wrong = |field: &str, problem: String| Err(InvalidSetting::new(field, problem));
        if file.bn.ws_eps.is_some() {
            return wrong("bn.ws_eps", "asks for weight standardisation, which is not supported".into());
        }
        let is_v3 = MOBILENET_V3.contains(&file.name.as_str());
        if !is_v3 && !PROXYLESS.contains(&file.name.as_str()) {
            let known = [&MOBILENET_V3[..], &PROXYLESS[..]].concat().join(", ");
            return wrong("name", format!("is {}, expected one of {known}", file.name));
        }
        let stem = |_| BlockKind::Stem { kernel: file.first_conv.kernel_size, stride: file.first_conv.stride };
        let first_input = [file.first_conv.in_channels, input[1], input[2]];
        let mut blocks = vec![file.first_conv.block("first_conv", first_input, eps, stem)?];
        let mut shape = blocks[0].output;
        const MAX_BLOCKS: usize = 1000;
        if file.blocks.len() > MAX_BLOCKS {
            return wrong("blocks", format!("has {} entries, expected at most {MAX_BLOCKS}", file.blocks.len()));
        }
        for (index, block) in file.blocks.iter().enumerate() {
            if let Some(block) = block.block(index, shape, eps)? {
                shape = block.output;
                blocks.push(block);
            }
        }
        let push = |blocks: &mut Vec<Block>, block: Block| {
            let shape = block.output;
            blocks.push(block);
            shape
        };
        match (&file.final_expand_layer, is_v3) {
            (Some(expand), true) => {
                let kind = |activation| BlockKind::FinalExpand { activation };
                let block = expand.block("final_expand_layer", shape, eps, kind)?;
                shape = push(&mut blocks, block);
                shape = push(&mut blocks, global_pool_block(shape));
            }
            (None, false) => {}
            (None, true) => return wrong("final_expand_layer", format!("is missing; {} has one", file.name)),
            (Some(_), false) => return wrong("final_expand_layer", format!("is there; {} has none", file.name)),
        }
        match &file.feature_mix_layer {
            Some(mix) => {
                let kind = |activation| BlockKind::FeatureMix { activation };
                let block = mix.block("feature_mix_layer", shape, eps, kind)?;
                shape = push(&mut blocks, block);
            }
            None if is_v3 => return wrong("feature_mix_layer", format!("is null; {} has one", file.name)),
            None => {}
        }
        if !is_v3 {
            shape = push(&mut blocks, global_pool_block(shape));
        }
        blocks.push(file.classifier.block(shape).map_err(|e| e.within("classifier"))?);
        Ok(blocks)
    }
}
