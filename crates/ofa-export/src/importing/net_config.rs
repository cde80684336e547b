//! `net.config` of the authors' specialised networks, and the JSON of MCUNet and ProxylessNAS, as networks.
//!
//! A field that is missing, unknown or impossible is an error that names its place: a network that differs from the
//! published one in a detail computes something else without complaint.

use crate::error::ExportError;
use ofa_space::Shape;
use ofa_space::network::block_builder::{
    ConvShape, ElasticKernel, Width, classifier_block, conv_block, global_pool_block,
};
use ofa_space::network::inverted_residual::InvertedResidual;
use ofa_space::{Activation, Block, BlockKind, NetSpec};
use serde::{Deserialize, Deserializer};
use std::path::Path;

/// A network description that was read and checked.
#[derive(Debug)]
pub struct NetConfig {
    file: NetFile,
    /// Image size that the description itself names (MCUNet's do).
    pub image_size: Option<u32>,
}

/// Which normalisation networks of a description's layout were trained with, when nothing says otherwise.
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConvFile {
    name: String,
    kernel_size: usize,
    stride: usize,
    dilation: usize,
    groups: usize,
    bias: bool,
    has_shuffle: bool,
    #[serde(default)]
    use_se: bool,
    in_channels: usize,
    out_channels: usize,
    use_bn: bool,
    #[serde(deserialize_with = "given")]
    act_func: Option<String>,
    #[serde(rename = "dropout_rate")]
    _dropout_rate: f64,
    ops_order: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockFile {
    name: String,
    // Today's code calls it `conv`.
    #[serde(alias = "conv")]
    mobile_inverted_conv: MobileFile,
    #[serde(deserialize_with = "given")]
    shortcut: Option<ShortcutFile>,
}

/// `MBInvertedConvLayer`, or `ZeroLayer` with a stride only.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MobileFile {
    name: String,
    in_channels: Option<usize>,
    out_channels: Option<usize>,
    kernel_size: Option<usize>,
    stride: usize,
    expand_ratio: Option<f64>,
    mid_channels: Option<usize>,
    act_func: Option<String>,
    #[serde(default)]
    use_se: bool,
    groups: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShortcutFile {
    name: String,
    // A number, or a list of one.
    #[serde(default)]
    in_channels: serde_json::Value,
    #[serde(default)]
    out_channels: serde_json::Value,
    #[serde(default, rename = "use_bn")]
    _use_bn: bool,
    #[serde(default, rename = "act_func")]
    _act_func: Option<String>,
    #[serde(default, rename = "dropout_rate")]
    _dropout_rate: f64,
    #[serde(default, rename = "ops_order")]
    _ops_order: Option<String>,
    #[serde(default, rename = "stride")]
    _stride: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinearFile {
    name: String,
    in_features: usize,
    out_features: usize,
    bias: bool,
    use_bn: bool,
    #[serde(deserialize_with = "given")]
    act_func: Option<String>,
    #[serde(rename = "dropout_rate")]
    _dropout_rate: f64,
    #[serde(rename = "ops_order")]
    _ops_order: String,
}

/// A field that may be `null` but must be there.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// Image size of a `run.config`.
///
/// # Errors
/// [`ExportError::Checkpoint`] naming the file and field.
pub fn read_run_config(path: &Path) -> Result<u32, ExportError> {
    // Published run configs also hold training settings, which do not concern us.
    #[derive(Deserialize)]
    struct RunFile {
        image_size: u32,
    }
    let run: RunFile = read_json(path)?;
    check_image_size(run.image_size, "image_size")
        .map_err(|p| ExportError::Checkpoint { path: path.to_owned(), problem: p })?;
    Ok(run.image_size)
}

/// No published description is nearly as large.
const MAX_BYTES: u64 = 16 << 20;

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ExportError> {
    let bad = |problem: String| ExportError::Checkpoint { path: path.to_owned(), problem };
    let length = std::fs::metadata(path).map_err(|e| bad(format!("cannot be read: {e}")))?.len();
    if length > MAX_BYTES {
        return Err(bad(format!("is {length} bytes long, a network description has at most {MAX_BYTES}")));
    }
    let bytes = std::fs::read(path).map_err(|e| bad(format!("cannot be read: {e}")))?;
    serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))
}

