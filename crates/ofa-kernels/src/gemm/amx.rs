//! Products in bf16 by the tiles of AMX: sixteen pixels times sixteen columns, thirty-two values deep, in one instruction.
//!
//! The unit is described in the Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18. A process
//! has to ask Linux for it (`arch_prctl(2)`, `Documentation/arch/x86/xstate.rst`).
#![expect(unsafe_code, reason = "instructions without an intrinsic in stable Rust")]

use super::bf16::{DEEP, ROWS, Task, WIDTH};
use super::packed::UNIT;
use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// Pixels of a tile.
const HIGH: usize = 16;

/// Whether the processor has the unit, and the operating system lets this process use it.
pub fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| super::avx512::is_available() && has_tiles() && is_permitted())
}

fn has_tiles() -> bool {
    // Leaf 7: AMX-BF16 and AMX-TILE.
    let features = __cpuid_count(7, 0).edx;
    features & (1 << 22) != 0 && features & (1 << 24) != 0
}

/// Asks Linux for the tiles' state in this process.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: the call reads no memory of this process; `syscall` changes the registers named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// The form of all eight tiles: sixteen rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The unit, ready to multiply by a panel on this thread.
pub(super) struct Tiles<'a> {
    task: Task<'a>,
    /// Distance in bytes from a pixel to the values of each tile of depth.
    steps: Vec<usize>,
    /// The same in `gathered`, once it is used.
    gathered_steps: Vec<usize>,
    /// Pixels that do not lie at equal distances, `[ROWS, taps · padded]`.
    gathered: Vec<u16>,
    /// The state belongs to a thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl<'a> Tiles<'a> {
    /// # Panics
    /// If the processor lacks the unit.
    pub fn new(task: &Task<'a>) -> Self {
        assert!(is_available(), "a processor with AMX");
        // SAFETY: the configuration is a valid one of palette 1, and the process may use the unit.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly)) };
        let deep = task.padded / DEEP;
        let steps = task.taps.iter().flat_map(|tap| (0..deep).map(move |k| 2 * (tap + k * DEEP))).collect();
        let (gathered_steps, gathered) = (Vec::new(), Vec::new());
        Self { task: *task, steps, gathered_steps, gathered, _not_send: std::marker::PhantomData }
    }

    /// The sums of the pixels at some offsets, into rows of some length that begin with them.
    ///
    /// # Panics
    /// If there are fewer than [`ROWS`] rows, or they are shorter than the panel is wide.
    ///
    /// # Safety
    /// From every offset on, each tap has `padded` values.
    pub unsafe fn add_up(&mut self, offsets: &[usize; ROWS], sums: &mut [f32], row: usize) {
        let width = self.task.width();
        if self.steps.is_empty() {
            return sums.chunks_mut(row).take(ROWS).for_each(|sums| sums[..width].fill(0.0));
        }
        assert!(width <= row && sums.len() >= (ROWS - 1) * row + width, "room for the sums");
        let into = Rows { first: sums.as_mut_ptr(), bytes: 4 * row };
        let distance = offsets[1].wrapping_sub(offsets[0]);
        let is_even = |offsets: &[usize]| offsets.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == distance);
        let (above, below) = offsets.split_at(HIGH);
        let (pixels, distance, steps) = if is_even(above) && is_even(below) {
            let values = self.task.values.as_ptr();
            ([values.wrapping_add(above[0]), values.wrapping_add(below[0])], distance, &self.steps)
        } else {
            let depth = self.task.taps.len() * self.task.padded;
            if self.gathered.is_empty() {
                self.gathered = vec![0; ROWS * depth];
                self.gathered_steps = (0..depth / DEEP).map(|step| 2 * step * DEEP).collect();
            }
            for (offset, row) in offsets.iter().zip(self.gathered.chunks_exact_mut(depth)) {
                for (tap, row) in self.task.taps.iter().zip(row.chunks_exact_mut(self.task.padded)) {
                    row.copy_from_slice(&self.task.values[offset + tap..][..self.task.padded]);
                }
            }
            let values = self.gathered.as_ptr();
            ([values, values.wrapping_add(HIGH * depth)], depth, &self.gathered_steps)
        };
        let weight = self.task.weight.as_ptr();
        // SAFETY: the tiles are configured, and no other `Tiles` of this thread has released them: `Pairs::multiply` has one
        // at a time and calls nothing meanwhile that could run another. Sixteen rows are read from either pixel at the given
        // distance, which are the pixels at the offsets or their copies, and of each row 64 bytes for every step, which lie
        // within a tap's `padded` values; as many tiles of the weight as there are steps, which is what a panel has. The
        // room for the sums was checked above.
        unsafe {
            match width / UNIT {
                1 => narrow(pixels, 2 * distance, steps, weight, into),
                _ => wide(pixels, 2 * distance, steps, weight, into),
            }
        }
    }
}

