//! The shaders without a device: naga accepts every variant, and what an objective writes of itself computes what its Rust definition does.

use std::collections::HashMap;

use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, GlobalVariable, Module};
use surprisal::objective::{Builtin, Dual, Objective, Real, Scope, Token};
use surprisal_gpu::{Destination, shader_source};
use surprisal_tests::cases::objectives;

/// An objective of a user: every operation of [`Real`], in places where its derivative counts.
struct Everything;

impl Objective for Everything {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let p = t.log_p.exp();
        let miss = -t.log_p.exp_m1();
        let quotient = (t.log_p * R::lit(0.5) - R::lit(1.0)) / (p + R::lit(0.25));
        let logarithm = (p * R::lit(0.75) + R::lit(0.125)).ln();
        let powers = (p + R::lit(0.5)).powf(2.0) + miss.powf(1.5) - miss.powf(0.0) + p.powf(1.0);
        let least = (t.log_p - t.ref_log_p).min(t.old_log_p * p);
        let most = quotient.max(t.log_p * t.log_p);
        let signed = (t.log_p + R::lit(1.0)).if_negative(p * miss, quotient * logarithm);
        let detached = p.stop() * t.log_p - quotient.stop() / miss.max(R::lit(0.1));
        quotient + logarithm * powers + least * t.advantage - most + signed / powers + detached
    }
}

/// One objective's shader, with one way to write results.
struct Variant {
    name: String,
    source: String,
}

fn variants() -> Vec<Variant> {
    let mut all = Vec::new();
    for destination in Destination::ALL {
        let mut add = |name: String, source| {
            all.push(Variant { name: format!("{name} {destination:?}"), source });
        };
        for objective in objectives() {
            add(format!("{objective:?}"), shader_source(&objective, destination));
        }
        add("Everything".to_owned(), shader_source(&Everything, destination));
    }
    all
}

/// Checks a module as wgpu does, for a device without a single optional feature.
fn validate(name: &str, module: &Module) -> ModuleInfo {
    Validator::new(ValidationFlags::default(), Capabilities::empty())
        .validate(module)
        .unwrap_or_else(|error| panic!("{name}: {:?}", error.into_inner()))
}

fn parse(variant: &Variant) -> Module {
    let Variant { name, source } = variant;
    naga::front::wgsl::parse_str(source)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(source)))
}

/// Every set of constants that a pipeline may be given. What is not named here keeps the shader's own value.
fn constants(module: &Module) -> Vec<HashMap<String, f64>> {
    let mut all = Vec::new();
    // Gradients are of the logits' type or f32.
    for (logits, result) in [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (2.0, 0.0), (2.0, 2.0)] {
        for lanes in [32.0, 256.0] {
            all.push(HashMap::from([
                ("LOGITS".to_owned(), logits),
                ("RESULT".to_owned(), result),
                ("LANES".to_owned(), lanes),
            ]));
        }
    }
    let known = |name: &str| module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name));
    for set in &mut all {
        set.retain(|name, _| known(name));
    }
    all
}

#[test]
fn every_objective_is_valid() {
    for variant in variants() {
        let module = parse(&variant);
        validate(&variant.name, &module);
        assert!(!module.entry_points.is_empty(), "{}: nothing to run", variant.name);
    }
}

#[test]
fn every_pipeline_is_valid_and_within_the_limits_of_webgpu() {
    // The fixed part is the same in all; the objective with every operation stands for the others.
    for destination in Destination::ALL {
        let source = shader_source(&Everything, destination);
        let module = parse(&Variant { name: format!("{destination:?}"), source });
        let info = validate("Everything", &module);
        for entry in &module.entry_points {
            for constants in constants(&module) {
                let name = format!("{} {destination:?} with {constants:?}", entry.name);
                let chosen = Some((entry.stage, entry.name.as_str()));
                let constants = constants.into_iter().collect();
                let (pipeline, _) = process_overrides(&module, &info, chosen, &constants)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                validate(&name, &pipeline);
                assert_small(&name, &pipeline);
            }
        }
    }
}

/// Compares a module that has one entry point and no constants left with what every WebGPU device can do.
fn assert_small(name: &str, pipeline: &Module) {
    let globals = || pipeline.global_variables.iter().map(|(_, global)| global);
    let shared = globals().filter(|global| global.space == AddressSpace::WorkGroup);
    let size = |global: &GlobalVariable| pipeline.types[global.ty].inner.size(pipeline.to_ctx());
    // wgpu does not check this one itself.
    let shared: u32 = shared.map(size).sum();
    assert!(shared <= 16_384, "{name}: {shared} bytes of workgroup memory");
    let storage = |global: &&GlobalVariable| matches!(global.space, AddressSpace::Storage { .. });
    let buffers = globals().filter(storage).count();
    assert!(buffers <= 8, "{name}: {buffers} storage buffers");
    let size = pipeline.entry_points[0].workgroup_size;
    assert!(size.iter().product::<u32>() <= 256, "{name}: {size:?} invocations");
}

