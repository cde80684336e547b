//! Choosing a compute backend at run time: `flex` (default), `tch`, `cuda:0`, `wgpu`.

pub use burn::tensor::Device;

/// A backend that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Not a backend's name.
    #[error("unknown backend `{name}`; expected flex, tch, cuda, cuda:N or wgpu")]
    Unknown {
        /// The name given.
        name: String,
    },
    /// A backend that this binary was built without.
    #[error("this binary was built without the `{feature}` backend; build with `--features {feature}`")]
    NotBuilt {
        /// The cargo feature to enable.
        feature: &'static str,
    },
}

/// The device of `--backend`, without automatic differentiation.
///
/// # Errors
/// [`BackendError`] if the name is unknown or its feature is not built in.
pub fn open(name: &str) -> Result<Device, BackendError> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => {
            let index = index.parse::<usize>().map_err(|_| BackendError::Unknown { name: name.to_owned() })?;
            (kind, index)
        }
        None => (name, 0),
    };
    match kind {
        "flex" if index == 0 => flex(),
        "tch" if index == 0 => tch(),
        "cuda" => cuda(index),
        "wgpu" if index == 0 => wgpu(),
        _ => Err(BackendError::Unknown { name: name.to_owned() }),
    }
}

#[cfg(feature = "flex")]
fn flex() -> Result<Device, BackendError> {
    Ok(Device::flex())
}

#[cfg(not(feature = "flex"))]
fn flex() -> Result<Device, BackendError> {
    Err(BackendError::NotBuilt { feature: "flex" })
}

#[cfg(feature = "tch")]
fn tch() -> Result<Device, BackendError> {
    Ok(Device::libtorch())
}

#[cfg(not(feature = "tch"))]
fn tch() -> Result<Device, BackendError> {
    Err(BackendError::NotBuilt { feature: "tch" })
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<Device, BackendError> {
    Ok(Device::cuda(index))
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize) -> Result<Device, BackendError> {
    Err(BackendError::NotBuilt { feature: "cuda" })
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Device, BackendError> {
    Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
}

#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<Device, BackendError> {
    Err(BackendError::NotBuilt { feature: "wgpu" })
}
