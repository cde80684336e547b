//! `ofa info`: how many subnets a space has, what one of them, a model or a described network costs, and what is elastic in
//! a model.

mod elastic;

use crate::cli::args::arch_choice;
use crate::cli::args::model_choice::{self, Network};
use crate::cli::args::net_input::{NetInputArgs, NetInputOrigins};
use crate::cli::args::space_choice;
use crate::cli::output::{short_count, table};
use crate::cli::{Context, Failure};
use clap::Args;
use elastic::ElasticReport;
use ofa_export::importing::net_config::NetConfig;
use ofa_space::memory::{Schedule, peak_activation_bytes};
use ofa_space::{ArchJson, Gene, ModelBody, ModelError, NetSpec, SearchSpace, cost};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments of `ofa info`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("subject").required(true).args(["space", "model", "config"]))]
pub struct InfoArgs {
    /// Registered name, TOML file, or model file.
    #[arg(long)]
    space: Option<String>,
    /// Model file, or the name of a pretrained network: mcunet.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Description of a published network: net.config, or the JSON of MCUNet and ProxylessNAS.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    input: NetInputArgs,
    /// Number of classes, instead of that of the space.
    #[arg(long)]
    classes: Option<usize>,
    /// max, min, random, JSON, or a file.
    #[arg(long)]
    arch: Option<String>,
    /// Device for which to print the latency of a model's smallest, middle and largest subnet.
    #[arg(long, requires = "model", conflicts_with = "arch")]
    device: Option<String>,
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
    #[serde(flatten)]
    costs: CostReport,
}

/// What a network costs, as a whole and block by block.
#[derive(Serialize)]
struct CostReport {
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

pub fn run(args: &InfoArgs, context: &Context) -> Result<(), Failure> {
    if let Some(path) = &args.model {
        return describe_model(path, args, context);
    }
    if let Some(path) = &args.config {
        return describe_config(path, &args.input, context);
    }
    let space = space_choice::space(args.space.as_deref().unwrap_or_default(), args.classes)?;
    match &args.arch {
        None => describe_space(space.as_ref(), context),
        Some(text) => describe_arch(space.as_ref(), text, context),
    }
}

/// A network on its own, from a model file or a description.
#[derive(Serialize)]
struct NetReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<PathBuf>,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    space: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arch: Option<ArchJson>,
    classes: usize,
    image_size: usize,
    mean: Vec<f32>,
    std: Vec<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<NetInputOrigins>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    provenance: BTreeMap<String, String>,
    #[serde(flatten)]
    costs: CostReport,
    #[serde(flatten)]
    elastic: Option<ElasticReport>,
}

