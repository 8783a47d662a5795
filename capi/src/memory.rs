//! The caller's arrays: declared, checked as addresses, and only then made into slices; those of a matrix into its rows (`matrix`).

use core::marker::PhantomData;
use core::slice;

use crate::status::Failure;
use crate::status::surprisal_status::{
    SURPRISAL_ERROR_EXTENT, SURPRISAL_ERROR_MISALIGNED, SURPRISAL_ERROR_OVERLAP,
};
use crate::versioned::{self, Versioned};

/// More arrays than any call has.
const MOST: usize = 56;

/// The memory of one array.
#[derive(Clone, Copy)]
struct Region {
    argument: &'static str,
    start: usize,
    end: usize,
    written: bool,
}

/// Every array of one call. An array is declared with its length; after [`Memory::check`] it can be used.
pub(crate) struct Memory {
    regions: [Option<Region>; MOST],
    len: usize,
}

/// An array to read; declared, maybe not yet checked. `'call` is the duration of the call.
pub(crate) struct Input<'call, T> {
    pointer: *const T,
    len: usize,
    call: PhantomData<&'call [T]>,
}

/// An array to write; declared, maybe not yet checked.
pub(crate) struct Output<'call, T> {
    pointer: *mut T,
    len: usize,
    call: PhantomData<&'call mut [T]>,
}

/// Proof that the arrays of a call are aligned, inside the address space, and that what is written overlaps nothing.
pub(crate) struct Checked(());

impl Memory {
    pub(crate) fn new() -> Self {
        Self { regions: [None; MOST], len: 0 }
    }

