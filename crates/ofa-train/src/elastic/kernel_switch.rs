//! Whether blocks run as single operations of the backend, or as Burn's elementary ones.

use std::sync::OnceLock;

/// `OFA_KERNELS=off` runs the plain bodies, against which the others are tested.
pub fn enabled() -> bool {
    static ENABLED: OnceLock<bool> = OnceLock::new();
    *ENABLED.get_or_init(|| std::env::var("OFA_KERNELS").map_or(true, |value| value != "off"))
}
