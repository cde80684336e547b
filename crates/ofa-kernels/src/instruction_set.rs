//! Which instruction set the kernels use: the widest that the processor has, or one that is forced.
//!
//! The environment variable `OFA_KERNELS` forces one for a whole process: `scalar`, `avx2`, `avx512` or `amx`. Any other value, and
//! a set that the processor lacks, leaves the choice to detection ([`in_use`] returns the outcome). The `gemm` crate, which
//! multiplies the small matrices of gradients and gates, detects for itself.

#[cfg(target_arch = "x86_64")]
use crate::gemm::amx;
use pulp::Arch;
use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum InstructionSet {
    /// No vectors beyond what the target always has.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, CD, DQ and VL; for products in bf16 also AVX-512 BF16, where the processor has it.
    Avx512,
    /// The same with AMX for products in bf16.
    Amx,
    /// NEON.
    Neon,
}

/// A forced set is held as its number in [`InstructionSet::ALL`].
static CHOICE: AtomicU8 = AtomicU8::new(UNREAD);
/// The environment has not been read yet.
const UNREAD: u8 = u8::MAX;
/// Whatever is detected.
const DETECTED: u8 = u8::MAX - 1;

impl InstructionSet {
    /// Every set, on whatever processor.
    pub const ALL: [Self; 5] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Amx, Self::Neon];

    /// The name, as `OFA_KERNELS` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
            Self::Neon => "neon",
        }
    }

    /// The sets that this processor has.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|set| set.arch().is_some()).collect()
    }

    fn arch(self) -> Option<Arch> {
        match self {
            Self::Scalar => Some(Arch::Scalar),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().map(Arch::V3),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().map(Arch::V4),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => pulp::x86::V4::try_new().filter(|_| amx::is_available()).map(Arch::V4),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => pulp::aarch64::Neon::try_new().map(Arch::Neon),
            #[allow(unreachable_patterns, reason = "sets of other processors")]
            _ => None,
        }
    }
}

/// Makes all kernels of this process use one instruction set from now on, or with `None` the detected one again. Returns
/// whether the processor has it; if not, nothing changes.
///
/// Meant for tests: results of different sets agree to rounding only, so a set must not change while work is under way
/// whose parts are compared bit for bit.
pub fn force(set: Option<InstructionSet>) -> bool {
    let choice = match set {
        None => DETECTED,
        Some(set) if set.arch().is_some() => number(set),
        Some(_) => return false,
    };
    CHOICE.store(choice, Ordering::Relaxed);
    true
}

/// The instruction set that the kernels use.
pub fn in_use() -> InstructionSet {
    match arch() {
        Arch::Scalar => InstructionSet::Scalar,
        #[cfg(target_arch = "x86_64")]
        Arch::V3(_) => InstructionSet::Avx2,
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) if CHOICE.load(Ordering::Relaxed) != number(InstructionSet::Avx512) && amx::is_available() => {
            InstructionSet::Amx
        }
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => InstructionSet::Avx512,
        #[cfg(target_arch = "aarch64")]
        Arch::Neon(_) => InstructionSet::Neon,
        _ => InstructionSet::Scalar,
    }
}

/// What the kernels dispatch on.
#[inline]
pub(crate) fn arch() -> Arch {
    match CHOICE.load(Ordering::Relaxed) {
        DETECTED => Arch::new(),
        choice => chosen(choice),
    }
}

#[cold]
fn chosen(choice: u8) -> Arch {
    let choice = if choice == UNREAD { read_environment() } else { choice };
    InstructionSet::ALL.get(usize::from(choice)).and_then(|set| set.arch()).unwrap_or_default()
}

fn read_environment() -> u8 {
    let value = std::env::var("OFA_KERNELS").unwrap_or_default();
    let named = InstructionSet::ALL.into_iter().find(|set| set.name() == value);
    let forced = named.filter(|set| set.arch().is_some());
    let choice = forced.map_or(DETECTED, number);
    // If another thread was faster, or a set was forced meanwhile, that choice stands.
    match CHOICE.compare_exchange(UNREAD, choice, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => choice,
        Err(earlier) => earlier,
    }
}

fn number(set: InstructionSet) -> u8 {
    set as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_asked_for_by_the_environment_is_used() {
        let asked = std::env::var("OFA_KERNELS").unwrap_or_default();
        match InstructionSet::available().into_iter().find(|set| set.name() == asked) {
            Some(set) => assert_eq!(in_use(), set),
            None => assert_eq!(Some(&in_use()), InstructionSet::available().last()),
        }
    }

    #[test]
    fn scalar_code_runs_everywhere() {
        assert_eq!(InstructionSet::available().first(), Some(&InstructionSet::Scalar));
        for (index, set) in InstructionSet::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(number(set)), index);
        }
    }
}
