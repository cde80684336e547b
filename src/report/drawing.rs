//! A network as a row of bars, stage by stage: one bar a block, its height the expansion ratio, its width and colour
//! the kernel size; places that the subnet leaves empty are outlined.

use super::DrawnBlock;
use super::svg_plot::{escape, number};
use ofa_space::{Block, BlockKind, NetSpec};
use std::fmt::Write;

impl DrawnBlock {
    /// The inverted residual and bottleneck blocks of a network that reads a supernet's tensors.
    pub fn of(net: &NetSpec) -> Vec<DrawnBlock> {
        net.blocks.iter().filter_map(drawn).collect()
    }
}

fn drawn(block: &Block) -> Option<DrawnBlock> {
    match &block.kind {
        BlockKind::InvertedResidual { kernel, middle, expansion, .. }
        | BlockKind::Bottleneck { kernel, middle, expansion, .. } => Some(DrawnBlock {
            place: place(block),
            kernel: *kernel,
            middle: *middle,
            expansion: *expansion,
            channels: block.output[0],
            size: block.output[1],
        }),
        BlockKind::BasicBlock { kernel, middle, .. } => Some(DrawnBlock {
            place: place(block),
            kernel: *kernel,
            middle: *middle,
            expansion: *middle as f64 / block.output[0] as f64,
            channels: block.output[0],
            size: block.output[1],
        }),
        _ => None,
    }
}

/// The part of the name that all tensors of a block share: where it lives in the supernet.
fn place(block: &Block) -> String {
    let tensors = block.ops.iter().flat_map(|op| op.kind.tensors()).map(|(_, tensor)| tensor.name.as_str());
    let mut shared: Option<Vec<&str>> = None;
    for name in tensors {
        let parts: Vec<&str> = name.split('.').collect();
        shared = Some(match shared {
            None => parts,
            Some(before) => before.into_iter().zip(parts).take_while(|(a, b)| a == b).map(|(a, _)| a).collect(),
        });
    }
    // Two components are the block; a block of one tensor would give its whole name.
    shared.map_or_else(|| block.name.clone(), |parts| parts.into_iter().take(2).collect::<Vec<_>>().join("."))
}

/// Room for a bar.
const BAR: f64 = 11.0;
const GAP: f64 = 2.0;
const STAGE_GAP: f64 = 8.0;
const HEIGHT: f64 = 40.0;
const LABELS: f64 = 13.0;

/// The drawing as an SVG. `places` are the blocks of the largest subnet, which every subnet takes a part of.
pub fn draw(blocks: &[DrawnBlock], places: &[DrawnBlock], label: &str) -> String {
    let places = if places.is_empty() { blocks } else { places };
    let highest = places.iter().chain(blocks).map(|block| block.expansion).fold(1.0, f64::max);
    let mut body = String::new();
    let mut x = 0.0;
    for stage in places.chunk_by(|a, b| (a.channels, a.size) == (b.channels, b.size)) {
        let start = x;
        let mut depth = 0;
        for here in stage {
            match blocks.iter().find(|block| block.place == here.place) {
                Some(block) => {
                    depth += 1;
                    bar(&mut body, block, x, highest);
                }
                None => {
                    let _ = write!(
                        body,
                        "<rect class=\"empty\" x=\"{:.1}\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"2\" \
                         data-tip=\"left out in this network\"/>",
                        x + 0.5,
                        BAR - 1.0,
                        HEIGHT - 1.0
                    );
                }
            }
            x += BAR + GAP;
        }
        let _ = write!(
            body,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{depth}</text>",
            (start + x - GAP) / 2.0,
            HEIGHT + LABELS - 2.0
        );
        x += STAGE_GAP;
    }
    let (width, height) = (x - STAGE_GAP, HEIGHT + LABELS);
    format!(
        "<svg class=\"net\" viewBox=\"0 0 {width:.0} {height}\" width=\"{width:.0}\" height=\"{height}\" role=\"img\" \
         tabindex=\"0\" aria-label=\"{}\">{body}</svg>",
        escape(label)
    )
}

/// Width of a bar: the wider, the larger the kernel, so that colours are not needed to tell them apart.
pub fn bar_width(kernel: usize) -> f64 {
    (1.5 * kernel as f64).clamp(3.0, BAR)
}

fn bar(body: &mut String, block: &DrawnBlock, x: f64, highest: f64) {
    let height = (block.expansion / highest * HEIGHT).max(3.0);
    let width = bar_width(block.kernel);
    let _ = write!(
        body,
        "<rect class=\"k k{kernel}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" \
         data-tip=\"{}: kernel {kernel}×{kernel}, expansion {}, {} middle channels; out {}×{size}×{size}\"/>",
        x + (BAR - width) / 2.0,
        HEIGHT - height,
        escape(&block.place),
        number(block.expansion),
        block.middle,
        block.channels,
        kernel = block.kernel,
        size = block.size,
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ofa_space::registry;

    #[test]
    fn a_subnet_takes_places_of_the_largest() {
        for name in ["tiny-28", "ofa-mbv3-w1.0"] {
            let space = registry::named(name).unwrap();
            let places = DrawnBlock::of(&space.resolve(&space.max_arch()).unwrap());
            let small = DrawnBlock::of(&space.resolve(&space.min_arch()).unwrap());
            assert!(small.len() < places.len());
            assert!(small.iter().all(|block| places.iter().any(|p| p.place == block.place)), "{name}: {small:?}");
            let drawing = draw(&small, &places, "min");
            assert_eq!(drawing.matches("class=\"k ").count(), small.len());
            assert_eq!(drawing.matches("class=\"empty\"").count(), places.len() - small.len());
        }
    }
}
