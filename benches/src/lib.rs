//! What the programs share. For speed: shapes, data, the yardsticks (bytes moved without arithmetic), the paths through the library, and what
//! checks and shows their results.
//!
//! A figure there is a ratio: the time of a path over the time that the same run took to move the same bytes. For accuracy: rows, and how far
//! the library is from the exact result.

pub mod accuracy;
pub mod allocation;
pub mod data;
pub mod level;
pub mod measure;
pub mod oracle;
pub mod path;
pub mod plot;
mod scale;
pub mod shape;
pub mod table;
pub mod yardstick;
