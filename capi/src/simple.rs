//! The simple case: plain arrays, one call.

use core::ptr;

use surprisal::objective::{Builtin, Objective};
use surprisal::{Batch, Logits, LogitsMut, Loss, LossReport};

use crate::batch::IGNORE_INDEX;
use crate::detail::{finish, surprisal_error_detail};
use crate::memory::Memory;
use crate::objective::{builtin, objective_value};
use crate::probe;
use crate::status::{Failure, surprisal_status};

/// The simple case: mean loss of the tokens, and its gradient with respect to the logits.
///
/// `logits` and `dlogits` are `[rows x vocab]`, row-major without padding; `targets` has one id a row, -100 for rows that do not count, which get
/// a gradient of 0. `dlogits` may be `logits` (the gradient overwrites them) or NULL (loss only); `detail` may be NULL. Where no row counts the loss is 0. Objectives that need more than targets are refused:
/// `surprisal_forward_backward` takes everything.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_simple_f32(
    objective: objective_value,
    logits: *const f32,
    targets: *const i32,
    rows: usize,
    vocab: usize,
    dlogits: *mut f32,
    loss: *mut f64,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        let objective = builtin(objective)?;
        if objective.group_plan().is_some() {
            let message = "is of group scope: use surprisal_forward_backward, with a workspace";
            return Err(Failure::option("objective", message));
        }
        let overflow = surprisal::Error::Extent { argument: surprisal::Argument::Logits };
        let len = rows.checked_mul(vocab).ok_or(overflow)?;
        let in_place = ptr::eq(logits, dlogits) && !dlogits.is_null();
        // SAFETY: the C caller's arrays.
        let (out, targets) =
            unsafe { (memory.output("loss", loss, 1)?, memory.input("targets", targets, rows)?) };
        // SAFETY: the C caller's matrices; where they are one, it is declared once.
        let (z, dz) = unsafe {
            let dz = memory.optional_output("dlogits", dlogits, len)?;
            let z = if in_place { None } else { Some(memory.input("logits", logits, len)?) };
            (z, dz)
        };
        let checked = memory.check()?;
        let batch = Batch::new(targets.get(&checked)).ignore_index(IGNORE_INDEX);
        let loss = Loss::new(objective).level(probe::level());
        let dz = dz.map(|dz| LogitsMut::new(dz.get(&checked), rows, vocab)).transpose()?;
        let z = z.map(|z| Logits::new(z.get(&checked), rows, vocab)).transpose()?;
        out.get(&checked).fill(compute(&loss, &batch, z, dz)?.loss);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

fn compute(
    loss: &Loss<'_, Builtin>,
    batch: &Batch<'_>,
    logits: Option<Logits<'_, f32>>,
    dlogits: Option<LogitsMut<'_, f32>>,
) -> Result<LossReport, Failure> {
    Ok(match (logits, dlogits) {
        (Some(z), Some(dz)) => loss.forward_backward(z, batch, dz)?,
        (Some(z), None) => loss.forward(z, batch)?,
        (None, Some(z)) => loss.forward_backward_in_place(z, batch)?,
        (None, None) => return Err(Failure::missing("logits")),
    })
}
