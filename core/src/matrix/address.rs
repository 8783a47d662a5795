//! Rows by their addresses. References are made to single rows and never span what lies between them: threads may share a buffer, each with its
//! own columns (shards of a vocabulary), so that between two rows of one there are rows of another. But for a prefetch, the only `unsafe` of the crate.
#![allow(unsafe_code, reason = "no slice has the rows of a matrix and nothing else")]

use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::slice_from_raw_parts_mut;

use super::{Logits, LogitsMut, Shape};
use crate::element::Element;
use crate::error::{Argument, Error};

/// Rows to read: `width` elements every `stride`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a, T> {
    first: *const T,
    rows: usize,
    width: usize,
    stride: usize,
    memory: PhantomData<&'a [T]>,
}

/// Rows to write.
#[derive(Debug)]
pub(super) struct RowsMut<'a, T> {
    first: *mut T,
    rows: usize,
    width: usize,
    stride: usize,
    /// Elements of each row that are the matrix's own, from `width` (its padding is not) to `stride` (all of that is); of the last row.
    own: usize,
    own_of_last: usize,
    memory: PhantomData<&'a mut [T]>,
}

// SAFETY: they are so many `&[T]`.
unsafe impl<T: Sync> Send for Rows<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Rows<'_, T> {}
// SAFETY: they are so many `&mut [T]`, no two of which overlap.
unsafe impl<T: Send> Send for RowsMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for RowsMut<'_, T> {}

impl<'a, T: Element> Logits<'a, T> {
    /// Rows by the address of the first one. What lies between rows is not touched: other threads may write there, each the columns of its own
    /// shard of one buffer.
    ///
    /// # Errors
    /// [`Error::EmptyVocab`], [`Error::Extent`], and [`Error::Stride`] where `row_stride < vocab`.
    ///
    /// # Safety
    /// `first` is aligned, and it and each of `rows` addresses that are `row_stride` elements apart, all in one allocation, start `vocab` elements that
    /// are initialised and that nobody writes during `'a`. Without rows `first` may be anything.
    pub unsafe fn from_raw_parts(
        first: *const T,
        rows: usize,
        vocab: usize,
        row_stride: usize,
    ) -> Result<Self, Error> {
        extent(Argument::Logits, rows, vocab, row_stride)?;
        let shape = Shape::new(rows, vocab);
        let rows = Rows { first, rows, width: vocab, stride: row_stride, memory: PhantomData };
        Ok(Self { rows, shape })
    }
}

impl<'a, T: Element> LogitsMut<'a, T> {
    /// As [`Logits::from_raw_parts`]. [`LogitsMut::zero_padding`] finds nothing to set to zero: what lies between rows is not this matrix's.
    ///
    /// # Errors
    /// As there.
    ///
    /// # Safety
    /// As there; during `'a` nobody else reads or writes those elements.
    pub unsafe fn from_raw_parts(
        first: *mut T,
        rows: usize,
        vocab: usize,
        row_stride: usize,
    ) -> Result<Self, Error> {
        // SAFETY: the caller's promise, passed on: no padding.
        unsafe { Self::of_raw(first, rows, vocab, row_stride, vocab) }
    }

    /// The same with the padding of all rows, that of the last one too, for [`LogitsMut::zero_padding`].
    ///
    /// # Errors
    /// As [`LogitsMut::from_raw_parts`].
    ///
    /// # Safety
    /// As there, of `row_stride` elements a row.
    pub unsafe fn from_raw_parts_padded(
        first: *mut T,
        rows: usize,
        vocab: usize,
        row_stride: usize,
    ) -> Result<Self, Error> {
        // SAFETY: the caller's promise, passed on: with all padding.
        unsafe { Self::of_raw(first, rows, vocab, row_stride, row_stride) }
    }

    /// # Safety
    /// As [`LogitsMut::from_raw_parts`], of `own` elements a row.
    unsafe fn of_raw(
        first: *mut T,
        rows: usize,
        width: usize,
        stride: usize,
        own: usize,
    ) -> Result<Self, Error> {
        extent(Argument::Dlogits, rows, width, stride)?;
        let shape = Shape::new(rows, width);
        let memory = PhantomData;
        let rows = RowsMut { first, rows, width, stride, own, own_of_last: own, memory };
        Ok(Self { rows, shape, zero_padding: false })
    }
}

/// Checks a layout. Returns how many elements there are from the first row's first to the last row's last, and with the padding of that.
fn extent(
    argument: Argument,
    rows: usize,
    width: usize,
    stride: usize,
) -> Result<(usize, usize), Error> {
    if width == 0 {
        return Err(Error::EmptyVocab);
    }
    if stride < width {
        return Err(Error::Stride { argument, row_stride: stride, vocab: width });
    }
    let end = rows.checked_mul(stride).ok_or(Error::Extent { argument })?;
    Ok((end.saturating_sub(stride - width), end))
}

