//! Runs the plan of a group objective: statistics over log-probabilities, never over logits.

use core::cell::Cell;
use core::iter::successors;
use core::ops::Range;

use super::order::{self, nan_last};
use crate::batch::Batch;
use crate::objective::{
    GroupPlan, NO_ROW, Over, Real, STEPS, Scalars, Selection, Statistic, Token,
};

/// A batch after stage 1, and the plan that is to be run on it.
pub(crate) struct GroupPass<'a> {
    pub(crate) plan: GroupPlan,
    pub(crate) batch: &'a Batch<'a>,
    /// A token, with what the plan has left for it so far.
    pub(crate) token: &'a dyn Fn(usize, &Scalars) -> Token<f64>,
    /// The value of a step.
    pub(crate) value: &'a dyn Fn(usize, &Token<f64>) -> f64,
}

/// The scalars of all rows.
type Rows<'a> = &'a [Cell<Scalars>];

impl GroupPass<'_> {
    /// Leaves scalars for every row that is not ignored.
    pub(crate) fn run(&self, scalars: &mut [Scalars]) {
        scalars.fill(Scalars::DROPPED);
        let rows = Cell::from_mut(scalars).as_slice_of_cells();
        if self.plan.steps().any(|(_, step)| matches!(step.over, Over::Group | Over::Groups)) {
            self.link_groups(rows);
        }
        for (index, step) in self.plan.steps() {
            let reduce = Reduce { pass: self, rows, index, statistic: step.statistic };
            match step.over {
                Over::Batch => reduce.over(self.active(0..rows.len())),
                Over::Sequence => self.sequences().for_each(|s| reduce.over(self.active(s))),
                Over::Group => heads(rows).for_each(|head| reduce.over(members(rows, head))),
                Over::Sequences => {
                    reduce.over(self.sequences().filter_map(|s| self.first(s)));
                    self.sequences().for_each(|s| reduce.spread(self.active(s)));
                }
                Over::Groups => {
                    reduce.over(heads(rows));
                    heads(rows).for_each(|head| reduce.spread(members(rows, head)));
                }
                Over::Pairs => reduce.over_pairs(),
            }
        }
        self.select(rows);
    }

    /// Marks the tokens that take part.
    fn select(&self, rows: Rows<'_>) {
        let mark = |row: usize| change(rows, row, |scalars| scalars.counts = 1);
        match self.plan.selection() {
            Selection::All => self.active(0..rows.len()).for_each(mark),
            Selection::Kept => {
                let kept = self.sequences().enumerate().filter(|&(s, _)| self.batch.keeps(s));
                kept.for_each(|(_, sequence)| self.active(sequence).for_each(mark));
            }
            Selection::Paired => {
                let of_pair = |pair: &crate::Pair| [pair.chosen, pair.rejected];
                let sequences = self.batch.pairs.unwrap_or_default().iter().flat_map(of_pair);
                sequences.for_each(|s| self.active(self.sequence(s)).for_each(mark));
            }
            Selection::Step(step) => {
                let positive = |&row: &usize| shared(rows, row, step) > 0.0;
                self.active(0..rows.len()).filter(positive).for_each(mark);
            }
        }
    }

    fn active(&self, rows: Range<usize>) -> impl Iterator<Item = usize> + Clone + '_ {
        rows.filter(|&row| self.batch.target(row).is_some())
    }

    fn sequence(&self, sequence: usize) -> Range<usize> {
        self.batch.sequences.map_or(0..0, |sequences| sequences.rows(sequence))
    }

    fn sequences(&self) -> impl Iterator<Item = Range<usize>> + Clone + '_ {
        let count = self.batch.sequences.map_or(0, |sequences| sequences.len());
        (0..count).map(|sequence| self.sequence(sequence))
    }

    fn first(&self, rows: Range<usize>) -> Option<usize> {
        self.active(rows).next()
    }

    /// Chains the tokens of every group, in the order of their rows.
    fn link_groups(&self, rows: Rows<'_>) {
        for row in (0..rows.len()).rev().filter(|&row| self.batch.target(row).is_some()) {
            let id = self.batch.group(row);
            let next = rows.get(id).map_or(NO_ROW, |cell| cell.get().head);
            change(rows, row, |scalars| scalars.next = next);
            let head = u32::try_from(row).unwrap_or(NO_ROW);
            change(rows, id, |scalars| scalars.head = head);
        }
    }
}

fn change(rows: Rows<'_>, row: usize, with: impl FnOnce(&mut Scalars)) {
    if let Some(cell) = rows.get(row) {
        let mut scalars = cell.get();
        with(&mut scalars);
        cell.set(scalars);
    }
}

/// What a step left for a token.
fn shared(rows: Rows<'_>, row: usize, step: usize) -> f64 {
    rows.get(row).and_then(|cell| cell.get().shared.get(step).copied()).unwrap_or(0.0)
}

