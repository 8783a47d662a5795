//! Calls on device batches, recorded on a device that is here and run again elsewhere: what checks and counts a batch, plans, the report.

use core::mem::offset_of;

use bytemuck::pod_collect_to_vec;
use serde_json::{Map, Value, json};
use surprisal::Reduction;
use surprisal::objective::{Builtin, Dft, Dpo, Gspo, Rho1, SftGo, TalrAuto};
use surprisal_tests::problem::Problem;

use super::{Export, FUSED, narrow};
use crate::call::read_buffer;
use crate::layout::Totals;
use crate::trace::{self, Step};
use crate::{Dtype, Gpu, Gradient, Matrix, Pipelines, Workspace};

#[path = "../../tests/device/uploaded.rs"]
mod uploaded;

use uploaded::Uploaded;

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

impl Export {
    fn recorded(&mut self, gpu: &Gpu, problem: &Problem, refused: bool) {
        let (rows, vocab) = (problem.rows, problem.vocab);
        let uploaded = Uploaded::new(gpu, problem, rows % 2 == 1);
        let z = gpu.upload(&problem.logits).unwrap();
        let logits = Matrix::new(&z, Dtype::F32, rows, vocab).unwrap();
        let pipelines = Pipelines::new(gpu.device(), problem.loss(), Dtype::F32).unwrap();
        let workspace = Workspace::new(gpu.device(), narrow(rows)).unwrap();
        let mut encoder =
            gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let batch = uploaded.batch();
        let gradient = Gradient::InPlace;
        trace::take();
        let call = pipelines
            .forward_backward_with(&mut encoder, logits, &batch, gradient, &workspace)
            .unwrap();
        // The commands are dropped: they are for others to run.
        drop(encoder);
        let mut buffers = Buffers::default();
        let target = buffers.name(gpu, &z);
        let totals = buffers.name(gpu, call.loss().0);
        let steps: Vec<Value> =
            trace::take().into_iter().map(|step| self.step(gpu, &mut buffers, step)).collect();
        let expected = if refused {
            // The logits, over which no gradient was written.
            vec![json!({
                "buffer": target, "type": "f32", "first": 0, "columns": vocab, "stride": vocab, "alone": false,
                "values": problem.logits, "bounds": vec![0.0; rows * vocab],
            })]
        } else {
            let loss = problem.oracle().report.loss;
            let reduced = json!({
                "buffer": totals, "type": "f32", "first": offset_of!(Totals, loss) / 4, "columns": 1,
                "stride": size_of::<Totals>(), "alone": false, "values": [loss], "bounds": [1e-5 * (1.0 + loss.abs())],
            });
            vec![Self::gradient::<f32>(problem, FUSED, narrow(vocab), &target), reduced]
        };
        let name = format!("{} {} as a device batch", problem.objective.name(), problem.name);
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
            "source": self.source_of(step.kernel.source), "entry": step.kernel.entry, "constants": constants,
            "bindings": bindings, "groups": step.groups,
        })
    }
}

/// Plans with every kind of step, a reduction that counts sequences, and a batch that is refused.
pub(super) fn add_all(export: &mut Export) {
    let gpu = Gpu::open().unwrap();
    let objectives: [Builtin; 6] = [
        Dft.into(),
        TalrAuto::default().into(),
        Gspo::default().into(),
        Dpo::default().into(),
        Rho1::default().into(),
        SftGo::default().into(),
    ];
    for objective in objectives {
        let problem = Problem::random(23, 37, 31).objective(objective);
        export.recorded(&gpu, &problem.with_ignored_rows().with_token_weights(), false);
    }
    let sequences = Problem::random(12, 37, 32).objective(Dft.into());
    export.recorded(&gpu, &sequences.reduction(Reduction::MeanSequences), false);
    let mut refused = Problem::random(12, 37, 33).objective(Dft.into());
    refused.targets[7] = 37;
    export.recorded(&gpu, &refused, true);
}
