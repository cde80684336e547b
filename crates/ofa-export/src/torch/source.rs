//! The Python source of a module.

use super::layers::{Layer, Part};
use ofa_space::{InputFormat, NetSpec, Resize};
use std::fmt::Write;

/// Columns that a list may take in one line.
const WIDTH: usize = 100;
/// Spaces of one level.
const INDENT: usize = 4;

/// Classes that only some modules need: the call that needs one, and its definition.
const CLASSES: [(&str, &str); 5] = [
    (
        "ConvNorm(",
        r#"
class ConvNorm(nn.Sequential):
    """A convolution, its batch norm, and its nonlinearity if it has one."""

    def __init__(self, inputs, outputs, kernel, stride=1, padding=0, groups=1, activation=None, eps=1e-5):
        layers = [
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps),
        ]
        super().__init__(*layers, *([activation] if activation is not None else []))
"#,
    ),
    (
        "SqueezeExcite(",
        r#"
class SqueezeExcite(nn.Module):
    """Every channel times a factor, which is computed from the means of all channels."""

    def __init__(self, channels, squeezed, activation, gate):
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = gate

    def forward(self, x):
        means = x.mean((2, 3), keepdim=True)
        return x * self.gate(self.expand(self.activation(self.reduce(means))))
"#,
    ),
    (
        "Residual(",
        r#"
class Residual(nn.Module):
    """The sum of a branch and a shortcut; without one, the input is added."""

    def __init__(self, body, shortcut=None):
        super().__init__()
        self.body = body
        self.shortcut = shortcut if shortcut is not None else nn.Identity()

    def forward(self, x):
        return self.body(x) + self.shortcut(x)
"#,
    ),
    (
        "Sum(",
        r#"
class Sum(nn.Module):
    """The sum of two values."""

    def forward(self, one, other):
        return one + other
"#,
    ),
    (
        "Graph(",
        r#"
class Graph(nn.Module):
    """Layers that read any earlier values: 0 is the input, layer i makes value i + 1, the last value is the output."""

    def __init__(self, layers, inputs):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.inputs = inputs

    def forward(self, x):
        values = [x]
        for layer, inputs in zip(self.layers, self.inputs):
            values.append(layer(*[values[i] for i in inputs]))
        return values[-1]
"#,
    ),
];

/// What the file contains besides the network's layers.
pub(crate) struct Notes<'a> {
    /// Class names in the order of the logits.
    pub class_names: &'a [String],
    /// How images become the input.
    pub input: &'a InputFormat,
    /// Where the network comes from, and whatever else is noted of it.
    pub origin: &'a [(String, String)],
}

