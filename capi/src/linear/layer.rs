//! The output layer, and which gradients are wanted.

use core::ptr;

use surprisal::Loss;
use surprisal::objective::Builtin;
use surprisal_linear::{Gradients, LinearLoss};

use crate::linear::gemm::{GemmInput, surprisal_gemm};
use crate::linear::matrix::{
    Operand, OperandInput, OperandOutput, surprisal_matrix, surprisal_matrix_mut,
};
use crate::memory::{Checked, Input, Memory, Output};
use crate::status::{Failure, surprisal_status};
use crate::versioned::{Versioned, versioned};

/// An output layer: logits are `H W^T + bias`. Begin with `SURPRISAL_LINEAR_LAYER_INIT`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_linear_layer {
    /// `sizeof(surprisal_linear_layer)`.
    pub struct_size: usize,
    /// W `[vocab x d]`; as rows of it, a shard of the vocabulary.
    pub weight: *const surprisal_matrix,
    /// One entry for each row of W; NULL for none.
    pub bias: *const f32,
    /// Who multiplies.
    pub gemm: *const surprisal_gemm,
}

versioned!(surprisal_linear_layer: "layer", {
    struct_size: size_of::<surprisal_linear_layer>(),
    weight: ptr::null(),
    bias: ptr::null(),
    gemm: ptr::null(),
});

/// Fills a layer with its initial values, as `SURPRISAL_LINEAR_LAYER_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_linear_layer_init(
    layer: *mut surprisal_linear_layer,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_linear_layer::init(layer, struct_size) }
}

/// The gradients that are wanted; each that is NULL saves its work. Begin with `SURPRISAL_LINEAR_GRADIENTS_INIT`. With dz the gradient with respect
/// to the logits:
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_linear_gradients {
    /// `sizeof(surprisal_linear_gradients)`.
    pub struct_size: usize,
    /// `dH = dz W`, written, in any element type; exactly 0 in ignored rows.
    pub hidden: *const surprisal_matrix_mut,
    /// `dW += dz^T H`: added to what is there. In f32, or in 16 bits if W is: then rounded once for each chunk of rows.
    pub weight: *const surprisal_matrix_mut,
    /// `dbias += sum over rows of dz`: added to what is there, an entry for each row of W.
    pub bias: *mut f32,
}

versioned!(surprisal_linear_gradients: "gradients", {
    struct_size: size_of::<surprisal_linear_gradients>(),
    hidden: ptr::null(),
    weight: ptr::null(),
    bias: ptr::null_mut(),
});

/// Fills it with its initial values, as `SURPRISAL_LINEAR_GRADIENTS_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_linear_gradients_init(
    gradients: *mut surprisal_linear_gradients,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_linear_gradients::init(gradients, struct_size) }
}

/// A caller's layer, declared.
pub(crate) struct LayerInput<'call> {
    pub(crate) weight: Operand,
    entries: OperandInput<'call>,
    bias: Option<Input<'call, f32>>,
    gemm: GemmInput,
}

impl<'call> LayerInput<'call> {
    /// Reads a caller's layer and declares its arrays.
    ///
    /// # Safety
    /// As [`Memory::read_struct`], [`GemmInput::read`], and as [`Memory::input`] for the arrays.
    pub(crate) unsafe fn read(
        layer: *const surprisal_linear_layer,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        unsafe {
            let layer = memory.read_struct(surprisal_linear_layer::NAME, layer)?;
            let weight = Operand::read(layer.weight, "weight", memory)?;
            Ok(Self {
                weight,
                entries: weight.input(memory)?,
                bias: memory.optional_input("bias", layer.bias, weight.shape.0)?,
                gemm: GemmInput::read(layer.gemm, memory)?,
            })
        }
    }

    /// The weights' shape, place and type: for what needs no product.
    ///
    /// # Safety
    /// As [`Memory::read_struct`].
    pub(crate) unsafe fn read_weight(
        layer: *const surprisal_linear_layer,
        memory: &mut Memory,
    ) -> Result<Operand, Failure> {
        // SAFETY: passed on.
        unsafe {
            let layer = memory.read_struct(surprisal_linear_layer::NAME, layer)?;
            Operand::read(layer.weight, "weight", memory)
        }
    }

    /// The loss over the layer.
    pub(crate) fn get(
        &self,
        loss: Loss<'call, Builtin>,
        checked: &Checked,
    ) -> Result<LinearLoss<'call, Builtin, &GemmInput>, Failure> {
        let mut layer = LinearLoss::with_gemm(loss, self.entries.view(checked)?, &self.gemm);
        if let Some(bias) = &self.bias {
            layer = layer.bias(bias.get(checked));
        }
        Ok(layer.shard(self.weight.row_start, self.weight.rows_total))
    }
}

/// What a caller wants of gradients, declared.
#[derive(Default)]
pub(crate) struct GradientsOutput<'call> {
    hidden: Option<OperandOutput<'call>>,
    weight: Option<OperandOutput<'call>>,
    bias: Option<Output<'call, f32>>,
}

impl<'call> GradientsOutput<'call> {
    /// Reads what a caller wants and declares its arrays.
    ///
    /// # Safety
    /// As [`Memory::read_struct`], and as [`Memory::output`] for the arrays.
    pub(crate) unsafe fn read(
        gradients: *const surprisal_linear_gradients,
        hidden: &Operand,
        weight: &Operand,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        unsafe {
            let g = memory.read_struct(surprisal_linear_gradients::NAME, gradients)?;
            let dhidden = Operand::read_result(g.hidden, "dhidden", hidden, memory)?;
            let dweight = Operand::read_result(g.weight, "dweight", weight, memory)?;
            Ok(Self {
                hidden: dhidden.map(|dhidden| dhidden.output(memory)).transpose()?,
                weight: dweight.map(|dweight| dweight.output(memory)).transpose()?,
                bias: memory.optional_output("dbias", g.bias, weight.shape.0)?,
            })
        }
    }

    /// The gradients.
    pub(crate) fn get(self, checked: &Checked) -> Result<Gradients<'call>, Failure> {
        let mut gradients = Gradients::new();
        if let Some(hidden) = self.hidden {
            gradients = gradients.hidden(hidden.view(checked)?);
        }
        if let Some(weight) = self.weight {
            gradients = gradients.weight(weight.view(checked)?);
        }
        if let Some(bias) = self.bias {
            gradients = gradients.bias(bias.get(checked));
        }
        Ok(gradients)
    }
}
