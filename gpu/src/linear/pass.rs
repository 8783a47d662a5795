//! The passes over a batch, chunk by chunk: hidden states to logits, their loss, and back.

use surprisal::Batch;
use surprisal::backend::Plan;
use surprisal::objective::Objective;

use crate::call::Call;
use crate::error::Error;
use crate::layout::{IGNORED, Params};
use crate::linear::chunks::{Chunk, chunks};
use crate::linear::gemm::Operand;
use crate::linear::gradients::Gradients;
use crate::linear::kernels::Move;
use crate::linear::layer::LinearLoss;
use crate::linear::scratch::Scratch;
use crate::matrix::{Dtype, Matrix};
use crate::record::Gradient;
use crate::rows::Rows;

/// A call that has been checked.
pub(crate) struct Pass<'c, 'a, 'l, O> {
    layer: &'c LinearLoss<'a, 'l, O>,
    hidden: Matrix<'c>,
    scratch: &'c Scratch,
    /// Of the largest chunk.
    logits: Matrix<'c>,
    chunks: Vec<Chunk>,
    /// A row's place among the active ones, or `IGNORED`.
    slots: wgpu::Buffer,
    /// Of the active rows.
    call: Call,
}

impl<'c, 'a, 'l, O: Objective> Pass<'c, 'a, 'l, O> {
    /// Checks the batch. Nothing is recorded yet.
    pub(crate) fn new(
        layer: &'c LinearLoss<'a, 'l, O>,
        hidden: Matrix<'c>,
        batch: &Batch<'_>,
        scratch: &'c Scratch,
        logits: Matrix<'c>,
        rows: impl FnOnce(&Plan<'_, O>, &Params) -> Rows,
    ) -> Result<Self, Error> {
        let loss = &layer.pipelines.loss;
        let (params, rows) = loss.rows_of(&logits, batch, hidden.rows, rows)?;
        let active = rows.active();
        let mut slots = vec![IGNORED; rows.len().max(1)];
        for (slot, &row) in (0..).zip(&active) {
            slots[row as usize] = slot;
        }
        let slots = loss.binder.filled(bytemuck::cast_slice(&slots), wgpu::BufferUsages::STORAGE);
        let chunks = chunks(hidden.rows, &active, logits.rows);
        let call = Call::of_active(&loss.binder, params, &rows, active)?;
        Ok(Self { layer, hidden, scratch, logits, chunks, slots, call })
    }

    /// Statistics and terms of all rows.
    pub(crate) fn stats(self, encoder: &mut wgpu::CommandEncoder) -> Result<Call, Error> {
        let loss = &self.layer.pipelines.loss;
        for chunk in self.chunks.iter().filter(|chunk| chunk.len() > 0) {
            let (logits, at) = (self.logits(encoder, chunk)?, chunk.active.start);
            let mut recorder = loss.recorder(encoder);
            loss.record_stats(&mut recorder, logits, &self.call, at)?;
            loss.record_terms(&mut recorder, logits.rows, &self.call, at);
        }
        Ok(self.call)
    }

    /// Loss and gradients of a per-token objective.
    pub(crate) fn fused(
        self,
        encoder: &mut wgpu::CommandEncoder,
        gradients: &Gradients<'_>,
    ) -> Result<Call, Error> {
        let loss = &self.layer.pipelines.loss;
        self.backward(encoder, gradients, |encoder, logits, at| {
            loss.record_all(&mut loss.recorder(encoder), logits, &self.call, at, &Gradient::InPlace)
        })?;
        Ok(self.call)
    }

    /// Gradients from what the host knows of each row.
    pub(crate) fn grad(
        self,
        encoder: &mut wgpu::CommandEncoder,
        gradients: &Gradients<'_>,
    ) -> Result<(), Error> {
        let loss = &self.layer.pipelines.loss;
        self.backward(encoder, gradients, |encoder, logits, at| {
            let recorder = &mut loss.recorder(encoder);
            loss.record_gradient(recorder, logits, &self.call, at, &Gradient::InPlace, false)
        })
    }

    /// Chunk by chunk: logits, what turns them into their gradient, and the gradients of the layer.
    fn backward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        gradients: &Gradients<'_>,
        to_gradient: impl Fn(&mut wgpu::CommandEncoder, Matrix<'_>, u32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for chunk in &self.chunks {
            if chunk.len() > 0 {
                let logits = self.logits(encoder, chunk)?;
                to_gradient(encoder, logits, chunk.active.start)?;
                self.parameters(encoder, logits, gradients)?;
            }
            if let Some(dhidden) = gradients.hidden {
                self.hidden(encoder, chunk, dhidden)?;
            }
        }
        Ok(())
    }

