//! Choosing a compute backend at run time: `flex` (default), `tch`, `tch:cuda:0`, `cuda:0`, `wgpu`.

pub use burn::tensor::Device;
use serde::Serialize;

/// A backend that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Not a backend's name.
    #[error("unknown backend `{name}`; expected flex, tch, tch:cuda:N, cuda:N or wgpu")]
    Unknown {
        /// The name given.
        name: String,
    },
    /// A backend that this binary was built without.
    #[error(
        "this binary was built without the `{feature}` backend; build with `--features {feature}` (docs/backends.md)"
    )]
    NotBuilt {
        /// The cargo feature to enable.
        feature: &'static str,
    },
    /// A backend for which something is missing on this machine.
    #[error("backend `{name}` cannot be used here: {problem}")]
    Missing {
        /// The name given.
        name: String,
        /// What is missing, and what to do.
        problem: String,
    },
}

/// A backend, and what can be used of it here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// Its name, which is also that of its cargo feature.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Whether this binary has it.
    pub built: bool,
    /// Names for `--backend` that work on this machine.
    pub devices: Vec<String>,
    /// Why there are none, if this binary has it.
    pub problem: Option<String>,
}

/// A backend's name, taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Choice {
    Flex,
    Tch,
    TchCuda(usize),
    Cuda(usize),
    Wgpu,
}

impl Choice {
    fn parse(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split(':').collect();
        Some(match parts[..] {
            ["flex"] | ["flex", "0"] => Self::Flex,
            ["tch"] | ["tch", "0"] | ["tch", "cpu"] => Self::Tch,
            ["tch", "cuda"] => Self::TchCuda(0),
            ["tch", "cuda", index] => Self::TchCuda(index.parse().ok()?),
            ["cuda"] => Self::Cuda(0),
            ["cuda", index] => Self::Cuda(index.parse().ok()?),
            ["wgpu"] | ["wgpu", "0"] => Self::Wgpu,
            _ => return None,
        })
    }
}

/// The device of `--backend`, without automatic differentiation.
///
/// # Errors
/// [`BackendError`] if the name is unknown, its feature is not built in, or its driver, toolkit or device is missing.
pub fn open(name: &str) -> Result<Device, BackendError> {
    let choice = Choice::parse(name).ok_or_else(|| BackendError::Unknown { name: name.to_owned() })?;
    let opened = match choice {
        Choice::Flex => flex::open(),
        Choice::Tch => tch::open(),
        Choice::TchCuda(index) => tch::open_cuda(index),
        Choice::Cuda(index) => cuda::open(index),
        Choice::Wgpu => wgpu::open(),
    };
    opened.map_err(|refusal| match refusal {
        Refusal::NotBuilt(feature) => BackendError::NotBuilt { feature },
        Refusal::Missing(problem) => BackendError::Missing { name: name.to_owned(), problem },
    })
}

/// Every backend that exists, whether this binary has it or not.
pub fn backends() -> Vec<Backend> {
    let backend = |name, about, names: &[String]| {
        let mut backend = Backend { name, about, built: true, devices: Vec::new(), problem: None };
        for name in names {
            match open(name) {
                Ok(_) => backend.devices.push(name.clone()),
                Err(BackendError::NotBuilt { .. }) => backend.built = false,
                Err(BackendError::Missing { problem, .. }) => backend.problem = Some(problem),
                Err(other) => backend.problem = Some(other.to_string()),
            }
        }
        backend.problem = backend.problem.filter(|_| backend.devices.is_empty());
        backend
    };
    let numbered = |prefix: &str, count: usize| -> Vec<String> {
        // One that is missing is asked for too, for the reason.
        (0..count.max(1)).map(|index| format!("{prefix}:{index}")).collect()
    };
    let tch = [vec!["tch".to_owned()], (0..tch::gpus()).map(|index| format!("tch:cuda:{index}")).collect()].concat();
    vec![
        backend("flex", "CPU, with kernels of this workspace", &["flex".to_owned()]),
        backend("tch", "LibTorch, on the CPU and on NVIDIA GPUs", &tch),
        backend("cuda", "NVIDIA GPUs", &numbered("cuda", cuda::gpus())),
        backend("wgpu", "GPUs through Vulkan, Metal or DirectX 12", &["wgpu".to_owned()]),
    ]
}

/// Why a backend is not opened.
enum Refusal {
    #[cfg_attr(all(feature = "flex", feature = "tch", feature = "cuda", feature = "wgpu"), expect(dead_code))]
    NotBuilt(&'static str),
    #[cfg_attr(not(any(feature = "tch", feature = "cuda", feature = "wgpu")), expect(dead_code))]
    Missing(String),
}

/// What is wrong with the number of a GPU, of which there are so many.
#[cfg(any(feature = "tch", feature = "cuda"))]
fn no_such_gpu(index: usize, count: usize) -> Refusal {
    let gpus = if count == 1 { "1 GPU, number 0".to_owned() } else { format!("{count} GPUs, numbered from 0") };
    Refusal::Missing(format!("there is no GPU {index}; this machine has {gpus}"))
}

mod flex {
    use super::{Device, Refusal};

    #[cfg(feature = "flex")]
    pub fn open() -> Result<Device, Refusal> {
        Ok(Device::flex())
    }

