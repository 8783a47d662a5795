//! What the fuzz targets share: inputs from arbitrary bytes.

pub mod call;
#[path = "../../linear/tests/common/mod.rs"]
pub mod common;
pub mod hostile;
pub mod layer;
pub mod logits;
pub mod problem;
pub mod products;
pub mod validity;
