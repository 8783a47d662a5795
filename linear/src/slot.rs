//! What is handed to one of several threads.
#![allow(unsafe_code, reason = "there is no lock without the standard library")]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// An item that the first who asks for it takes.
pub(crate) struct Slot<T> {
    full: AtomicBool,
    item: UnsafeCell<Option<T>>,
}

// SAFETY: the item is moved to the one thread whose swap of `full` succeeds, and is touched by no other from then on; `T: Send` is what moving it takes.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    pub(crate) fn new(item: Option<T>) -> Self {
        Self { full: AtomicBool::new(item.is_some()), item: UnsafeCell::new(item) }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self) -> Option<T> {
        if !self.full.swap(false, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: `full` was true until this swap, so this is the only call that comes here (`Sync`).
        unsafe { (*self.item.get()).take() }
    }
}