    /// Declares an array that is needed. Without elements it may be NULL.
    ///
    /// # Safety
    /// Where `pointer` is not NULL, the caller has `len` initialised elements there, and nobody writes them during `'call`.
    pub(crate) unsafe fn input<'call, T>(
        &mut self,
        argument: &'static str,
        pointer: *const T,
        len: usize,
    ) -> Result<Input<'call, T>, Failure> {
        self.declare(argument, pointer, len, false)?;
        Ok(Input { pointer, len, call: PhantomData })
    }

    /// As [`Memory::input`]; NULL means that there is none.
    ///
    /// # Safety
    /// As [`Memory::input`].
    pub(crate) unsafe fn optional_input<'call, T>(
        &mut self,
        argument: &'static str,
        pointer: *const T,
        len: usize,
    ) -> Result<Option<Input<'call, T>>, Failure> {
        if pointer.is_null() {
            return Ok(None);
        }
        // SAFETY: passed on.
        unsafe { self.input(argument, pointer, len) }.map(Some)
    }

    /// Declares an array to write. Without elements it may be NULL.
    ///
    /// # Safety
    /// Where `pointer` is not NULL, the caller has `len` elements there, which nobody else uses during `'call`. Any bytes are a value of `T`.
    pub(crate) unsafe fn output<'call, T>(
        &mut self,
        argument: &'static str,
        pointer: *mut T,
        len: usize,
    ) -> Result<Output<'call, T>, Failure> {
        self.declare(argument, pointer, len, true)?;
        Ok(Output { pointer, len, call: PhantomData })
    }

    /// As [`Memory::output`]; NULL means that there is none.
    ///
    /// # Safety
    /// As [`Memory::output`].
    pub(crate) unsafe fn optional_output<'call, T>(
        &mut self,
        argument: &'static str,
        pointer: *mut T,
        len: usize,
    ) -> Result<Option<Output<'call, T>>, Failure> {
        if pointer.is_null() {
            return Ok(None);
        }
        // SAFETY: passed on.
        unsafe { self.output(argument, pointer, len) }.map(Some)
    }

    /// Copies a struct and declares it.
    ///
    /// # Safety
    /// As [`versioned::read`].
    pub(crate) unsafe fn read_struct<T: Versioned>(
        &mut self,
        argument: &'static str,
        pointer: *const T,
    ) -> Result<T, Failure> {
        // SAFETY: passed on.
        let (value, bytes) =
            unsafe { versioned::read(pointer) }.map_err(|f| Failure { argument, ..f })?;
        self.declare(argument, pointer.cast::<u8>(), bytes, false)?;
        Ok(value)
    }

    /// Copies a plain struct, and declares it.
    ///
    /// # Safety
    /// As [`Memory::input`], for one element.
    pub(crate) unsafe fn input_struct<T: Copy>(
        &mut self,
        argument: &'static str,
        pointer: *const T,
    ) -> Result<T, Failure> {
        self.declare(argument, pointer, 1, false)?;
        // SAFETY: not NULL and aligned (declared), initialised (passed on).
        Ok(unsafe { pointer.read() })
    }

    /// Declares a struct that is written at the end of the call, if there is one.
    pub(crate) fn declare_out<T>(
        &mut self,
        argument: &'static str,
        out: *const T,
    ) -> Result<(), Failure> {
        self.declare(argument, out, usize::from(!out.is_null()), true)
    }

    /// Declares the entries of some rows of an array that has one for each row of a batch; `None` for NULL. The others are none of the call's
    /// business: calls on other rows may be writing them.
    ///
    /// # Safety
    /// As [`Memory::input`], for the entries of the rows.
    pub(crate) unsafe fn optional_rows_input<'call, T>(
        &mut self,
        argument: &'static str,
        batch_wide: *const T,
        rows: &RowRange,
    ) -> Result<Option<Input<'call, T>>, Failure> {
        let Some(first) = first_of(argument, batch_wide, rows)? else { return Ok(None) };
        // SAFETY: passed on.
        unsafe { self.input(argument, first, rows.len) }.map(Some)
    }

    /// As [`Memory::optional_rows_input`], of an array that is needed.
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn rows_input<'call, T>(
        &mut self,
        argument: &'static str,
        batch_wide: *const T,
        rows: &RowRange,
    ) -> Result<Input<'call, T>, Failure> {
        // SAFETY: passed on.
        unsafe { self.optional_rows_input(argument, batch_wide, rows) }?
            .ok_or(Failure::missing(argument))
    }

    /// As [`Memory::optional_rows_input`], of an array to write.
    ///
    /// # Safety
    /// As [`Memory::output`], for the entries of the rows.
    pub(crate) unsafe fn optional_rows_output<'call, T>(
        &mut self,
        argument: &'static str,
        batch_wide: *mut T,
        rows: &RowRange,
    ) -> Result<Option<Output<'call, T>>, Failure> {
        let Some(first) = first_of(argument, batch_wide, rows)? else { return Ok(None) };
        // SAFETY: passed on; the pointer came from a mutable one.
        unsafe { self.output(argument, first.cast_mut(), rows.len) }.map(Some)
    }

    /// As [`Memory::optional_rows_output`], of an array that is needed.
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn rows_output<'call, T>(
        &mut self,
        argument: &'static str,
        batch_wide: *mut T,
        rows: &RowRange,
    ) -> Result<Output<'call, T>, Failure> {
        // SAFETY: passed on.
        unsafe { self.optional_rows_output(argument, batch_wide, rows) }?
            .ok_or(Failure::missing(argument))
    }

    fn declare<T>(
        &mut self,
        argument: &'static str,
        pointer: *const T,
        len: usize,
        written: bool,
    ) -> Result<(), Failure> {
        if len == 0 {
            return Ok(());
        }
        if pointer.is_null() {
            return Err(Failure::missing(argument));
        }
        if !pointer.is_aligned() {
            let message = "is not aligned to its element type";
            return Err(Failure::new(SURPRISAL_ERROR_MISALIGNED, argument, message));
        }
        let start = pointer.addr();
        let Some(end) = bytes_of::<T>(len).and_then(|bytes| start.checked_add(bytes)) else {
            return Err(too_large(argument));
        };
        // MOST is more than any call declares; if not, refuse rather than overlook an overlap.
        let slot = self.regions.get_mut(self.len).ok_or_else(|| too_large(argument))?;
        *slot = Some(Region { argument, start, end, written });
        self.len += 1;
        Ok(())
    }

    /// Checks that what is written overlaps nothing.
    pub(crate) fn check(self) -> Result<Checked, Failure> {
        let regions = || self.regions.iter().flatten();
        for (i, a) in regions().enumerate() {
            for b in regions().skip(i + 1) {
                if (a.written || b.written) && a.start < b.end && b.start < a.end {
                    let written = if a.written { a } else { b };
                    let message = "overlaps other memory of the call";
                    return Err(Failure::new(SURPRISAL_ERROR_OVERLAP, written.argument, message));
                }
            }
        }
        Ok(Checked(()))
    }
}

