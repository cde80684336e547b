//! Pretrained networks of torchvision, timm and the like as models.
//!
//! A checkpoint holds tensors under names and nothing else: neither the padding of a convolution nor its stride, its
//! nonlinearity, or the epsilon of a batch norm. The names and shapes of all tensors together choose a family from a table,
//! which holds the rest. Where several families fit and compute different things, one must be chosen.

pub mod families;
pub mod layers;

use crate::error::ExportError;
use crate::importing::state_dict::{self, StateDict};
use crate::importing::supernet::{Import, imagenet_input};
use families::{Families, Family};
use layers::{Named, Variant};
use ofa_space::settings;
use ofa_space::{InputFormat, Model, ModelBody, NetSpec, Tensor, Weights};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

/// What is known about a checkpoint besides its tensors.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Its family; found by names and shapes if `None`.
    pub family: Option<String>,
    /// Mean of its images, one number for all channels or for each; that of the family if `None`.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation, likewise.
    pub std: Option<Vec<f32>>,
    /// Height and width of its images in pixels; those of the family if `None`.
    pub image_size: Option<u32>,
    /// Names of its classes; their numbers if `None`.
    pub labels: Option<Vec<String>>,
    /// Another number of classes, whose classifier starts afresh.
    pub head: Option<NewHead>,
}

/// A classifier that starts afresh.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewHead {
    /// Its classes; those of the checkpoint, or of the labels, if `None`.
    pub classes: Option<usize>,
    /// Seed of its weights.
    pub seed: u64,
}

/// Height and width of images in pixels.
pub(crate) const SIZES: RangeInclusive<usize> = 4..=4096;

/// A network read from a checkpoint.
#[derive(Debug)]
pub struct PretrainedImport {
    /// The model, and the tensors of its classifier that were drawn afresh.
    pub import: Import,
    /// Name of its family.
    pub family: String,
    /// Where the values of mean and standard deviation come from.
    pub normalisation_from: String,
    /// Networks with the same names and shapes that compute something else; empty if the family was given.
    pub lookalikes: Vec<String>,
}

/// A family whose names and shapes a checkpoint has.
struct Candidate<'a> {
    family: &'a Family,
    named: Named,
}

/// How a checkpoint differs from a family.
struct Difference {
    family: String,
    /// Names that both have.
    shared: usize,
    /// Names that only one of the two has, or shapes that differ.
    count: usize,
    first: String,
}

