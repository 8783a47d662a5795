//! `LinearPipelines`: an output layer's loss, compiled for a device.

use surprisal::Loss;
use surprisal::objective::Objective;

use crate::error::Error;
use crate::linear::kernels::Kernels;
use crate::linear::tiled::Tiled;
use crate::matrix::Dtype;
use crate::pipelines::Pipelines;
use crate::shader::{BIAS, PRODUCT, ROWS, TYPES};

/// A loss over the logits of an output layer, compiled for a device: that of all [`LinearLoss`](crate::LinearLoss)es with this loss, whatever their
/// weights, shapes and types. Build it once.
#[derive(Debug)]
pub struct LinearPipelines<'l, O> {
    pub(crate) loss: Pipelines<'l, O>,
    pub(crate) kernels: Kernels,
    pub(crate) tiled: Tiled,
}

impl<O: Objective> LinearPipelines<'_, O> {
    /// As [`Pipelines::with_loss`].
    ///
    /// # Errors
    /// As [`Pipelines::with_loss`].
    pub fn with_loss<'m>(&self, loss: Loss<'m, O>) -> Result<LinearPipelines<'m, O>, Error> {
        let loss = self.loss.with_loss(loss)?;
        Ok(LinearPipelines { loss, kernels: self.kernels.clone(), tiled: self.tiled.clone() })
    }
}

impl<'l, O: Objective> LinearPipelines<'l, O> {
    /// Compiles the loss, for logits in f32, and what a layer needs besides.
    ///
    /// # Errors
    /// As [`Pipelines::new`].
    pub fn new(device: &wgpu::Device, loss: Loss<'l, O>) -> Result<Self, Error> {
        let loss = Pipelines::new(device, loss, Dtype::F32)?;
        let (kernels, tiled) = (Kernels::new(&loss.binder), Tiled::new(&loss.binder));
        Ok(Self { loss, kernels, tiled })
    }

    /// Binds at most so many bytes of a matrix at once, where the device would allow more (tests).
    #[must_use]
    pub fn binding_limit(mut self, bytes: u64) -> Self {
        self.loss = self.loss.binding_limit(bytes);
        self.tiled.limit(self.loss.binder.limit);
        self
    }

    /// The pipelines of the loss, which [`RowResults::report`](crate::RowResults::report) asks for.
    pub fn loss(&self) -> &Pipelines<'l, O> {
        &self.loss
    }

    /// The product of a layer that is given no other.
    pub fn tiled(&self) -> &Tiled {
        &self.tiled
    }
}

/// The shaders of an output layer by name, beside those of the loss: products, rows, bias.
#[must_use]
pub fn linear_shader_sources() -> [(&'static str, String); 3] {
    [("product", PRODUCT), ("rows", ROWS), ("bias", BIAS)]
        .map(|(name, source)| (name, [TYPES, source].concat()))
}
