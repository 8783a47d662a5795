//! Binds what a stage needs and dispatches it, in parts of rows that bindings can hold.

use surprisal::objective::Objective;

use crate::binder::{ALIGN, GROUP};
use crate::call::Call;
use crate::error::Error;
use crate::layout::Params;
use crate::matrix::Matrix;
use crate::pipelines::Pipelines;
use crate::record::Gradient;
use crate::recorder::Recorder;
use crate::shader::{Destination, LITERALS};

impl<O: Objective> Pipelines<'_, O> {
    /// Records stage 1 of logits whose rows are those of the call from `at` on.
    pub(crate) fn record_stats(
        &self,
        recorder: &mut Recorder<'_>,
        logits: Matrix<'_>,
        call: &Call,
        at: u32,
    ) -> Result<(), Error> {
        let parts = self.binder.parts(&[&logits])?;
        let kernel = self.kernel("row_stats", Destination::Separate, &call.params);
        for (first, end) in parts {
            let (binding, start, _) = logits.binding(first, end, ALIGN);
            let (rows, first_row) = (end - first, at + first);
            let params = Params { rows, first_row, logits_start: start, ..call.params };
            let groups = (rows * params.splits).div_ceil(kernel.rows);
            let uniform = recorder.uniform(params);
            let bindings = [
                (0, uniform.as_entire_binding()),
                (1, wgpu::BindingResource::Buffer(binding)),
                (3, call.inputs.as_entire_binding()),
                (4, call.parts.as_entire_binding()),
                (6, self.class_weights.as_entire_binding()),
            ];
            recorder.run(&kernel.pipeline, &bindings, groups);
        }
        Ok(())
    }

    /// Records stage 2 of so many rows of the call from `at` on.
    pub(crate) fn record_terms(
        &self,
        recorder: &mut Recorder<'_>,
        rows: u32,
        call: &Call,
        at: u32,
    ) {
        if rows == 0 {
            return;
        }
        let kernel = self.kernel("token_terms", Destination::Separate, &call.params);
        let params = Params { rows, first_row: at, ..call.params };
        let uniform = recorder.uniform(params);
        let bindings = [
            (0, uniform.as_entire_binding()),
            (3, call.inputs.as_entire_binding()),
            (4, call.parts.as_entire_binding()),
            (5, call.outputs.as_entire_binding()),
            (7, call.totals.as_entire_binding()),
            (LITERALS, self.literals.as_entire_binding()),
        ];
        recorder.run(&kernel.pipeline, &bindings, rows.div_ceil(GROUP));
    }

    /// Records all stages of logits whose rows are those of the call from `at` on.
    pub(crate) fn record_all(
        &self,
        recorder: &mut Recorder<'_>,
        logits: Matrix<'_>,
        call: &Call,
        at: u32,
        gradient: &Gradient<'_>,
    ) -> Result<(), Error> {
        let result = gradient.of(logits);
        let fused = logits.fits_on_chip() && logits.rows_are_apart() && result.rows_are_apart();
        if !fused {
            self.record_stats(recorder, logits, call, at)?;
            self.record_terms(recorder, logits.rows, call, at);
        }
        self.record_gradient(recorder, logits, call, at, gradient, fused)
    }

    /// Records the gradient from what stage 2 has left, or all stages at once.
    pub(crate) fn record_gradient(
        &self,
        recorder: &mut Recorder<'_>,
        logits: Matrix<'_>,
        call: &Call,
        at: u32,
        gradient: &Gradient<'_>,
        fused: bool,
    ) -> Result<(), Error> {
        let result = gradient.of(logits);
        let entry_point = if fused { "fused" } else { "logits_grad" };
        let kernel = self.kernel(entry_point, gradient.destination(&logits), &call.params);
        let splits = if fused { 1 } else { call.params.splits };
        let parts = self.binder.parts(&[&logits, &result])?;
        for (first, end) in parts {
            let (source, logits_start, _) = logits.binding(first, end, ALIGN);
            let (target, result_start, _) = result.binding(first, end, ALIGN);
            let rows = end - first;
            let params = recorder.uniform(Params {
                rows,
                first_row: at + first,
                splits,
                logits_start,
                result_start,
                result_stride: result.row_stride,
                ..call.params
            });
            let mut entries = vec![
                (0, params.as_entire_binding()),
                (1, wgpu::BindingResource::Buffer(source)),
                (5, call.outputs.as_entire_binding()),
                (6, self.class_weights.as_entire_binding()),
                (7, call.totals.as_entire_binding()),
            ];
            if let Gradient::To(_) = gradient {
                entries.push((2, wgpu::BindingResource::Buffer(target)));
            }
            if fused {
                entries.push((3, call.inputs.as_entire_binding()));
                entries.push((LITERALS, self.literals.as_entire_binding()));
            }
            recorder.run(&kernel.pipeline, &entries, (rows * splits).div_ceil(kernel.rows));
        }
        Ok(())
    }
}
