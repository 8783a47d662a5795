//! Operations of burn's graph that already have their results.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::{
    Autodiff, Backend, BackendTensor, BackendTypes, DispatchAutodiffContext,
    DispatchKindConversion, GradientCheckpointingStrategy,
};
use burn::tensor::{DispatchTensor, Tensor};

use crate::Error;

/// A backend that the adapter computes on.
pub(crate) trait Computes: Backend {
    /// A gradient until `backward` asks for it.
    type Kept: Clone + Debug + Send + 'static;

    /// A gradient times what comes from upstream, `[1]`, which is 1 where the loss is what `backward` is called on.
    fn scaled(
        kept: Self::Kept,
        upstream: &Self::FloatTensorPrimitive,
    ) -> Self::FloatTensorPrimitive;
}

/// The tensors of a backend.
pub(crate) type Primitive<B> = <B as BackendTypes>::FloatTensorPrimitive;

/// Those in its graph, which are the same for every strategy of checkpointing.
type Variable<B> = Primitive<Autodiff<B, NoCheckpointing>>;

/// What a call has computed: the loss `[1]`, its gradients with respect to the inputs as far as they are wanted, and what else there is to tell.
pub(crate) struct Computed<B: Computes, R, const N: usize> {
    pub(crate) loss: Primitive<B>,
    pub(crate) gradients: [Option<B::Kept>; N],
    pub(crate) report: R,
}

/// Hands the tensors to `compute`, with whether their gradients are wanted, and makes its loss one that burn can differentiate.
pub(crate) fn attach<B: Computes, R, const N: usize>(
    inputs: [DispatchTensor; N],
    compute: impl FnOnce([Primitive<B>; N], [bool; N]) -> Result<Computed<B, R, N>, Error>,
) -> Result<(Tensor<1>, R), Error>
where
    DispatchTensor: DispatchKindConversion<B>
        + DispatchKindConversion<Autodiff<B, NoCheckpointing>>
        + DispatchKindConversion<Autodiff<B, BalancedCheckpointing>>,
{
    let mut context = DispatchAutodiffContext::Disabled;
    for input in &inputs {
        match (context, input.autodiff) {
            (_, DispatchAutodiffContext::Disabled) => {}
            (DispatchAutodiffContext::Disabled, enabled) => context = enabled,
            (one, other) if one == other => {}
            _ => return Err(Error::Checkpointing),
        }
    }
    match context {
        DispatchAutodiffContext::Disabled => {
            let inputs = all(inputs.map(constant::<B>))?;
            let computed = compute(inputs, [false; N])?;
            let loss = <DispatchTensor as DispatchKindConversion<B>>::from_backend(
                BackendTensor::Float(computed.loss),
            );
            Ok((Tensor::from_dispatch(loss), computed.report))
        }
        DispatchAutodiffContext::Enabled(GradientCheckpointingStrategy::Disabled) => {
            tracked::<B, NoCheckpointing, R, N>(inputs, compute)
        }
        DispatchAutodiffContext::Enabled(GradientCheckpointingStrategy::Balanced) => {
            tracked::<B, BalancedCheckpointing, R, N>(inputs, compute)
        }
    }
}

fn tracked<B: Computes, C: CheckpointStrategy, R, const N: usize>(
    inputs: [DispatchTensor; N],
    compute: impl FnOnce([Primitive<B>; N], [bool; N]) -> Result<Computed<B, R, N>, Error>,
) -> Result<(Tensor<1>, R), Error>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B, C>>,
{
    let inputs = all(inputs.map(variable::<B, C>))?;
    let wanted = inputs.each_ref().map(Variable::<B>::is_tracked);
    let nodes = inputs.each_ref().map(Variable::<B>::node);
    let computed = compute(inputs.map(Variable::<B>::into_primitive), wanted)?;
    let loss = match Attached.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(operation) => operation.finish(computed.gradients, computed.loss),
        OpsKind::UnTracked(operation) => operation.finish(computed.loss),
    };
    let loss = <DispatchTensor as DispatchKindConversion<Autodiff<B, C>>>::from_backend(
        BackendTensor::Float(loss),
    );
    Ok((Tensor::from_dispatch(loss), computed.report))
}

/// A loss whose gradients with respect to `N` tensors are its state.
#[derive(Debug)]
struct Attached;

impl<B: Computes, const N: usize> Backward<B, N> for Attached {
    type State = [Option<B::Kept>; N];

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        for (parent, gradient) in ops.parents.into_iter().zip(ops.state) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, B::scaled(gradient, &upstream));
            }
        }
    }
}

/// A tensor that burn does not differentiate by.
fn constant<B: Backend>(tensor: DispatchTensor) -> Result<Primitive<B>, Error>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    <DispatchTensor as DispatchKindConversion<B>>::try_into_backend(tensor)
        .and_then(float)
        .map_err(Error::Device)
}

/// A tensor of burn's graph; a constant becomes one.
fn variable<B: Backend, C: CheckpointStrategy>(tensor: DispatchTensor) -> Result<Variable<B>, Error>
where
    DispatchTensor: DispatchKindConversion<B> + DispatchKindConversion<Autodiff<B, C>>,
{
    if tensor.autodiff == DispatchAutodiffContext::Disabled {
        return constant::<B>(tensor).map(Variable::<B>::new);
    }
    <DispatchTensor as DispatchKindConversion<Autodiff<B, C>>>::try_into_backend(tensor)
        .and_then(float)
        .map_err(Error::Device)
}

fn float<B: Backend>(tensor: BackendTensor<B>) -> Result<Primitive<B>, String> {
    match tensor {
        BackendTensor::Float(tensor) => Ok(tensor),
        other => Err(format!("a tensor of kind {}", other.name())),
    }
}

/// The values, or the first error.
fn all<T, const N: usize>(results: [Result<T, Error>; N]) -> Result<[T; N], Error> {
    let values = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(values.try_into().unwrap_or_else(|_| unreachable!("as many as there were")))
}
