//! Problems whose batch is in buffers of the device.

use surprisal_gpu::{Column, DeviceBatch, Gpu, wgpu};
use surprisal_tests::problem::Problem;

/// What a batch of the device is made of: columns in one buffer, each from some word on.
pub(crate) struct Columns {
    words: Vec<u32>,
    buffer: Option<wgpu::Buffer>,
}

impl Columns {
    /// Begins with words that belong to nobody, so that nothing starts at an aligned place.
    pub(crate) fn new() -> Self {
        Self { words: vec![0xdead_beef; 3], buffer: None }
    }

    /// Appends entries; the byte at which they begin.
    fn push(&mut self, words: impl IntoIterator<Item = u32>) -> u64 {
        let start = self.words.len() as u64 * 4;
        self.words.extend(words);
        start
    }

    fn upload(&mut self, gpu: &Gpu) {
        self.buffer = Some(gpu.upload(&self.words).unwrap());
    }

    fn column(&self, start: u64) -> Column<'_> {
        Column::new(self.buffer.as_ref().unwrap(), start)
    }
}

/// A problem's batch on the device.
pub(crate) struct Uploaded {
    columns: Columns,
    rows: u32,
    ignore_index: Option<i64>,
    targets: (u64, bool),
    floats: [Option<u64>; 4],
    groups: Option<u64>,
    sequences: Option<(u64, u32)>,
    pairs: Option<(u64, u32)>,
    keep: Option<u64>,
}

fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap()
}

impl Uploaded {
    /// Targets in 64 bits or in 32.
    pub(crate) fn new(gpu: &Gpu, problem: &Problem, wide: bool) -> Self {
        let mut columns = Columns::new();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "its bits")]
        let targets = if wide {
            columns.push(problem.targets.iter().flat_map(|&id| [id as u32, (id >> 32) as u32]))
        } else {
            columns.push(problem.targets.iter().map(|&id| id as i32 as u32))
        };
        let floats = [
            &problem.token_weights,
            &problem.ref_log_probs,
            &problem.old_log_probs,
            &problem.advantages,
        ];
        let floats = floats.map(|values| {
            values.as_ref().map(|values| columns.push(values.iter().map(|value| value.to_bits())))
        });
        let groups = problem.groups.as_ref().map(|ids| columns.push(ids.iter().copied()));
        let sequences = problem.cu_seqlens.as_ref().map(|offsets| {
            let words = offsets.iter().map(|&offset| u32::try_from(offset).unwrap());
            (columns.push(words), narrow(offsets.len() - 1))
        });
        let pairs = problem.pairs.as_ref().map(|pairs| {
            let words = pairs.iter().flat_map(|pair| [pair.chosen, pair.rejected].map(narrow));
            (columns.push(words), narrow(pairs.len()))
        });
        let keep = problem.keep.as_ref();
        let keep = keep.map(|keep| columns.push(keep.iter().map(|&kept| u32::from(kept))));
        columns.upload(gpu);
        Self {
            columns,
            rows: narrow(problem.rows),
            ignore_index: problem.ignore_index,
            targets: (targets, wide),
            floats,
            groups,
            sequences,
            pairs,
            keep,
        }
    }

    /// The targets, if they are of 32 bits.
    #[allow(dead_code, reason = "not all programs that have this file")]
    pub(crate) fn targets(&self) -> Column<'_> {
        self.columns.column(self.targets.0)
    }

    pub(crate) fn batch(&self) -> DeviceBatch<'_> {
        let at = |start| self.columns.column(start);
        let (start, wide) = self.targets;
        let buffer = self.columns.buffer.as_ref().unwrap();
        let targets = if wide { Column::of_i64(buffer, start) } else { at(start) };
        let mut batch = DeviceBatch::new(targets, self.rows);
        if let Some(id) = self.ignore_index {
            batch = batch.ignore_index(id);
        }
        let [weights, reference, old, advantages] = self.floats.map(|start| start.map(at));
        batch = weights.map_or(batch, |column| batch.token_weights(column));
        batch = reference.map_or(batch, |column| batch.ref_log_probs(column));
        batch = old.map_or(batch, |column| batch.old_log_probs(column));
        batch = advantages.map_or(batch, |column| batch.advantages(column));
        batch = self.groups.map_or(batch, |start| batch.groups(at(start)));
        batch = self.sequences.map_or(batch, |(start, count)| batch.sequences(at(start), count));
        batch = self.pairs.map_or(batch, |(start, count)| batch.pairs(at(start), count));
        self.keep.map_or(batch, |start| batch.keep(at(start)))
    }
}
