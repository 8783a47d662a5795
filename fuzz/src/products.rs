//! Matrix products that are checked while they are made, and sums that know what f32 may make of them.

use surprisal_linear::{DefaultGemm, Gemm, Matrix, MatrixMut};
use surprisal_tests::compare::close;

use crate::common::Plain;

/// Half an ULP of 1 in f32, and what products below the normal numbers may lose.
const ROUNDING: f64 = 6e-8;
const LOST: f64 = 1e-44;

/// The crate's products, each checked against f64 sums; the plain ones are what is returned, so that bits can be compared.
#[derive(Debug)]
pub struct Checked;

impl Gemm for Checked {
    fn product(
        &self,
        a: Matrix<'_, f32>,
        b: Matrix<'_, f32>,
        beta: f32,
        mut c: MatrixMut<'_, f32>,
    ) {
        let (rows, cols, down, across) = (c.rows(), c.cols(), c.row_stride(), c.col_stride());
        let mut copy = c.data().to_vec();
        if beta == 0.0 {
            entries(rows, cols).for_each(|(i, j)| copy[i * down + j * across] = f32::NAN);
        }
        let target = MatrixMut::strided(&mut copy, rows, cols, down, across).unwrap();
        DefaultGemm.product(a, b, beta, target);
        for (i, j) in entries(rows, cols) {
            let at = i * down + j * across;
            let mut sum = Sum::new(if beta == 0.0 { 0.0 } else { c.data()[at] });
            (0..a.cols()).for_each(|k| sum.add(a.get(i, k).unwrap(), b.get(k, j).unwrap()));
            sum.check("a product", copy[at]);
            // What is between the entries stays.
            copy[at] = c.data()[at];
        }
        assert!(copy.iter().zip(c.data()).all(|(x, y)| x.to_bits() == y.to_bits()), "between");
        Plain.product(a, b, beta, c);
    }
}

/// Rows and columns of every entry.
pub fn entries(rows: usize, cols: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |row| (0..cols).map(move |col| (row, col)))
}

/// A sum of products, and what f32 may make of it.
#[derive(Debug)]
pub struct Sum {
    value: f64,
    /// Of the finite terms.
    size: f64,
    terms: f64,
}

impl Sum {
    /// A sum that starts here.
    pub fn new(start: f32) -> Self {
        Self { value: f64::from(start), size: f64::from(start.abs()), terms: 2.0 }
    }

    /// Adds a product.
    pub fn add(&mut self, a: f32, b: f32) {
        let term = f64::from(a) * f64::from(b);
        self.value += term;
        self.size += if term.is_finite() { term.abs() } else { 0.0 };
        self.terms += 1.0;
    }

    /// Panics where an f32 is not this sum.
    pub fn check(&self, what: &str, actual: f32) {
        let bound = self.terms * (2.0 * ROUNDING * self.size + LOST);
        // A part of it may have left the range of f32.
        let free = self.size >= f64::from(f32::MAX) / 2.0;
        let actual = f64::from(actual);
        assert!(free || close(actual, self.value, bound), "{what}: {actual} for {}", self.value);
    }
}
