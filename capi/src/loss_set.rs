//! Setting a loss by names: what a parameter is set by, and what a configuration file needs.

use core::ffi::{CStr, c_char};

use crate::detail::{finish, surprisal_error_detail};
use crate::loss::surprisal_loss;
use crate::memory::Memory;
use crate::names::{self, Family};
use crate::objective::{builtin, objective_value};
use crate::parameter::{self, Kind, Parameter, SURPRISAL_MOST_PARAMETERS, surprisal_parameter};
use crate::status::{Failure, surprisal_status};
use crate::versioned::{self, Versioned};

/// Sets a parameter of the objective, or any option of the loss that is a number, by its name: `surprisal_loss_set(&loss, "tau", 0.5, &detail)`.
///
/// `loss.objective` comes first: a parameter that it does not have is an error, here or in the call, if the objective changes afterwards. A value is
/// an enumerator for the parameters that have some: `surprisal_loss_set(&loss, "kl", SURPRISAL_KL_K1, &detail)`. Ranges are checked by the calls that
/// use the loss. Names may have any case, and `-` for `_`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_loss_set(
    loss: *mut surprisal_loss,
    name: *const c_char,
    value: f64,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    // SAFETY: the C caller's struct and text.
    unsafe { change(loss, name, detail, |loss, name| loss.set(name, value)) }
}

/// As `surprisal_loss_set`, for what has named values: `surprisal_loss_set_choice(&loss, "objective", "dft", &detail)`, `"reduction"`,
/// `"extras_scale"`, and the parameters `"kl"`, `"tau_from"`, `"normalize"`, `"probability"`.
///
/// Another objective begins with its own parameters: those of the one before are forgotten.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_loss_set_choice(
    loss: *mut surprisal_loss,
    name: *const c_char,
    choice: *const c_char,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    // SAFETY: the C caller's struct and texts.
    unsafe {
        change(loss, name, detail, |loss, name| {
            let choice = names::text(choice).ok_or(Failure::missing("choice"))?;
            loss.set_choice(name, choice)
        })
    }
}

/// Changes a caller's loss, all of it or nothing.
///
/// # Safety
/// As [`versioned::update`] and [`names::text`].
unsafe fn change(
    loss: *mut surprisal_loss,
    name: *const c_char,
    detail: *mut surprisal_error_detail,
    change: impl FnOnce(&mut surprisal_loss, &CStr) -> Result<(), Failure>,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: passed on.
        let name = unsafe { names::text(name) }.ok_or(Failure::missing("name"))?;
        memory.declare_out(surprisal_loss::NAME, loss)?;
        memory.check()?;
        // SAFETY: passed on.
        unsafe { versioned::update(loss, |loss| change(loss, name)) }
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// A number of a type that holds less, rounded.
#[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
fn narrow(value: f64) -> f32 {
    value as f32
}

impl surprisal_loss {
    fn set(&mut self, name: &CStr, value: f64) -> Result<(), Failure> {
        let options: [(&CStr, &mut f32); 5] = [
            (c"label_smoothing", &mut self.label_smoothing),
            (c"z_loss", &mut self.z_loss),
            (c"logit_scale", &mut self.logit_scale),
            (c"softcap", &mut self.softcap),
            (c"grad_scale", &mut self.grad_scale),
        ];
        for (known, option) in options {
            if names::is_same(known, name) {
                *option = narrow(value);
                return Ok(());
            }
        }
        if names::is_same(c"reduction_by", name) {
            self.reduction_by = value;
        } else if names::is_same(c"moments", name) {
            if value != 0.0 && value != 1.0 {
                return Err(Failure::option("moments", "is neither 0 nor 1").value(value));
            }
            self.moments = i32::from(value == 1.0);
        } else {
            self.set_parameter(name, value)?;
        }
        Ok(())
    }

    fn set_parameter(&mut self, name: &CStr, value: f64) -> Result<(), Failure> {
        let unknown = Failure::option("name", "is that of no parameter and no number of a loss");
        let parameter = Parameter::named(name).ok_or(unknown)?;
        parameter::keep(&mut self.parameters, builtin(self.objective)?, parameter, value)
    }

    fn set_choice(&mut self, name: &CStr, choice: &CStr) -> Result<(), Failure> {
        let find = |argument, family: &Family| {
            let failure = Failure::option(argument, "has no such name");
            names::number_of(family, choice).ok_or(failure)
        };
        if names::is_same(c"objective", name) {
            self.set_objective(find("objective", names::OBJECTIVE)?);
        } else if names::is_same(c"reduction", name) {
            self.reduction = find("reduction", names::REDUCTION)?;
        } else if names::is_same(c"extras_scale", name) {
            self.extras_scale = find("extras_scale", names::EXTRAS_SCALE)?;
        } else if let Some(Kind::Choice(family)) = Parameter::named(name).map(|p| p.kind) {
            let number = find("choice", family)?;
            self.set_parameter(name, f64::from(number))?;
        } else {
            return Err(Failure::option("name", "is that of no choice of a loss"));
        }
        Ok(())
    }

    fn set_objective(&mut self, objective: objective_value) {
        if self.objective != objective {
            self.parameters = [surprisal_parameter::NONE; SURPRISAL_MOST_PARAMETERS];
        }
        self.objective = objective;
    }
}