/// What one token gives.
#[derive(Clone, Copy, Debug)]
struct Inputs {
    log_p: f64,
    ref_log_p: f64,
    old_log_p: f64,
    advantage: f64,
}

/// Evaluates the generated function on numbers: the language of `let vN = ...;`, one operation a line.
fn run(source: &str, inputs: Inputs) -> (f64, f64) {
    let (_, body) = source.split_once("fn objective(token: Token) -> vec2<f32> {\n").unwrap();
    let mut values: HashMap<&str, f64> = HashMap::new();
    for line in body.lines() {
        let line = line.trim().trim_end_matches(';');
        if let Some(result) = line.strip_prefix("return vec2<f32>(") {
            let (value, slope) = result.trim_end_matches(')').split_once(", ").unwrap();
            return (values[value], values[slope]);
        }
        let (name, expression) = line.strip_prefix("let ").unwrap().split_once(" = ").unwrap();
        let value = evaluate(expression, &values, inputs);
        values.insert(name, value);
    }
    panic!("nothing is returned")
}

fn evaluate(expression: &str, values: &HashMap<&str, f64>, inputs: Inputs) -> f64 {
    let of = |name: &str| *values.get(name).unwrap_or_else(|| panic!("{name} in {expression}"));
    if let Some(input) = expression.strip_prefix("token.") {
        return match input {
            "log_p" => inputs.log_p,
            "ref_log_p" => inputs.ref_log_p,
            "old_log_p" => inputs.old_log_p,
            "advantage" => inputs.advantage,
            _ => panic!("{expression}"),
        };
    }
    if let Ok(number) = expression.parse() {
        return number;
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
            // As in loss.wgsl, but in f64.
            ("exponential", [x]) => of(x).min(88.0).exp(),
            ("exponential_minus_1", [x]) => of(x).min(88.0).exp_m1(),
            ("logarithm", [x]) => of(x).clamp(1.1754944e-38, 3.0e38).ln(),
            ("power", [x, _]) if of(x) <= 0.0 => 0.0,
            ("power", [x, exponent]) => of(x).max(1.1754944e-38).powf(of(exponent)),
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

/// The definition itself, on dual numbers.
fn define(objective: &impl Objective, inputs: Inputs) -> (f64, f64) {
    let Inputs { log_p, ref_log_p, old_log_p, advantage } = inputs;
    let dual = objective.loss(&Token {
        log_p: Dual::variable(log_p),
        ref_log_p: Dual::constant(ref_log_p),
        old_log_p: Dual::constant(old_log_p),
        advantage: Dual::constant(advantage),
        group: [Dual::constant(0.0); 2],
    });
    (dual.value, dual.slope)
}

/// Tokens sure, likely and unlikely; ratios within, at and beyond every clip; advantages of both signs and none.
fn grid() -> Vec<Inputs> {
    let mut all = Vec::new();
    for log_p in [0.0, -1e-6, -0.01, -0.0725, -0.3, -0.693, -1.5, -4.0, -9.0, -30.0, -80.0] {
        for reference in [0.0, -0.37, 0.41, -3.1, 2.7] {
            for old in [0.0, -0.15, 0.13, -0.52, 0.61, 3.3] {
                for advantage in [0.0, 1.0, -1.0, 2.3, -0.4] {
                    let (ref_log_p, old_log_p) = (log_p + reference, log_p + old);
                    all.push(Inputs { log_p, ref_log_p, old_log_p, advantage });
                }
            }
        }
    }
    all
}

fn assert_agrees(name: &str, objective: &impl Objective) {
    let source = shader_source(objective, Destination::Separate);
    for inputs in grid() {
        let ((value, slope), (loss, derivative)) =
            (run(&source, inputs), define(objective, inputs));
        // The literals are f32.
        let near = |a: f64, b: f64| (a - b).abs() <= 2e-6 * b.abs() + 1e-9 + 2e-6 * loss.abs();
        assert!(near(value, loss), "{name} at {inputs:?}: loss {value} instead of {loss}");
        assert!(
            near(slope, derivative),
            "{name} at {inputs:?}: slope {slope} instead of {derivative}"
        );
    }
}

#[test]
fn generated_functions_compute_loss_and_slope() {
    for objective in objectives() {
        if objective.scope() == Scope::Token {
            assert_agrees(&format!("{objective:?}"), &objective);
        }
    }
    assert_agrees("Everything", &Everything);
}

#[test]
fn objectives_of_a_group_generate_nothing() {
    for objective in Builtin::all().filter(|objective| objective.scope() != Scope::Token) {
        let source = shader_source(&objective, Destination::Separate);
        let body = source.split_once("fn objective").map(|(_, body)| body).unwrap_or_default();
        assert!(body.contains("return vec2<f32>(0.0, 0.0);"), "{}: {body}", objective.name());
    }
}
