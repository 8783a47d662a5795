//! Matrices inside the crate: read, checked, declared, and made into views of their element type.

use core::ffi::c_void;
use core::mem::offset_of;

use surprisal::{Element, Error, Logits, LogitsMut, bf16, f16};

use crate::logits::{surprisal_dtype, surprisal_logits, surprisal_logits_mut, surprisal_padding};
use crate::memory::{Checked, Input, Memory, Output};
use crate::place::Place;
use crate::status::Failure;
use crate::status::surprisal_status::{
    SURPRISAL_ERROR_EXTENT, SURPRISAL_ERROR_OVERLAP, SURPRISAL_ERROR_SHAPE,
};

pub(crate) const F32: i32 = surprisal_dtype::SURPRISAL_DTYPE_F32 as i32;
pub(crate) const BF16: i32 = surprisal_dtype::SURPRISAL_DTYPE_BF16 as i32;
pub(crate) const F16: i32 = surprisal_dtype::SURPRISAL_DTYPE_F16 as i32;
const KEEP: i32 = surprisal_padding::SURPRISAL_PADDING_KEEP as i32;
const ZERO: i32 = surprisal_padding::SURPRISAL_PADDING_ZERO as i32;

/// A matrix as a call has it: of either struct.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    data: *const c_void,
    dtype: i32,
    row_stride: usize,
    pub(crate) place: Place,
    zero_padding: bool,
}

// One reader serves both structs: they differ in the constness of `data`, and in what the last field means.
const _: () = assert!(
    size_of::<surprisal_logits>() == size_of::<surprisal_logits_mut>()
        && offset_of!(surprisal_logits, reserved) == offset_of!(surprisal_logits_mut, padding)
);

impl Matrix {
    /// Reads a caller's logits.
    ///
    /// # Safety
    /// As [`Memory::read_struct`].
    pub(crate) unsafe fn read(
        logits: *const surprisal_logits,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        let (matrix, reserved) = unsafe { Self::read_any(logits, "logits", memory) }?;
        if reserved != 0 {
            return Err(Failure::option("logits", "reserved is not 0"));
        }
        Ok(matrix)
    }

    /// Reads a caller's matrix to write.
    ///
    /// # Safety
    /// As [`Memory::read_struct`].
    pub(crate) unsafe fn read_mut(
        result: *const surprisal_logits_mut,
        argument: &'static str,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on; the structs have the same layout (asserted above).
        let (matrix, padding) = unsafe { Self::read_any(result.cast(), argument, memory) }?;
        let zero_padding = match padding {
            KEEP => false,
            ZERO => true,
            other => {
                let failure = Failure::option("padding", "is not a surprisal_padding");
                return Err(failure.value(f64::from(other)));
            }
        };
        Ok(Self { zero_padding, ..matrix })
    }

    /// Reads either struct, and its last field.
    ///
    /// # Safety
    /// As [`Memory::read_struct`].
    unsafe fn read_any(
        pointer: *const surprisal_logits,
        argument: &'static str,
        memory: &mut Memory,
    ) -> Result<(Self, i32), Failure> {
        // SAFETY: passed on.
        let m = unsafe { memory.read_struct(argument, pointer) }?;
        let or = |value: usize, default: usize| if value == 0 { default } else { value };
        let place = Place {
            argument,
            rows: m.rows,
            vocab: m.vocab,
            row_start: m.row_start,
            rows_total: or(m.rows_total, m.rows),
            vocab_start: m.vocab_start,
            vocab_total: or(m.vocab_total, m.vocab),
        };
        let row_stride = or(m.row_stride, m.vocab);
        let matrix = Self { data: m.data, dtype: m.dtype, row_stride, place, zero_padding: false };
        Ok((matrix.check(argument)?, m.reserved))
    }

