//! Lookup tables in the published YAML formats: the latency of a network is the sum over its blocks.

pub mod keys;
pub mod official_layout;

use crate::backend::{HardwareBackend, LatencySource};
use crate::devices::lut::keys::Dialect;
use crate::devices::registry::DeviceEntry;
use crate::error::HwError;
use flate2::read::GzDecoder;
use ofa_space::Shape;
use ofa_space::{Block, BlockKind, NetSpec, input_file};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A device described by one table for all resolutions, or by one table per resolution.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "LutProfile", into = "LutProfile")]
pub struct Lut {
    name: String,
    path: PathBuf,
    /// By resolution; 0 for a table that serves all.
    tables: BTreeMap<u32, Table>,
}

/// The profile form: where the tables are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LutProfile {
    /// A YAML table or a folder of them.
    path: PathBuf,
}

impl TryFrom<LutProfile> for Lut {
    type Error = HwError;

    fn try_from(profile: LutProfile) -> Result<Self, HwError> {
        match profile.path.is_dir() {
            true => Self::from_folder(&profile.path),
            false => Self::from_file(&profile.path),
        }
    }
}

impl From<Lut> for LutProfile {
    fn from(lut: Lut) -> Self {
        Self { path: lut.path }
    }
}

/// One checked table.
#[derive(Clone, Debug)]
struct Table {
    origin: String,
    dialect: Dialect,
    mean: BTreeMap<String, f64>,
}

/// One entry; published tables also hold counts and spreads.
#[derive(Deserialize)]
struct Entry {
    mean: f64,
}

impl Table {
    fn parse(text: &str, origin: &str) -> Result<Self, HwError> {
        let bad = |problem: String| HwError::Profile { origin: origin.to_owned(), problem };
        let entries: BTreeMap<String, Entry> =
            serde_saphyr::from_str(text).map_err(|e| bad(format!("is not a latency table (key: {{mean: …}}): {e}")))?;
        let mut mean = BTreeMap::new();
        for (key, entry) in entries {
            if !(entry.mean >= 0.0 && entry.mean.is_finite()) {
                return Err(bad(format!("`{key}` has mean {}, expected 0 or more", entry.mean)));
            }
            mean.insert(key, entry.mean);
        }
        let dialect = Dialect::detect(mean.keys().map(String::as_str))
            .ok_or_else(|| bad("has neither `expanded_conv-…` nor `MBConv-…` keys".into()))?;
        Ok(Self { origin: origin.to_owned(), dialect, mean })
    }

    fn block(&self, block: &Block, unpooled: Shape) -> Result<Option<(String, f64)>, HwError> {
        let Some(key) = self.dialect.key(block, unpooled) else { return Ok(None) };
        match self.mean.get(&key) {
            Some(mean) => Ok(Some((key, *mean))),
            None => {
                let table = self.origin.clone();
                Err(HwError::MissingKey { table, key, block: block.name.clone() })
            }
        }
    }
}

impl Lut {
    /// One YAML table for every resolution it holds.
    ///
    /// # Errors
    /// [`HwError`] naming the file and key.
    pub fn from_file(path: &Path) -> Result<Self, HwError> {
        let text = input_file::read_text(path, input_file::LARGEST_TEXT).map_err(HwError::reading(path))?;
        let table = Table::parse(&text, &path.display().to_string())?;
        Ok(Self { name: path.display().to_string(), path: path.to_owned(), tables: BTreeMap::from([(0, table)]) })
    }

