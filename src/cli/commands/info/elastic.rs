//! What is elastic in a model, what is not, and how far apart its smallest and largest subnets are.

use crate::cli::Failure;
use crate::cli::output::{short_count, table};
use ofa_hw::HardwareBackend;
use ofa_space::memory::{Schedule, peak_activation_bytes};
use ofa_space::{Arch, ArchJson, Elasticity, FixedPart, SearchSpace, cost};
use serde::Serialize;

/// The space of a model.
#[derive(Serialize)]
pub(super) struct ElasticReport {
    subnets: String,
    subnets_with_resolutions: String,
    resolutions: Vec<u32>,
    #[serde(flatten)]
    elasticity: Elasticity,
    fixed: Vec<FixedPart>,
    extremes: Vec<Extreme>,
}

/// One subnet that shows the range of the space.
#[derive(Serialize)]
struct Extreme {
    label: &'static str,
    arch: ArchJson,
    params: u64,
    macs: u64,
    peak_activation_bytes: u64,
    /// Without a device, none.
    latency_ms: Option<f64>,
}

impl Extreme {
    fn of(
        label: &'static str,
        arch: &Arch,
        space: &dyn SearchSpace,
        device: Option<&dyn HardwareBackend>,
    ) -> Result<Self, Failure> {
        let net = space.resolve(arch)?;
        Ok(Self {
            label,
            arch: space.format(arch),
            params: cost::params(&net),
            macs: cost::macs(&net),
            peak_activation_bytes: peak_activation_bytes(&net, Schedule::F32),
            latency_ms: device.map(|device| device.subnet_latency_ms(space, arch)).transpose()?,
        })
    }
}

impl ElasticReport {
    /// Describes a space, with latency where a device is given.
    pub(super) fn of(space: &dyn SearchSpace, device: Option<&dyn HardwareBackend>) -> Result<Self, Failure> {
        let info = space.info();
        let subnets = space.subnets();
        let labelled = [("min", space.min_arch()), ("mid", space.mid_arch()), ("max", space.max_arch())];
        let extremes = labelled.iter().map(|(label, arch)| Extreme::of(label, arch, space, device));
        Ok(Self {
            subnets: subnets.to_string(),
            subnets_with_resolutions: (&subnets * info.resolutions.len()).to_string(),
            resolutions: info.resolutions.clone(),
            elasticity: Elasticity::of(space)?,
            fixed: space.fixed_parts(),
            extremes: extremes.collect::<Result<_, _>>()?,
        })
    }

    /// The range of the subnets, what an arch chooses, and what it does not.
    pub(super) fn text(&self) -> String {
        let Elasticity { blocks, depths, widths, others } = &self.elasticity;
        let mut text = format!("{} subnets at one resolution, resolutions {:?}\n\n", self.subnets, self.resolutions);
        text += &table(&["subnet", "px", "params", "MACs", "peak activations", "latency"], &self.range());
        if !blocks.is_empty() {
            let rows: Vec<Vec<String>> = blocks
                .iter()
                .map(|known| vec![known.block.clone(), list(&known.kernel_sizes), list(&known.expand_ratios)])
                .collect();
            text += &format!("\n\n{}", table(&["elastic block", "kernel sizes", "expand ratios"], &rows));
        }
        let numbered = |what: &str, all: &[Vec<f64>]| -> String {
            let lines = all.iter().enumerate().map(|(index, values)| format!("\n{what} {index}: {}", list(values)));
            lines.collect()
        };
        if !(depths.is_empty() && widths.is_empty() && others.is_empty()) {
            text += "\n";
            text += &numbered("depth of stage", depths);
            text += &numbered("width", widths);
            others.iter().for_each(|other| text += &format!("\n{}: {}", other.gene, list(&other.choices)));
        }
        if !self.fixed.is_empty() {
            let rows: Vec<Vec<String>> =
                self.fixed.iter().map(|part| vec![part.name.clone(), part.reason.clone()]).collect();
            text += &format!("\n\n{}", table(&["fixed", "reason"], &rows));
        }
        text
    }

    fn range(&self) -> Vec<Vec<String>> {
        let row = |extreme: &Extreme| {
            let latency = extreme.latency_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.3} ms"));
            vec![
                extreme.label.to_owned(),
                extreme.arch.resolution.map_or_else(String::new, |pixels| pixels.to_string()),
                short_count(extreme.params),
                short_count(extreme.macs),
                format!("{} B", short_count(extreme.peak_activation_bytes)),
                latency,
            ]
        };
        self.extremes.iter().map(row).collect()
    }
}

/// Numbers with commas.
fn list(values: &[f64]) -> String {
    values.iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}
