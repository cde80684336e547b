//! Products in bf16 by the dot products of AVX-512 BF16.
#![expect(unsafe_code, reason = "instructions without a safe form")]

use super::bf16::{Sums, Task, WIDTH};
use super::packed::UNIT;
use std::arch::x86_64::{
    __m256bh, __m256i, __m512, __m512bh, _mm256_storeu_si256, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_loadu_epi16,
    _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_storeu_ps,
};

/// Pixels whose sums are in registers at a time.
const AT_ONCE: usize = 8;

/// Whether the processor has the instructions.
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512bw")
}

/// Rounds values to bf16.
///
/// # Safety
/// The processor has AVX-512 BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn round_into(values: &[f32], out: &mut [u16]) {
    let whole = values.chunks_exact(UNIT);
    let rest = whole.remainder();
    let mut into = out.chunks_exact_mut(UNIT);
    for (values, out) in whole.zip(&mut into) {
        // SAFETY: both have the length of a vector.
        unsafe { store(_mm512_loadu_ps(values.as_ptr()), out.as_mut_ptr()) };
    }
    // SAFETY: only as many values are read as there are.
    let last = unsafe { _mm512_maskz_loadu_ps((1 << rest.len()) - 1, rest.as_ptr()) };
    let mut rounded = [0u16; UNIT];
    // SAFETY: the array has the length of a vector.
    unsafe { store(last, rounded.as_mut_ptr()) };
    into.into_remainder()[..rest.len()].copy_from_slice(&rounded[..rest.len()]);
}

/// Rounds a vector into sixteen values.
///
/// # Safety
/// The processor has AVX-512 BF16, and there is room for the values.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn store(values: __m512, out: *mut u16) {
    // SAFETY: the two vectors have the same 32 bytes; the caller grants the room.
    unsafe {
        let rounded = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values));
        _mm256_storeu_si256(out.cast(), rounded);
    }
}

/// The sums of the pixels at some offsets.
///
/// # Safety
/// The processor has AVX-512 BF16, and from every offset on, each tap has `padded` values.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn add_up(task: &Task<'_>, offsets: &[usize], sums: &mut Sums) {
    let width = task.width();
    for (offsets, sums) in offsets.chunks(AT_ONCE).zip(sums.0.chunks_mut(AT_ONCE * WIDTH)) {
        // A short group repeats its last pixel; the copies are not read.
        let offsets: [usize; AT_ONCE] = std::array::from_fn(|i| offsets[i.min(offsets.len() - 1)]);
        // SAFETY: passed on.
        unsafe {
            match width / UNIT {
                1 => tile::<1>(task, offsets, sums),
                _ => tile::<2>(task, offsets, sums),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile<const V: usize>(task: &Task<'_>, offsets: [usize; AT_ONCE], out: &mut [f32]) {
    let mut sums: [[__m512; V]; AT_ONCE] = [[_mm512_setzero_ps(); V]; AT_ONCE];
    for (tap, weight) in task.taps.iter().zip(task.weight.chunks_exact(V * UNIT * task.padded)) {
        for k in 0..task.inner.div_ceil(2) {
            // SAFETY: `2k + 1` is below `padded`, which is the number of values that each tap of a pixel has and of rows that
            // the panel has for it; a row of pairs has `V · UNIT` of them.
            unsafe {
                let row = weight.as_ptr().add(k * 2 * V * UNIT);
                let w: [__m512bh; V] =
                    std::array::from_fn(|v| std::mem::transmute(_mm512_loadu_epi16(row.add(v * 2 * UNIT).cast())));
                for (sums, offset) in sums.iter_mut().zip(offsets) {
                    let pair = task.values.as_ptr().add(offset + tap + 2 * k).cast::<i32>().read_unaligned();
                    let x: __m512bh = std::mem::transmute(_mm512_set1_epi32(pair));
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = _mm512_dpbf16_ps(*sum, x, w);
                    }
                }
            }
        }
    }
    for (sums, out) in sums.iter().zip(out.chunks_exact_mut(WIDTH)) {
        for (sum, out) in sums.iter().zip(out.chunks_exact_mut(UNIT)) {
            // SAFETY: the slice has the length of a vector.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *sum) };
        }
    }
}