/// Reads a checkpoint of one of the [`Families`].
///
/// # Errors
/// [`ExportError::DescriptionNeeded`] for a network with a description of its own; [`ExportError::Family`] if several families fit that compute different things; [`ExportError::Checkpoint`] if none does,
/// with the nearest one and the first name that differs; [`ExportError::Unknown`] if no family has the name wanted;
/// [`ExportError::Setting`] for an impossible size, or labels of another number than the classes.
pub fn import_pretrained(checkpoint: &Path, wanted: &Wanted) -> Result<PretrainedImport, ExportError> {
    let bad = |problem: String| ExportError::Checkpoint { path: checkpoint.to_owned(), problem };
    let all = Families::all();
    if let Some(size) = wanted.image_size {
        settings::count("image_size", size as usize, SIZES)?;
    }
    let chosen = wanted.family.as_deref().map(|name| all.named(name)).transpose()?;
    let mut found = StateDict::read(checkpoint)?;
    if found.is_module() {
        let problem = "holds a whole module, pickled, or a state dict under an unknown key; save the state dict alone, with \
                       `torch.save(model.state_dict(), file)`";
        return Err(bad(problem.to_owned()));
    }
    // In the spellings of single networks and of supernets.
    if ["first_conv.conv.weight", "first_conv.conv.conv.weight"].iter().any(|name| found.get(name).is_some()) {
        return Err(ExportError::DescriptionNeeded { path: checkpoint.to_owned() });
    }
    let searched: Vec<&Family> = chosen.map_or_else(|| all.iter().collect(), |family| vec![family]);
    let (mut candidates, differences) = matches(all, &searched, &found, wanted)?;
    if candidates.len() > 1 {
        let families = candidates
            .iter()
            .map(|Candidate { family, .. }| format!("`{}` ({}): {}", family.name, family.of, family.hidden()))
            .collect();
        return Err(ExportError::Family { path: checkpoint.to_owned(), families });
    }
    let Some(Candidate { family, named }) = candidates.pop() else {
        let nearest = differences.into_iter().min_by_key(|difference| difference.count);
        let first = found.names().next().unwrap_or_default();
        return Err(bad(match (nearest, chosen) {
            (Some(Difference { shared: 0, .. }) | None, None) => {
                format!("shares no name with a known family; its first is `{first}`")
            }
            (Some(Difference { shared: 0, .. }) | None, Some(family)) => {
                format!("shares no name with the family `{}`; its first is `{first}`", family.name)
            }
            (Some(Difference { family, first, .. }), Some(_)) => format!("is not of the family `{family}`: {first}"),
            (Some(Difference { family, first, .. }), None) => {
                format!("is of no known family; the nearest is `{family}`: {first}")
            }
        }));
    };
    let mut weights = Weights::default();
    let shapes: Vec<Vec<usize>> = named.net.tensors().map(|tensor| tensor.full.clone()).collect();
    for ((ours, theirs), shape) in named.tensors.into_iter().zip(shapes) {
        // Absent only where the classifier starts afresh.
        let Some(mut tensor) = found.remove(&theirs) else { continue };
        // A linear layer after pooling is a 1×1 convolution.
        tensor.shape = shape;
        weights.insert(ours, tensor);
    }
    let source = format!("the published weights of `{}` ({})", family.name, family.of);
    let loaded = Loaded {
        family: family.name.clone(),
        net: named.net,
        weights,
        published: Some((family.input(), source)),
        lookalikes: if chosen.is_some() { Vec::new() } else { family.lookalikes.clone() },
        unused: found.into_names(),
    };
    loaded.finish(checkpoint, wanted)
}

/// A network with the tensors of a file.
pub(crate) struct Loaded {
    /// Name of its family.
    pub family: String,
    /// The network.
    pub net: NetSpec,
    /// Its tensors; those of the classifier may be absent if it starts afresh.
    pub weights: Weights,
    /// What its images are expected to be like, and where that comes from.
    pub published: Option<(InputFormat, String)>,
    /// See [`PretrainedImport::lookalikes`].
    pub lookalikes: Vec<String>,
    /// Tensors of the file that it does not use.
    pub unused: Vec<String>,
}

impl Loaded {
    /// The model, with what is wanted of classes and images.
    pub(crate) fn finish(self, file: &Path, wanted: &Wanted) -> Result<PretrainedImport, ExportError> {
        let Self { family, net, weights, published, lookalikes, unused } = self;
        let bad = |problem: String| ExportError::Checkpoint { path: file.to_owned(), problem };
        let mut provenance = state_dict::provenance(file)?;
        let new_classes = wanted.head.map(|head| head.classes.or(wanted.labels.as_ref().map(Vec::len)));
        let classes = new_classes.flatten().unwrap_or(net.classes);
        let class_names = match &wanted.labels {
            Some(labels) if labels.len() != classes => {
                return Err(bad(format!("has {classes} classes, but {} labels are given", labels.len())));
            }
            Some(labels) => labels.clone(),
            None => (0..classes).map(|class| class.to_string()).collect(),
        };
        let fresh = match wanted.head {
            Some(_) => classifier_tensors(&net).into_iter().collect(),
            None => Vec::new(),
        };
        let (published, source) = published.unwrap_or_else(|| (imagenet_input(), "ImageNet".to_owned()));
        let normalisation_from = match (&wanted.mean, &wanted.std) {
            (Some(_), Some(_)) => "given".to_owned(),
            (None, None) => source,
            _ => format!("partly given, partly {source}"),
        };
        let channels = net.input[0];
        let of_channels = |values: &Option<Vec<f32>>, published: Vec<f32>| match values.as_deref() {
            Some([value]) => vec![*value; channels],
            Some(values) => values.to_vec(),
            None => published,
        };
        let input = InputFormat {
            mean: of_channels(&wanted.mean, published.mean),
            std: of_channels(&wanted.std, published.std),
            resize: published.resize,
        };
        if input.mean.len() != channels || input.std.len() != channels {
            let (mean, std) = (input.mean.len(), input.std.len());
            return Err(bad(format!(
                "takes images of {channels} channels, but there are {mean} means and {std} standard deviations"
            )));
        }
        provenance.insert("family".to_owned(), family.clone());
        provenance.insert("normalisation".to_owned(), normalisation_from.clone());
        let body = ModelBody::Net { spec: Box::new(net), space: None, arch: None };
        let mut model = Model { body, class_names: class_names.clone(), input, provenance, weights };
        if let Some(NewHead { seed, .. }) = wanted.head {
            model = model.with_new_head(class_names, seed)?;
        }
        Ok(PretrainedImport { import: Import { model, unused, fresh }, family, normalisation_from, lookalikes })
    }
}

