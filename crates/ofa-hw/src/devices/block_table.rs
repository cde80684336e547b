//! A profile of `ofa profile`: every block of a space timed on one device, and what turns their sum into the time of a
//! whole network.

use crate::backend::{HardwareBackend, LatencySource};
use crate::block_key;
use crate::devices::whole_net::WholeNet;
use crate::error::HwError;
use ofa_space::{Block, NetSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// A measured table as a device. A block that was not measured is an error, never a guess.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `format` | | version of the block names | 1 |
/// | `name`, `about` | empty | for listings | |
/// | `space` | | the space whose blocks were timed, for messages | |
/// | `runtime`, `threads` | | what timed them: results of others are never mixed in | |
/// | `rounds` | | timed runs of each block | ≥ 1 |
/// | `whole_net` | sum alone | from block times to a network's time, fitted on whole networks | |
/// | `blocks` | | milliseconds by block name | ≥ 0 |
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "BlockProfile", into = "BlockProfile")]
pub struct BlockTable {
    profile: BlockProfile,
    by_hash: HashMap<u64, f64>,
}

/// What stands in a profile, unchecked.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockProfile {
    /// Version of the block names.
    pub format: u32,
    /// Name for listings.
    #[serde(default)]
    pub name: String,
    /// One line for listings.
    #[serde(default)]
    pub about: String,
    /// The space whose blocks were timed.
    pub space: String,
    /// Name and version of the runtime.
    pub runtime: String,
    /// Its threads.
    pub threads: usize,
    /// Timed runs of each block.
    pub rounds: usize,
    /// From block times to a network's time.
    #[serde(default)]
    pub whole_net: WholeNet,
    /// Milliseconds by block name.
    pub blocks: BTreeMap<String, f64>,
}

impl From<BlockTable> for BlockProfile {
    fn from(table: BlockTable) -> Self {
        table.profile
    }
}

impl TryFrom<BlockProfile> for BlockTable {
    type Error = String;

    fn try_from(profile: BlockProfile) -> Result<Self, String> {
        if profile.format != block_key::KEY_VERSION {
            return Err(format!(
                "`format` is {}, this version reads {}: measure again with `ofa profile`",
                profile.format,
                block_key::KEY_VERSION
            ));
        }
        profile.whole_net.check()?;
        let mut by_hash = HashMap::with_capacity(profile.blocks.len());
        for (key, ms) in &profile.blocks {
            let hash = block_key::parse(key)
                .ok_or_else(|| format!("`blocks` holds `{key}`, expected a name ending in # and 16 digits"))?;
            if !(*ms >= 0.0 && ms.is_finite()) {
                return Err(format!("`blocks.\"{key}\"` is {ms}, expected 0 or more"));
            }
            by_hash.insert(hash, *ms);
        }
        match by_hash.is_empty() {
            true => Err("`blocks` is empty, expected milliseconds by block name".into()),
            false => Ok(Self { profile, by_hash }),
        }
    }
}

impl BlockTable {
    /// What stands in the profile.
    pub fn profile(&self) -> &BlockProfile {
        &self.profile
    }

    /// The same table with another correction of the whole network.
    pub(crate) fn with_whole_net(&self, whole_net: WholeNet) -> Self {
        Self { profile: BlockProfile { whole_net, ..self.profile.clone() }, by_hash: self.by_hash.clone() }
    }

    /// Milliseconds of one block on its own.
    ///
    /// # Errors
    /// [`HwError::MissingKey`] if it was not measured.
    pub fn block_ms(&self, block: &Block) -> Result<f64, HwError> {
        self.by_hash.get(&block_key::hash(block)).copied().ok_or_else(|| HwError::MissingKey {
            table: format!("the profile of {} for `{}`", self.profile.name, self.profile.space),
            key: block_key::key(block),
            block: block.name.clone(),
        })
    }
}

#[typetag::serde(name = "block-table")]
impl HardwareBackend for BlockTable {
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError> {
        let times = net.blocks.iter().map(|block| self.block_ms(block)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.profile.whole_net.predict(&net.blocks, &times))
    }

    fn source(&self) -> LatencySource {
        LatencySource::Table
    }
}