impl Drop for Tiles<'_> {
    fn drop(&mut self) {
        // SAFETY: nothing is left in the tiles. Without their state, threads are switched faster.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Where sums go: the first row, and the bytes from row to row.
#[derive(Clone, Copy)]
struct Rows {
    first: *mut f32,
    bytes: usize,
}

/// Thirty-two pixels times a panel of two units.
unsafe fn wide(pixels: [*const u16; 2], distance: usize, steps: &[usize], weight: *const u16, into: Rows) {
    // SAFETY: as the caller grants.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "mov {at}, qword ptr [{step}]",
            "tileloadd tmm6, [{weight} + {weight_row}*1]",
            "lea {from}, [{above} + {at}]",
            "tileloadd tmm4, [{from} + {distance}*1]",
            "tileloadd tmm7, [{weight} + {weight_row}*1 + 64]",
            "lea {from}, [{below} + {at}]",
            "tileloadd tmm5, [{from} + {distance}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {weight}, 2048",
            "add {step}, 8",
            "cmp {step}, {end}",
            "jne 2b",
            "mov {from}, {sums_row}",
            "shl {from}, 4",
            "add {from}, {sums}",
            "tilestored [{sums} + {sums_row}*1], tmm0",
            "tilestored [{sums} + {sums_row}*1 + 64], tmm1",
            "tilestored [{from} + {sums_row}*1], tmm2",
            "tilestored [{from} + {sums_row}*1 + 64], tmm3",
            step = inout(reg) steps.as_ptr() => _,
            end = in(reg) steps.as_ptr_range().end,
            weight = inout(reg) weight => _,
            weight_row = in(reg) 4 * WIDTH,
            sums_row = in(reg) into.bytes,
            above = in(reg) pixels[0],
            below = in(reg) pixels[1],
            distance = in(reg) distance,
            sums = in(reg) into.first,
            at = out(reg) _,
            from = out(reg) _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Thirty-two pixels times a panel of one unit.
unsafe fn narrow(pixels: [*const u16; 2], distance: usize, steps: &[usize], weight: *const u16, into: Rows) {
    // SAFETY: as the caller grants.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm2",
            "2:",
            "mov {at}, qword ptr [{step}]",
            "tileloadd tmm6, [{weight} + {weight_row}*1]",
            "lea {from}, [{above} + {at}]",
            "tileloadd tmm4, [{from} + {distance}*1]",
            "lea {from}, [{below} + {at}]",
            "tileloadd tmm5, [{from} + {distance}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {weight}, 1024",
            "add {step}, 8",
            "cmp {step}, {end}",
            "jne 2b",
            "mov {from}, {sums_row}",
            "shl {from}, 4",
            "add {from}, {sums}",
            "tilestored [{sums} + {sums_row}*1], tmm0",
            "tilestored [{from} + {sums_row}*1], tmm2",
            step = inout(reg) steps.as_ptr() => _,
            end = in(reg) steps.as_ptr_range().end,
            weight = inout(reg) weight => _,
            weight_row = in(reg) 4 * UNIT,
            sums_row = in(reg) into.bytes,
            above = in(reg) pixels[0],
            below = in(reg) pixels[1],
            distance = in(reg) distance,
            sums = in(reg) into.first,
            at = out(reg) _,
            from = out(reg) _,
            out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack),
        );
    }
}
