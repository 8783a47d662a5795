//! Sequences into batches: several short sequences share a row, and each keeps to itself.
//!
//! A packed row is `[sequence, sequence, …, padding]`. Positions start again at 0 with each sequence,
//! which is all that attention needs to know (see `attention.rs`), and the offsets of the sequences
//! go to the loss as they go to a FlashAttention kernel. Padding is the ignored tail of the last one.

use crate::data::{BOUNDARY, IGNORE_INDEX, Sequence};
use crate::rng::Rng;
use std::sync::Arc;

/// The tokens of one step, flattened to `rows * context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// Rows of the model's input.
    pub(crate) rows: usize,
    /// Tokens in a row.
    pub(crate) context: usize,
    /// The byte read at each token.
    pub(crate) inputs: Vec<u32>,
    /// The place of each token within its sequence.
    pub(crate) positions: Arc<Vec<u32>>,
    /// The byte to be answered at each token, or [`IGNORE_INDEX`].
    pub(crate) targets: Vec<i32>,
    /// Where each sequence begins, and at the end the number of tokens.
    pub(crate) offsets: Vec<i32>,
    /// How many tokens are not padding.
    pub(crate) filled: usize,
}

impl Tokens {
    /// The tokens whose target is learnt, by their place.
    pub(crate) fn learnt(&self) -> impl Iterator<Item = usize> {
        (0..self.targets.len()).filter(|&token| self.targets[token] != IGNORE_INDEX)
    }

    /// A row with nothing in it.
    pub(crate) fn padding(context: usize) -> Self {
        let mut tokens = Builder::default();
        tokens.offsets.push(0);
        tokens.pad_to(context);
        tokens.finish(1, context)
    }

    /// Lays sequences out in rows, each in the row where the one before it is, if it fits.
    fn lay_out(rows: Vec<Vec<&Sequence>>, context: usize) -> Self {
        let count = rows.len();
        let mut tokens = Builder::default();
        for (row, sequences) in rows.into_iter().enumerate() {
            sequences.into_iter().for_each(|sequence| tokens.append(sequence));
            tokens.pad_to((row + 1) * context);
        }
        tokens.finish(count, context)
    }
}

/// Tokens that are still growing.
#[derive(Debug, Default)]
struct Builder {
    inputs: Vec<u32>,
    positions: Vec<u32>,
    targets: Vec<i32>,
    offsets: Vec<i32>,
    filled: usize,
}

impl Builder {
    /// Puts one sequence after the ones before.
    fn append(&mut self, sequence: &Sequence) {
        self.offsets.push(offset(self.inputs.len()));
        self.inputs.extend(sequence.inputs.iter().map(|&byte| u32::from(byte)));
        self.positions.extend((0u32..).take(sequence.inputs.len()));
        self.targets.extend(&sequence.targets);
        self.filled += sequence.inputs.len();
    }

    /// Lengthens the last sequence with ignored tokens up to `len` tokens.
    fn pad_to(&mut self, len: usize) {
        while self.inputs.len() < len {
            let position = self.positions.last().map_or(0, |last| last + 1);
            self.inputs.push(u32::from(BOUNDARY));
            self.positions.push(position);
            self.targets.push(IGNORE_INDEX);
        }
    }

    /// Closes the last sequence.
    fn finish(mut self, rows: usize, context: usize) -> Tokens {
        self.offsets.push(offset(self.inputs.len()));
        Tokens {
            rows,
            context,
            inputs: self.inputs,
            positions: Arc::new(self.positions),
            targets: self.targets,
            offsets: self.offsets,
            filled: self.filled,
        }
    }
}

/// An offset as the loss takes it.
fn offset(tokens: usize) -> i32 {
    i32::try_from(tokens).expect("a batch has fewer than two thousand million tokens")
}

/// Deals a corpus out in batches without end, in a new order each time round.
#[derive(Debug)]
pub(crate) struct Dealer<'a> {
    sequences: &'a [Sequence],
    order: Vec<usize>,
    next: usize,
    rng: Rng,
}