    #[cfg(not(feature = "flex"))]
    pub fn open() -> Result<Device, Refusal> {
        Err(Refusal::NotBuilt("flex"))
    }
}

#[cfg(feature = "tch")]
mod tch {
    #![expect(
        deprecated,
        reason = "Burn 0.22 announces the end of its LibTorch backend, and has no other way to LibTorch"
    )]

    use super::{Device, Refusal, no_such_gpu};
    use burn::tensor::DeviceType;

    pub fn open() -> Result<Device, Refusal> {
        Ok(Device::libtorch())
    }

    pub fn open_cuda(index: usize) -> Result<Device, Refusal> {
        match gpus() {
            0 => Err(Refusal::Missing(
                "LibTorch finds no NVIDIA GPU; it needs an NVIDIA driver (`nvidia-smi` lists the GPUs) and a LibTorch \
                 built for CUDA, which it has to be linked with"
                    .to_owned(),
            )),
            count if index >= count => Err(no_such_gpu(index, count)),
            _ => Ok(Device::libtorch_cuda(index)),
        }
    }

    /// Burn lists LibTorch's GPUs, and the CPU where there are none.
    pub fn gpus() -> usize {
        let devices = Device::enumerate(DeviceType::LibTorch).into_vec();
        devices.iter().filter(|device| **device != Device::libtorch()).count()
    }
}

#[cfg(not(feature = "tch"))]
mod tch {
    use super::{Device, Refusal};

    pub fn open() -> Result<Device, Refusal> {
        Err(Refusal::NotBuilt("tch"))
    }

    pub fn open_cuda(_index: usize) -> Result<Device, Refusal> {
        open()
    }

    pub fn gpus() -> usize {
        0
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use super::{Device, Refusal, no_such_gpu};
    use burn::tensor::DeviceType;
    use std::path::{Path, PathBuf};

    pub fn open(index: usize) -> Result<Device, Refusal> {
        match gpus() {
            0 => Err(Refusal::Missing(
                "no NVIDIA GPU was found; it needs an NVIDIA driver (libcuda; `nvidia-smi` lists the GPUs)".to_owned(),
            )),
            count if index >= count => Err(no_such_gpu(index, count)),
            _ if libdevice().is_none() => Err(Refusal::Missing(
                "nvvm/libdevice/libdevice.10.bc of the CUDA toolkit was not found, which kernels are linked with; install \
                 the toolkit and set CUDA_PATH to its folder"
                    .to_owned(),
            )),
            _ => Ok(Device::cuda(index)),
        }
    }

    pub fn gpus() -> usize {
        Device::enumerate(DeviceType::Cuda).into_vec().len()
    }

    /// Where CubeCL looks for it (`libdevice.rs` of `cubecl-llvm`).
    fn libdevice() -> Option<PathBuf> {
        let set = std::env::var_os("CUDA_PATH").map(PathBuf::from);
        let known = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda", "/usr"].map(PathBuf::from);
        let in_toolkit = |root: &Path| Some(root.join("nvvm/libdevice/libdevice.10.bc")).filter(|file| file.is_file());
        match set {
            Some(root) => in_toolkit(&root),
            None => known.iter().find_map(|root| in_toolkit(root)),
        }
    }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use super::{Device, Refusal};

    pub fn open(_index: usize) -> Result<Device, Refusal> {
        Err(Refusal::NotBuilt("cuda"))
    }

    pub fn gpus() -> usize {
        0
    }
}

#[cfg(feature = "wgpu")]
mod wgpu {
    use super::{Device, Refusal};
    use burn::tensor::{DeviceKind, DeviceType};

    pub fn open() -> Result<Device, Refusal> {
        if Device::enumerate(DeviceType::Wgpu).into_vec().is_empty() {
            let problem = "no driver for Vulkan, Metal or DirectX 12 was found; install the one of the GPU (on Debian, \
                           mesa-vulkan-drivers, which also has one for CPUs)";
            return Err(Refusal::Missing(problem.to_owned()));
        }
        Ok(Device::wgpu(DeviceKind::DefaultDevice))
    }
}

#[cfg(not(feature = "wgpu"))]
mod wgpu {
    use super::{Device, Refusal};

    pub fn open() -> Result<Device, Refusal> {
        Err(Refusal::NotBuilt("wgpu"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_backends() {
        let known = [
            ("flex", Choice::Flex),
            ("tch", Choice::Tch),
            ("tch:cuda", Choice::TchCuda(0)),
            ("tch:cuda:3", Choice::TchCuda(3)),
            ("cuda", Choice::Cuda(0)),
            ("cuda:1", Choice::Cuda(1)),
            ("wgpu", Choice::Wgpu),
        ];
        for (name, choice) in known {
            assert_eq!(Choice::parse(name), Some(choice), "{name}");
        }
        for name in ["", "cpu", "cuda:", "cuda:x", "cuda:-1", "tch:1", "tch:cuda:0:0", "flex:1", "wgpu:1"] {
            assert_eq!(Choice::parse(name), None, "{name}");
            assert!(matches!(open(name), Err(BackendError::Unknown { .. })), "{name}");
        }
    }

    #[test]
    fn every_backend_is_usable_or_has_a_reason() {
        let backends = backends();
        let names: Vec<&str> = backends.iter().map(|backend| backend.name).collect();
        assert_eq!(names, ["flex", "tch", "cuda", "wgpu"]);
        for Backend { name, built, devices, problem, .. } in backends {
            assert_eq!(built, !devices.is_empty() || problem.is_some(), "{name}: {devices:?} {problem:?}");
            assert!(devices.is_empty() || problem.is_none(), "{name}");
            assert!(devices.iter().all(|device| open(device).is_ok()), "{name}");
        }
    }
}
