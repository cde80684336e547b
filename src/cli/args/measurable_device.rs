//! `--device` where times are taken, not predicted.

use super::Failure;
use ofa_hw::devices::command::CommandDevice;
use ofa_hw::devices::host::Host;
use serde::Deserialize;

/// A device that takes times itself.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Measurable {
    /// This machine.
    Host(Host),
    /// A command of the user's.
    Command(CommandDevice),
}

/// The device of `--device`: `host`, or a profile of kind `host` or `command`.
pub fn measurable(device: &str) -> Result<Measurable, Failure> {
    if device == "host" {
        return Ok(Measurable::Host(Host::default()));
    }
    let unfit = |kind: &str| {
        Failure::Input(format!(
            "--device {device}: {kind}; only `host` and profiles of kind `host` or `command` can be measured, \
             `ofa latency` predicts others"
        ))
    };
    let path = ofa_hw::registry::profile_path(device).ok_or_else(|| unfit("is no profile"))?;
    let text =
        std::fs::read_to_string(&path).map_err(|e| Failure::Input(format!("cannot read {}: {e}", path.display())))?;
    let origin = path.display().to_string();
    // A device of any kind first, whose errors name the field.
    ofa_hw::registry::from_profile(&text, &origin)?;
    ofa_hw::devices::profile_text::read(&text, &origin).map_err(|_| unfit("is of another kind"))
}
