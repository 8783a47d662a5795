//! What a trainer or its tests need beside the loss: a header and a library of its own, cut from the same archive.

mod params;
mod reference;

pub use params::*;
pub use reference::*;
