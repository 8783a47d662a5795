//! Progress while it runs: bars on a terminal, one line a phase elsewhere.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Everything that is shown while the program works goes to stderr through this.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: MultiProgress,
    on_terminal: bool,
}

impl Progress {
    /// Bars if stderr is a terminal, lines if not.
    pub(crate) fn new() -> Self {
        let on_terminal = std::io::stderr().is_terminal();
        let target =
            if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), on_terminal }
    }

    /// Says something that stays, above the bars.
    pub(crate) fn say(&self, line: &str) {
        if self.on_terminal {
            // A terminal that went away is no reason to stop training.
            let _ = self.bars.println(line);
        } else {
            eprintln!("{line}");
        }
    }

    /// Begins a phase of `steps` steps.
    pub(crate) fn phase(&self, name: String, steps: usize) -> Phase<'_> {
        let style = ProgressStyle::with_template("{prefix:28} {bar:24} {pos:>4}/{len:4} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━╸─");
        let bar = self
            .bars
            .add(ProgressBar::new(steps as u64).with_style(style).with_prefix(name.clone()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Phase { progress: self, bar, name, began: Instant::now(), tokens: 0 }
    }
}

/// One phase: the training of one model.
#[derive(Debug)]
pub(crate) struct Phase<'a> {
    progress: &'a Progress,
    bar: ProgressBar,
    name: String,
    began: Instant,
    tokens: usize,
}

impl Phase<'_> {
    /// One step is done: its nll per learnt token, and how many tokens the model read.
    pub(crate) fn step(&mut self, nll: f64, tokens: usize) {
        self.tokens += tokens;
        self.bar
            .set_message(format!("nll {nll:.3}  {} tok/s", thousands(self.tokens_per_second())));
        self.bar.inc(1);
    }

    /// The phase is over: the bar goes, a line with its result stays.
    pub(crate) fn finish(self, result: &str) {
        let Self { progress, bar, name, began, .. } = &self;
        bar.finish_and_clear();
        let seconds = began.elapsed().as_secs_f64();
        let speed = thousands(self.tokens_per_second());
        progress.say(&format!("{name:28} {result}  {speed} tok/s, {seconds:.1} s"));
    }

    /// Tokens read in a second, on the average of the phase.
    fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.began.elapsed().as_secs_f64().max(1e-9)
    }
}

/// `12.3k`: a number as short as a bar needs it.
fn thousands(number: f64) -> String {
    format!("{:.1}k", number / 1000.0)
}