fn check_image_size(size: u32, field: &str) -> Result<(), String> {
    match (4..=4096).contains(&size) {
        true => Ok(()),
        false => Err(format!("`{field}` is {size}, expected 4 to 4096 pixels")),
    }
}

impl NetConfig {
    /// Reads and checks a description.
    ///
    /// # Errors
    /// [`ExportError::Checkpoint`] naming the file and the place: line and column, or the field.
    pub fn read(path: &Path) -> Result<Self, ExportError> {
        let file: NetFile = read_json(path)?;
        let image_size = file.resolution;
        let config = Self { file, image_size };
        let check = || {
            if let Some(size) = image_size {
                check_image_size(size, "resolution")?;
            }
            config.blocks([3, 224, 224]).map(|_| ())
        };
        check().map_err(|problem| ExportError::Checkpoint { path: path.to_owned(), problem })?;
        Ok(config)
    }

    /// Whose layout it is in.
    pub fn layout(&self) -> Layout {
        if self.image_size.is_some() { Layout::McuNet } else { Layout::OnceForAll }
    }

    /// The network on square images of this size.
    ///
    /// # Errors
    /// What is wrong with the size.
    pub fn net(&self, image_size: u32) -> Result<NetSpec, String> {
        check_image_size(image_size, "image size")?;
        let size = image_size as usize;
        let input = [self.file.first_conv.in_channels, size, size];
        Ok(NetSpec { input, classes: self.file.classifier.out_features, blocks: self.blocks(input)? })
    }

    fn blocks(&self, input: Shape) -> Result<Vec<Block>, String> {
        const MOBILENET_V3: [&str; 3] = ["MobileNetV3", "MobileNetV3Large", "MobileNetV3Small"];
        const PROXYLESS: [&str; 2] = ["ProxylessNASNets", "MobileNetV2"];
        let file = &self.file;
        let eps = file.bn.eps;
        if !(eps > 0.0 && eps < 1.0) {
            return Err(format!("`bn.eps` is {eps}, expected between 0 and 1"));
        }
        if file.bn.ws_eps.is_some() {
            return Err("`bn.ws_eps` asks for weight standardisation, which is not supported".into());
        }
        let is_v3 = MOBILENET_V3.contains(&file.name.as_str());
        if !is_v3 && !PROXYLESS.contains(&file.name.as_str()) {
            let known = [&MOBILENET_V3[..], &PROXYLESS[..]].concat().join(", ");
            return Err(format!("`name` is {}, expected one of {known}", file.name));
        }
        let stem = BlockKind::Stem { kernel: file.first_conv.kernel_size, stride: file.first_conv.stride };
        let first_input = [file.first_conv.in_channels, input[1], input[2]];
        let mut blocks = vec![file.first_conv.block("first_conv", first_input, eps, stem)?];
        let mut shape = blocks[0].output;
        const MAX_BLOCKS: usize = 1000;
        if file.blocks.len() > MAX_BLOCKS {
            return Err(format!("`blocks` has {} entries, expected at most {MAX_BLOCKS}", file.blocks.len()));
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
                let kind = BlockKind::FinalExpand { activation: expand.activation("final_expand_layer")? };
                let block = expand.block("final_expand_layer", shape, eps, kind)?;
                shape = push(&mut blocks, block);
                shape = push(&mut blocks, global_pool_block(shape));
            }
            (None, false) => {}
            (None, true) => return Err(format!("`final_expand_layer` is missing; {} has one", file.name)),
            (Some(_), false) => return Err(format!("`final_expand_layer` is there; {} has none", file.name)),
        }
        match &file.feature_mix_layer {
            Some(mix) => {
                let kind = BlockKind::FeatureMix { activation: mix.activation("feature_mix_layer")? };
                let block = mix.block("feature_mix_layer", shape, eps, kind)?;
                shape = push(&mut blocks, block);
            }
            None if is_v3 => return Err(format!("`feature_mix_layer` is null; {} has one", file.name)),
            None => {}
        }
        if !is_v3 {
            shape = push(&mut blocks, global_pool_block(shape));
        }
        blocks.push(file.classifier.block(shape)?);
        Ok(blocks)
    }
}

