//! Structs that begin with their size, so that they can grow: an older program passes a shorter one, a newer program a longer one.

use core::mem::MaybeUninit;

use crate::status::{Failure, surprisal_status};

/// A struct of the ABI that begins with `struct_size`. Implemented by [`versioned`].
///
/// # Safety
/// The type is `repr(C)`, its first field is `struct_size: usize`, any bytes are a value of it, and no size in [`Versioned::OLDER`] is below that
/// of the first field or cuts a field in two.
pub(crate) unsafe trait Versioned: Copy {
    /// The argument that has this type.
    const NAME: &'static str;
    /// Every field at its default.
    const INIT: Self;
    /// Sizes in the versions before this one.
    const OLDER: &'static [usize] = &[];

    /// Whether some version has this size: an older one, this one, or one to come.
    fn is_size(struct_size: usize) -> bool {
        // A size that is no size of any struct is most likely uninitialised memory.
        let plausible = size_of::<Self>()..=16 * size_of::<Self>();
        plausible.contains(&struct_size) || Self::OLDER.contains(&struct_size)
    }

    /// Writes the defaults into `struct_size` bytes of the caller.
    ///
    /// # Safety
    /// `to` is NULL, or the caller may write `struct_size` bytes there.
    unsafe fn init(to: *mut Self, struct_size: usize) -> surprisal_status {
        if let Err(failure) = check_address(to) {
            return failure.status;
        }
        if struct_size < size_of::<Self>() && !Self::is_size(struct_size) {
            return surprisal_status::SURPRISAL_ERROR_STRUCT_SIZE;
        }
        let known = struct_size.min(size_of::<Self>());
        let init = Self::INIT;
        // SAFETY: not NULL, and the caller may write `struct_size` ≥ `known` bytes; `init` has at least `known` bytes; the first field
        // is the size (contract of the trait), and every version has it.
        unsafe {
            to.cast::<u8>().write_bytes(0, struct_size);
            to.cast::<u8>().copy_from(core::ptr::from_ref(&init).cast(), known);
            to.cast::<usize>().write(struct_size);
        }
        surprisal_status::SURPRISAL_OK
    }
}

fn wrong_size<T: Versioned>(struct_size: usize) -> Failure {
    let status = surprisal_status::SURPRISAL_ERROR_STRUCT_SIZE;
    let message = "struct_size is not that of any version; use the _INIT macro";
    Failure::new(status, T::NAME, message).value(struct_size as f64)
}

fn check_address<T: Versioned>(pointer: *const T) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::missing(T::NAME));
    }
    if !pointer.is_aligned() {
        let status = surprisal_status::SURPRISAL_ERROR_MISALIGNED;
        return Err(Failure::new(status, T::NAME, "is not aligned"));
    }
    Ok(())
}

/// Checks the address and the size of a caller's struct; returns its size.
///
/// # Safety
/// `pointer` is NULL, or the caller's struct, of which at least `struct_size` can be read.
unsafe fn check<T: Versioned>(pointer: *const T) -> Result<usize, Failure> {
    check_address(pointer)?;
    // SAFETY: not NULL, aligned, and every version begins with `struct_size` (contract of the trait).
    let struct_size = unsafe { pointer.cast::<usize>().read() };
    if T::is_size(struct_size) { Ok(struct_size) } else { Err(wrong_size::<T>(struct_size)) }
}

/// Copies a caller's struct, and tells its size. What a shorter one lacks has its default; what a longer one has besides must be zero.
///
/// # Safety
/// `pointer` is NULL, or the caller's struct of `struct_size` readable bytes.
pub(crate) unsafe fn read<T: Versioned>(pointer: *const T) -> Result<(T, usize), Failure> {
    // SAFETY: passed on.
    let struct_size = unsafe { check(pointer) }?;
    let known = struct_size.min(size_of::<T>());
    let mut value = MaybeUninit::new(T::INIT);
    // SAFETY: the caller's struct has `struct_size` ≥ `known` bytes, `value` has size_of::<T>() ≥ `known`, and they are different objects.
    unsafe { value.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(pointer.cast(), known) };
    let mut unknown = known..struct_size;
    // SAFETY: `offset` is below the `struct_size` of the caller's struct.
    if unknown.any(|offset| unsafe { pointer.cast::<u8>().add(offset).read() } != 0) {
        let status = surprisal_status::SURPRISAL_ERROR_STRUCT_SIZE;
        return Err(Failure::new(status, T::NAME, "fields are set that this version lacks"));
    }
    // SAFETY: initialised by INIT, and any bytes over it are a value (contract of the trait).
    Ok((unsafe { value.assume_init() }, struct_size))
}

/// A caller's struct to write, whose size has been checked.
pub(crate) struct Out<T> {
    pointer: *mut T,
    struct_size: usize,
}

impl<T: Versioned> Out<T> {
    /// # Safety
    /// `pointer` is NULL, or the caller's struct of `struct_size` bytes, and nobody else uses it during the call.
    pub(crate) unsafe fn new(pointer: *mut T) -> Result<Self, Failure> {
        // SAFETY: passed on.
        let struct_size = unsafe { check(pointer) }?;
        Ok(Self { pointer, struct_size })
    }

