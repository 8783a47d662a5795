//! Which gradients a call computes, and where to.

use crate::any::{AnyMatrix, AnyMatrixMut};
use crate::error::{Error, check_shape};

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
#[derive(Debug, Default)]
pub struct Gradients<'a> {
    pub(crate) hidden: Option<AnyMatrixMut<'a>>,
    pub(crate) weight: Option<AnyMatrixMut<'a>>,
    pub(crate) bias: Option<&'a mut [f32]>,
}

impl<'a> Gradients<'a> {
    /// Asks for nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// dH `[rows × d]`, written; in f32 or rounded once to 16 bits. Exactly 0 for ignored rows.
    #[must_use]
    pub fn hidden(mut self, hidden: impl Into<AnyMatrixMut<'a>>) -> Self {
        self.hidden = Some(hidden.into());
        self
    }

    /// dW `[vocab × d]`, added to; with strides of its own. In f32, or in 16 bits if the weights are: then the sum is rounded once for each chunk.
    #[must_use]
    pub fn weight(mut self, weight: impl Into<AnyMatrixMut<'a>>) -> Self {
        self.weight = Some(weight.into());
        self
    }

    /// dbias `[vocab]`, added to.
    #[must_use]
    pub fn bias(mut self, bias: &'a mut [f32]) -> Self {
        self.bias = Some(bias);
        self
    }

    /// Checks what is asked for against a layer of these weights.
    pub(crate) fn check(&self, rows: usize, layer: AnyMatrix<'_>) -> Result<(), Error> {
        let (vocab, d) = layer.shape();
        if let Some(hidden) = &self.hidden {
            check_shape("dhidden", hidden.shape(), (rows, d))?;
        }
        if let Some(weight) = &self.weight {
            check_shape("dweight", weight.shape(), (vocab, d))?;
            if layer.as_f32().is_some() && !matches!(weight, AnyMatrixMut::F32(_)) {
                return Err(Error::NarrowWeightGradient);
            }
        }
        if let Some(bias) = &self.bias {
            check_shape("dbias", (1, bias.len()), (1, vocab))?;
        }
        Ok(())
    }
}
