//! Presets: which settings, learning rates and seeds, and how long everything is.

use super::arena::Length;
use super::options::{Comparison, Preset};
use super::texts::Base;

/// A start model and a text to learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Setting {
    /// The strong base, right answers.
    Strong,
    /// The strong base, wrong digits among the answers.
    Noisy,
    /// The weak base, right answers.
    Weak,
    /// The strong base after a little of the domain: it answers some problems right, so that its own samples are of use.
    Reward,
}

impl Setting {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Strong, Self::Noisy, Self::Weak, Self::Reward];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Strong => "strong",
            Self::Noisy => "noisy",
            Self::Weak => "weak",
            Self::Reward => "reward",
        }
    }

    /// What it is, for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Strong => "Strong base, clean data",
            Self::Noisy => "Strong base, 15 % of the training digits wrong",
            Self::Weak => "Weak base, clean data",
            Self::Reward => "Strong base after a few steps, samples and a reward",
        }
    }

    /// The base it starts from.
    pub(crate) fn base(self) -> Base {
        if self == Self::Weak { Base::Weak } else { Base::Strong }
    }
}

/// Methods of which every learning rate is run with every seed in the strong setting: claim a follows trajectories.
const FOLLOWED: [&str; 3] = ["sft", "talr", "talr-auto"];

/// How much is run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Steps of a base model.
    pub(crate) base_steps: usize,
    /// Of each run.
    pub(crate) length: Length,
    /// Learning rates, rising.
    pub(crate) rates: Vec<f64>,
    /// Seeds; the first chooses learning rates unless all do.
    pub(crate) seeds: Vec<u64>,
    /// Whether every method is run with every learning rate and seed.
    pub(crate) is_full: bool,
    /// The methods that are run; all where there are none.
    pub(crate) only: Vec<String>,
}

impl Plan {
    /// The plan of a preset.
    pub(crate) fn of(settings: &Comparison) -> Self {
        let rows = usize::from(settings.batch);
        // Four times through the training problems.
        let steps = (4 * 400usize).div_ceil(rows);
        let small = Self {
            base_steps: 4000,
            length: Length { steps, rows },
            rates: vec![1e-4, 3e-4, 1e-3, 3e-3],
            seeds: vec![1, 2, 3],
            is_full: false,
            only: settings.methods.clone(),
        };
        let some = ["sft", "dft", "lora", "rft", "grpo"].map(str::to_owned).into();
        match settings.preset {
            Preset::Small => small,
            Preset::Full => Self { seeds: (1..=5).collect(), is_full: true, ..small },
            Preset::Smoke => Self {
                base_steps: 4,
                length: Length { steps: 3, rows },
                rates: vec![1e-3],
                seeds: vec![1],
                only: if small.only.is_empty() { some } else { small.only },
                ..small
            },
        }
    }

    /// Whether a method is part of it.
    pub(crate) fn has(&self, method: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == method)
    }

    /// What runs depend on.
    pub(crate) fn design(&self) -> String {
        let Self { base_steps, length, rates, seeds, is_full, only: _ } = self;
        format!("{base_steps} {length:?} {rates:?} {seeds:?} {is_full}")
    }

    /// The learning rates that a method is run with under a seed, before one is chosen.
    pub(crate) fn rates_of(&self, setting: Setting, method: &str, seed: u64) -> Vec<f64> {
        let followed = setting == Setting::Strong && FOLLOWED.contains(&method);
        if self.is_full || followed || Some(&seed) == self.seeds.first() {
            self.rates.clone()
        } else {
            Vec::new()
        }
    }
}
