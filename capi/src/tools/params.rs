//! Parameter-space baselines against forgetting: L2 to the initial weights, WiSE-FT averaging, LoRA.

use surprisal::params::{self, Lora};

use crate::detail::{finish, surprisal_error_detail};
use crate::memory::Memory;
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_EXTENT};

/// L2 to the initial weights: writes `lambda sum (parameters - initial)^2 / divisor` to `penalty` and ADDS its gradient to `gradient`. Arrays have
/// `count` elements; divisor 1 is the textbook form, the number of the model's parameters is FLOW's.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_l2_to_initial(
    parameters: *const f32,
    initial: *const f32,
    count: usize,
    lambda: f64,
    divisor: f64,
    gradient: *mut f32,
    penalty: *mut f64,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's arrays.
        let (parameters, initial, gradient, penalty) = unsafe {
            (
                memory.input("parameters", parameters, count)?,
                memory.input("initial", initial, count)?,
                memory.output("gradient", gradient, count)?,
                memory.output("penalty", penalty, 1)?,
            )
        };
        let checked = memory.check()?;
        let (parameters, initial) = (parameters.get(&checked), initial.get(&checked));
        let gradient = gradient.get(&checked);
        let value = params::l2_to_initial(parameters, initial, lambda, divisor, gradient)?;
        penalty.get(&checked).fill(value);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// WiSE-FT: `out = (1 - alpha) initial + alpha parameters`, each entry rounded once; alpha in [0, 1]. Arrays have `count` elements.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_wise_ft(
    parameters: *const f32,
    initial: *const f32,
    count: usize,
    alpha: f64,
    out: *mut f32,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's arrays.
        let (parameters, initial, out) = unsafe {
            (
                memory.input("parameters", parameters, count)?,
                memory.input("initial", initial, count)?,
                memory.output("out", out, count)?,
            )
        };
        let checked = memory.check()?;
        let (parameters, initial) = (parameters.get(&checked), initial.get(&checked));
        Ok(params::wise_ft(parameters, initial, alpha, out.get(&checked))?)
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Adds a low-rank adapter to its weights: `weights += scale b a`, with `weights [rows x columns]`, `a [rank x columns]`, `b [rows x rank]`, all
/// row-major. scale: alpha/rank; rsLoRA has alpha/sqrt(rank).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_lora_merge(
    rows: usize,
    columns: usize,
    rank: usize,
    scale: f64,
    a: *const f32,
    b: *const f32,
    weights: *mut f32,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        let [len_a, len_b, len] = lora_lengths(rows, columns, rank)?;
        // SAFETY: the C caller's arrays.
        let (a, b, weights) = unsafe {
            (
                memory.input("a", a, len_a)?,
                memory.input("b", b, len_b)?,
                memory.output("weights", weights, len)?,
            )
        };
        let checked = memory.check()?;
        let lora = Lora { rows, columns, rank, scale };
        Ok(lora.merge(a.get(&checked), b.get(&checked), weights.get(&checked))?)
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Writes the gradients of both factors from that of the weights: `da = scale b^T gradient`, `db = scale gradient a^T`; shapes as in
/// `surprisal_lora_merge`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_lora_gradients(
    rows: usize,
    columns: usize,
    rank: usize,
    scale: f64,
    gradient: *const f32,
    a: *const f32,
    b: *const f32,
    da: *mut f32,
    db: *mut f32,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        let [len_a, len_b, len] = lora_lengths(rows, columns, rank)?;
        // SAFETY: the C caller's arrays.
        let (gradient, a, b, da, db) = unsafe {
            (
                memory.input("gradient", gradient, len)?,
                memory.input("a", a, len_a)?,
                memory.input("b", b, len_b)?,
                memory.output("da", da, len_a)?,
                memory.output("db", db, len_b)?,
            )
        };
        let checked = memory.check()?;
        let lora = Lora { rows, columns, rank, scale };
        let a = (a.get(&checked), da.get(&checked));
        let b = (b.get(&checked), db.get(&checked));
        Ok(lora.gradients(gradient.get(&checked), a, b)?)
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Elements of a, b and the weights.
fn lora_lengths(rows: usize, columns: usize, rank: usize) -> Result<[usize; 3], Failure> {
    let product = |argument, x: usize, y: usize| {
        let overflow = Failure::new(SURPRISAL_ERROR_EXTENT, argument, "its size overflows");
        x.checked_mul(y).ok_or(overflow)
    };
    Ok([
        product("a", rank, columns)?,
        product("b", rows, rank)?,
        product("weights", rows, columns)?,
    ])
}