fn describe_model(path: &Path, args: &InfoArgs, context: &Context) -> Result<(), Failure> {
    let device = args.device.as_deref().map(ofa_hw::load).transpose()?;
    let Network { model, arch, .. } = model_choice::network(path, args.arch.as_deref(), context.common.seed)?;
    let elastic_space = match (&args.arch, model.elastic_space()) {
        (None, Ok(space)) => Some(space),
        (None, Err(ModelError::Space(reason))) => {
            context.output.note(&format!("nothing is elastic: {reason}"));
            None
        }
        _ => None,
    };
    let describe = |space: &Arc<dyn SearchSpace>| ElasticReport::of(space.as_ref(), device.as_deref());
    let elastic = elastic_space.as_ref().map(describe).transpose()?;
    if elastic.is_none() && device.is_some() {
        return Err(Failure::Input(format!("--device: {} has no subnets to compare", path.display())));
    }
    // A supernet itself is shown by its largest subnet.
    let arch = arch.or_else(|| model.space().map(|space| space.max_arch()));
    let net = model.net(arch.as_ref())?;
    let (kind, space, arch) = match (&model.body, &arch) {
        (ModelBody::Supernet { space }, Some(arch)) => {
            ("supernet", Some(space.name().to_owned()), Some(space.format(arch)))
        }
        (ModelBody::Net { space, arch, .. }, _) => {
            let derived = elastic_space.as_ref().map(|space| space.name().to_owned());
            ("net", space.clone().or(derived), arch.clone())
        }
        (ModelBody::Supernet { space }, None) => ("supernet", Some(space.name().to_owned()), None),
    };
    let report = NetReport {
        model: Some(path.to_owned()),
        config: None,
        r#type: kind,
        space,
        arch,
        classes: net.classes,
        image_size: net.input[1],
        mean: model.input.mean.clone(),
        std: model.input.std.clone(),
        from: None,
        provenance: model.provenance.clone(),
        costs: CostReport::of(&net),
        elastic,
    };
    context.output.result(&report, || {
        let subnet = report.arch.as_ref().map(|arch| format!("{arch}\n")).unwrap_or_default();
        let space = report.space.as_ref().map(|space| format!(" of {space}")).unwrap_or_default();
        let origin: Vec<String> = report.provenance.iter().map(|(key, value)| format!("{key} {value}")).collect();
        let rest = match &report.elastic {
            Some(elastic) => format!("{}\n\n{}", report.costs.totals(), elastic.text()),
            None => report.costs.text(),
        };
        format!(
            "{}{space}, {} classes, {} px, mean {:?}, std {:?}\n{}\n{subnet}{rest}",
            report.r#type,
            report.classes,
            report.image_size,
            report.mean,
            report.std,
            origin.join(", "),
        )
    })
}

fn describe_config(path: &Path, input: &NetInputArgs, context: &Context) -> Result<(), Failure> {
    let config = NetConfig::read(path)?;
    let input = input.resolve(&config, path)?;
    let net =
        config.net(input.image_size).map_err(|problem| Failure::Input(format!("{}: {problem}", path.display())))?;
    let described = input.describe();
    let report = NetReport {
        model: None,
        config: Some(path.to_owned()),
        r#type: "net",
        space: None,
        arch: None,
        classes: net.classes,
        image_size: net.input[1],
        mean: input.mean,
        std: input.std,
        from: Some(input.from),
        provenance: BTreeMap::new(),
        costs: CostReport::of(&net),
        elastic: None,
    };
    context.output.result(&report, || format!("{} classes\n{described}\n{}", report.classes, report.costs.text()))
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
    let report = ArchReport { space: space.name(), arch: space.format(&arch), costs: CostReport::of(&net) };
    context.output.result(&report, || format!("{}\n{}", report.arch, report.costs.text()))
}

impl CostReport {
    fn of(net: &NetSpec) -> Self {
        let blocks = net.blocks.iter().map(|block| BlockReport {
            name: block.name.clone(),
            kind: block.kind.name(),
            r#in: block.input,
            out: block.output,
            params: cost::block_params(block),
            macs: cost::block_macs(block),
        });
        Self {
            params: cost::params(net),
            macs: cost::macs(net),
            macs_se: cost::macs_se(net),
            peak_activation_bytes: peak_activation_bytes(net, Schedule::F32),
            blocks: blocks.collect(),
        }
    }

    /// Totals and a table of blocks.
    fn text(&self) -> String {
        let shape = |[c, h, w]: [usize; 3]| format!("{c}×{h}×{w}");
        let rows: Vec<Vec<String>> = self
            .blocks
            .iter()
            .map(|b| {
                let counts = [short_count(b.params), short_count(b.macs)];
                let mut row = vec![b.name.clone(), b.kind.to_owned(), shape(b.r#in), shape(b.out)];
                row.extend(counts);
                row
            })
            .collect();
        format!("{}\n\n{}", self.totals(), table(&["block", "kind", "in", "out", "params", "MACs"], &rows))
    }

    fn totals(&self) -> String {
        format!(
            "{} parameters, {} MACs (+ {} in squeeze-excite), peak activations {} B",
            short_count(self.params),
            short_count(self.macs),
            short_count(self.macs_se),
            short_count(self.peak_activation_bytes),
        )
    }
}
