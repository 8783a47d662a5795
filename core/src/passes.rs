//! The passes over a batch's rows: one for objectives of a token, three for those of a group.

use crate::element::{Element, GradientOf};
use crate::entry;
use crate::error::{Argument, Error};
use crate::kernel::{self, Parked, Want};
use crate::objective::{Group, Objective, TokenTerm};
use crate::outputs::Outputs;
use crate::reduction::{LossReport, ScaleCursor, Totals};
use crate::rows::{Matrix, Row, Rows, sum_rows};
use crate::scratch::Scratch;
use crate::stats::RowStats;
use crate::term::{Context, stats_of};
use crate::view::Logits;

/// All stages in one pass, while a row is in cache.
pub(crate) fn fused<T: Element, G: GradientOf<T>, O: Objective>(
    context: &Context<'_, O>,
    rows: Rows<'_, T, G>,
    scratch: &Scratch<'_>,
) -> LossReport {
    let batch = context.batch;
    let active = |row: usize| batch.target(row).is_some();
    let scale = context.scale(&active);
    let want = want(context, &rows.outputs, 0..rows.matrix.shape().vocab);
    let totals = rows.run(scratch, &mut ScaleCursor::new(scale), &|rows, leaf, cursor| {
        let mut totals = Totals::default();
        for local in leaf {
            let row = rows.first + local;
            match context.target(row) {
                None => rows.ignore(local),
                Some(target) => {
                    let scale = cursor.at(row, batch, &active);
                    fused_row(context, rows, local, target, want, scale, &mut totals);
                }
            }
        }
        totals
    });
    scale.finish(totals)
}

fn fused_row<T: Element, G: GradientOf<T>, O: Objective>(
    context: &Context<'_, O>,
    rows: &mut Rows<'_, T, G>,
    local: usize,
    target: usize,
    want: Want<'_>,
    scale: f64,
    totals: &mut Totals,
) {
    let (index, level) = (rows.first + local, rows.matrix.level());
    let map = context.extras.map();
    let next = next_active(context, rows, local);
    let (mut row, outputs) = rows.row(local, next);
    // Before anything is parked over it.
    let target_logit = row.read().logit(target).unwrap_or(f32::NAN);
    outputs.put_argmax(local, || kernel::argmax(row.read().row));
    let moments = kernel::moments(level, row.read(), &map, want);
    let (sums, parked) = match &mut row {
        Row::Read(row) => (T::sums(level, *row, &map), Parked::Nowhere),
        Row::Write(row) => row.sums(level, &map),
    };
    let softmax = stats_of(&sums, moments, Some(target_logit), &map).softmax();
    let (term, weight) = context.term(index, target, &softmax, &TokenTerm::default(), scale);
    if let Row::Write(row) = &mut row {
        let grad = context.row_grad(&softmax, &term, target, Some((target, target_logit)));
        row.write_grad(level, parked, &map, &grad, context.extras.class_weights);
    }
    outputs.put_stats(local, &softmax);
    outputs.put_term(local, &term, weight);
    totals.count(index, &softmax, &term, context.caller_weight(index, target), scale);
    rows.keep_max(next, &sums);
}

/// The active row after this one, if this worker has any.
fn next_active<T: Element, G: GradientOf<T>, O: Objective>(
    context: &Context<'_, O>,
    rows: &Rows<'_, T, G>,
    local: usize,
) -> Option<usize> {
    (local + 1..rows.len()).find(|local| context.target(rows.first + local).is_some())
}

/// Statistics of all rows, then the group pass and the terms, then the gradient if there is somewhere to write it.
pub(crate) fn grouped<T: Element, G: GradientOf<T>, O: Objective>(
    context: &Context<'_, O>,
    matrix: Matrix<'_, T, G>,
    mut outputs: Outputs<'_>,
) -> Result<LossReport, Error> {
    let term_slice = outputs.terms.take().ok_or(Error::Missing(Argument::Terms))?;
    let weights = outputs.weights.take();
    if outputs.stats.is_none() {
        return Err(Error::Missing(Argument::Stats));
    }
    stats(context, matrix.logits(), outputs.reborrow());
    let stats = outputs.stats.as_deref().unwrap_or_default();
    let report = terms(context, stats, term_slice, weights);
    if !matches!(matrix, Matrix::Read(_)) {
        grad(context, matrix, stats, term_slice);
    }
    Ok(report)
}

