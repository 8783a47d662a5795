//! What is timed: the ways through the library to a loss, with or without its gradient.

use surprisal::objective::Sft;
use surprisal::{Batch, Loss};
use surprisal_gpu::{Call, Dtype, Gradient, Matrix, Pipelines, wgpu};

use crate::device::Failure;

/// A way to call the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Loss alone.
    Forward,
    /// Loss, and what entropy is made of.
    Moments,
    /// Loss, of logits with a soft-cap.
    Softcap,
    /// Gradient over the logits.
    InPlace,
    /// Gradient to another matrix of the logits' type.
    Separate,
    /// Gradient to another matrix in f32.
    SeparateF32,
}

impl Path {
    pub(crate) const ALL: [Self; 6] = [
        Self::Forward,
        Self::Moments,
        Self::Softcap,
        Self::InPlace,
        Self::Separate,
        Self::SeparateF32,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Moments => "forward/moments",
            Self::Softcap => "forward/softcap",
            Self::InPlace => "in-place",
            Self::Separate => "separate",
            Self::SeparateF32 => "separate/f32",
        }
    }

    /// Whether it writes a gradient.
    pub(crate) fn has_gradient(self) -> bool {
        matches!(self, Self::InPlace | Self::Separate | Self::SeparateF32)
    }

    /// The gradient's type.
    pub(crate) fn result(self, logits: Dtype) -> Dtype {
        if self == Self::SeparateF32 { Dtype::F32 } else { logits }
    }

    pub(crate) fn loss(self) -> Loss<'static, Sft> {
        match self {
            Self::Moments => Loss::new(Sft).with_moments(),
            Self::Softcap => Loss::new(Sft).softcap(30.0),
            _ => Loss::new(Sft),
        }
    }

    /// Records the call.
    pub(crate) fn record(
        self,
        pipelines: &Pipelines<'_, Sft>,
        encoder: &mut wgpu::CommandEncoder,
        logits: Matrix<'_>,
        result: Matrix<'_>,
        batch: &Batch<'_>,
    ) -> Result<Call, Failure> {
        let call = match self {
            Self::Forward | Self::Moments | Self::Softcap => {
                pipelines.forward(encoder, logits, batch)
            }
            Self::InPlace => pipelines.forward_backward(encoder, logits, batch, Gradient::InPlace),
            Self::Separate | Self::SeparateF32 => {
                pipelines.forward_backward(encoder, logits, batch, Gradient::To(result))
            }
        };
        Ok(call?)
    }
}
