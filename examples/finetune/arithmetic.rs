//! Arithmetic, twice: short, as general text knows it, and worked out in full, which is the domain.

use crate::data::Sample;
use crate::rng::{Rng, hash};

/// A problem and how it is solved.
struct Problem {
    /// Such as `47+38`.
    question: String,
    /// Such as `7+8=15`, in order.
    steps: Vec<String>,
    /// Such as 85.
    result: usize,
}

impl Problem {
    /// Whether it is of the third of all problems that occurs in general text. The others are left to
    /// the domain, so that nothing held out there was ever seen.
    fn is_general(&self) -> bool {
        hash(self.question.as_bytes()).is_multiple_of(3)
    }
}

/// Draws until the problem is of the side that is asked for.
fn draw(rng: &mut Rng, general: bool, propose: fn(&mut Rng) -> Problem) -> Problem {
    loop {
        let problem = propose(rng);
        if problem.is_general() == general {
            return problem;
        }
    }
}

/// One line of general text: a problem, two steps in one of several wordings, the result.
pub(crate) fn general_line(rng: &mut Rng) -> String {
    let Problem { question, steps, result } = draw(rng, true, short);
    let then = rng.pick(&[", ", "; ", " then ", " and "]);
    let ending = rng.pick(&["", "so ", "it is ", "makes "]);
    format!("Q: {question}=? A: {}{then}{ending}{result}", steps.join(then))
}

/// One sample of the domain. The choice of words cannot be foreseen: it is what makes some tokens
/// hard for every model, as in text that people write.
pub(crate) fn domain_sample(rng: &mut Rng) -> Sample {
    let Problem { question, steps, result } = draw(rng, false, full);
    let opening = rng.pick(&["", "", "well, ", "step by step: ", "we get ", "look: "]);
    let ending = rng.pick(&["so", "total", "hence", "answer"]);
    let answer = format!("{opening}{}; {ending} {result}", steps.join("; "));
    Sample::answer(&format!("{question}=?"), &answer)
}

/// A problem in two short steps.
fn short(rng: &mut Rng) -> Problem {
    let (left, right, digit) = (10 + rng.below(90), 10 + rng.below(90), 2 + rng.below(8));
    match rng.below(3) {
        0 => {
            let (first, second) = column_steps(left, right);
            Problem {
                question: format!("{left}+{right}"),
                steps: vec![first, second],
                result: left + right,
            }
        }
        1 => difference(100 + left, right),
        _ => product(left, digit),
    }
}

/// A problem with all its steps.
fn full(rng: &mut Rng) -> Problem {
    match rng.below(3) {
        0 => {
            let (left, digit) = (10 + rng.below(390), 2 + rng.below(8));
            let mut problem = product(left, digit);
            let (tens, ones) = (left / 10 * 10 * digit, left % 10 * digit);
            problem.steps.push(format!("{tens}+{ones}={}", tens + ones));
            problem
        }
        1 => difference(100 + rng.below(400), 10 + rng.below(80)),
        _ => column_sum(rng),
    }
}

/// `47+38` in columns, with the carry in words.
fn column_sum(rng: &mut Rng) -> Problem {
    let (left, right) = (10 + rng.below(90), 10 + rng.below(90));
    let carried = if left % 10 + right % 10 >= 10 {
        rng.pick(&[", carry 1", ", one to carry", ", keep 1"])
    } else {
        rng.pick(&["", ", no carry", ", nothing to keep"])
    };
    let (ones, tens) = column_steps(left, right);
    let steps = vec![format!("ones {ones}{carried}"), format!("tens {tens}")];
    Problem { question: format!("{left}+{right}"), steps, result: left + right }
}

/// The sum of the ones, and that of the tens with the carry.
fn column_steps(left: usize, right: usize) -> (String, String) {
    let ones = left % 10 + right % 10;
    let (carry, tens) = (ones / 10, left / 10 + right / 10 + ones / 10);
    (
        format!("{}+{}={ones}", left % 10, right % 10),
        format!("{}+{}+{carry}={tens}", left / 10, right / 10),
    )
}

/// `182-37`: first the tens off, then the rest.
fn difference(left: usize, right: usize) -> Problem {
    let tens = right / 10 * 10;
    let steps = vec![
        format!("{left}-{tens}={}", left - tens),
        format!("{}-{}={}", left - tens, right % 10, left - right),
    ];
    Problem { question: format!("{left}-{right}"), steps, result: left - right }
}

/// `46*7`: the tens times the digit, and the ones.
fn product(left: usize, digit: usize) -> Problem {
    let (tens, ones) = (left / 10 * 10, left % 10);
    let steps = vec![
        format!("{tens}*{digit}={}", tens * digit),
        format!("{ones}*{digit}={}", ones * digit),
    ];
    Problem { question: format!("{left}*{digit}"), steps, result: left * digit }
}

#[cfg(test)]
mod tests {
    use crate::corpus;
    use std::collections::HashSet;

    #[test]
    fn no_problem_occurs_in_both_corpora() {
        let problem = |text: &[u8]| {
            let text = String::from_utf8(text.to_vec()).expect("ASCII");
            text.strip_prefix("Q: ")
                .and_then(|rest| rest.split_once("=?"))
                .map(|(problem, _)| problem.to_owned())
        };
        let known: HashSet<String> =
            corpus::general(1).iter().filter_map(|sample| problem(&sample.answer)).collect();
        assert!(known.len() > 500);
        assert!(
            corpus::domain(1)
                .iter()
                .filter_map(|sample| problem(&sample.question))
                .all(|asked| !known.contains(&asked))
        );
    }

    #[test]
    fn every_worked_answer_ends_in_the_right_result() {
        for sample in corpus::domain(1) {
            let question = String::from_utf8(sample.question).expect("ASCII");
            let answer = String::from_utf8(sample.answer).expect("ASCII");
            let problem = question.trim_start_matches("Q: ").split("=?").next().expect("a problem");
            let at = problem.find(['+', '-', '*']).expect("an operator");
            let (left, right): (i64, i64) =
                (problem[..at].parse().unwrap(), problem[at + 1..].parse().unwrap());
            let expected = match &problem[at..=at] {
                "+" => left + right,
                "-" => left - right,
                _ => left * right,
            };
            let found: i64 = answer.trim().rsplit(' ').next().expect("a result").parse().unwrap();
            assert_eq!(found, expected, "{question}{answer}");
        }
    }
}