/// Checks that a slice has these rows; the padding of the last may be missing.
fn check_slice(
    argument: Argument,
    actual: usize,
    rows: usize,
    width: usize,
    stride: usize,
) -> Result<(), Error> {
    let (least, most) = extent(argument, rows, width, stride)?;
    let fits = (least..=most).contains(&actual);
    if fits { Ok(()) } else { Err(Error::Length { argument, expected: least, actual }) }
}

impl<'a, T> Rows<'a, T> {
    pub(super) fn of_slice(
        argument: Argument,
        data: &'a [T],
        rows: usize,
        width: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        check_slice(argument, data.len(), rows, width, stride)?;
        Ok(Self { first: data.as_ptr(), rows, width, stride, memory: PhantomData })
    }

    /// One row; nothing where there is no such row.
    pub(super) fn row(&self, row: usize) -> &'a [T] {
        if row >= self.rows {
            return &[];
        }
        let first = self.first.wrapping_add(row * self.stride);
        // SAFETY: there is such a row, which the slice has (`of_slice` checks its length) or the caller of `from_raw_parts` vouches for.
        unsafe { core::slice::from_raw_parts(first, self.width) }
    }

    /// The rows before one, and the others.
    pub(super) fn split_at(self, row: usize) -> (Self, Self) {
        let row = row.min(self.rows);
        let first = self.first.wrapping_add(row * self.stride);
        (Self { rows: row, ..self }, Self { first, rows: self.rows - row, ..self })
    }
}

impl<'a, T> RowsMut<'a, T> {
    /// All padding is the matrix's own, as far as there is any.
    pub(super) fn of_slice(
        argument: Argument,
        data: &'a mut [T],
        rows: usize,
        width: usize,
        stride: usize,
    ) -> Result<Self, Error> {
        check_slice(argument, data.len(), rows, width, stride)?;
        let own_of_last = data.len() - rows.saturating_sub(1) * stride;
        let (first, memory) = (data.as_mut_ptr(), PhantomData);
        Ok(Self { first, rows, width, stride, own: stride, own_of_last, memory })
    }

    /// The same rows for a while.
    pub(super) fn reborrow(&mut self) -> RowsMut<'_, T> {
        RowsMut { memory: PhantomData, ..*self }
    }

    /// The same rows to read, for a while.
    pub(super) fn as_rows(&self) -> Rows<'_, T> {
        let Self { first, rows, width, stride, .. } = *self;
        Rows { first, rows, width, stride, memory: PhantomData }
    }

    /// The same rows to read from now on.
    pub(super) fn into_shared(self) -> Rows<'a, T> {
        let Self { first, rows, width, stride, .. } = self;
        Rows { first, rows, width, stride, memory: PhantomData }
    }

    /// The rows before one, and the others.
    pub(super) fn split_at(self, row: usize) -> (Self, Self) {
        let row = row.min(self.rows);
        let first = self.first.wrapping_add(row * self.stride);
        let is_all = row == self.rows;
        let own_of_last = if is_all { self.own_of_last } else { self.own };
        (Self { rows: row, own_of_last, ..self }, Self { first, rows: self.rows - row, ..self })
    }

    /// Rows of a range, as many of them as there are.
    pub(super) fn into_rows(self, rows: Range<usize>) -> impl Iterator<Item = &'a mut [T]> {
        (rows.start..rows.end.min(self.rows)).map(move |row| {
            // SAFETY: there is such a row, which the slice has (`of_slice` checks its length) or the caller of `from_raw_parts` vouches for, for reading and
            // writing. It comes once, rows do not overlap (`extent` checks the stride), and `self` is used up: there is no other reference.
            unsafe { &mut *self.part(row, 0..self.width) }
        })
    }

    /// The padding of rows of a range, as far as it is the matrix's own.
    pub(super) fn into_padding(self, rows: Range<usize>) -> impl Iterator<Item = &'a mut [T]> {
        (rows.start..rows.end.min(self.rows)).map(move |row| {
            let own = if row + 1 == self.rows { self.own_of_last } else { self.own };
            // SAFETY: as in `into_rows`, of the elements after `width`.
            unsafe { &mut *self.part(row, self.width..own) }
        })
    }

    /// Where a part of a row is.
    fn part(&self, row: usize, columns: Range<usize>) -> *mut [T] {
        let first = self.first.wrapping_add(row * self.stride + columns.start);
        slice_from_raw_parts_mut(first, columns.end - columns.start)
    }
}
