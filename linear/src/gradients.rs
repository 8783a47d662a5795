//! Which gradients a call computes, and where to.

use crate::error::{Error, check_shape};
use crate::matrix::MatrixMut;

/// The gradients that are asked for; each that is not saves its work (LoRA wants that of the hidden states alone).
///
/// # Formula
/// With dz the gradient with respect to the logits: `dH = dz·W`, `dW += dzᵀ·H`, `dbias += Σ_rows dz`.
///
/// ```
/// use surprisal_linear::{Gradients, MatrixMut};
///
/// let (mut dh, mut dw) = ([0.0_f32; 6], [0.0_f32; 12]);
/// let both = Gradients::new()
///     .hidden(MatrixMut::new(&mut dh, 2, 3)?)
///     .weight(MatrixMut::new(&mut dw, 4, 3)?);
/// # let _ = both;
/// # Ok::<(), surprisal_linear::Error>(())
/// ```
#[derive(Debug)]
pub struct Gradients<'a, G = f32> {
    pub(crate) hidden: Option<MatrixMut<'a, G>>,
    pub(crate) weight: Option<MatrixMut<'a, f32>>,
    pub(crate) bias: Option<&'a mut [f32]>,
}

impl<'a> Gradients<'a> {
    /// Asks for nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<G> Default for Gradients<'_, G> {
    fn default() -> Self {
        Self { hidden: None, weight: None, bias: None }
    }
}

impl<'a, G: Copy> Gradients<'a, G> {
    /// dH `[rows × d]`, written; in f32 or rounded once to 16 bits. Exactly 0 for ignored rows.
    #[must_use]
    pub fn hidden<T: Copy>(self, hidden: MatrixMut<'a, T>) -> Gradients<'a, T> {
        Gradients { hidden: Some(hidden), weight: self.weight, bias: self.bias }
    }

    /// dW `[vocab × d]`, added to; with strides of its own.
    #[must_use]
    pub fn weight(mut self, weight: MatrixMut<'a, f32>) -> Self {
        self.weight = Some(weight);
        self
    }

    /// dbias `[vocab]`, added to.
    #[must_use]
    pub fn bias(mut self, bias: &'a mut [f32]) -> Self {
        self.bias = Some(bias);
        self
    }

    pub(crate) fn check(&self, rows: usize, vocab: usize, d: usize) -> Result<(), Error> {
        if let Some(hidden) = &self.hidden {
            check_shape("dhidden", hidden.shape(), (rows, d))?;
        }
        if let Some(weight) = &self.weight {
            check_shape("dweight", weight.shape(), (vocab, d))?;
        }
        if let Some(bias) = &self.bias {
            check_shape("dbias", (1, bias.len()), (1, vocab))?;
        }
        Ok(())
    }
}
