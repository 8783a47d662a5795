//! The results as JSON, for other programs.

use crate::cli::Settings;
use crate::evaluate::Measure;
use crate::experiment::{Results, Run, Scores};
use serde_json::{Value, json};

/// All numbers and the settings they belong to. A number that is not finite becomes `null`.
pub(crate) fn json(settings: &Settings, results: &Results) -> String {
    let run = |Run { objective, rate, scores: run, .. }: &Run| {
        let mut value = scores(run);
        value["objective"] = json!(objective.name());
        value["lr"] = json!(rate);
        value
    };
    let value = json!({
        "settings": {
            "general": settings.general,
            "domain": settings.domain,
            "steps": settings.steps,
            "pretrain_steps": settings.pretrain_steps,
            "seed": settings.seed,
        },
        "base": scores(&results.base),
        "runs": results.runs.iter().map(run).collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

/// One model.
fn scores(scores: &Scores) -> Value {
    json!({
        "domain": measure(&scores.domain),
        "general": measure(&scores.general),
        "trained": measure(&scores.trained),
    })
}

/// One model on one text.
fn measure(measure: &Measure) -> Value {
    json!({
        "tokens": measure.tokens,
        "nll": measure.nll(),
        "bits_per_byte": measure.bits_per_byte(),
        "accuracy": measure.accuracy(),
        "hard_share": measure.hard_share(),
        "probability_histogram": measure.histogram,
    })
}
