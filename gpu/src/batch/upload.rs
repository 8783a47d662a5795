//! A batch of the host, brought to the device for the calls that take one there.

use surprisal::backend::{Plan, PlanRow};
use surprisal::objective::{Input, Objective};

use crate::batch::prepare::small;
use crate::batch::{Column, DeviceBatch};
use crate::binder::Binder;
use crate::layout::{IGNORED, IMPOSSIBLE};
use crate::rows::{class, narrow};

/// Columns in one buffer, each with the byte at which it begins.
pub(crate) struct Upload {
    buffer: wgpu::Buffer,
    rows: u32,
    targets: u64,
    token_weights: u64,
    /// The numbers of a row that the objective asks for.
    numbers: Vec<(Input, u64)>,
    groups: Option<u64>,
    sequences: Option<(u64, u32)>,
    pairs: Option<(u64, u32)>,
    keep: Option<u64>,
}

/// What the buffer will hold.
#[derive(Default)]
struct Words(Vec<u32>);

impl Words {
    /// Appends a column; the byte at which it begins.
    fn push(&mut self, entries: impl IntoIterator<Item = u32>) -> u64 {
        let start = self.0.len() as u64 * 4;
        self.0.extend(entries);
        start
    }
}

type Number = Box<dyn Fn(&PlanRow) -> f64>;

/// The number of a row that an input is, if it is one; of the extra inputs this is the `extra`-th.
fn number_of(input: Input, extra: usize) -> Option<Number> {
    match input {
        Input::RefLogProbs => Some(Box::new(|row| row.ref_log_p.max(IMPOSSIBLE.into()))),
        Input::OldLogProbs => Some(Box::new(|row| row.old_log_p.max(IMPOSSIBLE.into()))),
        Input::Advantages => Some(Box::new(|row| row.advantage)),
        Input::Extra(_) => Some(Box::new(move |row| row.extra[extra])),
        _ => None,
    }
}

impl Upload {
    /// A batch that has passed all checks. Ignored rows have a target of −1, and 0 for everything else.
    pub(crate) fn new<O: Objective>(binder: &Binder, plan: &Plan<'_, O>, inputs: &[Input]) -> Self {
        let rows: Vec<Option<PlanRow>> = plan.rows().collect();
        // A binding must not be empty.
        let mut words = Words(vec![IGNORED]);
        let of_rows = |of: &dyn Fn(&PlanRow) -> f64| -> Vec<u32> {
            rows.iter().map(|row| narrow(row.as_ref().map_or(0.0, of)).to_bits()).collect()
        };
        let targets = rows.iter().map(|row| row.map_or(IGNORED, |row| class(row.target)));
        let targets = words.push(targets);
        let token_weights = words.push(of_rows(&|row| row.token_weight));
        let (mut numbers, mut extra) = (Vec::new(), 0);
        for &input in inputs {
            if let Some(number) = number_of(input, extra) {
                numbers.push((input, words.push(of_rows(&*number))));
            }
            extra += usize::from(matches!(input, Input::Extra(_)));
        }
        let sides = plan.sides();
        let groups = sides.groups.map(|groups| words.push(groups.iter().copied()));
        let sequences = sides.sequences.map(|offsets| {
            let offsets: Vec<u32> =
                offsets.iter().map(|at| u32::try_from(at).unwrap_or_default()).collect();
            let count = small(offsets.len() - 1);
            (words.push(offsets), count)
        });
        let pairs = sides.pairs.map(|pairs| {
            let entries = pairs.iter().flat_map(|pair| [pair.chosen, pair.rejected].map(small));
            (words.push(entries), small(pairs.len()))
        });
        let keep = sides.keep.map(|keep| words.push(keep.iter().map(|&kept| u32::from(kept))));
        Self {
            buffer: binder.filled(bytemuck::cast_slice(&words.0), wgpu::BufferUsages::STORAGE),
            rows: small(rows.len()),
            targets,
            token_weights,
            numbers,
            groups,
            sequences,
            pairs,
            keep,
        }
    }

    pub(crate) fn batch(&self) -> DeviceBatch<'_> {
        let at = |start| Column::new(&self.buffer, start);
        let mut batch = DeviceBatch::new(at(self.targets), self.rows)
            .ignore_index(-1)
            .token_weights(at(self.token_weights));
        for &(input, start) in &self.numbers {
            batch = match input {
                Input::RefLogProbs => batch.ref_log_probs(at(start)),
                Input::OldLogProbs => batch.old_log_probs(at(start)),
                Input::Advantages => batch.advantages(at(start)),
                Input::Extra(name) => batch.extra(name, at(start)),
                _ => batch,
            };
        }
        batch = self.groups.map_or(batch, |start| batch.groups(at(start)));
        batch = self.sequences.map_or(batch, |(start, count)| batch.sequences(at(start), count));
        batch = self.pairs.map_or(batch, |(start, count)| batch.pairs(at(start), count));
        self.keep.map_or(batch, |start| batch.keep(at(start)))
    }
}
