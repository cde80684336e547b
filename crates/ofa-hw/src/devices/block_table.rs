//! A profile of `ofa profile`: every block of a space timed on one device, and what turns their sum into the time of a
//! whole network.

use crate::backend::{Arithmetic, HardwareBackend, LatencySource};
use crate::block_key;
use crate::devices::profile::DeviceProfile;
use crate::devices::whole_net::WholeNet;
use crate::error::HwError;
use ofa_space::settings::{self, Checked, InvalidSetting, Settings};
use ofa_space::{Block, NetSpec};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// A measured table as a device, made from a [`BlockProfile`]. A block that was not measured is an error: nothing is
/// interpolated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "BlockProfile", into = "BlockProfile")]
pub struct BlockTable {
    profile: Checked<BlockProfile>,
    by_hash: HashMap<u64, f64>,
}

/// The fields of a measured table.
///
/// | name | default | purpose | range |
/// |---|---|---|---|
/// | `format` | | version of the block names | 1 |
/// | `name`, `about` | empty | for listings | |
/// | `arithmetic` | `f32` | type of the numbers that the device computes in | `f32`, `f16`, `int8` |
/// | `space` | | the space whose blocks were timed, for messages | |
/// | `runtime`, `threads` | | what timed them: results of others are never mixed in | |
/// | `rounds` | | timed runs of each block | ≥ 1 |
/// | `whole_net` | sum alone | from block times to a network's time, fitted on whole networks | |
/// | `blocks` | | milliseconds by block name | ≥ 0 |
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
    /// Type of the numbers that the device computes in.
    #[serde(default, skip_serializing_if = "Arithmetic::is_f32")]
    pub arithmetic: Arithmetic,
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
        table.profile.into_inner()
    }
}

impl Settings for BlockProfile {
    fn check(&self) -> Result<(), InvalidSetting> {
        if self.format != block_key::KEY_VERSION {
            let (found, read) = (self.format, block_key::KEY_VERSION);
            let problem = format!("is {found}, this version reads {read}: measure again with `ofa profile`");
            return Err(InvalidSetting::new("format", problem));
        }
        self.whole_net.check().map_err(|e| e.within("whole_net"))?;
        for (key, ms) in &self.blocks {
            if block_key::parse(key).is_none() {
                let problem = format!("holds `{key}`, expected a name ending in # and 16 digits");
                return Err(InvalidSetting::new("blocks", problem));
            }
            settings::number(key, *ms, 0.0..f64::INFINITY).map_err(|e| e.within("blocks"))?;
        }
        match self.blocks.is_empty() {
            true => Err(InvalidSetting::new("blocks", "is empty, expected milliseconds by block name")),
            false => Ok(()),
        }
    }
}

impl TryFrom<BlockProfile> for BlockTable {
    type Error = InvalidSetting;

    fn try_from(profile: BlockProfile) -> Result<Self, InvalidSetting> {
        let profile = profile.checked()?;
        let by_hash = profile.blocks.iter().filter_map(|(key, ms)| Some((block_key::parse(key)?, *ms))).collect();
        Ok(Self { profile, by_hash })
    }
}

impl BlockTable {
    /// The fields of the table.
    pub fn profile(&self) -> &BlockProfile {
        &self.profile
    }

    /// The same table with another correction of the whole network.
    ///
    /// # Errors
    /// [`InvalidSetting`] for a correction that is not one.
    pub(crate) fn with_whole_net(&self, whole_net: WholeNet) -> Result<Self, InvalidSetting> {
        Self::try_from(BlockProfile { whole_net, ..self.profile.clone().into_inner() })
    }

    /// Writes [`to_toml`](Self::to_toml), whole or not at all.
    ///
    /// # Errors
    /// [`HwError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), HwError> {
        self.commented().save(path)
    }

    /// The table as the text of a device profile, with a comment on what its numbers are.
    ///
    /// # Errors
    /// As [`DeviceProfile::to_toml`].
    pub fn to_toml(&self) -> Result<String, HwError> {
        self.commented().to_toml()
    }

    fn commented(&self) -> DeviceProfile {
        let mut comment =
            "Written by `ofa profile`. Milliseconds of every block of the space, each on its own.\n".to_owned();
        let whole = self.profile.whole_net;
        comment += &match whole.nets {
            0 => "A network's latency is the plain sum over its blocks.".to_owned(),
            nets => format!(
                "A network's latency is fixed_ms + scale x sum + per_block_ms x blocks + per_mib_ms x MiB across block \
                 borders;\nthe coefficients were fitted on {nets} random networks measured whole, mean error {:.1} %.",
                100.0 * whole.mape
            ),
        };
        DeviceProfile { device: Arc::new(self.clone()), comment }
    }

    /// Milliseconds of one block on its own.
    ///
    /// # Errors
    /// [`HwError::MissingKey`] if it was not measured.
    pub fn block_alone_ms(&self, block: &Block) -> Result<f64, HwError> {
        self.by_hash.get(&block_key::hash(block)).copied().ok_or_else(|| HwError::MissingKey {
            table: format!("the profile of {} for `{}`", self.profile.name, self.profile.space),
            key: block_key::key(block),
            block: block.name.clone(),
        })
    }
}

#[typetag::serde(name = "block-table")]
impl HardwareBackend for BlockTable {
    fn block_ms(&self, net: &NetSpec, block: usize) -> Result<Option<f64>, HwError> {
        let block = &net.blocks[block];
        Ok(Some(self.profile.whole_net.share(block, self.block_alone_ms(block)?)))
    }

    // Added up as profiles have been since their first version: other orders round differently.
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError> {
        let times = net.blocks.iter().map(|block| self.block_alone_ms(block)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.profile.whole_net.predict(&net.blocks, &times))
    }

    fn fixed_ms(&self) -> f64 {
        self.profile.whole_net.fixed_ms
    }

    fn least_ms(&self) -> f64 {
        self.profile.whole_net.least_ms
    }

    fn arithmetic(&self) -> Arithmetic {
        self.profile.arithmetic
    }

    fn source(&self) -> LatencySource {
        LatencySource::Table
    }
}