    /// `z = H·Wᵀ + bias` of a chunk's active rows.
    fn logits(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        chunk: &Chunk,
    ) -> Result<Matrix<'c>, Error> {
        let LinearLoss { pipelines, weight, bias, gemm, .. } = self.layer;
        let (binder, kernels) = (&pipelines.loss.binder, &pipelines.kernels);
        let logits = self.logits.row_range(0..chunk.len());
        let gathered = self.gathered(chunk.len());
        kernels.gather(binder, encoder, self.moved(chunk, self.hidden, gathered))?;
        let mut beta = 0.0;
        if let Some(bias) = bias {
            kernels.spread(binder, encoder, *bias, logits)?;
            beta = 1.0;
        }
        let [a, b, c] = [gathered, *weight, logits].map(Operand::of);
        gemm.product(encoder, a, b.transposed(), beta, c);
        Ok(logits)
    }

    /// `dW += dzᵀ·H`, `dbias += Σ dz` of a chunk, whose hidden states are still where they were gathered.
    fn parameters(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        dlogits: Matrix<'_>,
        gradients: &Gradients<'_>,
    ) -> Result<(), Error> {
        let LinearLoss { pipelines, gemm, .. } = self.layer;
        if let Some(dweight) = gradients.weight {
            let [dz, h, dw] = [dlogits, self.gathered(dlogits.rows), dweight].map(Operand::of);
            gemm.product(encoder, dz.transposed(), h, 1.0, dw);
        }
        if let Some(dbias) = gradients.bias {
            pipelines.kernels.sum_rows(&pipelines.loss.binder, encoder, dlogits, dbias)?;
        }
        Ok(())
    }

    /// `dH = dz·W` of a chunk, over its hidden states; then to where it belongs, with zeros for the ignored rows.
    fn hidden(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        chunk: &Chunk,
        dhidden: Matrix<'c>,
    ) -> Result<(), Error> {
        let LinearLoss { pipelines, weight, gemm, .. } = self.layer;
        let in_f32 = self.in_scratch(Dtype::F32, chunk.len().max(1));
        if chunk.len() > 0 {
            let dlogits = self.logits.row_range(0..chunk.len());
            let [dz, w, dh] = [dlogits, *weight, in_f32].map(Operand::of);
            gemm.product(encoder, dz, w, 0.0, dh);
        }
        let rows = self.moved(chunk, dhidden, in_f32);
        pipelines.kernels.scatter(&pipelines.loss.binder, encoder, rows)
    }

    /// Hidden states of a chunk's active rows in the scratch.
    fn gathered(&self, rows: u32) -> Matrix<'c> {
        self.in_scratch(self.hidden.dtype, rows)
    }

    /// Rows in the scratch, as wide as the layer.
    fn in_scratch(&self, dtype: Dtype, rows: u32) -> Matrix<'c> {
        let row_stride = self.hidden.vocab.next_multiple_of(dtype.packet());
        Matrix { buffer: &self.scratch.hidden, dtype, offset: 0, rows, row_stride, ..self.hidden }
    }

    fn moved<'m>(&'m self, chunk: &Chunk, matrix: Matrix<'m>, scratch: Matrix<'m>) -> Move<'m> {
        Move {
            matrix: matrix.row_range(chunk.rows.clone()),
            first_row: chunk.rows.start,
            slots: &self.slots,
            first_slot: chunk.active.start,
            scratch,
        }
    }
}
