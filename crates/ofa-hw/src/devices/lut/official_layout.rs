//! Writing a measured profile in the layout of the published tables.

use crate::devices::block_table::BlockTable;
use crate::devices::lut::keys::Dialect;
use crate::error::HwError;
use crate::profiling::reachable;
use ofa_space::{BlockKind, SearchSpace};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The profile as a YAML table with the keys of the authors' Note10 tables, for all resolutions in one file.
///
/// The layout is a plain sum over blocks, so the correction of the whole network is shared out: every entry is scaled and
/// corrected, and the fixed cost goes to the first convolution, which every network has once.
///
/// # Errors
/// [`HwError::Layout`] if two different blocks have the same key in this layout; [`HwError`] if a block is missing.
pub fn yaml(table: &BlockTable, space: &dyn SearchSpace) -> Result<String, HwError> {
    let whole = table.profile().whole_net;
    let mut entries: BTreeMap<String, (f64, String)> = BTreeMap::new();
    for block in reachable::blocks(space, &space.info().resolutions)? {
        let Some(key) = Dialect::Note10.key(&block, block.input) else { continue };
        let fixed = if matches!(block.kind, BlockKind::Stem { .. }) { whole.fixed_ms } else { 0.0 };
        let own = whole.share(&block, table.block_alone_ms(&block)?);
        let ms = (own + fixed).max(0.0);
        let name = crate::block_key::key(&block);
        if let Some((_, other)) = entries.insert(key.clone(), (ms, name.clone())) {
            return Err(HwError::Layout(format!("`{key}` would stand for both `{other}` and `{name}`")));
        }
    }
    let mut text = String::new();
    for (key, (ms, _)) in entries {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key}:\n  count: {}\n  mean: {ms}", table.profile().rounds);
    }
    Ok(text)
}
