//! What can be wrong with a call.

use std::fmt;

use burn::tensor::DType;

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The loss refuses its logits, its batch, its options or an output.
    Loss(surprisal::Error),
    /// The output layer refuses its matrices.
    Linear(surprisal_linear::Error),
    /// The device refuses the loss, its logits or an entry of its batch.
    #[cfg(feature = "wgpu")]
    Gpu(surprisal_gpu::Error),
    /// A tensor of another type than f32, bf16 and f16.
    Dtype(DType),
    /// A tensor on a device that the adapter does not compute on, in burn's words.
    Device(String),
    /// Tensors of two strategies of gradient checkpointing in one call.
    Checkpointing,
    /// A budget in which not one row has room.
    Budget {
        /// Bytes that a chunk of one row takes.
        least: usize,
    },
    /// A tensor that cannot be read, in burn's words.
    Read(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss(error) => error.fmt(f),
            Self::Linear(error) => error.fmt(f),
            #[cfg(feature = "wgpu")]
            Self::Gpu(error) => error.fmt(f),
            Self::Dtype(dtype) => {
                write!(f, "surprisal computes in f32, bf16 and f16, not in {dtype:?}")
            }
            Self::Device(why) => write!(f, "surprisal-burn does not compute there: {why}"),
            Self::Checkpointing => {
                f.write_str("the tensors' strategies of gradient checkpointing differ")
            }
            Self::Budget { least } => {
                write!(f, "a budget of less than {least} bytes, which a chunk of one row takes")
            }
            Self::Read(why) => write!(f, "a tensor cannot be read: {why}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Loss(error) => Some(error),
            Self::Linear(error) => Some(error),
            #[cfg(feature = "wgpu")]
            Self::Gpu(error) => Some(error),
            _ => None,
        }
    }
}

impl From<surprisal::Error> for Error {
    fn from(error: surprisal::Error) -> Self {
        Self::Loss(error)
    }
}

impl From<surprisal_linear::Error> for Error {
    fn from(error: surprisal_linear::Error) -> Self {
        Self::Linear(error)
    }
}

#[cfg(feature = "wgpu")]
impl From<surprisal_gpu::Error> for Error {
    fn from(error: surprisal_gpu::Error) -> Self {
        match error {
            surprisal_gpu::Error::Loss(error) => Self::Loss(error),
            error => Self::Gpu(error),
        }
    }
}
