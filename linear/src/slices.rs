//! Parts of slices whose lengths a call has checked. Should one be wrong for all that, what is missing is empty, and the shape of a matrix says so.

use core::mem::take;

/// The first entries.
pub(crate) fn first<T>(values: &[T], len: usize) -> &[T] {
    debug_assert!(len <= values.len(), "{len} of {}", values.len());
    values.get(..len).unwrap_or_default()
}

/// As [`first`].
pub(crate) fn first_mut<T>(values: &mut [T], len: usize) -> &mut [T] {
    debug_assert!(len <= values.len(), "{len} of {}", values.len());
    values.get_mut(..len).unwrap_or_default()
}

/// Takes entries from the front.
pub(crate) fn next_mut<'a, T>(values: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    debug_assert!(len <= values.len(), "{len} of {}", values.len());
    let (next, rest) = take(values).split_at_mut_checked(len).unwrap_or_default();
    *values = rest;
    next
}
