//! Cases for other implementations of WebGPU than wgpu: what calls record here, contents of buffers, and what the f64 oracle expects. `tests/browser`
//! runs them.

mod device;
mod host;

use bytemuck::pod_collect_to_vec;
use serde_json::{Map, Value, json};
use surprisal_tests::problem::Problem;

use crate::call::read_buffer;
use crate::host::HostElement;
use crate::matrix::Dtype;
use crate::trace::{self, Step};
use crate::{Error, Gpu};

/// The cases so far, and the sources that they name by index.
#[derive(Default)]
struct Export {
    sources: Vec<String>,
    cases: Vec<Value>,
}

/// The buffers of a case, by name.
#[derive(Default)]
struct Buffers {
    known: Vec<(wgpu::Buffer, String)>,
    contents: Map<String, Value>,
}

impl Buffers {
    /// The name of a buffer. What it holds now is what it holds before the call.
    fn name(&mut self, gpu: &Gpu, buffer: &wgpu::Buffer) -> String {
        if let Some((_, name)) = self.known.iter().find(|(known, _)| known == buffer) {
            return name.clone();
        }
        let is_uniform = buffer.usage().contains(wgpu::BufferUsages::UNIFORM);
        let kind = if is_uniform { "uniform" } else { "buffer" };
        let bytes = trace::contents(buffer).unwrap_or_else(|| {
            read_buffer(gpu.device(), gpu.queue(), buffer, 0, buffer.size()).unwrap()
        });
        let name = format!("{kind} {}", self.known.len());
        self.contents.insert(name.clone(), json!(pod_collect_to_vec::<u8, u32>(&bytes)));
        self.known.push((buffer.clone(), name.clone()));
        name
    }
}

/// Numbers of a buffer, row by row, and how far each may be off.
struct Expected {
    buffer: wgpu::Buffer,
    dtype: Dtype,
    /// Elements before the first row, of a row, and from row to row.
    first: usize,
    columns: usize,
    stride: usize,
    /// Whether all else keeps what it holds.
    alone: bool,
    values: Vec<f64>,
    bounds: Vec<f64>,
}

impl Expected {
    /// Numbers of f32 that lie apart among others.
    fn scattered(
        buffer: &wgpu::Buffer,
        byte: usize,
        stride_bytes: usize,
        [values, bounds]: [Vec<f64>; 2],
    ) -> Self {
        let (first, stride, dtype) = (byte / 4, stride_bytes / 4, Dtype::F32);
        let buffer = buffer.clone();
        Self { buffer, dtype, first, columns: 1, stride, alone: false, values, bounds }
    }

    /// The entries of a gradient; what is around them keeps its value.
    fn gradient<G: HostElement>(
        problem: &Problem,
        buffer: &wgpu::Buffer,
        first: usize,
        stride: usize,
    ) -> Self {
        let values = problem.oracle().dlogits;
        let bounds = values.chunks(problem.vocab).flat_map(|row| {
            let largest = row.iter().fold(0.0_f64, |largest, d| largest.max(d.abs()));
            row.iter().map(move |&d| 1e-5 * largest + half_ulp(G::DTYPE, d))
        });
        let (bounds, buffer, columns) = (bounds.collect(), buffer.clone(), problem.vocab);
        Self { buffer, dtype: G::DTYPE, first, columns, stride, alone: true, values, bounds }
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
    /// Adds what a call records, and what it leaves.
    fn add(
        &mut self,
        name: &str,
        gpu: &Gpu,
        record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<Vec<Expected>, Error>,
    ) {
        let mut encoder = gpu.encoder();
        trace::take();
        let expected = record(&mut encoder).unwrap();
        // The commands are dropped: they are for others to run.
        drop(encoder);
        let mut buffers = Buffers::default();
        let steps: Vec<Value> =
            trace::take().into_iter().map(|step| self.step(gpu, &mut buffers, step)).collect();
        let expected: Vec<Value> = expected
            .into_iter()
            .map(|it| {
                json!({
                    "buffer": buffers.name(gpu, &it.buffer), "type": dtype_name(it.dtype), "first": it.first,
                    "columns": it.columns, "stride": it.stride, "alone": it.alone, "values": it.values,
                    "bounds": it.bounds,
                })
            })
            .collect();
        let buffers = buffers.contents;
        self.cases.push(
            json!({ "name": name, "buffers": buffers, "steps": steps, "expected": expected }),
        );
    }

    fn step(&mut self, gpu: &Gpu, buffers: &mut Buffers, step: Step) -> Value {
        let bindings: Vec<Value> = step
            .bound
            .iter()
            .map(|bound| {
                json!([bound.number, buffers.name(gpu, &bound.buffer), bound.offset, bound.size])
            })
            .collect();
        let constants: Map<String, Value> =
            step.kernel.constants.into_iter().map(|(name, value)| (name, json!(value))).collect();
        json!({
            "source": self.source(step.kernel.source), "entry": step.kernel.entry, "constants": constants,
            "bindings": bindings, "groups": step.groups,
        })
    }

    fn source(&mut self, source: String) -> usize {
        self.sources.iter().position(|known| *known == source).unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len() - 1
        })
    }
}

fn dtype_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "f32",
        Dtype::Bf16 => "bf16",
        Dtype::F16 => "f16",
    }
}

/// Writes the cases to the file that `SURPRISAL_CASES` names.
#[test]
#[ignore = "for tests/browser/check.sh"]
fn write() {
    let path = std::env::var_os("SURPRISAL_CASES").expect("SURPRISAL_CASES names a file");
    let (mut export, gpu) = (Export::default(), Gpu::open().unwrap());
    host::add_all(&mut export, &gpu);
    device::add_all(&mut export, &gpu);
    let Export { sources, cases } = export;
    let text = json!({ "sources": sources, "cases": cases }).to_string();
    std::fs::write(path, text).unwrap();
    println!("{} cases, {} shaders", cases.len(), sources.len());
}
