//! The caller's matrix products, and its threads.

use core::ffi::c_void;
use core::ptr;

use surprisal_linear::{Gemm, Matrix, MatrixMut};

use crate::memory::Memory;
use crate::status::{Failure, surprisal_status};
use crate::versioned::{Versioned, versioned};

/// Who multiplies matrices (BLAS, oneDNN, ggml, or whatever the trainer has), and who lends threads. Begin with `SURPRISAL_GEMM_INIT`. Both functions
/// are called during calls, on the caller's thread, with the address of this struct; neither may throw or jump out.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(clippy::type_complexity, reason = "C declares a function where it is a field")]
pub struct surprisal_gemm {
    /// `sizeof(surprisal_gemm)`.
    pub struct_size: usize,
    /// The caller's own; the library does not look at it.
    pub context: *mut c_void,
    /// `c = a b + beta c` in f32, with `a` `[m x k]`, `b` `[k x n]`, `c` `[m x n]`, and entry `(i, j)` at `i row_stride + j col_stride`. `beta` is 0
    /// or 1; with 0, `c` may hold NaN and is not read (as in BLAS). No size is 0. It may use threads of its own.
    ///
    /// One of the two strides of an operand is 1 if that is so of the caller's matrices: for cblas_sgemm the other one is the leading dimension, and
    /// which of them it is tells whether to transpose.
    pub product: Option<
        unsafe extern "C" fn(
            gemm: *const surprisal_gemm,
            m: usize,
            n: usize,
            k: usize,
            a: *const f32,
            a_row_stride: usize,
            a_col_stride: usize,
            b: *const f32,
            b_row_stride: usize,
            b_col_stride: usize,
            beta: f32,
            c: *mut f32,
            c_row_stride: usize,
            c_col_stride: usize,
        ),
    >,
    /// Calls `task(work, i)` for each `i` below `tasks`, in any order, at the same time as far as there are threads, and returns when all are done:
    /// for what lies between the products, the loss and conversions. NULL: on the calling thread alone. Results have the same bits with any.
    pub parallel: Option<
        unsafe extern "C" fn(
            gemm: *const surprisal_gemm,
            tasks: usize,
            task: unsafe extern "C" fn(work: *mut c_void, index: usize),
            work: *mut c_void,
        ),
    >,
}

versioned!(surprisal_gemm: "gemm", {
    struct_size: size_of::<surprisal_gemm>(),
    context: ptr::null_mut(),
    product: None,
    parallel: None,
});

/// Fills it with its initial values, as `SURPRISAL_GEMM_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gemm_init(
    gemm: *mut surprisal_gemm,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_gemm::init(gemm, struct_size) }
}

/// A caller's functions during a call.
pub(crate) struct GemmInput {
    gemm: *const surprisal_gemm,
    functions: surprisal_gemm,
}

// SAFETY: what is not `Sync` are pointers that are only handed to the caller's functions; and `surprisal-linear` calls those on the thread
// of the call alone, outside its tasks.
unsafe impl Sync for GemmInput {}

impl GemmInput {
    /// Reads a caller's struct.
    ///
    /// # Safety
    /// As [`Memory::read_struct`]; and the functions do during the call what their types promise.
    pub(crate) unsafe fn read(
        gemm: *const surprisal_gemm,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        let functions = unsafe { memory.read_struct(surprisal_gemm::NAME, gemm) }?;
        match functions.product {
            Some(_) => Ok(Self { gemm, functions }),
            None => Err(Failure::missing("product")),
        }
    }
}

impl Gemm for GemmInput {
    fn product(
        &self,
        a: Matrix<'_, f32>,
        b: Matrix<'_, f32>,
        beta: f32,
        mut c: MatrixMut<'_, f32>,
    ) {
        let Some(product) = self.functions.product else { return };
        let ((m, n), k) = (c.shape(), a.cols());
        let (c_rows, c_cols) = (c.row_stride(), c.col_stride());
        // SAFETY: the views guarantee that the entries of these shapes lie inside memory that is readable, and for `c` writable and nobody else's; the
        // caller's function touches no others (`GemmInput::read`).
        unsafe {
            product(
                self.gemm,
                m,
                n,
                k,
                a.data().as_ptr(),
                a.row_stride(),
                a.col_stride(),
                b.data().as_ptr(),
                b.row_stride(),
                b.col_stride(),
                beta,
                c.data().as_mut_ptr(),
                c_rows,
                c_cols,
            );
        }
    }

    fn parallel(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let Some(parallel) = self.functions.parallel else { return (0..tasks).for_each(task) };
        let mut work = task;
        // SAFETY: `run` is given the address of `work`, which outlives the call; the caller's function calls it before it returns only
        // (`GemmInput::read`), in threads that may share it (`Sync`).
        unsafe { parallel(self.gemm, tasks, run, (&raw mut work).cast()) };
    }
}

/// The task that a caller's threads are given.
unsafe extern "C" fn run(work: *mut c_void, index: usize) {
    // SAFETY: the pointer is that of [`GemmInput::parallel`], which is still there.
    let task = unsafe { *work.cast::<&(dyn Fn(usize) + Sync)>() };
    task(index);
}
