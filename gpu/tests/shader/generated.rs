//! What is generated, interpreted on f64 and compared with the definitions themselves.

use std::collections::HashMap;

use surprisal::backend::{Coefs, Options, RowValues, Term};
use surprisal::objective::{
    Builtin, Dft, Dpo, Dual, Focal, GroupPlan, Objective, Real, Talr, Token,
};
use surprisal_gpu::{Destination, shader_literals, shader_source};
use surprisal_tests::cases::objectives;

use crate::Everything;

/// What a generated function reads, by its name in the shader.
type Inputs = HashMap<String, f64>;

/// Evaluates a generated function: the language of `let vN = ...;`, one operation a line.
fn run(source: &str, function: &str, inputs: &Inputs) -> Vec<f64> {
    let (_, rest) = source.split_once(&format!("fn {function}(")).unwrap();
    let (_, body) = rest.split_once("{\n").unwrap();
    let mut values: HashMap<&str, f64> = HashMap::new();
    for line in body.lines() {
        let line = line.trim().trim_end_matches(';');
        if line.starts_with("//") || line.starts_with("_ = ") {
            continue;
        }
        if let Some(result) = line.strip_prefix("return ") {
            let (_, result) = result.trim_end_matches(')').split_once('(').unwrap();
            return result.split(", ").map(|name| values[name]).collect();
        }
        let (name, expression) = line.strip_prefix("let ").unwrap().split_once(" = ").unwrap();
        let value = evaluate(expression, &values, inputs);
        values.insert(name, value);
    }
    panic!("nothing is returned")
}

fn evaluate(expression: &str, values: &HashMap<&str, f64>, inputs: &Inputs) -> f64 {
    let of = |name: &str| *values.get(name).unwrap_or_else(|| panic!("{name} in {expression}"));
    if let Some(&input) = inputs.get(expression) {
        return input;
    }
    if let Some((function, arguments)) = expression.trim_end_matches(')').split_once('(') {
        let arguments: Vec<&str> = arguments.split(", ").collect();
        return match (function, arguments.as_slice()) {
            ("f32", [number]) => {
                let value: f64 = number.parse().unwrap();
                // naga rounds what is beyond, Tint refuses it.
                assert!(value.abs() <= f64::from(f32::MAX), "{expression}");
                value
            }
            // As in math.wgsl, but in f64.
            ("exponential", [x]) => of(x).min(88.0).exp(),
            ("exponential_minus_1", [x]) => of(x).min(88.0).exp_m1(),
            ("logarithm_plus_1", [x]) => of(x).ln_1p(),
            ("logarithm", [x]) => of(x).clamp(1.1754944e-38, 3.0e38).ln(),
            ("power", [x, _]) if of(x) <= 0.0 => 0.0,
            ("power", [x, exponent]) => of(x).max(1.1754944e-38).powf(of(exponent)),
            ("weigh", [weight, _]) if of(weight) == 0.0 => 0.0,
            ("weigh", [weight, value]) => of(weight) * of(value),
            ("select", [otherwise, then, condition]) => {
                let (left, right) = condition.split_once(" < ").unwrap();
                if of(left) < of(right) { of(then) } else { of(otherwise) }
            }
            _ => panic!("{expression}"),
        };
    }
    match expression.split(' ').collect::<Vec<_>>().as_slice() {
        [negated] => -of(negated.strip_prefix('-').unwrap()),
        [a, "+", b] => of(a) + of(b),
        [a, "-", b] => of(a) - of(b),
        [a, "*", b] => of(a) * of(b),
        [a, "/", b] => of(a) / of(b),
        _ => panic!("{expression}"),
    }
}

