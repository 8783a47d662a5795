//! Calls on batches of the host: every type, way, stage and option, and rows that are special.

use core::mem::offset_of;

use half::{bf16, f16};
use surprisal::ExtrasScale;
use surprisal::objective::{Builtin, Eaft, Objective, Sft};
use surprisal_tests::cases::{Content, objectives, problem};
use surprisal_tests::problem::Problem;
use surprisal_tests::storage::Storage;

use super::{Expected, Export, dtype_name};
use crate::host::HostElement;
use crate::layout::RowOutput;
use crate::{Gpu, Gradient, Matrix, Pipelines};

/// What lies around the rows.
const CANARY: f32 = 1536.0;
/// So many rows are computed by one kernel where they begin with a packet, and fewer in stages.
const MANY: usize = 16;

/// Where the rows lie, and where the gradient goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Rows begin with a packet; to a second buffer.
    Apart,
    /// The same, over the logits.
    InPlace,
    /// Rows begin anywhere; to a second buffer.
    Shifted,
    /// The same, over the logits.
    ShiftedInPlace,
}

impl Way {
    /// Elements before the first row, and from row to row.
    fn layout(self, vocab: usize) -> (usize, usize) {
        match self {
            Self::Apart | Self::InPlace => (0, vocab.next_multiple_of(8)),
            Self::Shifted | Self::ShiftedInPlace => (3, vocab + 2),
        }
    }
}

/// The rows, somewhere in a buffer.
fn placed<T: HostElement + Storage>(
    logits: &[f32],
    vocab: usize,
    (offset, stride): (usize, usize),
) -> Vec<T> {
    let rows = logits.chunks(vocab);
    let mut elements = vec![T::round(CANARY); offset + rows.len() * stride];
    for (row, logits) in rows.enumerate() {
        for (column, &z) in logits.iter().enumerate() {
            elements[offset + row * stride + column] = T::round(z);
        }
    }
    elements
}

/// −ln p of every row that has one, and how far it may be off.
fn nll(problem: &Problem) -> [Vec<f64>; 2] {
    // A row that is invalid leaves 0 here, and its state.
    let nll = problem.oracle().nll.into_iter();
    let values: Vec<f64> = nll.map(|nll| if nll.is_nan() { 0.0 } else { nll }).collect();
    let bounds = values.iter().map(|nll| 4e-6 * (1.0 + nll)).collect();
    [values, bounds]
}

fn add<T: HostElement + Storage, G: HostElement + Storage>(
    export: &mut Export,
    gpu: &Gpu,
    problem: &Problem,
    way: Way,
) {
    let problem = problem.clone().rounded::<T>();
    let (rows, vocab, batch) = (problem.rows, problem.vocab, problem.batch());
    let (offset, stride) = way.layout(vocab);
    let blank = vec![CANARY; problem.logits.len()];
    let z = gpu.upload(&placed::<T>(&problem.logits, vocab, (offset, stride))).unwrap();
    let d = gpu.upload(&placed::<G>(&blank, vocab, (offset, stride))).unwrap();
    let matrix = |buffer, dtype: crate::Dtype| {
        Matrix::strided(buffer, dtype, offset as u64 * dtype.size(), rows, vocab, stride).unwrap()
    };
    let (result, gradient) = match way {
        Way::InPlace | Way::ShiftedInPlace => (&z, Gradient::InPlace),
        Way::Apart | Way::Shifted => (&d, Gradient::To(matrix(&d, G::DTYPE))),
    };
    let (device, types) = (gpu.device(), [T::DTYPE, G::DTYPE]);
    let pipelines = Pipelines::with_types(device, problem.loss(), types[0], types[1]).unwrap();
    let [from, to] = types.map(dtype_name);
    let name = format!("{} {} {from} to {to} {way:?}", problem.objective.name(), problem.name);
    export.add(&name, gpu, |encoder| {
        let call = pipelines.forward_backward(encoder, matrix(&z, T::DTYPE), &batch, gradient)?;
        let byte = offset_of!(RowOutput, nll);
        Ok(vec![
            Expected::gradient::<G>(&problem, result, offset, stride),
            Expected::scattered(&call.outputs, byte, size_of::<RowOutput>(), nll(&problem)),
        ])
    });
}

/// Of one objective for the most part: pipelines take the time.
pub(super) fn add_all(export: &mut Export, gpu: &Gpu) {
    let eaft = Builtin::from(Eaft::default());
    for (way, rows, vocab) in [
        (Way::Apart, MANY, 5),
        (Way::Apart, MANY, 131),
        (Way::Apart, MANY, 4099),
        (Way::Shifted, 5, 131),
        // Rows that workgroups share.
        (Way::Shifted, 5, 17_003),
    ] {
        let problem = problem(rows, vocab, Content::Normal, 21).objective(eaft).with_ignored_rows();
        // Rows are held where the entropy is not asked for.
        for problem in [&problem.clone().objective(Sft.into()), &problem] {
            add::<f32, f32>(export, gpu, problem, way);
            add::<bf16, bf16>(export, gpu, problem, way);
            add::<f16, f16>(export, gpu, problem, way);
        }
    }
    let masked = |rows| problem(rows, 131, Content::Masked, 22).objective(eaft);
    add::<bf16, f32>(export, gpu, &masked(MANY), Way::Apart);
    add::<f32, f16>(export, gpu, &masked(MANY), Way::Apart);
    add::<f32, bf16>(export, gpu, &masked(3), Way::Shifted);
    add::<f16, f32>(export, gpu, &masked(3), Way::Shifted);
    add::<bf16, bf16>(export, gpu, &masked(MANY), Way::InPlace);
    add::<bf16, bf16>(export, gpu, &masked(MANY).objective(Sft.into()), Way::InPlace);
    add::<f32, f32>(export, gpu, &masked(3), Way::ShiftedInPlace);
    for (way, rows) in [(Way::Apart, MANY), (Way::Shifted, 9)] {
        for scale in [ExtrasScale::One, ExtrasScale::Objective] {
            let dressed = Problem::random(rows, 131, 23).objective(eaft);
            let mut dressed = dressed.with_token_weights().with_extras(scale);
            add::<f32, f32>(export, gpu, &dressed, way);
            dressed.extras.softcap = Some(30.0);
            add::<f32, f32>(export, gpu, &dressed, way);
        }
        add::<f16, f16>(export, gpu, &subnormal(rows, eaft), way);
        let mut broken = Problem::random(rows, 131, 24).objective(eaft);
        broken.logits[140] = f32::from_bits(0x7fff_ffff);
        add::<f32, f32>(export, gpu, &broken, way);
        add::<bf16, bf16>(export, gpu, &broken, way);
        add::<f16, f16>(export, gpu, &broken, way);
    }
    let mut capped = Problem::random(MANY, 131, 26).objective(Sft.into());
    capped.extras.softcap = Some(30.0);
    add::<f32, f32>(export, gpu, &capped, Way::InPlace);
    let per_token = |objective: &Builtin| objective.group_plan().is_none();
    for objective in objectives().into_iter().filter(per_token).step_by(4) {
        let problem = Problem::random(MANY, 37, 25).objective(objective);
        add::<f32, f32>(export, gpu, &problem, Way::Apart);
    }
}

/// Logits below the smallest normal number of f16, and a scale that makes them count.
fn subnormal(rows: usize, objective: Builtin) -> Problem {
    let mut problem = problem(rows, 131, Content::Normal, 11).objective(objective);
    problem.logits.iter_mut().for_each(|z| *z *= 1e-5);
    (problem.extras.logit_scale, problem.extras.grad_scale) = (3e5, 1e-5);
    problem
}