/// The first tokens of all groups, in the order of their ids.
fn heads(rows: Rows<'_>) -> impl Iterator<Item = usize> + Clone + '_ {
    rows.iter().filter_map(|cell| row_of(cell.get().head))
}

/// The tokens of the group that begins with this one.
fn members(rows: Rows<'_>, head: usize) -> impl Iterator<Item = usize> + Clone + '_ {
    successors(Some(head), |&row| rows.get(row).and_then(|cell| row_of(cell.get().next)))
}

fn row_of(link: u32) -> Option<usize> {
    (link != NO_ROW).then_some(link as usize)
}

/// A step over some tokens at a time. A token's entry holds its value first, and then the result.
#[derive(Clone, Copy)]
struct Reduce<'a> {
    pass: &'a GroupPass<'a>,
    rows: Rows<'a>,
    index: usize,
    statistic: Statistic,
}

impl Reduce<'_> {
    fn put(self, row: usize, value: f64) {
        change(self.rows, row, |scalars| {
            if let Some(entry) = scalars.shared.get_mut(self.index) {
                *entry = value;
            }
        });
    }

    /// The token of a row, as the step sees it.
    fn token(self, row: usize) -> Token<f64> {
        let scalars = self.rows.get(row).map_or(Scalars::DROPPED, Cell::get);
        (self.pass.token)(row, &scalars)
    }

    /// Replaces the values of these tokens by their statistic.
    fn over(self, tokens: impl Iterator<Item = usize> + Clone) {
        let mut count = 0_usize;
        for row in tokens.clone() {
            self.put(row, (self.pass.value)(self.index, &self.token(row)));
            count += 1;
        }
        let values = || tokens.clone().map(|row| shared(self.rows, row, self.index));
        let n = count as f64;
        let result = match self.statistic {
            Statistic::Sum => values().sum(),
            Statistic::Mean => values().sum::<f64>() / n,
            Statistic::LogSumExp => log_sum_exp(values()),
            Statistic::LogMeanExp => log_sum_exp(values()) - libm::log(n),
            Statistic::LowerMedian => lower_median(values(), count).unwrap_or(0.0),
            Statistic::Top(share) => return self.mark_top(tokens, top_of(count, share)),
        };
        tokens.for_each(|row| self.put(row, result));
    }

    /// 1 for the largest so many values, 0 for the others.
    fn mark_top(self, tokens: impl Iterator<Item = usize> + Clone, top: usize) {
        // The largest first.
        let key = |row| !order::key(nan_last(shared(self.rows, row, self.index)));
        let last = top.checked_sub(1);
        let Some((last, equals)) = last.and_then(|at| order::select(tokens.clone().map(key), at))
        else {
            return;
        };
        // The first ones among equals.
        let mut ties = equals + 1;
        for row in tokens {
            let tie = key(row) == last && ties > 0;
            ties -= usize::from(tie);
            self.put(row, if key(row) < last || tie { 1.0 } else { 0.0 });
        }
    }

    /// The first token's result to all of them.
    fn spread(self, tokens: impl Iterator<Item = usize> + Clone) {
        if let Some(first) = tokens.clone().next() {
            let result = shared(self.rows, first, self.index);
            tokens.for_each(|row| self.put(row, result));
        }
    }

    /// The sum of a sequence's values in all of its pairs.
    fn over_pairs(self) {
        for pair in self.pass.batch.pairs.unwrap_or_default() {
            let sequences = [pair.chosen, pair.rejected].map(|s| self.pass.sequence(s));
            let tokens =
                sequences.clone().map(|rows| self.pass.first(rows).map(|row| self.token(row)));
            let [chosen, rejected] = tokens.map(|t| t.map_or([0.0; STEPS], |t| t.shared));
            let others = [(rejected, 1.0), (chosen, -1.0)];
            for ((rows, token), (partner, side)) in sequences.into_iter().zip(tokens).zip(others) {
                let Some(token) = token else { continue };
                let value = (self.pass.value)(self.index, &Token { partner, side, ..token });
                for row in self.pass.active(rows) {
                    self.put(row, shared(self.rows, row, self.index) + value);
                }
            }
        }
    }
}

/// ln Σ e^x.
fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = values.clone().fold(f64::MIN, Real::max);
    max + libm::log(values.map(|x| Real::exp(x - max)).sum())
}

fn lower_median(values: impl Iterator<Item = f64> + Clone, count: usize) -> Option<f64> {
    let keys = values.map(|value| order::key(nan_last(value)));
    let middle = count.checked_sub(1)? / 2;
    order::select(keys, middle).map(|(key, _)| order::value(key))
}

/// ⌈share·count⌉, between 1 and count; 0 of none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count lies within it"
)]
fn top_of(count: usize, share: f64) -> usize {
    (libm::ceil(share * count as f64) as usize).max(1).min(count)
}
