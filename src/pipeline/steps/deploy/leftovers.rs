//! What an earlier deployment left in the folder of networks, or somebody put there.

use crate::failure::Failure;
use crate::pipeline::folder::RunFolder;
use crate::pipeline::folder::layout::NETS;
use crate::pipeline::steps::Step;
use crate::pipeline::steps::deploy::Deployed;
use crate::pipeline::steps::deploy::exporting::DEVICE_PRECISIONS;
use ofa_space::input_file;

/// Leaves in the folder of networks those that are delivered, and nothing else: what an earlier deployment wrote is removed,
/// and what is unknown is moved aside. Returns where to, if anything was.
pub fn sweep(folder: &RunFolder, deployed: &Deployed, earlier: &[String]) -> Result<Option<String>, Failure> {
    let wanted = deployed.files();
    let path = folder.path(NETS);
    let entries = std::fs::read_dir(&path).map_err(|e| Failure::Running(format!("{}: {e}", path.display())))?;
    let mut moved = None;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let file = format!("{NETS}/{name}");
        if wanted.contains(&file) || is_beside_one(&file, &wanted) {
            continue;
        }
        // Temporary files are left where writing was cut off.
        let cut_off = name.starts_with(".tmp") || name.starts_with(".ofa-");
        if (earlier.contains(&file) || cut_off) && entry.path().is_file() {
            std::fs::remove_file(entry.path()).map_err(|e| Failure::writing(&entry.path(), e))?;
            continue;
        }
        let aside = match &moved {
            Some(aside) => aside,
            None => moved.insert(folder.new_aside(NETS)?),
        };
        let to = folder.path(aside).join(&name);
        std::fs::rename(entry.path(), &to).map_err(|e| Failure::writing(&to, e))?;
    }
    Ok(moved)
}

/// Whether a file is a delivered network in another precision.
fn is_beside_one(file: &str, delivered: &[String]) -> bool {
    DEVICE_PRECISIONS.iter().any(|precision| {
        let stem = file.strip_suffix(&format!(".{precision}.onnx"));
        stem.is_some_and(|stem| delivered.contains(&format!("{stem}.onnx")))
    })
}

/// Networks that a deployment delivered, by its result in the folder, whatever version wrote it.
pub fn delivered_before(folder: &RunFolder) -> Vec<String> {
    let text = input_file::read_text(&folder.path("deploy.json"), input_file::LARGEST_RECORDS).unwrap_or_default();
    let by_result = serde_json::from_str::<Deployed>(&text).map(|deployed| deployed.files()).unwrap_or_default();
    folder.written_by(Step::Deploy).into_iter().chain(by_result).collect()
}
