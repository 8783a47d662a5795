//! Cases for other implementations of WebGPU than wgpu: shaders, contents of buffers, dispatches, and what the f64 oracle expects. `tests/browser`
//! runs them.

use core::mem::offset_of;
mod recorded;

use std::collections::HashMap;

use bytemuck::{Pod, cast_slice, pod_collect_to_vec};
use half::{bf16, f16};
use serde_json::{Value, json};
use surprisal::ExtrasScale;
use surprisal::objective::{Builtin, Eaft, Objective};
use surprisal_tests::cases::{Content, objectives, problem};
use surprisal_tests::problem::Problem;
use surprisal_tests::storage::Storage;

use crate::binder::GROUP;
use crate::host::HostElement;
use crate::layout::{Params, Part, RowInput, RowOutput, Totals};
use crate::matrix::Dtype;
use crate::record::of_options;
use crate::rows::Rows;
use crate::shader::{Destination, Generated, shader_source};

/// What lies around the rows.
const CANARY: f32 = 1536.0;

/// How a case is computed.
#[derive(Clone, Copy, Debug)]
struct Way {
    destination: Destination,
    /// Workgroups that share a row, or all stages in one.
    splits: Option<u32>,
    /// Invocations that share a row.
    lanes: u32,
    /// Elements before the first row, and past the end of each.
    offset: u32,
    padding: u32,
}

/// Long rows that begin with a packet.
const FUSED: Way =
    Way { destination: Destination::Separate, splits: None, lanes: GROUP, offset: 0, padding: 0 };
/// Rows that begin anywhere, two workgroups each.
const STAGED: Way = Way { splits: Some(2), offset: 3, padding: 2, ..FUSED };

/// The cases so far, and the sources that they name by index.
#[derive(Default)]
struct Export {
    sources: Vec<String>,
    cases: Vec<Value>,
}

/// Words of a buffer.
fn words<T: Pod>(elements: &[T]) -> Vec<u32> {
    let mut bytes = cast_slice::<T, u8>(elements).to_vec();
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    pod_collect_to_vec(&bytes)
}

/// The rows, somewhere in a buffer.
fn placed<T: HostElement + Storage>(problem: &Problem, way: Way, stride: usize) -> Vec<T> {
    let offset = way.offset as usize;
    let mut elements = vec![T::round(CANARY); offset + problem.rows * stride];
    for (row, logits) in problem.logits.chunks(problem.vocab).enumerate() {
        for (column, &z) in logits.iter().enumerate() {
            elements[offset + row * stride + column] = T::round(z);
        }
    }
    elements
}

fn dtype_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "f32",
        Dtype::Bf16 => "bf16",
        Dtype::F16 => "f16",
    }
}

/// Half an ULP of a type at a number; devices may take subnormals of f32 for 0.
fn half_ulp(dtype: Dtype, value: f64) -> f64 {
    match dtype {
        Dtype::F32 => f32::MIN_POSITIVE.into(),
        Dtype::Bf16 => value.abs() / 256.0,
        Dtype::F16 => value.abs() / 2048.0 + 3e-8,
    }
}

impl Export {
    fn source(&mut self, problem: &Problem, destination: Destination) -> usize {
        self.source_of(shader_source(&problem.objective, destination))
    }

