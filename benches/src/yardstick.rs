//! The limits: as many bytes as a path must move, moved without arithmetic, by as many threads, in the same run.

use fearless_simd::{Level, Simd, dispatch, f32x16, prelude::*};
use rayon::prelude::*;

/// What moves the same bytes as a path of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yardstick {
    /// Reads the logits.
    Read,
    /// Reads and overwrites the logits.
    Rmw,
    /// Copies the logits into another buffer.
    Memcpy,
}

impl Yardstick {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Rmw, Self::Memcpy];

    /// Its name in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Rmw => "rmw",
            Self::Memcpy => "memcpy",
        }
    }

    /// Moves the bytes on all threads of the current pool.
    pub fn run(self, level: Level, buffer: &mut [f32], output: &mut [f32]) {
        let part = buffer.len().div_ceil(rayon::current_num_threads()).max(1);
        let parts = buffer.par_chunks_mut(part);
        match self {
            Self::Read => parts.for_each(|part| {
                std::hint::black_box(dispatch!(level, simd => read(simd, part)));
            }),
            Self::Rmw => parts.for_each(|part| dispatch!(level, simd => rmw(simd, part))),
            Self::Memcpy => parts
                .zip(output.par_chunks_mut(part))
                .for_each(|(source, target)| target.copy_from_slice(source)),
        }
    }
}

/// Vectors in flight, so that no addition waits for the one before.
const FLIGHT: usize = 8;

#[inline(always)]
fn read<S: Simd>(simd: S, buffer: &[f32]) -> f32 {
    let mut sums = [simd.splat_f32x16(0.0); FLIGHT];
    for block in buffer.as_chunks::<{ 16 * FLIGHT }>().0 {
        for (sum, lanes) in sums.iter_mut().zip(block.as_chunks::<16>().0) {
            *sum += f32x16::from_slice(simd, lanes);
        }
    }
    let mut total = simd.splat_f32x16(0.0);
    for sum in sums {
        total += sum;
    }
    simd.reduce_max_f32x16(total)
}

#[inline(always)]
fn rmw<S: Simd>(simd: S, buffer: &mut [f32]) {
    for lanes in buffer.as_chunks_mut::<16>().0 {
        (f32x16::from_slice(simd, lanes) * -1.0).store_slice(lanes);
    }
}
