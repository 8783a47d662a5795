//! The kernels beside the products: active rows are brought together and back; the bias and its gradient.

use wgpu::BindingResource;

use crate::binder::{ALIGN, Binder, GROUP};
use crate::error::Error;
use crate::layout::{BiasParams, RowsParams};
use crate::matrix::Matrix;
use crate::recorder::Recorder;
use crate::shader::{BIAS, ROWS, TYPES};

/// The kernels. Their bindings are the same: uniforms, slots if any, what is read, what is written.
#[derive(Clone, Debug)]
pub(crate) struct Kernels {
    gather: wgpu::ComputePipeline,
    scatter: wgpu::ComputePipeline,
    spread: wgpu::ComputePipeline,
    sum_rows: wgpu::ComputePipeline,
}

/// Bindings of what is read and of what is written.
const ORIGIN: u32 = 2;
const RESULT: u32 = 3;

/// Rows of a matrix of the caller's, and the scratch in which the active ones lie side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Move<'a> {
    pub(crate) matrix: Matrix<'a>,
    /// Its first row among those of the batch.
    pub(crate) first_row: u32,
    /// A row's place among the active ones of the batch, or `IGNORED`.
    pub(crate) slots: &'a wgpu::Buffer,
    /// The slot of the scratch's first row.
    pub(crate) first_slot: u32,
    pub(crate) scratch: Matrix<'a>,
}

impl Kernels {
    pub(crate) fn new(binder: &Binder) -> Self {
        let rows = binder.module([TYPES, ROWS].concat());
        let bias = binder.module([TYPES, BIAS].concat());
        Self {
            gather: binder.pipeline(&rows, "gather", &[]),
            scatter: binder.pipeline(&rows, "scatter", &[]),
            spread: binder.pipeline(&bias, "spread", &[]),
            sum_rows: binder.pipeline(&bias, "sum_rows", &[]),
        }
    }

    /// Active rows into the scratch, which is of their type.
    pub(crate) fn gather(
        &self,
        binder: &Binder,
        encoder: &mut wgpu::CommandEncoder,
        rows: Move<'_>,
    ) -> Result<(), Error> {
        let words = |params: &RowsParams| params.rows * params.columns.div_ceil(word_size(params));
        each_part(binder, encoder, rows, &self.gather, [ORIGIN, RESULT], words)
    }

    /// Rows of f32 from the scratch to where they belong, and zeros to the ignored ones.
    pub(crate) fn scatter(
        &self,
        binder: &Binder,
        encoder: &mut wgpu::CommandEncoder,
        rows: Move<'_>,
    ) -> Result<(), Error> {
        let words = |params: &RowsParams| params.words - params.start / word_size(params);
        each_part(binder, encoder, rows, &self.scatter, [RESULT, ORIGIN], words)
    }

    /// The bias into every row of the logits.
    pub(crate) fn spread(
        &self,
        binder: &Binder,
        encoder: &mut wgpu::CommandEncoder,
        bias: Matrix<'_>,
        logits: Matrix<'_>,
    ) -> Result<(), Error> {
        let entries = |params: &BiasParams| params.rows * params.columns;
        with_bias(binder, encoder, (bias, logits), &self.spread, [ORIGIN, RESULT], entries)
    }

    /// Adds the sum of all rows of the logits' gradient to the bias's.
    pub(crate) fn sum_rows(
        &self,
        binder: &Binder,
        encoder: &mut wgpu::CommandEncoder,
        dlogits: Matrix<'_>,
        dbias: Matrix<'_>,
    ) -> Result<(), Error> {
        let classes = |params: &BiasParams| params.columns;
        with_bias(binder, encoder, (dbias, dlogits), &self.sum_rows, [RESULT, ORIGIN], classes)
    }
}

/// Elements of a word.
fn word_size(params: &RowsParams) -> u32 {
    if params.kind == 0 { 1 } else { 2 }
}

/// Moves rows, in parts that bindings can hold. `places` are the bindings of matrix and scratch.
fn each_part(
    binder: &Binder,
    encoder: &mut wgpu::CommandEncoder,
    Move { matrix, first_row, slots, first_slot, scratch }: Move<'_>,
    pipeline: &wgpu::ComputePipeline,
    places: [u32; 2],
    invocations: impl Fn(&RowsParams) -> u32,
) -> Result<(), Error> {
    let parts = binder.parts(&[&matrix])?;
    let (of_scratch, ..) = scratch.binding(0, scratch.rows, ALIGN);
    let mut recorder = Recorder::new(binder, encoder);
    for (first, end) in parts {
        let (of_matrix, start, packets) = matrix.binding(first, end, ALIGN);
        let params = RowsParams {
            kind: matrix.dtype.number(),
            rows: end - first,
            columns: matrix.vocab,
            first_row: first_row + first,
            first_slot,
            start,
            stride: matrix.row_stride,
            words: packets * 4,
            pitch: scratch.row_stride,
        };
        let uniform = recorder.uniform(params);
        let bindings = [
            (0, uniform.as_entire_binding()),
            (1, slots.as_entire_binding()),
            (places[0], BindingResource::Buffer(of_matrix)),
            (places[1], BindingResource::Buffer(of_scratch.clone())),
        ];
        recorder.run(pipeline, &bindings, invocations(&params).div_ceil(GROUP));
    }
    Ok(())
}

/// Runs a kernel over a bias and logits, in parts of rows that bindings can hold. `places` are the bindings of both.
fn with_bias(
    binder: &Binder,
    encoder: &mut wgpu::CommandEncoder,
    (bias, logits): (Matrix<'_>, Matrix<'_>),
    pipeline: &wgpu::ComputePipeline,
    places: [u32; 2],
    invocations: impl Fn(&BiasParams) -> u32,
) -> Result<(), Error> {
    let parts = binder.parts(&[&logits])?;
    let (of_bias, bias_start, _) = bias.binding(0, 1, ALIGN);
    let mut recorder = Recorder::new(binder, encoder);
    for (first, end) in parts {
        let (of_logits, start, _) = logits.binding(first, end, ALIGN);
        let params = BiasParams {
            rows: end - first,
            columns: logits.vocab,
            start,
            stride: logits.row_stride,
            bias_start,
        };
        let uniform = recorder.uniform(params);
        let bindings = [
            (0, uniform.as_entire_binding()),
            (places[0], BindingResource::Buffer(of_bias.clone())),
            (places[1], BindingResource::Buffer(of_logits)),
        ];
        recorder.run(pipeline, &bindings, invocations(&params).div_ceil(GROUP));
    }
    Ok(())
}
