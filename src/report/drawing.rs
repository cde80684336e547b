//! A network as a row of bars: one bar a block, its height the middle channels, its colour the kernel size.

use super::DrawnBlock;
use super::plot::escape;
use ofa_space::{Block, BlockKind, NetSpec};
use std::fmt::Write;

impl DrawnBlock {
    /// The inverted residual and bottleneck blocks of a network.
    pub fn of(net: &NetSpec) -> Vec<DrawnBlock> {
        net.blocks.iter().filter_map(drawn).collect()
    }
}

fn drawn(block: &Block) -> Option<DrawnBlock> {
    match &block.kind {
        BlockKind::InvertedResidual { kernel, middle, expansion, stride, .. }
        | BlockKind::Bottleneck { kernel, middle, expansion, stride, .. } => Some(DrawnBlock {
            name: block.name.clone(),
            kernel: *kernel,
            middle: *middle,
            expansion: *expansion,
            size: block.output[1],
            downsamples: *stride > 1,
        }),
        _ => None,
    }
}

const BAR: f64 = 11.0;
const GAP: f64 = 3.0;
const STAGE_GAP: f64 = 6.0;
const HEIGHT: f64 = 44.0;

/// The drawing as an SVG; bars are scaled to `widest` middle channels.
pub fn draw(blocks: &[DrawnBlock], widest: usize) -> String {
    let mut bars = String::new();
    let mut x = 0.0;
    for block in blocks {
        if block.downsamples {
            x += STAGE_GAP;
        }
        let height = (block.middle as f64 / widest.max(1) as f64 * HEIGHT).max(3.0);
        let _ = write!(
            bars,
            "<rect class=\"k{}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{BAR}\" height=\"{height:.1}\" rx=\"2\">\
             <title>{}: kernel {}×{}, expansion {}, {} middle channels, {} px</title></rect>",
            block.kernel,
            HEIGHT - height,
            escape(&block.name),
            block.kernel,
            block.kernel,
            block.expansion,
            block.middle,
            block.size
        );
        x += BAR + GAP;
    }
    format!("<svg class=\"net\" viewBox=\"0 0 {x:.0} {HEIGHT}\" width=\"{x:.0}\" height=\"{HEIGHT}\">{bars}</svg>")
}
