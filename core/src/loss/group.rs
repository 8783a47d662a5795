//! Runs the plan of a group objective: statistics over log-probabilities, never over logits.

use core::ops::Range;

use super::order::{self, nan_last};
use crate::batch::Batch;
use crate::objective::{GroupPlan, NO_ROW, Over, Real, STEPS, Scalars, Selection, Statistic};

/// A batch after stage 1, and the plan that is to be run on it.
pub(crate) struct GroupPass<'a> {
    pub(crate) plan: GroupPlan,
    pub(crate) batch: &'a Batch<'a>,
    /// The value of a step for the token of a row, given what the plan has left for it so far.
    pub(crate) value: &'a dyn Fn(usize, usize, &Scalars, &Partner) -> f64,
}

/// The other sequence of a pair: what its tokens know, and which side this one is.
pub(crate) struct Partner {
    pub(crate) shared: [f64; STEPS],
    pub(crate) side: f64,
}

impl Partner {
    const NONE: Self = Self { shared: [0.0; STEPS], side: 0.0 };
}

/// What a statistic has one value of each: tokens, or whole sequences and groups, for which their first token speaks.
enum Units {
    /// The tokens among these rows.
    Tokens(Range<usize>),
    /// The tokens of the group that begins with this one.
    Members(usize),
    Sequences,
    Groups,
}

impl GroupPass<'_> {
    /// Leaves scalars for every row that is not ignored.
    pub(crate) fn run(&self, rows: &mut [Scalars]) {
        let all = self.plan.selection() == Selection::All;
        for (row, scalars) in rows.iter_mut().enumerate() {
            let counts = all && self.batch.target(row).is_some();
            *scalars = if counts { Scalars::UNPLANNED } else { Scalars::DROPPED };
        }
        if self.plan.steps().any(|(_, step)| matches!(step.over, Over::Group | Over::Groups)) {
            self.link_groups(rows);
        }
        for (index, step) in self.plan.steps() {
            let mut reduce = |units| self.reduce(index, step.statistic, &units, rows);
            match step.over {
                Over::Batch => reduce(Units::Tokens(0..self.batch.rows())),
                Over::Sequence => self.sequences().for_each(|rows| reduce(Units::Tokens(rows))),
                Over::Sequences => reduce(Units::Sequences),
                Over::Groups => reduce(Units::Groups),
                Over::Group => {
                    for id in 0..rows.len() {
                        if let Some(head) = head(rows, id) {
                            self.reduce(index, step.statistic, &Units::Members(head), rows);
                        }
                    }
                }
                Over::Pairs => self.add_pairs(index, rows),
            }
        }
        self.select(rows);
    }

    /// Replaces the values of these units by their statistic.
    fn reduce(&self, index: usize, statistic: Statistic, units: &Units, rows: &mut [Scalars]) {
        let mut count = 0;
        self.each_token(units, rows, |rows, unit, row| {
            // A unit's first token.
            if unit == count {
                let value = |scalars| (self.value)(index, row, scalars, &Partner::NONE);
                let value = rows.get(row).map_or(0.0, value);
                change(rows, unit, |scalars| scalars.of_unit = value);
                count += 1;
            }
        });
        let empty = match units {
            Units::Sequences => self.sequences().len() - count,
            _ => 0,
        };
        let result = reduced(statistic, rows.get_mut(..count).unwrap_or_default(), empty);
        self.each_token(units, rows, |rows, unit, row| {
            let of_unit = || rows.get(unit).map_or(0.0, |scalars| scalars.of_unit);
            let result = result.unwrap_or_else(of_unit);
            change(rows, row, |scalars| *scalars.left_by(index) = result);
        });
    }

    /// All tokens of these units, each with the number of its unit.
    fn each_token(
        &self,
        units: &Units,
        rows: &mut [Scalars],
        mut visit: impl FnMut(&mut [Scalars], usize, usize),
    ) {
        match units {
            Units::Tokens(range) => {
                let tokens = self.active(range.clone());
                tokens.enumerate().for_each(|(unit, row)| visit(rows, unit, row));
            }
            Units::Members(head) => {
                let mut unit = 0;
                each_of_chain(rows, *head, |rows, row| {
                    visit(rows, unit, row);
                    unit += 1;
                });
            }
            Units::Sequences => {
                let mut unit = 0;
                for sequence in self.sequences() {
                    let mut any = false;
                    for row in self.active(sequence) {
                        visit(rows, unit, row);
                        any = true;
                    }
                    unit += usize::from(any);
                }
            }
            Units::Groups => {
                let mut unit = 0;
                for id in 0..rows.len() {
                    if let Some(head) = head(rows, id) {
                        each_of_chain(rows, head, |rows, row| visit(rows, unit, row));
                        unit += 1;
                    }
                }
            }
        }
    }

    /// Adds up the values of a sequence in all of its pairs.
    fn add_pairs(&self, index: usize, rows: &mut [Scalars]) {
        for pair in self.batch.pairs.unwrap_or_default() {
            let [chosen, rejected] = [pair.chosen, pair.rejected].map(|s| {
                let sequence = self.sequence(s);
                let first = self.active(sequence.clone()).next();
                let known = first.and_then(|row| rows.get(row).copied());
                (sequence, first, known.unwrap_or(Scalars::DROPPED))
            });
            let sides = [(&chosen, rejected.2.shared, 1.0), (&rejected, chosen.2.shared, -1.0)];
            for ((sequence, first, known), shared, side) in sides {
                let Some(first) = *first else { continue };
                let value = (self.value)(index, first, known, &Partner { shared, side });
                for row in self.active(sequence.clone()) {
                    change(rows, row, |scalars| *scalars.left_by(index) += value);
                }
            }
        }
    }

    /// Marks the tokens that take part, where not all do.
    fn select(&self, rows: &mut [Scalars]) {
        let mut mark = |sequence: Range<usize>| {
            self.active(sequence).for_each(|row| change(rows, row, |scalars| scalars.counts = 1));
        };
        match self.plan.selection() {
            Selection::All => {}
            Selection::Kept => {
                let kept = self.sequences().enumerate().filter(|&(s, _)| self.batch.keeps(s));
                kept.for_each(|(_, sequence)| mark(sequence));
            }
            Selection::Paired => {
                let pairs = self.batch.pairs.unwrap_or_default();
                let of_pairs = pairs.iter().flat_map(|pair| [pair.chosen, pair.rejected]);
                of_pairs.for_each(|s| mark(self.sequence(s)));
            }
            Selection::Step(step) => {
                let positive = |s: &Scalars| s.shared.get(step).is_some_and(|&left| left > 0.0);
                self.active(0..self.batch.rows()).for_each(|row| {
                    change(rows, row, |scalars| scalars.counts = positive(scalars).into());
                });
            }
        }
    }

    fn active(&self, rows: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        rows.filter(|&row| self.batch.target(row).is_some())
    }

    fn sequence(&self, sequence: usize) -> Range<usize> {
        self.batch.sequences.map_or(0..0, |sequences| sequences.rows(sequence))
    }

    fn sequences(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        let count = self.batch.sequences.map_or(0, |sequences| sequences.len());
        (0..count).map(|sequence| self.sequence(sequence))
    }

    /// Chains the tokens of every group, in the order of their rows.
    fn link_groups(&self, rows: &mut [Scalars]) {
        for row in (0..rows.len()).rev().filter(|&row| self.batch.target(row).is_some()) {
            let id = self.batch.group(row);
            let next = rows.get(id).map_or(NO_ROW, |first| first.head);
            change(rows, row, |scalars| scalars.next = next);
            let head = u32::try_from(row).unwrap_or(NO_ROW);
            change(rows, id, |scalars| scalars.head = head);
        }
    }
}

