//! Running code with the vectors of an instruction set that is chosen at run time.

use crate::instruction_set::arch;

/// Runs a closure compiled for the widest vectors of this processor; mark the closure `#[inline(always)]`.
///
/// The bound matters: it makes the closure an `FnOnce` whose call is its body. Passed to pulp directly it would be an
/// `Fn`, whose `call_once` is a shim that is compiled without the vectors.
#[inline(always)]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    arch().dispatch(work)
}

/// Calls `$body` for blocks of channels: 32 wide, then 16, 8, and one by one.
macro_rules! for_channel_blocks {
    ($channels:expr, $block:ident, $at:ident => $body:expr) => {{
        let mut $at = 0;
        while $at + 32 <= $channels {
            const $block: usize = 32;
            $body;
            $at += 32;
        }
        while $at + 16 <= $channels {
            const $block: usize = 16;
            $body;
            $at += 16;
        }
        while $at + 8 <= $channels {
            const $block: usize = 8;
            $body;
            $at += 8;
        }
        while $at < $channels {
            const $block: usize = 1;
            $body;
            $at += 1;
        }
    }};
}
pub(crate) use for_channel_blocks;

/// `sums += values`.
pub fn add_to(sums: &mut [f32], values: &[f32]) {
    vectorised(
        #[inline(always)]
        || sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
    );
}
