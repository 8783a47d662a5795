//! What the tests, benches and fuzz targets of surprisal share: problems, ways to run them, comparators, tolerances, and the
//! PyTorch vectors.
//!
//! Truth has an order: the f64 oracle (`surprisal::reference`), properties that need no oracle, vectors from PyTorch, agreement between
//! backends. A backend is a closure from [`Problem`](problem::Problem) to [`Outcome`](problem::Outcome), so that each of them gets
//! the same tests.

pub mod bounds;
pub mod cases;
pub mod compare;
mod exact;
pub mod hostile;
mod moved;
pub mod problem;
pub mod rng;
pub mod run;
pub mod storage;
pub mod tolerance;
pub mod vectors;

/// The examples of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The examples of the page about methods.
#[cfg(doctest)]
#[doc = include_str!("../../docs/METHODS.md")]
pub struct Methods;
