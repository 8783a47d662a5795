//! Per-row outputs, from what a device knows of every row.

use ::surprisal_gpu::DeviceOutcome;
use surprisal::{Batch, RowStats};

use crate::memory::{Checked, Output};
use crate::outputs::OutputsInput;

fn fill<T>(output: Option<Output<'_, T>>, checked: &Checked, values: impl IntoIterator<Item = T>) {
    let Some(output) = output else { return };
    for (to, value) in output.get(checked).iter_mut().zip(values) {
        *to = value;
    }
}

impl OutputsInput<'_> {
    /// Writes the outputs.
    pub(super) fn write(self, checked: &Checked, batch: &Batch<'_>, outcome: DeviceOutcome) {
        let DeviceOutcome { stats, terms, rows, .. } = outcome;
        let active = || stats.iter().enumerate().map(|(row, of)| batch.target(row).and(Some(of)));
        #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
        let entropy = |stats: &RowStats| stats.entropy() as f32;
        let correct = |stats: &RowStats| u8::from(stats.is_correct());
        fill(self.entropy, checked, active().map(|of| of.map_or(0.0, entropy)));
        fill(self.correct, checked, active().map(|of| of.map_or(0, correct)));
        #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
        fill(self.losses, checked, terms.iter().map(|term| term.loss as f32));
        fill(self.nll, checked, rows.nll());
        // Not -0 for a row of no loss.
        fill(self.log_probs, checked, rows.nll().into_iter().map(|nll| 0.0 - nll));
        fill(self.weights, checked, rows.weights());
        fill(self.argmax, checked, rows.argmax());
        fill(self.stats, checked, stats);
        fill(self.terms, checked, terms);
    }
}
