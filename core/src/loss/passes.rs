//! The passes over a batch's rows: one for per-token objectives, three for group objectives.

use super::context::Context;
use super::group::{GroupPass, Partner};
use super::outputs::Outputs;
use super::workspace::Workspace;
use crate::entry;
use crate::error::Error;
use crate::kernel::TOGETHER;
use crate::matrix::Matrix;
use crate::objective::{GroupPlan, Objective, Scalars, Token, TokenTerm, floor_log_p};
use crate::reduction::DivisorCursor;
use crate::report::{LossReport, Totals};
use crate::rows::{First, Halves, Item, Rows, Scratch, sum_rows};
use crate::stats::{RowStats, Softmax};

/// All stages in one pass, while a row is in cache.
pub(crate) fn fused<O: Objective>(
    context: &Context<'_, O>,
    matrix: Matrix<'_>,
    outputs: Outputs<'_>,
    scratch: &mut [f32],
) -> Result<LossReport, Error> {
    let denominator = context.denominator()?;
    let (shape, batch) = (matrix.shape(), context.batch);
    let ask = context.ask(shape.classes(), &outputs);
    let second = |item: Item<'_, '_>, cursor: &mut DivisorCursor<'_>, totals: &mut Totals| {
        let Item { index, local, stats, softmax, facts, second, outputs } = item;
        let Some(target) = context.target(index) else { return };
        let divisor = context.divisor(cursor, index);
        let (term, weight) = context.term(index, target, softmax, &Scalars::DROPPED, divisor);
        if second.has_result() {
            let weights = context.extras.class_weights;
            second.gradient(&context.row_grad(index, target, softmax, &term, &facts, weights));
        }
        outputs.put_stats(local, stats, softmax, facts.argmax);
        outputs.put_term(local, &term, weight);
        totals.count(index, softmax, &term, context.caller_weight(index, target), divisor);
    };
    let (active, target) = (|row| context.counts(row), |row| context.target(row));
    let pass = Halves { active, target, first: First::Ask(ask), wants_softmax: true, second };
    let rows = Rows::new(batch.range().start, matrix, outputs, context.level);
    let scratch = Scratch::new(scratch, shape.vocab);
    Ok(denominator.finish(rows.each(&scratch, &mut DivisorCursor::new(denominator), &pass)))
}

/// Statistics of all rows, then the plan and the terms, then the gradient if there is somewhere to write it.
pub(crate) fn grouped<O: Objective>(
    context: &Context<'_, O>,
    matrix: Matrix<'_>,
    mut outputs: Outputs<'_>,
    workspace: Workspace<'_>,
) -> Result<LossReport, Error> {
    let Workspace { stats, terms, scalars, .. } = workspace.first(matrix.shape().rows);
    let mut of_rows = outputs.reborrow();
    of_rows.stats = Some(&mut *stats);
    self::stats(context, matrix.logits(), of_rows);
    let report = terms_with(context, stats, terms, scalars, outputs)?;
    if !matches!(matrix, Matrix::Read(_)) {
        grad(context, matrix, stats, terms);
    }
    Ok(report)
}

/// Stage 1: statistics of every active row, or of the part of it that the logits hold.
pub(crate) fn stats<O: Objective>(
    context: &Context<'_, O>,
    logits: Matrix<'_>,
    outputs: Outputs<'_>,
) {
    let (classes, start) = (logits.shape().classes(), context.batch.range().start);
    let (ask, wants_softmax) = (context.ask(classes.clone(), &outputs), outputs.wants_softmax());
    let target = |index: usize| column_of(context.target(index), &classes);
    let second = |item: Item<'_, '_>, (): &mut (), _: &mut Totals| {
        item.outputs.put_stats(item.local, item.stats, item.softmax, item.facts.argmax);
    };
    let active = |row| context.counts(row);
    let pass = Halves { active, target, first: First::Ask(ask), wants_softmax, second };
    let rows = Rows::new(start, logits, outputs, context.level);
    rows.each(&Scratch::none(), &mut (), &pass);
}

/// The column of a target, where it is one of these classes.
fn column_of(target: Option<usize>, classes: &core::ops::Range<usize>) -> Option<usize> {
    target.and_then(|class| class.checked_sub(classes.start)).filter(|&c| c < classes.len())
}

fn fill<T>(to: &mut [T], values: impl Iterator<Item = T>) {
    for (to, value) in to.iter_mut().zip(values) {
        *to = value;
    }
}

/// Stage 2, with what outputs ask of statistics and terms.
pub(crate) fn terms_with<O: Objective>(
    context: &Context<'_, O>,
    stats: &[RowStats],
    terms: &mut [TokenTerm],
    scalars: &mut [Scalars],
    outputs: Outputs<'_>,
) -> Result<LossReport, Error> {
    let report = self::terms(context, stats, terms, scalars, outputs.weights)?;
    if let Some(asked) = outputs.stats {
        fill(asked, stats.iter().copied());
    }
    if let Some(asked) = outputs.terms {
        fill(asked, terms.iter().copied());
    }
    if let Some(asked) = outputs.losses {
        #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
        fill(asked, terms.iter().map(|term| term.loss as f32));
    }
    Ok(report)
}

