//! Calls on batches of the device: what checks and counts a batch, plans, the report.

use core::mem::offset_of;

use surprisal::Reduction;
use surprisal::objective::{Builtin, Dft, Dpo, Gspo, Rho1, SftGo, TalrAuto};
use surprisal_tests::problem::Problem;

use super::{Expected, Export};
use crate::layout::Totals;
use crate::{Dtype, Gpu, Gradient, Matrix, Pipelines, Workspace};

#[path = "../../tests/device/uploaded.rs"]
mod uploaded;

use uploaded::Uploaded;

fn add(export: &mut Export, gpu: &Gpu, problem: &Problem, refused: bool) {
    let (rows, vocab) = (problem.rows, problem.vocab);
    let uploaded = Uploaded::new(gpu, problem, rows % 2 == 1);
    let z = gpu.upload(&problem.logits).unwrap();
    let logits = Matrix::new(&z, Dtype::F32, rows, vocab).unwrap();
    let pipelines = Pipelines::new(gpu.device(), problem.loss(), Dtype::F32).unwrap();
    let workspace = Workspace::new(gpu.device(), u32::try_from(rows).unwrap()).unwrap();
    let (batch, gradient) = (uploaded.batch(), Gradient::InPlace);
    let name = format!("{} {} as a device batch", problem.objective.name(), problem.name);
    export.add(&name, gpu, |encoder| {
        let call =
            pipelines.forward_backward_with(encoder, logits, &batch, gradient, &workspace)?;
        if refused {
            // The logits, over which no gradient was written.
            let values = problem.logits.iter().map(|&z| z.into()).collect();
            let bounds = vec![0.0; problem.logits.len()];
            return Ok(vec![Expected::scattered(&z, 0, 4, [values, bounds])]);
        }
        let gradient = Expected::gradient::<f32>(problem, &z, 0, vocab);
        let loss = problem.oracle().report.loss;
        let numbers = [vec![loss], vec![1e-5 * (1.0 + loss.abs())]];
        let (totals, byte) = (call.loss().0, offset_of!(Totals, loss));
        Ok(vec![gradient, Expected::scattered(totals, byte, size_of::<Totals>(), numbers)])
    });
}

/// Plans with every kind of step, a reduction that counts sequences, and a batch that is refused.
pub(super) fn add_all(export: &mut Export, gpu: &Gpu) {
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
        add(export, gpu, &problem.with_ignored_rows().with_token_weights(), false);
    }
    let sequences = Problem::random(12, 37, 32).objective(Dft.into());
    add(export, gpu, &sequences.reduction(Reduction::MeanSequences), false);
    let mut refused = Problem::random(12, 37, 33).objective(Dft.into());
    refused.targets[7] = 37;
    add(export, gpu, &refused, true);
}