/// The families that a checkpoint fits, and how it differs from the others.
fn matches<'a>(
    all: &'a Families,
    searched: &[&'a Family],
    found: &StateDict,
    wanted: &Wanted,
) -> Result<(Vec<Candidate<'a>>, Vec<Difference>), ExportError> {
    let (mut candidates, mut differences) = (Vec::new(), Vec::new());
    for family in searched {
        for naming in all.namings(family) {
            let outputs_of = |name: &str| found.get(name).and_then(|tensor| tensor.shape.first()).copied();
            let classes = outputs_of(&format!("{}.weight", naming.classifier)).unwrap_or(1);
            let image_size = wanted.image_size.unwrap_or(family.image_size) as usize;
            let variant = Variant { image_size, classes, outputs_of: &outputs_of };
            let named = Named::new(family, all.architecture(family), naming, variant)?;
            match difference(&named, found, wanted.head.is_some()) {
                None => candidates.push(Candidate { family, named }),
                Some((shared, count, first)) => {
                    differences.push(Difference { family: family.name.clone(), shared, count, first });
                }
            }
        }
    }
    Ok((candidates, differences))
}

/// How the checkpoint differs from a network, if it does: how many names they share, how often they differ, and where first in
/// order of execution. The classifier may be absent if it starts afresh.
fn difference(named: &Named, found: &StateDict, new_head: bool) -> Option<(usize, usize, String)> {
    let head = if new_head { classifier_tensors(&named.net) } else { BTreeSet::new() };
    let (mut count, mut first) = (0, None);
    let mut note = |text: String| {
        count += 1;
        first.get_or_insert(text);
    };
    let expected = named.net.tensors().map(|tensor| &tensor.full);
    for ((ours, theirs), expected) in named.tensors.iter().zip(expected) {
        match found.get(theirs) {
            None if head.contains(ours) => {}
            None => note(format!("the checkpoint has no `{theirs}`")),
            Some(_) if head.contains(ours) => {}
            Some(Tensor { shape, .. }) if trimmed(shape) == trimmed(expected) => {}
            Some(Tensor { shape, .. }) => note(format!("`{theirs}` has shape {shape:?} instead of {expected:?}")),
        }
    }
    let known: BTreeSet<&str> = named.tensors.iter().map(|(_, theirs)| theirs.as_str()).collect();
    for name in found.names().filter(|name| !known.contains(name)) {
        note(format!("the checkpoint has `{name}`, which that family has not"));
    }
    let shared = named.tensors.iter().filter(|(_, theirs)| found.get(theirs).is_some()).count();
    first.map(|first| (shared, count, first))
}

/// A shape without the sizes of 1 at its end: a linear layer and a 1×1 convolution hold the same values.
fn trimmed(shape: &[usize]) -> &[usize] {
    let mut end = shape.len();
    while end > 2 && shape[end - 1] == 1 {
        end -= 1;
    }
    &shape[..end]
}

/// Names of the tensors of the classifier.
fn classifier_tensors(net: &NetSpec) -> BTreeSet<String> {
    let tensors = net.head().into_iter().flat_map(|(weight, bias)| std::iter::once(weight).chain(bias));
    tensors.map(|tensor| tensor.name.clone()).collect()
}
