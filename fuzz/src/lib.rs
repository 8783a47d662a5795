//! What the fuzz targets share: inputs from arbitrary bytes, and what a result may differ from the f64 oracle.

pub mod bounds;
pub mod call;
mod exact;
pub mod logits;
pub mod problem;
pub mod rounding;
pub mod validity;
