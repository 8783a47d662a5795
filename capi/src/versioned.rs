//! Structs that begin with their size, so that they can grow: an older program passes a shorter one, a newer program a longer one.

use core::mem::MaybeUninit;

use crate::status::{Failure, surprisal_status};

/// How much longer than today's a later version may say it is. A bound, so that a size that is no size of any struct (uninitialised memory, most
/// likely) is not read as far as it says.
const GROWTH: usize = 256;

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

    /// Whether some version has this size: an older one, this one, or one to come, whose fields are of 8 bytes or pairs of 4.
    fn is_size(struct_size: usize) -> bool {
        let now = size_of::<Self>();
        let is_later = (now..=now + GROWTH).contains(&struct_size);
        (is_later && (struct_size - now).is_multiple_of(8)) || Self::OLDER.contains(&struct_size)
    }

    /// Writes the defaults into `struct_size` bytes of the caller.
    ///
    /// # Safety
    /// `to` is NULL, or the caller may write `struct_size` bytes there.
    unsafe fn init(to: *mut Self, struct_size: usize) -> surprisal_status {
        if let Err(failure) = check_address(to) {
            return failure.status;
        }
        if !Self::is_size(struct_size) {
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

/// Copies a caller's struct, and tells its size. Bits that are zero mean "not set" in every field that was ever added: so they are what a shorter
/// struct lacks, and all that a longer one may have besides.
///
/// # Safety
/// `pointer` is NULL, or the caller's struct of `struct_size` readable bytes.
pub(crate) unsafe fn read<T: Versioned>(pointer: *const T) -> Result<(T, usize), Failure> {
    // SAFETY: passed on.
    let struct_size = unsafe { check(pointer) }?;
    let known = struct_size.min(size_of::<T>());
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the caller's struct has `struct_size` ≥ `known` bytes, `value` has size_of::<T>() ≥ `known`, and they are different objects.
    unsafe { value.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(pointer.cast(), known) };
    let mut unknown = known..struct_size;
    // SAFETY: `offset` is below the `struct_size` of the caller's struct.
    if unknown.any(|offset| unsafe { pointer.cast::<u8>().add(offset).read() } != 0) {
        let status = surprisal_status::SURPRISAL_ERROR_STRUCT_SIZE;
        return Err(Failure::new(status, T::NAME, "fields are set that this version lacks"));
    }
    // SAFETY: every byte is initialised, and any bytes are a value (contract of the trait).
    Ok((unsafe { value.assume_init() }, struct_size))
}

/// Changes a caller's struct: writes the fields that the caller's version has, if `change` succeeds. Its size stays.
///
/// # Safety
/// As [`read`], and nobody else uses the struct during the call.
pub(crate) unsafe fn update<T: Versioned>(
    pointer: *mut T,
    change: impl FnOnce(&mut T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // SAFETY: passed on.
    let (mut value, struct_size) = unsafe { read(pointer) }?;
    change(&mut value)?;
    let known = struct_size.min(size_of::<T>());
    // SAFETY: the caller's struct has `struct_size` ≥ `known` bytes, `value` at least `known`, and its first field is the size.
    unsafe {
        pointer.cast::<u8>().copy_from(core::ptr::from_ref(&value).cast(), known);
        pointer.cast::<usize>().write(struct_size);
    }
    Ok(())
}

/// Implements [`Versioned`] for a struct of plain fields (integers, floats, pointers and arrays of them), all of which are listed with their
/// initial values.
///
/// Where fields were added to it, the first one of each version follows its name, in their order.
macro_rules! versioned {
    ($type:ident: $name:literal $(then $older:ident)*, { $($field:ident: $value:expr),* $(,)? }) => {
        // SAFETY: every struct of the ABI is `repr(C)`, begins with `struct_size` (asserted below) and has plain fields only.
        unsafe impl crate::versioned::Versioned for $type {
            const NAME: &'static str = $name;
            const INIT: Self = $type { $($field: $value),* };
            const OLDER: &'static [usize] = &[$(core::mem::offset_of!($type, $older)),*];
        }
        const _: () = {
            assert!(core::mem::offset_of!($type, struct_size) == 0);
            let init = <$type as crate::versioned::Versioned>::INIT;
            let ends = [$(core::mem::offset_of!($type, $field) + size_of_val(&init.$field)),*];
            // A field that is added must not lie where older programs have padding, whose bytes may be anything.
            assert!(crate::versioned::largest(&ends) == size_of::<$type>(), "padding at the end");
        };
    };
}
pub(crate) use versioned;

/// The largest of some numbers, at compile time.
pub(crate) const fn largest(mut numbers: &[usize]) -> usize {
    let mut largest = 0;
    while let [first, rest @ ..] = numbers {
        if *first > largest {
            largest = *first;
        }
        numbers = rest;
    }
    largest
}

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
    fn what_a_struct_lacks_is_zero_and_what_it_has_besides_must_be() {
        let first = First { struct_size: size_of::<First>(), a: 1 };
        let read = read_as_now(&first).unwrap();
        assert_eq!((read.a, read.b), (1, 0));
        let later = Later { struct_size: size_of::<Later>(), a: 1, b: 2, c: 0 };
        let read = read_as_now(&later).unwrap();
        assert_eq!((read.a, read.b), (1, 2));
        let refused = surprisal_status::SURPRISAL_ERROR_STRUCT_SIZE;
        assert_eq!(read_as_now(&Later { c: 3, ..later }), Err(refused));
        let (first, now) = (size_of::<First>(), size_of::<Now>());
        for struct_size in
            [0, 1, 8, first - 1, first + 1, now - 1, now + 1, now + 7, now + GROWTH + 8, usize::MAX]
        {
            // As long as the sizes that could be read, if none were refused.
            let mut memory = [u64::MAX; 64];
            memory[0] = struct_size as u64;
            assert_eq!(read_as_now(&memory), Err(refused), "{struct_size}");
            // SAFETY: at least as many bytes as are taken.
            let status = unsafe { Now::init((&raw mut memory).cast(), struct_size) };
            assert_eq!(status, refused, "{struct_size}");
            assert_eq!(memory[1..], [u64::MAX; 63]);
        }
    }

    #[test]
    fn only_what_the_caller_has_is_written() {
        let change = |now: &mut Now| {
            *now = Now { struct_size: 7, a: now.a + 4, b: 6 };
            Ok(())
        };
        let mut first = [First { struct_size: size_of::<First>(), a: 1 }; 2];
        // SAFETY: the struct says its own size.
        unsafe { update(first.as_mut_ptr().cast::<Now>(), change) }.unwrap();
        let size = size_of::<First>();
        assert_eq!(first, [First { struct_size: size, a: 5 }, First { struct_size: size, a: 1 }]);
        let mut later = Later { struct_size: size_of::<Later>(), a: 1, b: 2, c: 0 };
        // SAFETY: as above.
        unsafe { update((&raw mut later).cast::<Now>(), change) }.unwrap();
        assert_eq!(later, Later { struct_size: size_of::<Later>(), a: 5, b: 6, c: 0 });
        let refuse = |now: &mut Now| {
            now.a = 9;
            Err(Failure::missing("b"))
        };
        // SAFETY: as above.
        assert!(unsafe { update(first.as_mut_ptr().cast::<Now>(), refuse) }.is_err());
        assert_eq!(first[0].a, 5);
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