    /// What can be said without the data.
    fn check(self, argument: &'static str) -> Result<Self, Failure> {
        let place = self.place;
        let shape = |message| Err(Failure::new(SURPRISAL_ERROR_SHAPE, argument, message));
        if ![F32, BF16, F16].contains(&self.dtype) {
            let failure = Failure::option("dtype", "is not a surprisal_dtype");
            return Err(failure.value(f64::from(self.dtype)));
        }
        if place.vocab == 0 {
            return Err(Failure::new(SURPRISAL_ERROR_SHAPE, "vocab", "is 0"));
        }
        if self.row_stride < place.vocab {
            return shape("row_stride is below vocab");
        }
        if place.row_start.checked_add(place.rows).is_none_or(|end| end > place.rows_total) {
            return shape("row_start + rows is beyond rows_total");
        }
        if place.vocab_start.checked_add(place.vocab).is_none_or(|end| end > place.vocab_total) {
            return shape("vocab_start + vocab is beyond vocab_total");
        }
        Ok(self)
    }

    /// Elements from the first to past the end of the last: of its padding, where that is written.
    fn len(&self, argument: &'static str) -> Result<usize, Failure> {
        let Some(before) = self.place.rows.checked_sub(1) else { return Ok(0) };
        let last = if self.zero_padding { self.row_stride } else { self.place.vocab };
        let len = before.checked_mul(self.row_stride).and_then(|n| n.checked_add(last));
        len.ok_or(Failure::new(SURPRISAL_ERROR_EXTENT, argument, "its size overflows"))
    }

    /// Declares the matrix as one to read.
    ///
    /// # Safety
    /// As [`Memory::input`], with the type that `dtype` stands for.
    pub(crate) unsafe fn input<'call>(
        &self,
        argument: &'static str,
        memory: &mut Memory,
    ) -> Result<LogitsInput<'call>, Failure> {
        let (data, len) = (self.data, self.len(argument)?);
        // SAFETY: passed on.
        let data = unsafe {
            match self.dtype {
                BF16 => Any::Bf16(memory.input(argument, data.cast(), len)?),
                F16 => Any::F16(memory.input(argument, data.cast(), len)?),
                _ => Any::F32(memory.input(argument, data.cast(), len)?),
            }
        };
        Ok(LogitsInput { data, matrix: *self })
    }

    /// Declares the matrix as one to write.
    ///
    /// # Safety
    /// As [`Memory::output`], with the type that `dtype` stands for; `data` came from a mutable pointer.
    pub(crate) unsafe fn output<'call>(
        &self,
        argument: &'static str,
        memory: &mut Memory,
    ) -> Result<LogitsOutput<'call>, Failure> {
        let (data, len) = (self.data.cast_mut(), self.len(argument)?);
        // SAFETY: passed on.
        let data = unsafe {
            match self.dtype {
                BF16 => Any::Bf16(memory.output(argument, data.cast(), len)?),
                F16 => Any::F16(memory.output(argument, data.cast(), len)?),
                _ => Any::F32(memory.output(argument, data.cast(), len)?),
            }
        };
        Ok(LogitsOutput { data, matrix: *self })
    }

    fn view<'call, T: Element>(
        &self,
        data: &Input<'call, T>,
        checked: &Checked,
    ) -> Result<Logits<'call, T>, Error> {
        let (p, first) = (&self.place, data.first(checked));
        // SAFETY: aligned, and rows of this shape lie inside the array (declared so), whose elements are initialised and not written (checked, and the
        // caller's promise when it was declared). What lies between rows may be another thread's, so no slice is made of the whole.
        let view = unsafe { Logits::from_raw_parts(first, p.rows, p.vocab, self.row_stride) }?;
        view.shard(p.vocab_start, p.vocab_total)
    }

    fn view_mut<'call, T: Element>(
        &self,
        data: Output<'call, T>,
        checked: &Checked,
    ) -> Result<LogitsMut<'call, T>, Error> {
        let (p, first) = (&self.place, data.first(checked));
        let stride = self.row_stride;
        // SAFETY: as in `view`; the rows are the call's alone, with the padding of every row where that is written.
        let view = unsafe {
            if self.zero_padding {
                LogitsMut::from_raw_parts_padded(first, p.rows, p.vocab, stride)?.zero_padding()
            } else {
                LogitsMut::from_raw_parts(first, p.rows, p.vocab, stride)?
            }
        };
        view.shard(p.vocab_start, p.vocab_total)
    }

    /// This result where the logits are, whose place it need not name.
    fn placed_as(&self, logits: &Self) -> Self {
        Self { place: logits.place, ..*self }
    }

    /// Whether `result` overwrites these logits. The same address with another stride or type is an overlap.
    fn is_in_place(&self, result: &Self, argument: &'static str) -> Result<bool, Failure> {
        if self.data != result.data || self.data.is_null() {
            return Ok(false);
        }
        if (self.row_stride, self.dtype) == (result.row_stride, result.dtype) {
            return Ok(true);
        }
        let message = "is the logits' memory with another row_stride or dtype";
        Err(Failure::new(SURPRISAL_ERROR_OVERLAP, argument, message))
    }
}

