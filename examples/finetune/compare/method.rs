//! The methods: an objective of the library, and what is done beside it.

use crate::objective::Objective;
use surprisal::Reduction;
use surprisal::objective::{
    Dft, DftSequence, Dpo, Flow, Focal, Grpo, InfoSft, IwSequence, IwToken, Ppo, Psft, Rft, Rho1,
    Sft, Talr, TalrAuto,
};

/// What a method does beside its objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Beside {
    /// Nothing.
    Nothing,
    /// The old policy is a snapshot, taken anew after so many steps.
    Snapshot(usize),
    /// λ·Σ(θ−θ₀)² is added to the loss.
    L2(f64),
    /// Only low-rank adapters of the blocks' matrices are trained: rank, and α of the scale α/rank.
    Lora(usize, f64),
    /// The weights at the end are averaged with those at the start: the share of those at the end.
    Average(f64),
    /// This share of the learnt tokens is general text.
    Replay(f64),
    /// The reference model is the base after SFT on clean data.
    CleanReference,
    /// Samples of the start model, drawn once: those that are right are learnt from.
    RightSamples,
    /// Samples of the start model, drawn once, in pairs of a right and a wrong one.
    PairedSamples,
    /// Samples of the model itself, drawn as it learns, with an advantage within their problem.
    OnPolicy,
}

/// A method of the comparison.
#[derive(Debug, Clone)]
pub(crate) struct Method {
    /// Its name in reports.
    pub(crate) name: &'static str,
    /// The library's part.
    pub(crate) objective: Objective,
    /// How the losses of a step's tokens become one; the objective's own way without.
    pub(crate) reduction: Option<Reduction>,
    /// The rest.
    pub(crate) beside: Beside,
}

impl Method {
    fn new(name: &'static str, objective: Objective, beside: Beside) -> Self {
        Self { name, objective, reduction: None, beside }
    }

    /// The methods that learn from answers. `tau` is the start model's own: the median over the training problems of their
    /// mean nll.
    pub(crate) fn supervised(tau: f64) -> Vec<Self> {
        use Objective as O;
        let plain = |name, objective| Self::new(name, objective, Beside::Nothing);
        vec![
            plain("sft", O::of(Sft)),
            plain("dft", O::of(Dft)),
            plain("dft-sequence", O::of(DftSequence::default())),
            plain("talr", O::of(Talr { tau, ..Talr::default() })),
            plain("talr-auto", O::of(TalrAuto::default())),
            plain("focal", O::of(Focal::default())),
            plain("iw-sequence", O::of(IwSequence::default())),
            plain("iw-token", O::of(IwToken::default())),
            plain("flow", O::of(Flow { tau: Some(tau) })),
            Self::new("psft", O::of(Psft::default()), Beside::Snapshot(8)),
            plain("infosft", O::of(InfoSft::default())),
            plain("sft+kl", Objective::anchored(Sft, 0.1)),
            plain("dft+kl", Objective::anchored(Dft, 0.1)),
            Self::new("l2", O::of(Sft), Beside::L2(0.01)),
            Self::new("lora", O::of(Sft), Beside::Lora(8, 16.0)),
            Self::new("wise-ft", O::of(Sft), Beside::Average(0.5)),
            Self::new("replay", O::of(Sft), Beside::Replay(0.1)),
            Self::new("rho1", O::of(Rho1::default()), Beside::CleanReference),
        ]
    }

    /// The name of a method, from the command line.
    pub(crate) fn known(name: &str) -> Result<String, String> {
        let names: Vec<&str> =
            Self::supervised(1.0).iter().chain(&Self::reinforced()).map(|it| it.name).collect();
        if names.contains(&name) {
            Ok(name.to_owned())
        } else {
            Err(format!("no such method; there are {}", names.join(", ")))
        }
    }

    /// The methods that learn from samples and a reward; and SFT and DFT from the same start, which knows a little of the domain, to
    /// compare them with.
    pub(crate) fn reinforced() -> Vec<Self> {
        use Objective as O;
        vec![
            Self::new("sft", O::of(Sft), Beside::Nothing),
            Self::new("dft", O::of(Dft), Beside::Nothing),
            Self::new("rft", O::of(Rft), Beside::RightSamples),
            Self::new("dpo", O::of(Dpo::default()), Beside::PairedSamples),
            Self::new("ppo", O::of(Ppo::default()), Beside::OnPolicy),
            Self {
                reduction: Some(Reduction::MeanSequences),
                ..Self::new("grpo", O::of(Grpo::default()), Beside::OnPolicy)
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_method_has_a_name_of_its_own() {
        for methods in [Method::supervised(1.0), Method::reinforced()] {
            let names: HashSet<&str> = methods.iter().map(|method| method.name).collect();
            assert_eq!(names.len(), methods.len());
        }
        assert_eq!(Method::supervised(1.0).len() + Method::reinforced().len(), 18 + 6);
    }
}