fn change(rows: &mut [Scalars], row: usize, with: impl FnOnce(&mut Scalars)) {
    if let Some(scalars) = rows.get_mut(row) {
        with(scalars);
    }
}

/// The first token of a group.
fn head(rows: &[Scalars], id: usize) -> Option<usize> {
    rows.get(id).and_then(|scalars| row_of(scalars.head))
}

/// The tokens of a group from its first on.
fn each_of_chain(rows: &mut [Scalars], head: usize, mut visit: impl FnMut(&mut [Scalars], usize)) {
    let mut next = Some(head);
    while let Some(row) = next {
        visit(rows, row);
        next = rows.get(row).and_then(|scalars| row_of(scalars.next));
    }
}

fn row_of(link: u32) -> Option<usize> {
    (link != NO_ROW).then_some(link as usize)
}

/// The statistic of the units' values; `None` where every unit has a result of its own, which takes its value's place. So many more are empty.
fn reduced(statistic: Statistic, units: &mut [Scalars], empty: usize) -> Option<f64> {
    let n = units.len() as f64;
    let values = || units.iter().map(|scalars| scalars.of_unit);
    Some(match statistic {
        Statistic::Sum => values().sum(),
        Statistic::Mean => values().sum::<f64>() / n,
        Statistic::LogSumExp => log_sum_exp(values()),
        Statistic::LogMeanExp => log_sum_exp(values()) - libm::log(n),
        Statistic::LowerMedian => lower_median(values(), units.len()).unwrap_or(0.0),
        Statistic::LowerMedianWithEmpty => {
            let values = values().chain(core::iter::repeat_n(0.0, empty));
            lower_median(values, units.len() + empty).unwrap_or(0.0)
        }
        Statistic::Top(share) => {
            mark_top(units, top_of(units.len(), share));
            return None;
        }
    })
}

/// 1 for the largest so many values, 0 for the others.
fn mark_top(units: &mut [Scalars], top: usize) {
    // The largest first.
    let key = |scalars: &Scalars| !order::key(nan_last(scalars.of_unit));
    let Some((last, equals)) =
        top.checked_sub(1).and_then(|at| order::select(units.iter().map(key), at))
    else {
        return;
    };
    // The first ones among equals.
    let mut ties = equals + 1;
    for scalars in units {
        let key = key(scalars);
        let tie = key == last && ties > 0;
        ties -= usize::from(tie);
        scalars.of_unit = if key < last || tie { 1.0 } else { 0.0 };
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