    /// As [`Out::new`]; `None` for NULL.
    ///
    /// # Safety
    /// As [`Out::new`].
    pub(crate) unsafe fn optional(pointer: *mut T) -> Result<Option<Self>, Failure> {
        // SAFETY: passed on.
        if pointer.is_null() { Ok(None) } else { unsafe { Self::new(pointer) }.map(Some) }
    }

    /// The bytes that a call may write, to be told from other memory.
    pub(crate) fn bytes(&self) -> (*mut u8, usize) {
        (self.pointer.cast(), self.struct_size)
    }

    /// Writes the fields that the caller's version has. Its size stays.
    pub(crate) fn write(self, value: T) {
        let known = self.struct_size.min(size_of::<T>());
        // SAFETY: the caller's struct has `struct_size` ≥ `known` bytes (promised to `new`), `value` at least `known`, and its first field
        // is the size.
        unsafe {
            self.pointer.cast::<u8>().copy_from(core::ptr::from_ref(&value).cast(), known);
            self.pointer.cast::<usize>().write(self.struct_size);
        }
    }
}

/// Implements [`Versioned`] for a struct of plain fields: integers, floats, pointers and arrays of them.
///
/// Where fields were added to it, the first one of each version follows its name, in their order.
macro_rules! versioned {
    ($type:ident: $name:literal $(then $field:ident)*, $init:expr) => {
        // SAFETY: every struct of the ABI is `repr(C)`, begins with `struct_size` (tested below) and has plain fields only.
        unsafe impl crate::versioned::Versioned for $type {
            const NAME: &'static str = $name;
            const INIT: Self = $init;
            const OLDER: &'static [usize] = &[$(core::mem::offset_of!($type, $field)),*];
        }
        const _: () = assert!(core::mem::offset_of!($type, struct_size) == 0);
    };
}
pub(crate) use versioned;

#[cfg(test)]
mod tests {
    use super::*;

    /// A struct as it was, as it is, and as it will be.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct First {
        struct_size: usize,
        a: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Now {
        struct_size: usize,
        a: u64,
        b: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Later {
        struct_size: usize,
        a: u64,
        b: u64,
        c: u64,
    }

    // SAFETY: repr(C), begins with its size, plain fields.
    unsafe impl Versioned for Now {
        const NAME: &'static str = "now";
        const INIT: Self = Self { struct_size: size_of::<Self>(), a: 10, b: 20 };
        const OLDER: &'static [usize] = &[size_of::<First>()];
    }

    /// Reads any of them as the library of today does.
    fn read_as_now<T>(value: &T) -> Result<Now, surprisal_status> {
        // SAFETY: each says its own size.
        let read = unsafe { read(core::ptr::from_ref(value).cast::<Now>()) };
        read.map(|(value, _)| value).map_err(|failure| failure.status)
    }

    #[test]
    fn shorter_structs_have_defaults_and_longer_ones_zeros() {
        let first = First { struct_size: size_of::<First>(), a: 1 };
        let read = read_as_now(&first).unwrap();
        assert_eq!((read.a, read.b), (1, 20));
        let later = Later { struct_size: size_of::<Later>(), a: 1, b: 2, c: 0 };
        let read = read_as_now(&later).unwrap();
        assert_eq!((read.a, read.b), (1, 2));
        let wrong = Err(surprisal_status::SURPRISAL_ERROR_STRUCT_SIZE);
        assert_eq!(read_as_now(&Later { c: 3, ..later }), wrong);
        let (first, now) = (size_of::<First>(), size_of::<Now>());
        for struct_size in [0, 1, 8, first - 1, first + 1, now - 1, 16 * now + 1, usize::MAX] {
            assert_eq!(read_as_now(&First { struct_size, a: 1 }), wrong);
        }
    }

    #[test]
    fn only_what_the_caller_has_is_written() {
        let mut first = [First { struct_size: size_of::<First>(), a: 1 }; 2];
        let value = Now { struct_size: 7, a: 5, b: 6 };
        // SAFETY: the struct says its own size.
        unsafe { Out::new(first.as_mut_ptr().cast::<Now>()) }.map(|out| out.write(value)).unwrap();
        let size = size_of::<First>();
        assert_eq!(first, [First { struct_size: size, a: 5 }, First { struct_size: size, a: 1 }]);
        let mut later = Later { struct_size: size_of::<Later>(), a: 1, b: 2, c: 3 };
        // SAFETY: as above.
        unsafe { Out::new((&raw mut later).cast::<Now>()) }.map(|out| out.write(value)).unwrap();
        assert_eq!(later, Later { struct_size: size_of::<Later>(), a: 5, b: 6, c: 3 });
    }

    #[test]
    fn init_fills_any_version() {
        let mut later = Later { struct_size: 1, a: 1, b: 2, c: 3 };
        // SAFETY: as many bytes as are told.
        let status = unsafe { Now::init((&raw mut later).cast(), size_of::<Later>()) };
        assert_eq!(status, surprisal_status::SURPRISAL_OK);
        assert_eq!(later, Later { struct_size: size_of::<Later>(), a: 10, b: 20, c: 0 });
        let mut first = [First { struct_size: 1, a: 1 }; 2];
        // SAFETY: as above.
        let status = unsafe { Now::init(first.as_mut_ptr().cast(), size_of::<First>()) };
        assert_eq!(status, surprisal_status::SURPRISAL_OK);
        let size = size_of::<First>();
        assert_eq!(first, [First { struct_size: size, a: 10 }, First { struct_size: 1, a: 1 }]);
    }
}
