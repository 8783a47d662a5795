//! The parameters of objectives: a number each, kept by name.

use core::ffi::CStr;

use surprisal::objective::{Builtin, Value};

use crate::names::{self, Family};
use crate::status::Failure;

/// A parameter of an objective, as `surprisal_loss_set` keeps it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct surprisal_parameter {
    /// Its value.
    pub value: f64,
    /// Which one it is; 0 for none.
    pub id: i32,
    /// Zero.
    pub reserved: i32,
}

/// Parameters that a loss can keep: more than any objective has.
pub const SURPRISAL_MOST_PARAMETERS: usize = 8;

impl surprisal_parameter {
    /// No parameter is set.
    pub(crate) const NONE: Self = Self { value: 0.0, id: 0, reserved: 0 };
}

/// What a parameter's value is.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Number,
    /// An enumerator of this enum.
    Choice(&'static Family),
}
use Kind::{Choice, Number};

/// Every parameter of an objective. Its id is its place here, from 1 on, and stays.
const PARAMETERS: [(&CStr, Kind); 22] = [
    (c"tau", Number),
    (c"floor", Number),
    (c"gamma", Number),
    (c"alpha", Number),
    (c"p_max", Number),
    (c"temperature", Number),
    (c"low", Number),
    (c"high", Number),
    (c"max", Number),
    (c"clip_low", Number),
    (c"clip_high", Number),
    (c"dual_clip", Number),
    (c"beta", Number),
    (c"keep", Number),
    (c"worst_weight", Number),
    (c"power", Number),
    (c"classes", Number),
    (c"kl", Choice(names::KL)),
    (c"tau_from", Choice(names::TAU_FROM)),
    (c"normalize", Choice(names::NORMALIZE)),
    (c"p_min", Number),
    (c"probability", Choice(names::PROBABILITY)),
];

/// A known parameter.
#[derive(Clone, Copy)]
pub(crate) struct Parameter {
    id: i32,
    name: &'static str,
    pub(crate) kind: Kind,
}

impl Parameter {
    fn find(mut is: impl FnMut(i32, &CStr) -> bool) -> Option<Self> {
        let (id, (name, kind)) = (1..).zip(PARAMETERS).find(|(id, (name, _))| is(*id, name))?;
        Some(Self { id, name: name.to_str().ok()?, kind })
    }

    /// The parameter of a name.
    pub(crate) fn named(name: &CStr) -> Option<Self> {
        Self::find(|_, known| names::is_same(known, name))
    }

    fn of_id(id: i32) -> Option<Self> {
        Self::find(|known, _| known == id)
    }

    /// Sets it in an objective that has it.
    fn set(self, objective: &mut Builtin, value: f64) -> Result<(), Failure> {
        let failure = |message| Err(Failure::option(self.name, message).value(value));
        let value = match self.kind {
            Number => Value::Number(value),
            Choice(family) => {
                #[expect(clippy::cast_possible_truncation, reason = "compared with what it was")]
                let number = value as i32;
                let name = names::name_of(family, number).filter(|_| f64::from(number) == value);
                let Some(name) = name.and_then(|name| name.to_str().ok()) else {
                    return failure("is not one of its enumerators");
                };
                Value::Name(name)
            }
        };
        match objective.set(self.name, value) {
            Ok(()) => Ok(()),
            Err(_) => failure("is not a parameter of the objective"),
        }
    }
}

/// Sets parameters in an objective.
pub(crate) fn apply(
    parameters: &[surprisal_parameter],
    objective: &mut Builtin,
) -> Result<(), Failure> {
    for given in parameters.iter().filter(|given| given.id != 0) {
        let unknown = Failure::option("parameters", "are not what surprisal_loss_set writes");
        let known = Parameter::of_id(given.id).ok_or(unknown.value(f64::from(given.id)))?;
        known.set(objective, given.value)?;
    }
    Ok(())
}

/// Keeps the value of a parameter that the objective has.
pub(crate) fn keep(
    parameters: &mut [surprisal_parameter],
    mut objective: Builtin,
    parameter: Parameter,
    value: f64,
) -> Result<(), Failure> {
    parameter.set(&mut objective, value)?;
    let same = parameters.iter().position(|kept| kept.id == parameter.id);
    let slot = same.or_else(|| parameters.iter().position(|kept| kept.id == 0));
    let full = Failure::option("parameters", "are those of another objective");
    let slot = slot.and_then(|slot| parameters.get_mut(slot)).ok_or(full)?;
    *slot = surprisal_parameter { value, id: parameter.id, reserved: 0 };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_of_the_core_is_known() {
        for objective in Builtin::all() {
            // The debug form names every field of the objective: `Talr(Talr { tau: 1.0, floor: 0.01 })`.
            let text = format!("{objective:?}");
            let fields = text.split_once('{').map_or("", |(_, fields)| fields);
            let names: Vec<_> = fields
                .split(',')
                .filter_map(|field| Some(field.split_once(':')?.0.trim()))
                .collect();
            assert!(names.len() <= SURPRISAL_MOST_PARAMETERS);
            for name in names {
                let known = PARAMETERS.iter().any(|(known, _)| known.to_str() == Ok(name));
                assert!(known, "{name} of {text}");
            }
        }
    }

    #[test]
    fn every_enumerator_is_a_value() {
        for (name, kind) in PARAMETERS {
            let Choice(family) = kind else { continue };
            let parameter = Parameter::named(name).unwrap();
            let mut owners = Builtin::all().filter(|objective| {
                parameter.set(&mut objective.clone(), f64::from(family[0].0)).is_ok()
            });
            let mut owner = owners.next().unwrap();
            for (number, _) in family {
                assert!(parameter.set(&mut owner, f64::from(*number)).is_ok(), "{name:?} {number}");
            }
            for wrong in [0.0, 0.5, 99.0, -1.0, f64::NAN, f64::INFINITY] {
                assert!(parameter.set(&mut owner, wrong).is_err(), "{name:?} {wrong}");
            }
        }
    }
}
