//! Large buffers that are reused: fresh memory costs a page fault for every 4 KiB, a good part of a training step's time if
//! the wide activations are allocated anew.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values below which a buffer is not worth keeping.
const SMALL: usize = 16 * 1024;

/// Buffers that are free, oldest first.
#[derive(Default)]
struct Free {
    buffers: VecDeque<Vec<f32>>,
    /// Values held by `buffers`.
    free: usize,
    /// Values in use, and the most that ever were at once.
    used: usize,
    most: usize,
}

static FREE: Mutex<Free> = Mutex::new(Free { buffers: VecDeque::new(), free: 0, used: 0, most: 0 });

fn free() -> MutexGuard<'static, Free> {
    // The list is consistent between any two statements that could panic.
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A buffer of f32 that goes back to the pool when dropped.
#[derive(Debug, Default)]
pub struct Buffer {
    values: Vec<f32>,
}

impl Buffer {
    /// `length` values of unspecified content, all of which the caller writes.
    pub fn take(length: usize) -> Self {
        Self::take_up_to(length, length + length / 4)
    }

    /// As [`take`](Self::take), for a value that goes soon: any buffer that is large enough will do.
    pub fn take_briefly(length: usize) -> Self {
        Self::take_up_to(length, usize::MAX)
    }

    fn take_up_to(length: usize, most: usize) -> Self {
        if length < SMALL {
            return Self { values: vec![0.0; length] };
        }
        let found = {
            let mut pool = free();
            let fits = |buffer: &Vec<f32>| (length..=most).contains(&buffer.capacity());
            let best =
                (0..pool.buffers.len()).filter(|i| fits(&pool.buffers[*i])).min_by_key(|i| pool.buffers[*i].capacity());
            let found = best.and_then(|index| pool.buffers.remove(index));
            let capacity = found.as_ref().map_or(length, Vec::capacity);
            if found.is_some() {
                pool.free -= capacity;
            }
            pool.used += capacity;
            pool.most = pool.most.max(pool.used);
            // What was in use at once is enough to keep, in use or not.
            while pool.free + pool.used > pool.most {
                match pool.buffers.pop_front() {
                    Some(old) => pool.free -= old.capacity(),
                    None => break,
                }
            }
            found
        };
        let values = match found {
            Some(mut values) => {
                values.resize(length, 0.0);
                values
            }
            // Fresh from the system it is zero without being written.
            None => vec![0.0; length],
        };
        Self { values }
    }

    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let mut buffer = Self::take(length);
        buffer.fill(0.0);
        buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let capacity = self.values.capacity();
        if self.values.len() < SMALL {
            return;
        }
        let mut pool = free();
        pool.used = pool.used.saturating_sub(capacity);
        pool.free += capacity;
        pool.buffers.push_back(std::mem::take(&mut self.values));
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.values)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}
