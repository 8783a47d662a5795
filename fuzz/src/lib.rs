//! What the fuzz targets share: inputs from arbitrary bytes.

pub mod call;
pub mod hostile;
pub mod logits;
pub mod problem;
pub mod validity;