fn within(place: &str, field: &str, value: usize, least: usize, most: usize) -> Result<(), String> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(format!("`{place}.{field}` is {value}, expected {least} to {most}")),
    }
}

fn check_kernel(place: &str, kernel: usize) -> Result<(), String> {
    match kernel % 2 == 1 && kernel <= 15 {
        true => Ok(()),
        false => Err(format!("`{place}.kernel_size` is {kernel}, expected an odd size up to 15")),
    }
}

const MAX_CHANNELS: usize = 65_536;

fn check_input(place: &str, found: usize, shape: Shape) -> Result<(), String> {
    match found == shape[0] {
        true => Ok(()),
        false => Err(format!("`{place}` is {found}, but the layer before it has {} channels", shape[0])),
    }
}

fn activation(place: &str, name: &str) -> Result<Activation, String> {
    match name {
        "relu" => Ok(Activation::Relu),
        "relu6" => Ok(Activation::Relu6),
        "h_swish" => Ok(Activation::HSwish),
        other => Err(format!("`{place}.act_func` is {other}, expected relu, relu6 or h_swish")),
    }
}

impl ConvFile {
    fn activation(&self, place: &str) -> Result<Activation, String> {
        match &self.act_func {
            Some(name) => activation(place, name),
            None => Err(format!("`{place}.act_func` is null, expected relu, relu6 or h_swish")),
        }
    }

    fn block(&self, place: &str, shape: Shape, eps: f64, kind: BlockKind) -> Result<Block, String> {
        if self.name != "ConvLayer" {
            return Err(format!("`{place}.name` is {}, expected ConvLayer", self.name));
        }
        check_kernel(place, self.kernel_size)?;
        within(place, "stride", self.stride, 1, 4)?;
        within(place, "dilation", self.dilation, 1, 1)?;
        within(place, "groups", self.groups, 1, 1)?;
        within(place, "in_channels", self.in_channels, 1, MAX_CHANNELS)?;
        within(place, "out_channels", self.out_channels, 1, MAX_CHANNELS)?;
        for (field, set) in [("bias", self.bias), ("has_shuffle", self.has_shuffle), ("use_se", self.use_se)] {
            if set {
                return Err(format!("`{place}.{field}` is true, expected false"));
            }
        }
        if self.ops_order != "weight_bn_act" {
            return Err(format!("`{place}.ops_order` is {}, expected weight_bn_act", self.ops_order));
        }
        check_input(&format!("{place}.in_channels"), self.in_channels, shape)?;
        let (input, output) = (Width::fixed(self.in_channels), Width::fixed(self.out_channels));
        let conv = ConvShape::dense(input, output, self.kernel_size, self.stride);
        Ok(conv_block(place, shape, conv, self.use_bn.then_some(eps), self.activation(place)?, kind))
    }
}

