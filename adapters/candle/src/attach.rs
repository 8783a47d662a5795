//! Operations of candle's graph that already have their results.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

/// A loss with its gradient with respect to one tensor.
pub(crate) struct Attached1 {
    pub(crate) loss: f64,
    pub(crate) gradient: Tensor,
}

/// A loss with its gradients with respect to two tensors, as far as they are wanted.
pub(crate) struct Attached2 {
    pub(crate) loss: f64,
    pub(crate) gradients: [Option<Tensor>; 2],
}

const NAME: &str = "surprisal";

/// A scalar of f32.
#[expect(clippy::cast_possible_truncation, reason = "the graph computes in f32")]
fn scalar(loss: f64) -> (CpuStorage, Shape) {
    (CpuStorage::F32(vec![loss as f32]), Shape::from(()))
}

/// The gradient times what comes from upstream, which is 1 where the loss is what `backward` is called on.
fn scaled(gradient: &Tensor, upstream: &Tensor) -> Result<Tensor> {
    let upstream = f64::from(upstream.to_scalar::<f32>()?);
    if upstream == 1.0 { Ok(gradient.clone()) } else { gradient.affine(upstream, 0.0) }
}

impl CustomOp1 for Attached1 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(scalar(self.loss))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        scaled(&self.gradient, upstream).map(Some)
    }
}

impl CustomOp2 for Attached2 {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(scalar(self.loss))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of = |gradient: &Option<Tensor>| {
            gradient.as_ref().map(|gradient| scaled(gradient, upstream)).transpose()
        };
        let [first, second] = &self.gradients;
        Ok((of(first)?, of(second)?))
    }
}
