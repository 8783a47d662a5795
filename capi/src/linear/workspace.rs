//! How much memory a call over a layer takes.

use surprisal::objective::Objective;
use surprisal_linear::Memory as Needs;

use crate::detail::{finish, surprisal_error_detail};
use crate::linear::layer::{LayerInput, surprisal_linear_layer};
use crate::linear::matrix::Operand;
use crate::loss::{LossInput, surprisal_loss};
use crate::memory::Memory;
use crate::status::{Failure, surprisal_status};
use crate::workspace::Layout;

/// Writes to `size` how many bytes of workspace a call on `rows` rows takes that goes through chunks of `chunk_rows` rows; 0 stands for 512 rows, or
/// all of a shorter call, beyond which a call gains little.
///
/// `4 chunk_rows (V + d)` bytes, V being the vocabulary rounded up to an odd number of cache lines, so that columns do not share their place in
/// the cache; 4 MiB more (or one class of d) for weights of 16 bits, which are converted in parts; and some 100 bytes a row for objectives of group
/// scope. A call takes any workspace of at least the size for one row, and makes its chunks as large as that allows. Of `layer` only the weights' shape
/// and type are looked at.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_linear_workspace_size(
    loss: *const surprisal_loss,
    layer: *const surprisal_linear_layer,
    rows: usize,
    chunk_rows: usize,
    size: *mut usize,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and number. The class weights are not looked at.
        let (loss, weight, size) = unsafe {
            let loss = LossInput::read(loss, 0, &mut memory)?;
            let weight = LayerInput::read_weight(layer, &mut memory)?;
            (loss, weight, memory.output("size", size, 1)?)
        };
        let needs = needs(&loss, &weight, rows, true);
        let chunk_rows = if chunk_rows == 0 { needs.recommended_rows() } else { chunk_rows };
        let bytes = Layout::linear(&needs, chunk_rows)?.bytes;
        size.get(&memory.check()?).fill(bytes);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// What a call on so many rows wants; `all_stages`: of an objective of group scope more than of one of token scope.
fn needs(loss: &LossInput<'_>, weight: &Operand, rows: usize, all_stages: bool) -> Needs {
    let grouped = all_stages && loss.objective.group_plan().is_some();
    Needs::new(rows, weight.shape, weight.is_16_bit(), grouped)
}

/// The layout of the least workspace of a call.
pub(crate) fn least(
    loss: &LossInput<'_>,
    weight: &Operand,
    rows: usize,
    all_stages: bool,
) -> Result<Layout, Failure> {
    Layout::linear(&needs(loss, weight, rows, all_stages), 1)
}