impl BlockFile {
    /// The block, or `None` if its output is its input.
    fn block(&self, index: usize, shape: Shape, eps: f64) -> Result<Option<Block>, String> {
        let outer = format!("blocks[{index}]");
        if !["MobileInvertedResidualBlock", "ResidualBlock"].contains(&self.name.as_str()) {
            return Err(format!("`{outer}.name` is {}, expected MobileInvertedResidualBlock", self.name));
        }
        let place = format!("{outer}.mobile_inverted_conv");
        let conv = &self.mobile_inverted_conv;
        within(&place, "stride", conv.stride, 1, 4)?;
        let residual = match &self.shortcut {
            None => false,
            Some(shortcut) => shortcut.is_identity(&format!("{outer}.shortcut"), shape)?,
        };
        match conv.name.as_str() {
            "MBInvertedConvLayer" | "MBConvLayer" => {}
            "ZeroLayer" if conv.stride == 1 && residual => return Ok(None),
            "ZeroLayer" => return Err(format!("`{place}` is a ZeroLayer, which needs stride 1 and a shortcut")),
            other => return Err(format!("`{place}.name` is {other}, expected MBInvertedConvLayer or ZeroLayer")),
        }
        let required = |field: &str, value: Option<usize>| {
            value.ok_or_else(|| format!("`{place}.{field}` is missing, expected a whole number"))
        };
        let kernel = required("kernel_size", conv.kernel_size)?;
        let input = required("in_channels", conv.in_channels)?;
        let output = required("out_channels", conv.out_channels)?;
        let expansion = conv.expand_ratio.ok_or_else(|| format!("`{place}.expand_ratio` is missing"))?;
        check_kernel(&place, kernel)?;
        within(&place, "in_channels", input, 1, MAX_CHANNELS)?;
        within(&place, "out_channels", output, 1, MAX_CHANNELS)?;
        within(&place, "groups", conv.groups.unwrap_or(1), 1, 1)?;
        if !(0.01..=64.0).contains(&expansion) {
            return Err(format!("`{place}.expand_ratio` is {expansion}, expected 0.01 to 64"));
        }
        check_input(&format!("{place}.in_channels"), input, shape)?;
        let middle = conv.mid_channels.unwrap_or((input as f64 * expansion).round_ties_even() as usize);
        within(&place, "mid_channels", middle, 1, MAX_CHANNELS)?;
        // Without expansion the reference leaves the first convolution out.
        let is_expanded = expansion != 1.0;
        if !is_expanded && middle != input {
            return Err(format!("`{place}.mid_channels` is {middle}, but without expansion it is the input's {input}"));
        }
        if residual && (conv.stride != 1 || input != output) {
            return Err(format!("`{outer}.shortcut` is there, which needs stride 1 and equal channels"));
        }
        let block = InvertedResidual {
            index,
            supernet_index: index,
            input: Width::fixed(input),
            output: Width::fixed(output),
            kernel: ElasticKernel { take: kernel, sizes: vec![kernel] },
            stride: conv.stride,
            expansion,
            max_expansion: expansion,
            residual,
            activation: activation(&place, conv.act_func.as_deref().unwrap_or("relu6"))?,
            squeeze_excite: conv.use_se,
            bn_eps: eps,
        };
        Ok(Some(block.fixed(shape, is_expanded.then_some(middle))))
    }
}

impl ShortcutFile {
    /// Whether the input is added; a `ZeroLayer` adds nothing.
    fn is_identity(&self, place: &str, shape: Shape) -> Result<bool, String> {
        match self.name.as_str() {
            "ZeroLayer" => return Ok(false),
            "IdentityLayer" => {}
            other => return Err(format!("`{place}.name` is {other}, expected IdentityLayer")),
        }
        for (field, value) in [("in_channels", &self.in_channels), ("out_channels", &self.out_channels)] {
            let number = match value {
                serde_json::Value::Array(items) if items.len() == 1 => &items[0],
                other => other,
            };
            match number.as_u64() {
                Some(channels) => check_input(&format!("{place}.{field}"), channels as usize, shape)?,
                None => return Err(format!("`{place}.{field}` is {value}, expected a whole number")),
            }
        }
        Ok(true)
    }
}

impl LinearFile {
    fn block(&self, shape: Shape) -> Result<Block, String> {
        const PLACE: &str = "classifier";
        if self.name != "LinearLayer" {
            return Err(format!("`{PLACE}.name` is {}, expected LinearLayer", self.name));
        }
        if !self.bias || self.use_bn || self.act_func.is_some() {
            return Err(format!("`{PLACE}` must have a bias, and neither batch norm nor activation"));
        }
        within(PLACE, "out_features", self.out_features, 1, 1_000_000)?;
        check_input(&format!("{PLACE}.in_features"), self.in_features, shape)?;
        Ok(classifier_block(shape, "linear", Width::fixed(self.in_features), self.out_features))
    }
}
