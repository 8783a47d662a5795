//! Gradients times what comes from upstream, which the host never sees.

use burn::backend::Cube;
use burn::backend::wgpu::{CubeBackend, CubeTensor};
use burn::tensor::DType;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::ir::{ElemType, FloatKind};
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::cubecl::std::tensor::layout::linear::LinearViewMut;

use crate::attach::{Computes, Primitive};
use crate::wgpu::placed::registered;

/// What a loss keeps for `backward()`.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(super) gradient: CubeTensor,
    /// One u32: 0, unless the batch was refused and the gradient not written.
    pub(super) refused: CubeTensor,
}

impl Computes for Cube {
    type Kept = Kept;

    fn scaled(kept: Kept, upstream: &Primitive<Self>) -> Primitive<Self> {
        let client = upstream.client.clone();
        let factor = client.resolve_tensor_float::<CubeBackend>(upstream.clone());
        let Kept { gradient, refused } = kept;
        let most = gradient.meta.num_elements().div_ceil(UNITS as usize).min(CUBES as usize);
        scale::launch(
            &gradient.client,
            CubeCount::Static(most.max(1) as u32, 1, 1),
            CubeDim::new_1d(UNITS),
            gradient.clone().into_linear_view(),
            factor.into_buffer_arg(),
            refused.into_buffer_arg(),
            element(gradient.dtype),
        );
        registered(&client, gradient)
    }
}

fn element(dtype: DType) -> ElemType {
    ElemType::Float(match dtype {
        DType::BF16 => FloatKind::BF16,
        DType::F16 => FloatKind::F16,
        _ => FloatKind::F32,
    })
}

/// Units of a cube, and most cubes: few enough to cost nothing where there is nothing to do, enough to keep a device busy.
const UNITS: u32 = 256;
const CUBES: u32 = 4096;

/// Multiplies a gradient by a factor, which takes no pass over it where that is 1; one that was not written becomes 0.
#[cube(launch)]
fn scale<T: Numeric>(
    mut gradient: LinearViewMut<'_, T>,
    factor: &[f32],
    refused: &[u32],
    #[define(T)] _dtype: ElemType,
) {
    let is_written = refused[0] == 0u32;
    if is_written && factor[0] == 1.0f32 {
        terminate!();
    }
    let units = CUBE_COUNT * CUBE_DIM as usize;
    for index in range_stepped(ABSOLUTE_POS, gradient.shape(), units) {
        if is_written {
            let value = f32::cast_from(gradient.read(index)) * factor[0];
            gradient.write(index, T::cast_from(value));
        } else {
            gradient.write(index, T::cast_from(0.0f32));
        }
    }
}