    fn source_of(&mut self, source: String) -> usize {
        self.sources.iter().position(|known| *known == source).unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len() - 1
        })
    }

    fn add<T: HostElement + Storage, G: HostElement + Storage>(
        &mut self,
        problem: &Problem,
        way: Way,
    ) {
        let problem = problem.clone().rounded::<T>();
        let (rows, vocab) = (narrow(problem.rows), narrow(problem.vocab));
        let is_fused = way.splits.is_none();
        // Fused rows begin with a packet.
        let stride = if is_fused { vocab.next_multiple_of(8) } else { vocab + way.padding };
        let (loss, batch) = (problem.loss(), problem.batch());
        let plan = loss.plan(&batch, problem.vocab).unwrap();
        let Rows::Inputs(inputs) = Rows::from_plan(&plan) else {
            panic!("rows of a plan are inputs")
        };
        let logits = words(&placed::<T>(&problem, way, stride as usize));
        let blank = Problem { logits: vec![CANARY; problem.logits.len()], ..problem.clone() };
        let results = words(&placed::<G>(&blank, way, stride as usize));
        let splits = way.splits.unwrap_or(1);
        let params = Params {
            rows,
            vocab,
            splits,
            logits_start: way.offset,
            logits_stride: stride,
            result_start: way.offset,
            result_stride: stride,
            ..of_options(&plan.options())
        };
        let target = if way.destination == Destination::InPlace { "logits" } else { "results" };
        let steps = self.steps(&problem, way, [T::DTYPE, G::DTYPE], &params);
        let of_rows = |words: usize| vec![0_u32; words / 4 * problem.rows];
        let weights = problem.extras.class_weights.clone().unwrap_or_else(|| vec![1.0]);
        let buffers = json!({
            "params": cast_slice::<_, u32>(&[params]),
            "logits": logits,
            "results": results,
            "row_inputs": cast_slice::<RowInput, u32>(&inputs),
            "parts": of_rows(size_of::<Part>() * splits as usize),
            "row_outputs": of_rows(size_of::<RowOutput>()),
            "class_weights": cast_slice::<_, u32>(&weights),
            "totals": cast_slice::<_, u32>(&[Totals::of_host()]),
            "literals": cast_slice::<_, u32>(&Generated::new(&problem.objective).1),
        });
        let expected = [Self::gradient::<G>(&problem, way, stride, target), Self::nll(&problem)];
        let name = format!(
            "{} {} {} to {} {way:?}",
            problem.objective.name(),
            problem.name,
            dtype_name(T::DTYPE),
            dtype_name(G::DTYPE)
        );
        self.cases.push(
            json!({ "name": name, "buffers": buffers, "steps": steps, "expected": expected }),
        );
    }

    /// The dispatches, as `dispatch.rs` has them. Statistics and terms are those of the shader with a second buffer.
    fn steps(
        &mut self,
        problem: &Problem,
        way: Way,
        [logits, result]: [Dtype; 2],
        params: &Params,
    ) -> Vec<Value> {
        let (first, last) =
            (self.source(problem, Destination::Separate), self.source(problem, way.destination));
        let (logits, result) = (("LOGITS", logits.number()), ("RESULT", result.number()));
        let lanes = ("LANES", way.lanes);
        let asked = [
            ("SOFTCAP", u32::from(params.softcap > 0.0)),
            ("SMOOTHING", u32::from(params.label_smoothing > 0.0)),
            ("MOMENTS", u32::from(params.moments != 0)),
        ];
        let step = |source: usize,
                    entry: &str,
                    constants: &[(&str, u32)],
                    bindings: &[u32],
                    groups: u32| {
            let constants: HashMap<_, _> = constants.iter().copied().collect();
            json!({
                "source": source, "entry": entry, "constants": constants, "bindings": bindings, "groups": groups,
            })
        };
        let to: &[u32] = if way.destination == Destination::Separate { &[2] } else { &[] };
        let shared = GROUP / way.lanes;
        let Params { rows, splits, .. } = *params;
        if way.splits.is_none() {
            let bindings = [&[0, 1, 3, 5, 6, 7, 14], to].concat();
            return vec![step(
                last,
                "fused",
                &[&asked[..], &[logits, result, lanes]].concat(),
                &bindings,
                rows.div_ceil(shared),
            )];
        }
        let groups = (rows * splits).div_ceil(shared);
        let grad = [&[0, 1, 5, 6, 7], to].concat();
        vec![
            step(
                first,
                "row_stats",
                &[&asked[..], &[logits, lanes]].concat(),
                &[0, 1, 3, 4, 6],
                groups,
            ),
            step(first, "token_terms", &[], &[0, 3, 4, 5, 7, 14], rows.div_ceil(GROUP)),
            step(
                last,
                "logits_grad",
                &[&asked[..], &[logits, result, lanes]].concat(),
                &grad,
                groups,
            ),
        ]
    }

    /// Entries of the gradient, by rows; what is around them keeps its value.
    fn gradient<G: HostElement>(problem: &Problem, way: Way, stride: u32, buffer: &str) -> Value {
        let values = problem.oracle().dlogits;
        let bounds: Vec<f64> = values
            .chunks(problem.vocab)
            .flat_map(|row| {
                let largest = row.iter().fold(0.0_f64, |largest, d| largest.max(d.abs()));
                row.iter().map(move |&d| 1e-5 * largest + half_ulp(G::DTYPE, d))
            })
            .collect();
        json!({
            "buffer": buffer, "type": dtype_name(G::DTYPE), "first": way.offset, "columns": problem.vocab,
            "stride": stride, "alone": true, "values": values, "bounds": bounds,
        })
    }

    /// −ln p of every row that has one.
    fn nll(problem: &Problem) -> Value {
        // A row that is invalid leaves 0 here, and its state.
        let values: Vec<f64> =
            problem.oracle().nll.iter().map(|nll| if nll.is_nan() { 0.0 } else { *nll }).collect();
        let bounds: Vec<f64> = values.iter().map(|nll| 4e-6 * (1.0 + nll)).collect();
        json!({
            "buffer": "row_outputs", "type": "f32", "first": offset_of!(RowOutput, nll) / 4, "columns": 1,
            "stride": size_of::<RowOutput>() / 4, "alone": false, "values": values, "bounds": bounds,
        })
    }
}

fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap()
}

/// Every type, way, stage and option, and rows that are special. Of one objective for the most part: pipelines take the time.
fn cases() -> Export {
    let mut export = Export::default();
    let short = Way { lanes: 32, ..FUSED };
    let eaft = Builtin::from(Eaft::default());
    for (way, vocab) in [(short, 5), (short, 131), (FUSED, 4099), (STAGED, 131), (STAGED, 4099)] {
        let problem = problem(5, vocab, Content::Normal, 21).objective(eaft).with_ignored_rows();
        export.add::<f32, f32>(&problem, way);
        export.add::<bf16, bf16>(&problem, way);
        export.add::<f16, f16>(&problem, way);
    }
    let masked = problem(3, 131, Content::Masked, 22).objective(eaft);
    export.add::<bf16, f32>(&masked, FUSED);
    export.add::<f32, f16>(&masked, FUSED);
    export.add::<f32, bf16>(&masked, STAGED);
    export.add::<f16, f32>(&masked, STAGED);
    export.add::<bf16, bf16>(&masked, Way { destination: Destination::InPlace, ..FUSED });
    export.add::<f32, f32>(&masked, Way { destination: Destination::InPlace, ..STAGED });
    for way in [FUSED, STAGED] {
        for scale in [ExtrasScale::One, ExtrasScale::Objective] {
            let dressed = Problem::random(9, 131, 23).objective(eaft);
            let mut dressed = dressed.with_token_weights().with_extras(scale);
            export.add::<f32, f32>(&dressed, way);
            dressed.extras.softcap = Some(30.0);
            export.add::<f32, f32>(&dressed, way);
        }
        export.add::<f16, f16>(&subnormal(eaft), way);
        let mut broken = Problem::random(4, 131, 24).objective(eaft);
        broken.logits[140] = f32::from_bits(0x7fff_ffff);
        export.add::<f32, f32>(&broken, way);
        export.add::<bf16, bf16>(&broken, way);
        export.add::<f16, f16>(&broken, way);
    }
    let per_token = |objective: &Builtin| objective.group_plan().is_none();
    for objective in objectives().into_iter().filter(per_token).step_by(4) {
        export.add::<f32, f32>(&Problem::random(8, 37, 25).objective(objective), short);
    }
    export
}

/// Logits below the smallest normal number of f16, and a scale that makes them count.
fn subnormal(objective: Builtin) -> Problem {
    let mut problem = problem(4, 131, Content::Normal, 11).objective(objective);
    problem.logits.iter_mut().for_each(|z| *z *= 1e-5);
    (problem.extras.logit_scale, problem.extras.grad_scale) = (3e5, 1e-5);
    problem
}

/// Writes the cases to the file that `SURPRISAL_CASES` names.
#[test]
#[ignore = "for tests/browser/check.sh"]
fn write() {
    let path = std::env::var_os("SURPRISAL_CASES").expect("SURPRISAL_CASES names a file");
    let mut export = cases();
    recorded::add_all(&mut export);
    let Export { sources, cases } = export;
    let text = json!({ "sources": sources, "cases": cases }).to_string();
    std::fs::write(path, text).unwrap();
    println!("{} cases, {} shaders", cases.len(), sources.len());
}