/// Rows of a batch that a call is about, with the number of all.
#[derive(Clone, Copy)]
pub(crate) struct RowRange {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) total: usize,
}

impl RowRange {
    /// Rows from `start` on; `None` where they do not lie inside the batch.
    pub(crate) fn new(start: usize, len: usize, total: usize) -> Option<Self> {
        let end = start.checked_add(len)?;
        (end <= total).then_some(Self { start, len, total })
    }

    /// All rows of a batch.
    pub(crate) fn all(total: usize) -> Self {
        Self { start: 0, len: total, total }
    }

    pub(crate) fn is_part(&self) -> bool {
        self.len < self.total
    }
}

/// Bytes of so many elements, where there can be as many.
fn bytes_of<T>(len: usize) -> Option<usize> {
    len.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok())
}

/// The first entry of some rows of a caller's array, which has one for each row of the batch; `None` for NULL.
fn first_of<T>(
    argument: &'static str,
    array: *const T,
    rows: &RowRange,
) -> Result<Option<*const T>, Failure> {
    if array.is_null() {
        return Ok(None);
    }
    // The whole array must fit the address space, not only what is read of it: an offset into one that does not may be any address.
    match bytes_of::<T>(rows.total).and_then(|bytes| array.addr().checked_add(bytes)) {
        Some(_) => Ok(Some(array.wrapping_add(rows.start))),
        None => Err(too_large(argument)),
    }
}

fn too_large(argument: &'static str) -> Failure {
    Failure::new(SURPRISAL_ERROR_EXTENT, argument, "its size overflows the address space")
}

impl<'call, T> Input<'call, T> {
    /// Where the array begins, for what does not touch all of it: not NULL if it has elements, aligned, inside the address space, and not written by
    /// this call.
    pub(crate) fn first(&self, _checked: &Checked) -> *const T {
        self.pointer
    }

    /// The array. `checked` comes from the memory that it was declared to.
    pub(crate) fn get(&self, _checked: &Checked) -> &'call [T] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: not NULL, aligned and at most isize::MAX bytes (declared), not written by this call (checked), readable and not written by
        // others during the call (the caller's promise when it was declared).
        unsafe { slice::from_raw_parts(self.pointer, self.len) }
    }
}

impl<'call, T> Output<'call, T> {
    /// As [`Input::first`]; apart from all other arrays of this call.
    pub(crate) fn first(self, _checked: &Checked) -> *mut T {
        self.pointer
    }

    /// The array. `checked` comes from the memory that it was declared to.
    pub(crate) fn get(self, _checked: &Checked) -> &'call mut [T] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: not NULL, aligned and at most isize::MAX bytes (declared), apart from all other arrays of this call (checked), the caller's
        // alone during the call (its promise when it was declared); whatever its bytes are, they are values of `T`. `self` is used up: there is
        // one reference.
        unsafe { slice::from_raw_parts_mut(self.pointer, self.len) }
    }
}

/// A caller's struct, read by a function that has no status to return; `None` where it cannot be.
///
/// # Safety
/// `pointer` is NULL or misaligned, or the caller's struct, which nobody writes during `'call`.
pub(crate) unsafe fn peek<'call, T>(pointer: *const T) -> Option<&'call T> {
    // SAFETY: aligned, and the rest is passed on.
    if pointer.is_aligned() { unsafe { pointer.as_ref() } } else { None }
}
