//! What an arch of a space chooses, block by block, for listings.

use crate::error::SpaceError;
use crate::genotype::arch::number;
use crate::genotype::gene::{Dimension, Gene};
use crate::network::net_spec::{Block, NetSpec, TensorRef};
use crate::spaces::space::SearchSpace;
use serde::{Serialize, Serializer};

/// What is elastic in a space besides the resolution.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Elasticity {
    /// The blocks with a choice of kernel size or of channels, in order of execution.
    #[serde(rename = "elastic")]
    pub blocks: Vec<BlockChoices>,
    /// The choices of every depth gene: how many blocks a stage keeps.
    #[serde(serialize_with = "as_lists")]
    pub depths: Vec<Vec<f64>>,
    /// The choices of every width gene.
    #[serde(serialize_with = "as_lists", skip_serializing_if = "Vec::is_empty")]
    pub widths: Vec<Vec<f64>>,
    /// Genes that vary something else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<OtherChoices>,
}

/// The choices of one block. One value is no choice.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BlockChoices {
    /// Name of the block.
    pub block: String,
    /// Sizes of its kernel, ascending; empty if the space has no gene for it.
    #[serde(serialize_with = "as_list")]
    pub kernel_sizes: Vec<f64>,
    /// Expansions, ascending, in the unit of the space's archs; empty if the space has no gene for it.
    #[serde(serialize_with = "as_list")]
    pub expand_ratios: Vec<f64>,
}

/// The choices of a gene that is neither of a block nor of a stage.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OtherChoices {
    /// Group and index of the gene, such as `w[3]`.
    pub gene: String,
    /// Its values, ascending.
    #[serde(serialize_with = "as_list")]
    pub choices: Vec<f64>,
}

fn as_list<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| number(*value)))
}

fn as_lists<S: Serializer>(lists: &[Vec<f64>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(lists.iter().map(|values| values.iter().map(|value| number(*value)).collect::<Vec<_>>()))
}

impl Elasticity {
    /// What is elastic in a space, found from its genes and from what each of them changes in the largest network.
    ///
    /// # Errors
    /// What [`SearchSpace::resolve`] reports.
    pub fn of(space: &dyn SearchSpace) -> Result<Self, SpaceError> {
        let genes = &space.info().genes;
        let max = space.max_arch();
        let largest = space.resolve(&max)?;
        let unchosen = |block: &Block| BlockChoices {
            block: block.name.clone(),
            kernel_sizes: Vec::new(),
            expand_ratios: Vec::new(),
        };
        let mut blocks: Vec<BlockChoices> = largest.blocks.iter().map(unchosen).collect();
        for gene in genes.iter().filter(|gene| is_of_a_block(gene)) {
            let Some(varied) = with_choices(genes, gene) else { continue };
            let mut choices = max.choices().to_vec();
            choices[varied] = 0;
            let changed = space.resolve(&space.arch(choices, max.resolution())?)?;
            for known in blocks.iter_mut().filter(|known| reads_otherwise(&largest, &changed, &known.block)) {
                match gene.dimension {
                    Dimension::KernelSize => known.kernel_sizes = gene.choices.clone(),
                    _ => known.expand_ratios = gene.choices.clone(),
                }
            }
        }
        blocks.retain(|block| !block.kernel_sizes.is_empty() || !block.expand_ratios.is_empty());
        let others = of_dimension(genes, Dimension::Other)
            .map(|gene| OtherChoices { gene: gene.place(), choices: gene.choices.clone() })
            .collect();
        let lists = |dimension| of_dimension(genes, dimension).map(|gene| gene.choices.clone()).collect();
        Ok(Self { blocks, depths: lists(Dimension::Depth), widths: lists(Dimension::Width), others })
    }
}

fn is_of_a_block(gene: &Gene) -> bool {
    matches!(gene.dimension, Dimension::KernelSize | Dimension::Expansion)
}

/// Position of a gene with more than one choice that changes the same block: the gene itself, or the one of the other
/// dimension at the same index.
fn with_choices(genes: &[Gene], gene: &Gene) -> Option<usize> {
    let same_block = |other: &Gene| is_of_a_block(other) && other.index == gene.index && other.choices.len() > 1;
    let own = genes.iter().position(|other| same_block(other) && other.dimension == gene.dimension);
    own.or_else(|| genes.iter().position(same_block))
}

fn of_dimension(genes: &[Gene], dimension: Dimension) -> impl Iterator<Item = &Gene> {
    genes.iter().filter(move |gene| gene.dimension == dimension)
}

/// Whether a block reads other tensors, or other parts of them, in one network than in the other.
fn reads_otherwise(one: &NetSpec, other: &NetSpec, name: &str) -> bool {
    fn tensors<'a>(net: &'a NetSpec, name: &str) -> Option<Vec<&'a TensorRef>> {
        let block: &Block = net.blocks.iter().find(|block| block.name == name)?;
        Some(block.ops.iter().flat_map(|op| op.kind.tensors()).map(|(_, tensor)| tensor).collect())
    }
    tensors(one, name) != tensors(other, name)
}
