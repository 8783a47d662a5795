//! Which gradients a call computes, and where to.

use crate::error::{Error, check_shape};
use crate::matrix::{Dtype, Matrix};

/// The gradients that are asked for; each that is not saves its work (LoRA wants that of the hidden states alone).
///
/// # Formula
/// With dz the gradient with respect to the logits: `dH = dz·W`, `dW += dzᵀ·H`, `dbias += Σ_rows dz`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gradients<'a> {
    pub(crate) hidden: Option<Matrix<'a>>,
    pub(crate) weight: Option<Matrix<'a>>,
    pub(crate) bias: Option<Matrix<'a>>,
}

impl<'a> Gradients<'a> {
    /// Asks for nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// dH `[rows × d]`, written; in f32 or rounded once to 16 bits. Exactly 0 for ignored rows.
    #[must_use]
    pub fn hidden(mut self, hidden: Matrix<'a>) -> Self {
        self.hidden = Some(hidden);
        self
    }

    /// dW `[vocab × d]` in f32, added to.
    #[must_use]
    pub fn weight(mut self, weight: Matrix<'a>) -> Self {
        self.weight = Some(weight);
        self
    }

    /// dbias `[1 × vocab]` in f32, added to.
    #[must_use]
    pub fn bias(mut self, bias: Matrix<'a>) -> Self {
        self.bias = Some(bias);
        self
    }

    /// All that are asked for, by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, Matrix<'a>)> {
        let all = [("dhidden", self.hidden), ("dweight", self.weight), ("dbias", self.bias)];
        all.into_iter().filter_map(|(name, matrix)| Some((name, matrix?)))
    }

    pub(crate) fn check(&self, rows: u32, vocab: u32, d: u32) -> Result<(), Error> {
        let added = [self.weight, self.bias].into_iter().flatten();
        if added.into_iter().any(|matrix| matrix.dtype != Dtype::F32) {
            return Err(Error::Types);
        }
        for (name, matrix) in self.all() {
            let expected = match name {
                "dhidden" => (rows, d),
                "dweight" => (vocab, d),
                _ => (1, vocab),
            };
            check_shape(name, matrix, expected)?;
        }
        Ok(())
    }
}
