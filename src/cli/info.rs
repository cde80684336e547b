//! `ofa info`: how many subnets a space has, and what one of them costs.

use super::output::{short_count, table};
use super::{Context, Failure, arch_choice};
use clap::Args;
use ofa_space::{ArchJson, Gene, SearchSpace, cost, registry};
use serde::Serialize;
use std::sync::Arc;

/// Arguments of `ofa info`.
#[derive(Args, Debug)]
pub struct InfoArgs {
    /// Registered name or TOML file.
    #[arg(long)]
    space: String,
    /// Number of classes, instead of the space's own.
    #[arg(long)]
    classes: Option<usize>,
    /// max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
}

#[derive(Serialize)]
struct SpaceReport<'a> {
    space: &'a str,
    subnets: String,
    subnets_with_resolutions: String,
    classes: usize,
    resolutions: &'a [u32],
    genes: &'a [Gene],
}

#[derive(Serialize)]
struct ArchReport<'a> {
    space: &'a str,
    arch: ArchJson,
    params: u64,
    macs: u64,
    macs_se: u64,
    peak_activation_bytes: u64,
    blocks: Vec<BlockReport>,
}

#[derive(Serialize)]
struct BlockReport {
    name: String,
    kind: &'static str,
    r#in: [usize; 3],
    out: [usize; 3],
    params: u64,
    macs: u64,
}

/// The space of `--space`, with `--classes` applied.
pub fn space(name: &str, classes: Option<usize>) -> Result<Arc<dyn SearchSpace>, Failure> {
    let space = registry::load(name)?;
    Ok(match classes {
        Some(classes) => registry::with_classes(space.as_ref(), classes)?,
        None => space,
    })
}

pub(super) fn run(args: &InfoArgs, context: &Context) -> Result<(), Failure> {
    let space = space(&args.space, args.classes)?;
    match &args.arch {
        None => describe_space(space.as_ref(), context),
        Some(text) => describe_arch(space.as_ref(), text, context),
    }
}

fn describe_space(space: &dyn SearchSpace, context: &Context) -> Result<(), Failure> {
    let info = space.info();
    let subnets = space.subnets();
    let report = SpaceReport {
        space: &info.name,
        subnets: subnets.to_string(),
        subnets_with_resolutions: (&subnets * info.resolutions.len()).to_string(),
        classes: info.classes,
        resolutions: &info.resolutions,
        genes: &info.genes,
    };
    context.output.result(&report, || {
        let mut groups: Vec<(String, usize, String)> = Vec::new();
        for gene in &info.genes {
            let choices: Vec<String> = gene.choices.iter().map(f64::to_string).collect();
            let choices = choices.join(", ");
            match groups.iter_mut().find(|(group, _, c)| *group == gene.group && *c == choices) {
                Some((_, count, _)) => *count += 1,
                None => groups.push((gene.group.clone(), 1, choices)),
            }
        }
        let rows: Vec<Vec<String>> =
            groups.into_iter().map(|(group, count, choices)| vec![group, count.to_string(), choices]).collect();
        format!(
            "{}: {} subnets at one resolution, {} with resolutions\nclasses {}, resolutions {:?}\n\n{}",
            report.space,
            report.subnets,
            report.subnets_with_resolutions,
            info.classes,
            info.resolutions,
            table(&["genes", "count", "choices"], &rows)
        )
    })
}

fn describe_arch(space: &dyn SearchSpace, text: &str, context: &Context) -> Result<(), Failure> {
    let arch = arch_choice::arch(text, space, context.common.seed)?;
    let net = space.resolve(&arch)?;
    let blocks = net.blocks.iter().map(|block| BlockReport {
        name: block.name.clone(),
        kind: block.kind.name(),
        r#in: block.input,
        out: block.output,
        params: cost::block_params(block),
        macs: cost::block_macs(block),
    });
    let report = ArchReport {
        space: space.name(),
        arch: space.format(&arch),
        params: cost::params(&net),
        macs: cost::macs(&net),
        macs_se: cost::macs_se(&net),
        peak_activation_bytes: cost::peak_activation_bytes(&net),
        blocks: blocks.collect(),
    };
    context.output.result(&report, || {
        let shape = |[c, h, w]: [usize; 3]| format!("{c}×{h}×{w}");
        let rows: Vec<Vec<String>> = report
            .blocks
            .iter()
            .map(|b| {
                let counts = [short_count(b.params), short_count(b.macs)];
                let mut row = vec![b.name.clone(), b.kind.to_owned(), shape(b.r#in), shape(b.out)];
                row.extend(counts);
                row
            })
            .collect();
        format!(
            "{}\n{} parameters, {} MACs (+ {} in squeeze-excite), peak activations {} B\n\n{}",
            report.arch,
            short_count(report.params),
            short_count(report.macs),
            short_count(report.macs_se),
            short_count(report.peak_activation_bytes),
            table(&["block", "kind", "in", "out", "params", "MACs"], &rows)
        )
    })
}