    /// A folder of tables called `<resolution>_lookup_table.yaml`, or with one table for all.
    ///
    /// # Errors
    /// [`HwError`] naming the file and key, or what the folder lacks.
    pub fn from_folder(path: &Path) -> Result<Self, HwError> {
        let io = HwError::reading(path);
        let mut tables = BTreeMap::new();
        for entry in std::fs::read_dir(path).map_err(&io)? {
            let file = entry.map_err(&io)?.path();
            if !file.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                continue;
            }
            let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            let resolution = stem.split('_').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            let text = input_file::read_text(&file, input_file::LARGEST_TEXT).map_err(HwError::reading(&file))?;
            tables.insert(resolution, Table::parse(&text, &file.display().to_string())?);
        }
        if tables.is_empty() {
            let problem = "holds no lookup tables (<resolution>_lookup_table.yaml)".to_owned();
            return Err(HwError::Profile { origin: path.display().to_string(), problem });
        }
        Ok(Self { name: path.display().to_string(), path: path.to_owned(), tables })
    }

    fn table(&self, net: &NetSpec) -> Result<&Table, HwError> {
        let resolution = net.input[1] as u32;
        self.tables.get(&resolution).or_else(|| self.tables.get(&0)).ok_or_else(|| {
            let available = self.tables.keys().copied().collect();
            HwError::MissingResolution { device: self.name.clone(), resolution, available }
        })
    }

    /// Every key looked up for a network, with its latency in milliseconds, in order.
    ///
    /// # Errors
    /// [`HwError::MissingKey`] or [`HwError::MissingResolution`].
    pub fn lookups(&self, net: &NetSpec) -> Result<Vec<(String, f64)>, HwError> {
        let table = self.table(net)?;
        let mut unpooled = net.input;
        let mut found = Vec::with_capacity(net.blocks.len());
        for block in &net.blocks {
            found.extend(table.block(block, unpooled)?);
            if block.kind != BlockKind::Pool {
                unpooled = block.output;
            }
        }
        Ok(found)
    }
}

#[typetag::serde(name = "lut")]
impl HardwareBackend for Lut {
    fn latency_ms(&self, net: &NetSpec) -> Result<f64, HwError> {
        Ok(self.lookups(net)?.into_iter().map(|(_, mean)| mean).sum())
    }

    fn source(&self) -> LatencySource {
        LatencySource::Table
    }

    fn block_ms(&self, net: &NetSpec, block: usize) -> Result<Option<f64>, HwError> {
        let before = net.blocks[..block].iter().rev().find(|b| b.kind != BlockKind::Pool);
        let unpooled = before.map_or(net.input, |b| b.output);
        Ok(Some(self.table(net)?.block(&net.blocks[block], unpooled)?.map_or(0.0, |(_, mean)| mean)))
    }
}

macro_rules! note10_tables {
    ($($resolution:literal),*) => {
        [$(($resolution, include_str!(concat!("../../../data/note10/", $resolution, "_lookup_table.yaml")))),*]
    };
}

fn note10() -> Result<Arc<dyn HardwareBackend>, HwError> {
    let texts = note10_tables!(160, 164, 168, 172, 176, 180, 184, 188, 192, 196, 200, 204, 208, 212, 216, 220, 224);
    let tables = texts
        .into_iter()
        .map(|(resolution, text)| Ok((resolution, Table::parse(text, &format!("note10 at {resolution} px"))?)))
        .collect::<Result<_, HwError>>()?;
    Ok(Arc::new(Lut { name: "note10".into(), path: "note10".into(), tables }))
}

fn i7_8700k() -> Result<Arc<dyn HardwareBackend>, HwError> {
    const ORIGIN: &str = "i7-8700k";
    let bytes: &[u8] = include_bytes!("../../../data/i7-8700k/i7-8700K_lut.yaml.gz");
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).map_err(HwError::reading(Path::new(ORIGIN)))?;
    let tables = BTreeMap::from([(0, Table::parse(&text, ORIGIN)?)]);
    Ok(Arc::new(Lut { name: ORIGIN.into(), path: ORIGIN.into(), tables }))
}

inventory::submit! {
    DeviceEntry {
        name: "note10",
        about: "Samsung Note10, the authors' tables (ms), 160-224 px, networks of ofa-mbv3-w1.2",
        source: LatencySource::Table,
        build: note10,
    }
}

inventory::submit! {
    DeviceEntry {
        name: "i7-8700k",
        about: "Intel i7-8700K, NSGANetV2's table (unit as published), 96-256 px, ofa-mbv3-w1.0 and -w1.2",
        source: LatencySource::Table,
        build: i7_8700k,
    }
}