/// Names with their values.
fn inputs<const N: usize>(values: [(&str, f64); N]) -> Inputs {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The token of these numbers, and the same as inputs of the shader.
fn token(log_p: f64, reference: f64, old: f64, advantage: f64) -> (Token<Dual>, Inputs) {
    let mut token = Token::new(Dual::variable(log_p));
    let extra = [0.5 - advantage, 1.25, old, 0.0];
    let (ref_log_p, old_log_p) = (log_p + reference, log_p + old);
    let (entropy, sum_squares) = (0.9 - 0.3 * reference, 0.4 + 0.05 * old);
    token.ref_log_p = Dual::constant(ref_log_p);
    token.old_log_p = Dual::constant(old_log_p);
    token.advantage = Dual::constant(advantage);
    token.entropy = Dual::constant(entropy);
    token.sum_squares = Dual::constant(sum_squares);
    token.extra = extra.map(Dual::constant);
    let (shared, partner, side) = ([1.2, 0.75 - old, 0.5, 2.0], [0.9, 1.5, -0.25, 3.0], -1.0);
    (token.shared, token.partner) = (shared.map(Dual::constant), partner.map(Dual::constant));
    token.side = Dual::constant(side);
    let inputs = inputs([
        ("token.planned[0]", shared[0]),
        ("token.planned[1]", shared[1]),
        ("token.planned[2]", shared[2]),
        ("token.planned[3]", shared[3]),
        ("token.partner[0]", partner[0]),
        ("token.partner[1]", partner[1]),
        ("token.partner[2]", partner[2]),
        ("token.partner[3]", partner[3]),
        ("token.side", side),
        ("token.log_p", log_p),
        ("token.ref_log_p", ref_log_p),
        ("token.old_log_p", old_log_p),
        ("token.advantage", advantage),
        ("token.entropy", entropy),
        ("token.sum_squares", sum_squares),
        ("token.extra[0]", extra[0]),
        ("token.extra[1]", extra[1]),
        ("token.extra[2]", extra[2]),
        ("token.extra[3]", extra[3]),
    ]);
    (token, inputs)
}

/// Tokens sure, likely and unlikely; ratios within, at and beyond every clip; advantages of both signs and none.
fn grid() -> Vec<(Token<Dual>, Inputs)> {
    let mut all = Vec::new();
    for log_p in [0.0, -1e-6, -0.01, -0.0725, -0.3, -0.693, -1.5, -4.0, -9.0, -30.0, -80.0] {
        for reference in [0.0, -0.37, 0.41, -3.1, 2.7] {
            for old in [0.0, -0.15, 0.13, -0.52, 0.61, 3.3] {
                for advantage in [0.0, 1.0, -1.0, 2.3, -0.4] {
                    all.push(token(log_p, reference, old, advantage));
                }
            }
        }
    }
    all
}

/// Numbers of an objective, by their names in the shader.
fn literals(objective: &impl Objective) -> Inputs {
    let named = |(index, value): (usize, f32)| {
        (format!("literals[{}][{}]", index / 4, index % 4), f64::from(value))
    };
    shader_literals(objective).into_iter().enumerate().map(named).collect()
}

fn assert_agrees(name: &str, objective: &impl Objective) {
    let (source, literals) = (shader_source(objective, Destination::Separate), literals(objective));
    for (token, mut inputs) in grid() {
        inputs.extend(literals.clone());
        let result = run(&source, "objective", &inputs);
        let Dual { value, slope } = objective.loss(&token);
        // The literals are f32.
        let near = |a: f64, b: f64| (a - b).abs() <= 2e-6 * b.abs() + 1e-9 + 2e-6 * value.abs();
        let same = near(result[0], value) && near(result[1], slope);
        assert!(same, "{name} at {inputs:?}: {result:?} instead of {value} and {slope}");
        for (index, _) in objective.group_plan().iter().flat_map(GroupPlan::steps) {
            let result = run(&source, &format!("step_{index}"), &inputs);
            let expected = objective.step(index, &token).value;
            let same = near(result[0], expected);
            assert!(same, "{name}, step {index} at {inputs:?}: {result:?} instead of {expected}");
        }
        if let Some(tau) = objective.temperature(&token) {
            assert!(near(run(&source, "temperature", &inputs)[0], tau.value), "{name}: tau");
        }
    }
}

#[test]
fn objectives_compute_loss_and_slope_and_steps() {
    for objective in objectives() {
        assert_agrees(&format!("{objective:?}"), &objective);
    }
    assert_agrees("Everything", &Everything);
}

/// Numbers that change from step to step compile nothing again.
#[test]
fn numbers_are_not_in_the_text() {
    let text = |objective: Builtin| shader_source(&objective, Destination::Separate);
    let talr = |tau| text(Talr { tau, floor: 0.01, ..Talr::default() }.into());
    assert_eq!(talr(0.7), talr(0.69));
    assert_eq!(text(Focal { gamma: 1.5 }.into()), text(Focal { gamma: 1.75 }.into()));
    assert_ne!(text(Dft.into()), talr(0.7));
    let dpo = |beta| text(Dpo { beta }.into());
    assert_eq!(dpo(0.1), dpo(0.25));
}

/// Rows and options with zeros among them, and with numbers that a weight of 0 has to win over.
fn rows() -> Vec<(RowValues<f64>, Options<f64>)> {
    let mut all = Vec::new();
    for token_weight in [0.0, 1.5] {
        for class_weight in [0.0, 0.75] {
            for label_smoothing in [0.0, 0.125] {
                for z_loss in [0.0, 1e-3] {
                    for lse in [-3.5, 12.0, f64::MAX] {
                        let (p, miss, smoothed, scale) = (0.25, 0.75, 41.0, 0.5);
                        let row = RowValues {
                            p,
                            miss,
                            lse: if z_loss == 0.0 { lse } else { lse.min(20.0) },
                            smoothed,
                            token_weight,
                            class_weight,
                            scale,
                        };
                        let smoothing_per_class = label_smoothing / 8.0;
                        let class_weight_sum = 6.5;
                        all.push((
                            row,
                            Options {
                                label_smoothing,
                                smoothing_per_class,
                                class_weight_sum,
                                z_loss,
                            },
                        ));
                    }
                }
            }
        }
    }
    all
}

fn of_row(row: &RowValues<f64>, options: &Options<f64>) -> Inputs {
    inputs([
        ("row.p", row.p),
        ("row.miss", row.miss),
        ("row.lse", row.lse),
        ("row.smoothed", row.smoothed),
        ("row.token_weight", row.token_weight),
        ("row.class_weight", row.class_weight),
        ("row.scale", row.scale),
        ("params.label_smoothing", options.label_smoothing),
        ("params.smoothing_per_class", options.smoothing_per_class),
        ("params.class_weight_sum", options.class_weight_sum),
        ("params.z_loss", options.z_loss),
    ])
}

/// The arithmetic after the objective is the library's own.
#[test]
fn terms_and_coefficients_are_those_of_the_library() {
    let source = shader_source(&Everything, Destination::Separate);
    for (row, options) in rows() {
        for (value, weight, extras) in [(2.5, 0.5, 1.0), (f64::INFINITY, 1.0, 1.0), (3.0, 0.0, 0.0)]
        {
            let mut inputs = of_row(&row, &options);
            inputs.extend(self::inputs([("value", value), ("weight", weight), ("extras", extras)]));
            let term = Term::new(value, weight, extras, &row, &options);
            let expected = [term.loss, term.coef, term.dense];
            assert_eq!(run(&source, "term_of", &inputs), expected, "{inputs:?}");

            inputs.extend(self::inputs([("term.coef", term.coef), ("term.dense", term.dense)]));
            let coefs = Coefs::new(term.coef, term.dense, row.lse, &options);
            let expected = [coefs.prob(), coefs.uniform(), coefs.target(&row)];
            assert_eq!(run(&source, "coefs_of", &inputs), expected, "{inputs:?}");
        }
    }
}

#[test]
fn a_function_has_one_text() {
    let first = shader_source(&Everything, Destination::Separate);
    objectives().iter().for_each(|objective| drop(shader_source(objective, Destination::InPlace)));
    assert_eq!(shader_source(&Everything, Destination::Separate), first);
    // Names come from the text alone: the same in another thread, and for an objective that computes more than it returns.
    let elsewhere =
        std::thread::spawn(|| shader_source(&Everything, Destination::Separate)).join().unwrap();
    assert_eq!(elsewhere, first);
    let source = |objective| shader_source(&objective, Destination::Separate);
    assert_eq!(source(Verbose { asides: 3 }), source(Verbose { asides: 0 }));
}

/// ln p, after other things that nobody asked for.
struct Verbose {
    asides: u32,
}

impl Objective for Verbose {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        for aside in 0..self.asides {
            let _ = (t.log_p * f64::from(aside)).exp();
        }
        -(t.log_p * 0.5).exp() * t.log_p
    }
}
