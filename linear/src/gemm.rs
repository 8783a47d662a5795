//! Matrix products are a library's business: the trait by which a caller brings one, and the default.
#![cfg_attr(feature = "gemm", allow(unsafe_code, reason = "the gemm crate takes pointers"))]

use core::fmt::Debug;

use crate::matrix::{Matrix, MatrixMut};

/// A matrix product in f32: BLAS, oneDNN, or whatever the trainer has.
///
/// ```
/// use surprisal_linear::{Gemm, Matrix, MatrixMut};
///
/// #[derive(Debug)]
/// struct Plain;
///
/// impl Gemm for Plain {
///     fn product(&self, a: Matrix<'_, f32>, b: Matrix<'_, f32>, beta: f32, mut c: MatrixMut<'_, f32>) {
///         let (rows, cols) = c.shape();
///         let (row_stride, col_stride) = (c.row_stride(), c.col_stride());
///         for i in 0..rows {
///             for j in 0..cols {
///                 let c = &mut c.data()[i * row_stride + j * col_stride];
///                 let old = if beta == 0.0 { 0.0 } else { beta * *c };
///                 let terms = (0..a.cols()).filter_map(|k| Some(a.get(i, k)? * b.get(k, j)?));
///                 *c = old + terms.sum::<f32>();
///             }
///         }
///     }
/// }
/// ```
pub trait Gemm: Sync {
    /// `c = a·b + beta·c` with `a` `[m × k]`, `b` `[k × n]`, `c` `[m × n]`, sums in f32 or better. Any of them may be transposed, by its strides.
    ///
    /// `beta` is 0 or 1. With 0, `c` may hold NaN and is not read (as in BLAS). Shapes agree, and none is empty.
    fn product(&self, a: Matrix<'_, f32>, b: Matrix<'_, f32>, beta: f32, c: MatrixMut<'_, f32>);

    /// Calls `task(i)` for each `i` below `tasks`, on as many threads as it likes, and returns when all are done: for what lies between the products.
    ///
    /// By default on the current rayon pool with feature `rayon`, else here, one after the other.
    fn parallel(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        #[cfg(feature = "rayon")]
        {
            use rayon::prelude::*;
            (0..tasks).into_par_iter().for_each(task);
        }
        #[cfg(not(feature = "rayon"))]
        (0..tasks).for_each(task);
    }
}

impl<M: Gemm> Gemm for &M {
    fn product(&self, a: Matrix<'_, f32>, b: Matrix<'_, f32>, beta: f32, c: MatrixMut<'_, f32>) {
        (**self).product(a, b, beta, c);
    }

    fn parallel(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (**self).parallel(tasks, task);
    }
}

/// The `gemm` crate (with feature `gemm`): on this thread, or with feature `rayon` on the current pool.
///
/// It packs operands into memory of its own: of f32 operands at most [`BLOCK`](Self::BLOCK) rows of a block of the inner dimension during a
/// product, and more for each thread. That is 3 to 5 MiB in the shapes of `benches/record/2026-11-22`; but it is allocated for every product anew, and
/// glibc's heap grows by ten times as much around it, unless `MALLOC_MMAP_THRESHOLD_` is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultGemm;

impl DefaultGemm {
    /// Rows of `c` that are handed to the library at once, which bounds what it packs.
    pub const BLOCK: usize = 2048;
}

#[cfg(feature = "gemm")]
impl Gemm for DefaultGemm {
    fn product(
        &self,
        a: Matrix<'_, f32>,
        b: Matrix<'_, f32>,
        beta: f32,
        mut c: MatrixMut<'_, f32>,
    ) {
        let rows = c.rows();
        for start in (0..rows).step_by(Self::BLOCK) {
            let block = start..rows.min(start + Self::BLOCK);
            multiply(a.row_range(block.clone()), b, beta, c.reborrow().row_range(block));
        }
    }
}

#[cfg(feature = "gemm")]
fn multiply(a: Matrix<'_, f32>, b: Matrix<'_, f32>, beta: f32, mut c: MatrixMut<'_, f32>) {
    let (m, n, k) = (c.rows(), c.cols(), a.cols());
    assert!(a.rows() == m && b.shape() == (k, n), "shapes of a product");
    // A stride that does not fit belongs to a direction of one entry.
    let stride = |stride: usize| isize::try_from(stride).unwrap_or(0);
    let (c_rs, c_cs) = (stride(c.row_stride()), stride(c.col_stride()));
    #[cfg(feature = "rayon")]
    let parallelism = gemm::Parallelism::Rayon(0);
    #[cfg(not(feature = "rayon"))]
    let parallelism = gemm::Parallelism::None;
    // SAFETY: `Matrix` and `MatrixMut` guarantee that the entries of their shape lie inside their slices at these strides, and that those of `c`
    // are apart from each other; `c` is borrowed mutably, so it overlaps neither `a` nor `b`. The shapes agree. With `read_dst` false `c` is
    // only written.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.data().as_mut_ptr(),
            c_cs,
            c_rs,
            beta != 0.0,
            a.data().as_ptr(),
            stride(a.col_stride()),
            stride(a.row_stride()),
            b.data().as_ptr(),
            stride(b.col_stride()),
            stride(b.row_stride()),
            beta,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
