//! The shaders without a device: naga accepts every variant, and what is generated computes what its Rust definition does.

mod generated;

use std::collections::HashMap;

use naga::back::pipeline_constants::process_overrides;
use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, GlobalVariable, Module};
use surprisal::objective::{Input, Objective, Real, TalrAuto, Token};
use surprisal_gpu::{Destination, batch_shader_source, linear_shader_sources, shader_source};
use surprisal_tests::cases::objectives;

/// An objective of a user: every operation of [`Real`], in places where its derivative counts.
pub(crate) struct Everything;

impl Objective for Everything {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let p = t.log_p.exp();
        let miss = -t.log_p.exp_m1();
        let quotient = (t.log_p * 0.5 - 1.0) / (p + 0.25);
        let logarithm = (p * 0.75 + 0.125).ln();
        let powers = (p + 0.5).powf(2.0) + miss.powf(1.5) - miss.powf(0.0) + p.powf(1.0);
        let least = (t.log_p - t.ref_log_p).min(t.old_log_p * p);
        let most = quotient.max(t.log_p * t.log_p);
        let signed = (t.log_p + 1.0).if_negative(p * miss, quotient * logarithm);
        let detached = p.stop() * t.log_p - quotient.stop() / miss.max(R::lit(0.1));
        let [a, b, c, d] = t.extra;
        let known = (t.log_p + 2.0).clamp(-1.5, 1.0).weigh(a * p) + t.advantage.weigh(b - t.log_p);
        let row = (t.entropy - c) * p + (t.sum_squares / 0.75 - d) * t.log_p;
        let sum = quotient + logarithm * powers + least * t.advantage - most + signed / powers;
        sum + detached + known + row
    }

    fn inputs(&self) -> &'static [Input] {
        &[
            Input::Entropy,
            Input::SumSquares,
            Input::Extra("a"),
            Input::Extra("b"),
            Input::Extra("c"),
            Input::Extra("d"),
        ]
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

/// The shaders that know no objective: of an output layer, and of batches.
fn of_layers() -> impl Iterator<Item = Variant> {
    linear_shader_sources()
        .into_iter()
        .chain([("batch", batch_shader_source())])
        .map(|(name, source)| Variant { name: name.to_owned(), source })
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

/// Sets of constants that a pipeline may be given, with every value of each. What is not named here keeps the shader's own value.
fn constants(module: &Module) -> Vec<HashMap<String, f64>> {
    let mut all = Vec::new();
    for logits in [0.0, 1.0, 2.0] {
        for result in [0.0, 1.0, 2.0] {
            for (lanes, asked) in [(32.0, 1.0), (256.0, 0.0)] {
                all.push(HashMap::from([
                    ("LOGITS".to_owned(), logits),
                    ("RESULT".to_owned(), result),
                    ("LANES".to_owned(), lanes),
                    ("SOFTCAP".to_owned(), asked),
                    ("SMOOTHING".to_owned(), asked),
                    ("MOMENTS".to_owned(), asked),
                ]));
            }
        }
    }
    let known = |name: &str| module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name));
    for set in &mut all {
        set.retain(|name, _| known(name));
    }
    all
}

#[test]
fn every_shader_is_valid() {
    for variant in variants().into_iter().chain(of_layers()) {
        let module = parse(&variant);
        validate(&variant.name, &module);
        assert!(!module.entry_points.is_empty(), "{}: nothing to run", variant.name);
    }
}

#[test]
fn every_pipeline_is_valid_and_within_the_limits_of_webgpu() {
    // The fixed part is the same in all; the objective with every operation stands for the others.
    let everything = Destination::ALL.map(|destination| Variant {
        name: format!("{destination:?}"),
        source: shader_source(&Everything, destination),
    });
    let planned = Variant {
        name: "a plan".to_owned(),
        source: shader_source(&TalrAuto::default(), Destination::Separate),
    };
    for variant in everything.into_iter().chain(of_layers()).chain([planned]) {
        let module = parse(&variant);
        let info = validate(&variant.name, &module);
        for entry in &module.entry_points {
            for constants in constants(&module) {
                let name = format!("{} {} with {constants:?}", entry.name, variant.name);
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

/// A barrier in a workgroup orders its own memory: what one invocation leaves in a buffer, another must not read before the next dispatch.
#[test]
fn no_stage_reads_what_it_writes() {
    for destination in Destination::ALL {
        let source = shader_source(&Everything, destination);
        let module = parse(&Variant { name: format!("{destination:?}"), source });
        let info = validate("Everything", &module);
        for (index, entry) in module.entry_points.iter().enumerate() {
            for (handle, global) in module.global_variables.iter() {
                let name = global.name.as_deref().unwrap_or_default();
                let is_matrix = matches!(name, "logits" | "results");
                let is_storage = matches!(global.space, AddressSpace::Storage { .. });
                // Packets of a matrix are read and written by one invocation.
                let both = GlobalUse::READ | GlobalUse::WRITE;
                let uses = info.get_entry_point(index)[handle];
                let is_passed = is_storage && !is_matrix && uses.contains(both);
                assert!(!is_passed, "{destination:?}: {} reads and writes {name}", entry.name);
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