/// The matrices of a call that has a result: both, or one that is overwritten.
pub(crate) enum Operands<'call> {
    Split(LogitsInput<'call>, LogitsOutput<'call>),
    InPlace(LogitsOutput<'call>),
}

impl<'call> Operands<'call> {
    /// Declares logits and result.
    ///
    /// # Safety
    /// As [`Matrix::input`] and [`Matrix::output`].
    pub(crate) unsafe fn declare(
        logits: &Matrix,
        result: &Matrix,
        argument: &'static str,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        logits.place.check_result(&result.place, argument)?;
        let result = result.placed_as(logits);
        let in_place = logits.is_in_place(&result, argument)?;
        // SAFETY: passed on.
        unsafe {
            let output = result.output(argument, memory)?;
            if in_place {
                return Ok(Self::InPlace(output));
            }
            Ok(Self::Split(logits.input("logits", memory)?, output))
        }
    }
}

/// One of the same thing per element type.
pub(crate) enum Any<A, B, C> {
    F32(A),
    Bf16(B),
    F16(C),
}

/// A declared matrix to read.
pub(crate) struct LogitsInput<'call> {
    data: Any<Input<'call, f32>, Input<'call, bf16>, Input<'call, f16>>,
    matrix: Matrix,
}

/// A declared matrix to write.
pub(crate) struct LogitsOutput<'call> {
    data: Any<Output<'call, f32>, Output<'call, bf16>, Output<'call, f16>>,
    matrix: Matrix,
}

type AnyLogits<'call> = Any<Logits<'call, f32>, Logits<'call, bf16>, Logits<'call, f16>>;
type AnyLogitsMut<'call> =
    Any<LogitsMut<'call, f32>, LogitsMut<'call, bf16>, LogitsMut<'call, f16>>;

impl<'call> LogitsInput<'call> {
    pub(crate) fn view(&self, checked: &Checked) -> Result<AnyLogits<'call>, Failure> {
        Ok(match &self.data {
            Any::F32(data) => Any::F32(self.matrix.view(data, checked)?),
            Any::Bf16(data) => Any::Bf16(self.matrix.view(data, checked)?),
            Any::F16(data) => Any::F16(self.matrix.view(data, checked)?),
        })
    }
}

impl<'call> LogitsOutput<'call> {
    pub(crate) fn view(self, checked: &Checked) -> Result<AnyLogitsMut<'call>, Failure> {
        Ok(match self.data {
            Any::F32(data) => Any::F32(self.matrix.view_mut(data, checked)?),
            Any::Bf16(data) => Any::Bf16(self.matrix.view_mut(data, checked)?),
            Any::F16(data) => Any::F16(self.matrix.view_mut(data, checked)?),
        })
    }
}

/// Runs an expression on logits of any type.
macro_rules! with_logits {
    ($logits:expr, |$z:ident| $body:expr) => {
        match $logits {
            $crate::matrix::Any::F32($z) => $body,
            $crate::matrix::Any::Bf16($z) => $body,
            $crate::matrix::Any::F16($z) => $body,
        }
    };
}
pub(crate) use with_logits;

/// Runs an expression on logits of any type and a result of any type.
macro_rules! with_result {
    ($logits:expr, $result:expr, |$z:ident, $dz:ident| $body:expr) => {{
        let result = $result;
        $crate::matrix::with_logits!($logits, |$z| {
            $crate::matrix::with_logits!(result, |$dz| $body)
        })
    }};
}
pub(crate) use with_result;
