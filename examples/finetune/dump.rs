//! Single tokens before and after fine-tuning, for people who want to look at words.

use crate::loss;
use crate::model::Transformer;
use crate::objective::Objective;
use crate::train::Lesson;
use candle_core::Result;
use std::fmt::Write;

/// The columns.
pub(crate) const HEADER: &str = "objective,lr,token,byte,p_before,p_after,weight_before,weight_after,entropy_before,entropy_after\n";

/// A line for each learnt token of a batch: its probability, the weight that the objective gives it, and the entropy in nats of what was
/// expected there, under two models.
pub(crate) fn lines(
    objective: &Objective,
    rate: f64,
    [before, after]: [&Transformer; 2],
    Lesson { tokens, known }: &Lesson,
) -> Result<String> {
    let seen = |model: &Transformer| {
        loss::observe(objective, &model.forward(tokens)?, model.head(), known)
    };
    let (before, after) = (seen(before)?, seen(after)?);
    let mut text = String::new();
    for (index, token) in tokens.learnt().enumerate() {
        let byte = u8::try_from(tokens.targets[token]).unwrap_or(b'?').escape_ascii();
        // A comma or a quotation mark would end the field.
        let quoted = format!("\"{byte}\"").replace("\"\\\"\"", "\"\"\"\"");
        writeln!(
            text,
            "\"{}\",{rate:e},{index},{quoted},{},{},{},{},{},{}",
            objective.name(),
            before.log_probs[token].exp(),
            after.log_probs[token].exp(),
            before.weights[token],
            after.weights[token],
            before.entropy[token],
            after.entropy[token],
        )
        .expect("a string takes everything");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{HEADER, lines};
    use crate::data::{Sample, sequences};
    use crate::model::{Config, Transformer};
    use crate::objective::Objective;
    use crate::pack::in_order;
    use crate::train::Lesson;
    use candle_core::Result;

    #[test]
    fn a_learnt_token_has_a_line_with_the_objective_s_weight() -> Result<()> {
        let model = Transformer::random(Config { layers: 1, heads: 2, width: 16, context: 24 }, 3)?;
        let cut = sequences(&Sample::answer("?", "a"), 24);
        let lesson = Lesson::new(in_order(&cut, 1, 24, 1).remove(0));
        let text = lines(&Objective::named("dft").expect("dft"), 1e-3, [&model, &model], &lesson)?;
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(rows.len(), 2, "the answer and the boundary");
        for row in &rows {
            assert_eq!(row.len(), HEADER.split(',').count());
            let number = |at: usize| row[at].parse::<f32>().expect("a number");
            assert!((number(4) - number(6)).abs() < 1e-6, "DFT's weight is p");
            assert_eq!((row[4], row[6], row[8]), (row[5], row[7], row[9]), "one model twice");
        }
        assert_eq!((rows[0][3], rows[1][3]), ("\"a\"", "\"\\n\""));
        Ok(())
    }
}