/// The whole file.
pub(crate) fn source(net: &NetSpec, parts: &[Part<'_>], notes: &Notes<'_>) -> String {
    let class = network_class(net, parts);
    let mut text = docstring(net, notes);
    text += "\nfrom pathlib import Path\n\nimport torch\nfrom torch import nn\n\n";
    text += &constants(net, notes);
    for (_, definition) in CLASSES.iter().filter(|(call, _)| class.contains(call)) {
        text += &format!("\n{definition}");
    }
    text += &class;
    text += FUNCTIONS;
    text
}

const FUNCTIONS: &str = r#"

def build(weights=None):
    """The network with its weights (a file; that beside this one if left out), in evaluation mode."""
    net = Net()
    file = Path(weights) if weights is not None else Path(__file__).with_suffix(".pth")
    net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return net.eval()


def normalise(pixels):
    """Pixels 0 to 255 (N, C, H, W) as the network takes them: (pixel / 255 - MEAN) / STD, channel by channel."""
    mean, std = (torch.tensor(values, device=pixels.device).view(-1, 1, 1) for values in (MEAN, STD))
    return (pixels / 255 - mean) / std
"#;

fn docstring(net: &NetSpec, notes: &Notes<'_>) -> String {
    let [channels, height, width] = net.input;
    let resize = match notes.input.resize {
        Resize::Stretch => format!("An image is resized to {width}×{height} pixels, whatever its shape."),
        Resize::CenterCrop { numerator, denominator } => format!(
            "The shorter side of an image is resized to {} pixels (int({width} * {numerator} / {denominator})), then its \
             centre is cut out.",
            width as u64 * u64::from(numerator) / u64::from(denominator.max(1))
        ),
    };
    let colours = if channels == 3 { ", RGB" } else { "" };
    let classes = net.classes;
    let mut text = format!(
        r#""""A network as a PyTorch module, written by ofa {}. It needs nothing but PyTorch.

    net = build()                      # with the weights of the .pth file beside this one
    logits = net(normalise(pixels))    # pixels: (N, {channels}, {height}, {width}), 0 to 255{colours}; logits: (N, {classes})

{resize}
"#,
        env!("CARGO_PKG_VERSION")
    );
    if !notes.origin.is_empty() {
        text += "\nWhere it comes from:\n";
        for (key, value) in notes.origin {
            let _ = writeln!(text, "    {}: {}", in_docstring(key), in_docstring(value));
        }
    }
    text + "\"\"\"\n"
}

fn constants(net: &NetSpec, notes: &Notes<'_>) -> String {
    let [channels, height, width] = net.input;
    let names: Vec<String> = notes.class_names.iter().map(|name| literal(name)).collect();
    let floats = |values: &[f32]| values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>();
    format!(
        "# Channels, height and width of an image.\nINPUT_SIZE = ({channels}, {height}, {width})\n\
         # Of pixels in 0..1, one for each channel.\nMEAN = {}\nSTD = {}\n\
         # In the order of the logits.\nCLASSES = {}\n",
        list(&floats(&notes.input.mean), "MEAN = "),
        list(&floats(&notes.input.std), "STD = "),
        list(&names, "CLASSES = ")
    )
}

/// A list in one line, or in one line for each entry.
fn list(entries: &[String], before: &str) -> String {
    let line = format!("[{}]", entries.join(", "));
    match before.chars().count() + line.chars().count() <= WIDTH {
        true => line,
        false => format!("[\n{}]", entries.iter().map(|entry| format!("    {entry},\n")).collect::<String>()),
    }
}

fn network_class(net: &NetSpec, parts: &[Part<'_>]) -> String {
    let [channels, height, width] = net.input;
    let classes = net.classes;
    let mut text = format!(
        r#"

class Net(nn.Module):
    """Normalised images (N, {channels}, {height}, {width}) in, logits (N, {classes}) out."""

    def __init__(self):
        super().__init__()
"#
    );
    for part in parts {
        let _ = writeln!(text, "        self.{} = nn.Sequential(", part.name);
        for (block, layer) in &part.blocks {
            let [from, to] = [block.input, block.output].map(|[c, h, w]| format!("{c}×{h}×{w}"));
            let kind = block.kind.name().replace('_', " ");
            let _ = writeln!(text, "            # {}: {kind}, {from} → {to}", in_comment(&block.name));
            write_layer(layer, 3, &mut text);
            text += ",\n";
        }
        text += "        )\n";
    }
    let calls = parts.iter().fold("x".to_owned(), |inner, part| format!("self.{}({inner})", part.name));
    let _ = write!(text, "\n    def forward(self, x):\n        return {calls}\n");
    text
}

/// A layer as an expression, `level` levels deep.
fn write_layer(layer: &Layer<'_>, level: usize, text: &mut String) {
    let pad = |level: usize| " ".repeat(INDENT * level);
    let children = |layers: &mut dyn Iterator<Item = &Layer<'_>>, text: &mut String| {
        for layer in layers {
            write_layer(layer, level + 1, text);
            *text += ",\n";
        }
        *text += &pad(level);
    };
    *text += &pad(level);
    match layer {
        Layer::Single { call, .. } => *text += call,
        Layer::Sequence(layers) => {
            *text += "nn.Sequential(\n";
            children(&mut layers.iter(), text);
            *text += ")";
        }
        Layer::Residual { body, shortcut } => {
            *text += "Residual(\n";
            children(&mut std::iter::once(&**body).chain(shortcut.as_deref()), text);
            *text += ")";
        }
        Layer::Graph { layers, inputs } => {
            *text += "Graph([\n";
            children(&mut layers.iter(), text);
            let _ = write!(text, "], inputs={inputs:?})");
        }
    }
}

/// A string of Python. JSON writes one that Python reads alike.
fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Text that neither ends a docstring nor begins an escape sequence.
fn in_docstring(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped += "\\\\",
            control if control.is_control() => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(control));
            }
            other => escaped.push(other),
        }
    }
    escaped.replace("\"\"\"", "\\\"\\\"\\\"")
}

/// Text that does not end a comment.
fn in_comment(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