impl<'a> Dealer<'a> {
    /// A dealer whose order depends on `seed` and nothing else.
    pub(crate) fn new(sequences: &'a [Sequence], seed: u64) -> Self {
        Self {
            sequences,
            order: (0..sequences.len()).collect(),
            next: sequences.len(),
            rng: Rng::new(seed, "order"),
        }
    }

    /// The next batch: `rows` rows, filled with whole sequences.
    pub(crate) fn deal(&mut self, rows: usize, context: usize) -> Tokens {
        let rows = (0..rows).map(|_| self.row(context)).collect();
        Tokens::lay_out(rows, context)
    }

    /// The sequences of one row.
    fn row(&mut self, context: usize) -> Vec<&'a Sequence> {
        let (mut row, mut len) = (Vec::new(), 0);
        loop {
            if self.next == self.order.len() {
                self.rng.shuffle(&mut self.order);
                self.next = 0;
            }
            let sequence = &self.sequences[self.order[self.next]];
            len += sequence.inputs.len();
            if len > context {
                return row;
            }
            row.push(sequence);
            self.next += 1;
        }
    }
}

/// The first batches of a corpus in its own order, at most `limit` of them: what is measured on.
pub(crate) fn in_order(
    sequences: &[Sequence],
    rows: usize,
    context: usize,
    limit: usize,
) -> Vec<Tokens> {
    let mut packed: Vec<Vec<&Sequence>> = Vec::new();
    let mut len = context;
    for sequence in sequences {
        len += sequence.inputs.len();
        if len > context {
            if packed.len() == rows * limit {
                break;
            }
            packed.push(Vec::new());
            len = sequence.inputs.len();
        }
        packed.last_mut().expect("a row was begun").push(sequence);
    }
    packed.chunks(rows).map(|rows| Tokens::lay_out(rows.to_vec(), context)).collect()
}

#[cfg(test)]
mod tests {
    use super::{Dealer, IGNORE_INDEX, in_order};
    use crate::data::{Sample, Sequence, sequences};

    fn corpus() -> Vec<Sequence> {
        (0..7)
            .flat_map(|n| sequences(&Sample::answer(&"?".repeat(n), &"!".repeat(n + 1)), 32))
            .collect()
    }

    #[test]
    fn rows_are_full_width_and_offsets_cover_every_token() {
        let corpus = corpus();
        let batch = Dealer::new(&corpus, 1).deal(3, 32);
        assert_eq!(batch.inputs.len(), 3 * 32);
        assert_eq!(batch.targets.len(), 3 * 32);
        assert_eq!((batch.offsets.first(), batch.offsets.last()), (Some(&0), Some(&96)));
        assert!(batch.offsets.is_sorted_by(|a, b| a < b));
        for (token, &position) in batch.positions.iter().enumerate() {
            let begins = batch.offsets.contains(&i32::try_from(token).unwrap());
            assert_eq!(begins, position == 0, "positions restart exactly where a sequence begins");
        }
    }

    #[test]
    fn padding_is_ignored_and_nothing_learnt_is_lost() {
        let corpus = corpus();
        let learnt =
            |targets: &[i32]| targets.iter().filter(|&&target| target != IGNORE_INDEX).count();
        let batches = in_order(&corpus, 2, 32, 100);
        let packed: usize = batches.iter().map(|batch| learnt(&batch.targets)).sum();
        assert_eq!(packed, corpus.iter().map(|sequence| learnt(&sequence.targets)).sum::<usize>());
        let filled: usize = batches.iter().map(|batch| batch.filled).sum();
        assert_eq!(filled, corpus.iter().map(|sequence| sequence.inputs.len()).sum::<usize>());
    }

    #[test]
    fn one_seed_deals_one_order_and_the_limit_holds() {
        let corpus = corpus();
        assert_eq!(Dealer::new(&corpus, 5).deal(2, 32), Dealer::new(&corpus, 5).deal(2, 32));
        assert_eq!(in_order(&corpus, 1, 32, 2).len(), 2);
    }
}