/// Stage 1: statistics of every active row, or of the part of it that the logits hold.
pub(crate) fn stats<T: Element, O: Objective>(
    context: &Context<'_, O>,
    logits: Logits<'_, T>,
    outputs: Outputs<'_>,
) {
    let map = context.extras.map();
    let first = context.batch.range().start;
    let (shape, level) = (logits.shape, logits.level);
    let columns = shape.vocab_start..shape.vocab_start + shape.vocab;
    let rows = Rows::<T, T>::new(first, Matrix::Read(logits), outputs);
    rows.run(&Scratch::none(), &mut (), &|rows, leaf, ()| {
        for local in leaf {
            let Some(target) = context.target(rows.first + local) else {
                rows.outputs.put_ignored(local);
                continue;
            };
            let want = want(context, &rows.outputs, columns.clone());
            let next = next_active(context, rows, local);
            let (row, outputs) = rows.row(local, next);
            let row = row.read();
            let moments = kernel::moments(level, row, &map, want);
            let sums = T::sums(level, row, &map);
            let column = target.checked_sub(columns.start);
            let target_logit = column.and_then(|column| row.logit(column));
            let stats = stats_of(&sums, moments, target_logit, &map);
            outputs.put_argmax(local, || kernel::argmax(row.row));
            outputs.put_stats(local, &stats.softmax());
            rows.keep_max(next, &sums);
        }
        Totals::default()
    });
}

/// Stage 2: the group pass, the denominators and every row's term; the objective's weights where they are asked for.
pub(crate) fn terms<O: Objective>(
    context: &Context<'_, O>,
    stats: &[RowStats],
    terms: &mut [TokenTerm],
    mut weights: Option<&mut [f32]>,
) -> LossReport {
    let (objective, batch) = (context.objective, context.batch);
    let first = batch.range().start;
    terms.fill(TokenTerm::default());
    objective.group_pass(&Group { stats, batch }, terms);
    let counts =
        |row: usize, scalars: &TokenTerm| batch.target(row).is_some() && objective.counts(scalars);
    // Rows of other calls have no scalars: only objectives of a token come here with a part of the batch.
    let scalars_of = |terms: &[TokenTerm], row: usize| {
        terms.get(row.wrapping_sub(first)).copied().unwrap_or_default()
    };
    let scale = context.scale(&|row| counts(row, &scalars_of(terms, row)));
    let mut cursor = ScaleCursor::new(scale);
    let totals = sum_rows(0..stats.len(), &mut |rows| {
        let mut totals = Totals::default();
        for local in rows {
            let row = first + local;
            // The cursor looks at this row and later ones, whose scalars are still in place.
            let scale = cursor.at(row, batch, &|row| counts(row, &scalars_of(terms, row)));
            let (Some(stats), Some(&scalars)) = (stats.get(local), terms.get(local)) else {
                continue;
            };
            let softmax = stats.softmax();
            let target = context.target(row).filter(|_| counts(row, &scalars));
            let (mut term, mut weight) = (TokenTerm::default(), 0.0);
            if let Some(target) = target {
                (term, weight) = context.term(row, target, &softmax, &scalars, scale);
                let caller_weight = context.caller_weight(row, target);
                totals.count(row, &softmax, &term, caller_weight, scale);
            }
            entry::write(terms, local, term);
            if let Some(weights) = &mut weights {
                #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
                let weight = weight as f32;
                entry::write(weights, local, weight);
            }
        }
        totals
    });
    scale.finish(totals)
}

/// Stage 3: the gradient of every row, or of the part of it that the logits hold.
pub(crate) fn grad<T: Element, G: GradientOf<T>, O: Objective>(
    context: &Context<'_, O>,
    matrix: Matrix<'_, T, G>,
    stats: &[RowStats],
    terms: &[TokenTerm],
) {
    let map = context.extras.map();
    let first = context.batch.range().start;
    let (shape, level) = (matrix.shape(), matrix.level());
    let columns = shape.vocab_start..shape.vocab_start + shape.vocab;
    let class_weights = context.extras.class_weights_of(columns.clone());
    let rows = Rows::new(first, matrix, Outputs::new());
    rows.run(&Scratch::none(), &mut (), &|rows, leaf, ()| {
        for local in leaf {
            let row = rows.first + local;
            let Some(class) = context.target(row) else {
                rows.ignore(local);
                continue;
            };
            let (Row::Write(mut out), _) = rows.row(local, None) else { continue };
            let (Some(stats), Some(term)) = (stats.get(row - first), terms.get(row - first)) else {
                continue;
            };
            let column = class.checked_sub(columns.start);
            let target = column.and_then(|column| Some((column, out.read().logit(column)?)));
            let grad = context.row_grad(&stats.softmax(), term, class, target);
            out.write_grad(level, Parked::Nowhere, &map, &grad, class_weights);
        }
        Totals::default()
    });
}

/// What the kernel must sum for this loss and these outputs.
fn want<'w, O>(
    context: &Context<'w, O>,
    outputs: &Outputs<'_>,
    columns: core::ops::Range<usize>,
) -> Want<'w> {
    Want {
        sum_logits: context.extras.label_smoothing > 0.0,
        class_weights: context.extras.class_weights_of(columns),
        sum_exp_logits: outputs.entropy.is_some(),
    }
}