/// Stage 2: the plan, the denominators and every row's term; the objective's weights where they are asked for.
pub(crate) fn terms<O: Objective>(
    context: &Context<'_, O>,
    stats: &[RowStats],
    terms: &mut [TokenTerm],
    scalars: &mut [Scalars],
    mut weights: Option<&mut [f32]>,
) -> Result<LossReport, Error> {
    let (batch, first) = (context.batch, context.batch.range().start);
    let plan = context.objective.group_plan();
    let tau = plan.and_then(|plan| run_plan(context, plan, stats, terms, scalars));
    let scalars_of = |row: usize| match plan {
        Some(_) => scalars.get(row).unwrap_or(&Scalars::DROPPED),
        None => &Scalars::UNPLANNED,
    };
    let counts = |row: usize| context.counts(row) && scalars_of(row).counts();
    let denominator =
        if plan.is_some() { context.denominator_of(&counts) } else { context.denominator()? };
    let mut cursor = DivisorCursor::new(denominator);
    let totals = sum_rows(0..stats.len(), context.band, &mut |rows| {
        let mut totals = Totals::default();
        let stats = stats.get(rows.clone()).unwrap_or_default();
        for (local, softmax) in rows.zip(Softmax::of_rows(context.level, stats)) {
            let Some(slot) = terms.get_mut(local) else { break };
            let row = first + local;
            let (mut term, mut weight) = (TokenTerm::default(), 0.0);
            if let Some(target) = context.target(row).filter(|_| counts(row)) {
                let divisor = cursor.at(row, batch, &counts);
                (term, weight) = context.term(row, target, &softmax, scalars_of(row), divisor);
                let caller_weight = context.caller_weight(row, target);
                totals.count(row, &softmax, &term, caller_weight, divisor);
            }
            *slot = term;
            if let Some(weights) = &mut weights {
                #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
                let weight = weight as f32;
                entry::write(weights, local, weight);
            }
        }
        totals
    });
    Ok(LossReport { tau, ..denominator.finish(totals) })
}

/// Runs the plan of a group objective; the temperature that it found. Until the terms are known, their slots hold what a token is made of.
fn run_plan<O: Objective>(
    context: &Context<'_, O>,
    plan: GroupPlan,
    stats: &[RowStats],
    terms: &mut [TokenTerm],
    scalars: &mut [Scalars],
) -> Option<f64> {
    for (stats, terms) in stats.chunks(TOGETHER).zip(terms.chunks_mut(TOGETHER)) {
        for (term, softmax) in terms.iter_mut().zip(Softmax::of_rows(context.level, stats)) {
            let [coef, dense] = context.moments_of(&softmax);
            *term = TokenTerm { loss: floor_log_p(softmax.log_prob()), coef, dense };
        }
    }
    let token = |row: usize, scalars: &Scalars| {
        let TokenTerm { loss, coef, dense } = terms.get(row).copied().unwrap_or_default();
        context.token(row, loss, [coef, dense], scalars)
    };
    let value = |index: usize, row: usize, scalars: &Scalars, partner: &Partner| {
        let Partner { shared: partner, side } = *partner;
        context.objective.step(index, &Token { partner, side, ..token(row, scalars) })
    };
    GroupPass { plan, batch: context.batch, value: &value }.run(scalars);
    let (row, scalars) = scalars.iter().enumerate().find(|(_, scalars)| scalars.counts())?;
    context.objective.temperature(&token(row, scalars))
}

/// Stage 3: the gradient of every row, or of the part of it that the logits hold.
pub(crate) fn grad<O: Objective>(
    context: &Context<'_, O>,
    matrix: Matrix<'_>,
    stats: &[RowStats],
    terms: &[TokenTerm],
) {
    let classes = matrix.shape().classes();
    let weights = context.extras.class_weights_of(classes.clone());
    let (start, map) = (context.batch.range().start, context.extras.map());
    let target = |index: usize| column_of(context.target(index), &classes);
    let second = |item: Item<'_, '_>, (): &mut (), _: &mut Totals| {
        let Item { index, softmax, facts, second, .. } = item;
        if let (Some(class), Some(term)) = (context.target(index), terms.get(index - start)) {
            second.gradient(&context.row_grad(index, class, softmax, term, &facts, weights));
        }
    };
    let active = |row| context.counts(row);
    let rows = Rows::new(start, matrix, Outputs::new(), context.level);
    let first = First::Known { map, start, stats };
    let pass = Halves { active, target, first, wants_softmax: true, second };
    rows.each(&Scratch::none(), &mut (), &pass);
}
