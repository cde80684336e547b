//! Layers of a description as blocks. Errors name a field of the layer; the caller adds the layer's place.

use super::given;
use ofa_space::network::block_builder::{ConvShape, ElasticKernel, Width, classifier_block, conv_block};
use ofa_space::network::inverted_residual::InvertedResidual;
use ofa_space::settings::{self, InvalidSetting};
use ofa_space::{Activation, Block, BlockKind, Shape};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConvFile {
    name: String,
    pub(super) kernel_size: usize,
    pub(super) stride: usize,
    dilation: usize,
    groups: usize,
    bias: bool,
    has_shuffle: bool,
    #[serde(default)]
    use_se: bool,
    pub(super) in_channels: usize,
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
pub(super) struct BlockFile {
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
pub(super) struct MobileFile {
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
pub(super) struct ShortcutFile {
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
pub(super) struct LinearFile {
    name: String,
    in_features: usize,
    pub(super) out_features: usize,
    bias: bool,
    use_bn: bool,
    #[serde(deserialize_with = "given")]
    act_func: Option<String>,
    #[serde(rename = "dropout_rate")]
    _dropout_rate: f64,
    #[serde(rename = "ops_order")]
    _ops_order: String,
}

const MAX_CHANNELS: usize = 65_536;

/// Refuses a layer of another type, order or function than the expected.
fn expect(field: &str, found: &str, expected: &str) -> Result<(), InvalidSetting> {
    match found == expected {
        true => Ok(()),
        false => Err(InvalidSetting::new(field, format!("is {found}, expected {expected}"))),
    }
}

fn check_kernel(size: usize) -> Result<(), InvalidSetting> {
    match size % 2 == 1 && size <= 15 {
        true => Ok(()),
        false => Err(InvalidSetting::new("kernel_size", format!("is {size}, expected an odd size up to 15"))),
    }
}

fn check_input(field: &str, found: usize, shape: Shape) -> Result<(), InvalidSetting> {
    match found == shape[0] {
        true => Ok(()),
        false => {
            let problem = format!("is {found}, but the layer before it has {} channels", shape[0]);
            Err(InvalidSetting::new(field, problem))
        }
    }
}

fn activation(name: Option<&str>) -> Result<Activation, InvalidSetting> {
    match name.unwrap_or("null") {
        "relu" => Ok(Activation::Relu),
        "relu6" => Ok(Activation::Relu6),
        "h_swish" => Ok(Activation::HSwish),
        other => Err(InvalidSetting::new("act_func", format!("is {other}, expected relu, relu6 or h_swish"))),
    }
}

impl ConvFile {
    /// The block called `name`, from an input of `shape`.
    pub(super) fn block(
        &self,
        name: &str,
        shape: Shape,
        eps: f64,
        kind: impl FnOnce(Activation) -> BlockKind,
    ) -> Result<Block, InvalidSetting> {
        let build = || {
            expect("name", &self.name, "ConvLayer")?;
            check_kernel(self.kernel_size)?;
            settings::count("stride", self.stride, 1..=4)?;
            settings::count("dilation", self.dilation, 1..=1)?;
            settings::count("groups", self.groups, 1..=1)?;
            settings::count("in_channels", self.in_channels, 1..=MAX_CHANNELS)?;
            settings::count("out_channels", self.out_channels, 1..=MAX_CHANNELS)?;
            for (field, set) in [("bias", self.bias), ("has_shuffle", self.has_shuffle), ("use_se", self.use_se)] {
                expect(field, &set.to_string(), "false")?;
            }
            expect("ops_order", &self.ops_order, "weight_bn_act")?;
            check_input("in_channels", self.in_channels, shape)?;
            let (input, output) = (Width::fixed(self.in_channels), Width::fixed(self.out_channels));
            let conv = ConvShape::dense(input, output, self.kernel_size, self.stride);
            let activation = activation(self.act_func.as_deref())?;
            Ok(conv_block(name, shape, conv, self.use_bn.then_some(eps), activation, kind(activation)))
        };
        build().map_err(|e: InvalidSetting| e.within(name))
    }
}

impl BlockFile {
    /// The block, or `None` if its output is its input.
    pub(super) fn block(&self, index: usize, shape: Shape, eps: f64) -> Result<Option<Block>, InvalidSetting> {
        let build = || {
            if self.name != "ResidualBlock" {
                expect("name", &self.name, "MobileInvertedResidualBlock")?;
            }
            let conv = &self.mobile_inverted_conv;
            settings::count("stride", conv.stride, 1..=4).map_err(|e| e.within(CONV))?;
            let residual = match &self.shortcut {
                None => false,
                Some(shortcut) => shortcut.is_identity(shape).map_err(|e| e.within("shortcut"))?,
            };
            if conv.name == "ZeroLayer" && conv.stride == 1 && residual {
                return Ok(None);
            }
            let block = conv.block(index, shape, eps, residual).map_err(|e| e.within(CONV))?;
            match residual && (conv.stride != 1 || shape[0] != block.output[0]) {
                true => Err(InvalidSetting::new("shortcut", "is there, which needs stride 1 and equal channels")),
                false => Ok(Some(block)),
            }
        };
        build().map_err(|e: InvalidSetting| e.within(&format!("blocks[{index}]")))
    }
}

const CONV: &str = "mobile_inverted_conv";

impl MobileFile {
    fn block(&self, index: usize, shape: Shape, eps: f64, residual: bool) -> Result<Block, InvalidSetting> {
        match self.name.as_str() {
            "MBInvertedConvLayer" | "MBConvLayer" => {}
            "ZeroLayer" => {
                return Err(InvalidSetting::new("name", "is ZeroLayer, which needs stride 1 and a shortcut"));
            }
            _ => expect("name", &self.name, "MBInvertedConvLayer or ZeroLayer")?,
        }
        let required = |field: &str, value: Option<usize>| {
            value.ok_or_else(|| InvalidSetting::new(field, "is missing, expected a whole number"))
        };
        let kernel = required("kernel_size", self.kernel_size)?;
        let input = required("in_channels", self.in_channels)?;
        let output = required("out_channels", self.out_channels)?;
        let expansion = self.expand_ratio.ok_or_else(|| InvalidSetting::new("expand_ratio", "is missing"))?;
        check_kernel(kernel)?;
        settings::count("in_channels", input, 1..=MAX_CHANNELS)?;
        settings::count("out_channels", output, 1..=MAX_CHANNELS)?;
        settings::count("groups", self.groups.unwrap_or(1), 1..=1)?;
        settings::number("expand_ratio", expansion, 0.01..=64.0)?;
        check_input("in_channels", input, shape)?;
        let middle = self.mid_channels.unwrap_or((input as f64 * expansion).round_ties_even() as usize);
        settings::count("mid_channels", middle, 1..=MAX_CHANNELS)?;
        // Without expansion the reference leaves the first convolution out.
        let is_expanded = expansion != 1.0;
        if !is_expanded && middle != input {
            let problem = format!("is {middle}, but without expansion it is the input's {input}");
            return Err(InvalidSetting::new("mid_channels", problem));
        }
        let block = InvertedResidual {
            index,
            supernet_index: index,
            input: Width::fixed(input),
            output: Width::fixed(output),
            kernel: ElasticKernel { take: kernel, sizes: vec![kernel] },
            stride: self.stride,
            expansion,
            max_expansion: expansion,
            residual,
            activation: activation(Some(self.act_func.as_deref().unwrap_or("relu6")))?,
            squeeze_excite: self.use_se,
            bn_eps: eps,
        };
        Ok(block.fixed(shape, is_expanded.then_some(middle)))
    }
}

impl ShortcutFile {
    /// Whether the input is added; a `ZeroLayer` adds nothing.
    fn is_identity(&self, shape: Shape) -> Result<bool, InvalidSetting> {
        if self.name == "ZeroLayer" {
            return Ok(false);
        }
        expect("name", &self.name, "IdentityLayer")?;
        for (field, value) in [("in_channels", &self.in_channels), ("out_channels", &self.out_channels)] {
            let number = match value {
                serde_json::Value::Array(items) if items.len() == 1 => &items[0],
                other => other,
            };
            match number.as_u64() {
                Some(channels) => check_input(field, channels as usize, shape)?,
                None => return Err(InvalidSetting::new(field, format!("is {value}, expected a whole number"))),
            }
        }
        Ok(true)
    }
}

impl LinearFile {
    pub(super) fn block(&self, shape: Shape) -> Result<Block, InvalidSetting> {
        expect("name", &self.name, "LinearLayer")?;
        for (field, set, expected) in [("bias", self.bias, true), ("use_bn", self.use_bn, false)] {
            expect(field, &set.to_string(), &expected.to_string())?;
        }
        expect("act_func", self.act_func.as_deref().unwrap_or("null"), "null")?;
        settings::count("out_features", self.out_features, 1..=1_000_000)?;
        check_input("in_features", self.in_features, shape)?;
        Ok(classifier_block(shape, "linear", Width::fixed(self.in_features), self.out_features))
    }
}
