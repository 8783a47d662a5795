//! The cases that every backend is given: shapes around the lanes and blocks of the kernels, contents that break naive kernels.

use surprisal::objective::{
    Builtin, DftSequence, Eaft, Focal, FocalDetached, Grpo, Input, IwToken, Kl, Normalize,
    Objective, Power, Ppo, SequenceProbability, Talr, TalrAuto, TauFrom,
};
use surprisal::{ExtrasScale, Reduction};

use crate::problem::Problem;

/// Vocabularies: a lane, two lanes, four (a block) and their neighbours, and some real sizes' remainders.
pub const VOCABS: [usize; 22] =
    [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 1000, 4099, 32_001];

/// What the logits of a row look like.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// N(0, 3²).
    Normal,
    /// The same with a common offset, exactly representable next to the values.
    Offset(f32),
    /// N(0, 3²)·1000: one class has everything.
    Wide,
    /// Every third class impossible, never the target.
    Masked,
    /// The target is sure.
    Confident,
    /// All equal.
    Uniform,
    /// A staircase in which every class differs from its neighbours: a swap of lanes shows.
    Painted,
}

/// All contents.
pub const CONTENTS: [Content; 8] = [
    Content::Normal,
    Content::Offset(1000.0),
    Content::Offset(-16_384.0),
    Content::Wide,
    Content::Masked,
    Content::Confident,
    Content::Uniform,
    Content::Painted,
];

/// A problem of this shape and content, with all side inputs.
pub fn problem(rows: usize, vocab: usize, content: Content, seed: u64) -> Problem {
    let mut problem = Problem::random(rows, vocab, seed);
    problem.name = format!("{rows}x{vocab} {content:?}");
    for (index, z) in problem.logits.iter_mut().enumerate() {
        let (row, class) = (index / vocab, index % vocab);
        let target = usize::try_from(problem.targets[row]).unwrap() == class;
        *z = match content {
            Content::Normal => *z,
            // Multiples of 1/64 keep their digits next to the offset.
            Content::Offset(offset) => (*z * 64.0).round() / 64.0 + offset,
            Content::Wide => *z * 1000.0,
            Content::Masked if class % 3 == 1 && !target => f32::NEG_INFINITY,
            Content::Masked => *z,
            Content::Confident => *z + if target { 30.0 } else { 0.0 },
            Content::Uniform => 1.5,
            Content::Painted => ((class * 37 + row * 11) % 251) as f32 * 0.0625,
        };
    }
    problem
}

/// Every shape and content once, few rows each; the larger shapes fewer times.
pub fn problems() -> impl Iterator<Item = Problem> {
    VOCABS.into_iter().enumerate().flat_map(|(i, vocab)| {
        let contents = if vocab > 5000 { &CONTENTS[..2] } else { &CONTENTS[..] };
        contents
            .iter()
            .enumerate()
            .map(move |(k, &content)| problem(5 + i % 4, vocab, content, 100 * i as u64 + k as u64))
    })
}

/// Every objective with its defaults, and the variants that take another branch.
pub fn objectives() -> Vec<Builtin> {
    let auto =
        |tau_from, normalize| TalrAuto { floor: 0.05, tau_from, normalize, ..TalrAuto::default() };
    let grpo = |kl| Grpo { beta: 0.3, kl, ..Grpo::default() };
    let mut all: Vec<Builtin> = Builtin::all().collect();
    all.extend::<[Builtin; 25]>([
        Talr { tau: 0.3, floor: 0.0, ..Talr::default() }.into(),
        Talr { tau: 1e9, floor: 0.2, ..Talr::default() }.into(),
        Focal { gamma: 0.5 }.into(),
        Focal { gamma: 0.0 }.into(),
        FocalDetached { gamma: 1.0 }.into(),
        Power { alpha: 10.0 }.into(),
        Power { alpha: 1e-3 }.into(),
        Eaft { power: 2.5, classes: 6.0 }.into(),
        IwToken { temperature: 2.0, low: 0.0, high: 1.1 }.into(),
        Ppo { dual_clip: Some(1.5), ..Ppo::default() }.into(),
        grpo(Kl::K1).into(),
        grpo(Kl::K2).into(),
        grpo(Kl::K3).into(),
        grpo(Kl::K3Corrected).into(),
        grpo(Kl::K3Clamped).into(),
        auto(TauFrom::SequenceMedian, Normalize::Sum1Sequence).into(),
        auto(TauFrom::SequenceMedian, Normalize::Sum1Batch).into(),
        auto(TauFrom::SequenceMedian, Normalize::Mean1Batch).into(),
        auto(TauFrom::TokenMedian, Normalize::None).into(),
        auto(TauFrom::TokenMedian, Normalize::Sum1Sequence).into(),
        surprisal::objective::Flow { tau: Some(1.7) }.into(),
        Talr { tau: 4.0, floor: 0.01, p_min: 0.2 }.into(),
        TalrAuto { p_min: 0.1, ..auto(TauFrom::TokenMedian, Normalize::Sum1Batch) }.into(),
        auto(TauFrom::SequenceMedianWithEmpty, Normalize::Sum1Sequence).into(),
        DftSequence { probability: SequenceProbability::Product }.into(),
    ]);
    all
}

/// The reductions that an objective allows.
pub fn reductions(objective: &Builtin) -> Vec<Reduction> {
    if objective.inputs().contains(&Input::Pairs) {
        return vec![Reduction::Sum, Reduction::MeanPairs, Reduction::By(3.5)];
    }
    vec![
        Reduction::Sum,
        Reduction::MeanTokens,
        Reduction::MeanSequences,
        Reduction::MeanWeights,
        Reduction::By(3.5),
    ]
}

/// A problem for an objective in four dresses: plain, with ignored rows and weights, with extras of both scales.
pub fn dressed(objective: Builtin, seed: u64) -> Vec<Problem> {
    let base = || Problem::random(13, 37, seed).objective(objective);
    vec![
        base(),
        base().with_ignored_rows().with_token_weights(),
        base().with_extras(ExtrasScale::One).with_token_weights(),
        base().with_extras(ExtrasScale::Objective).with_ignored_rows(),
    ]
}
