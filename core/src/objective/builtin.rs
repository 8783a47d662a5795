//! The list of the library's objectives, by name: for command lines, the C ABI and tests that must see every one.

use super::{
    Cispo, Dapo, Deft, Dft, DftSequence, Dpo, Eaft, Flow, Focal, FocalDetached, GroupPlan, Grpo,
    Gspo, InfoSft, Input, IwSequence, IwToken, Kl, Normalize, Objective, Power, Ppo, Psft, Real,
    Rft, Rho1, SequenceProbability, Sft, SftGo, Talr, TalrAuto, TauFrom, Token,
};
use crate::error::Error;
use crate::reduction::Reduction;

/// The value of a parameter that is set by name: a number, or the name of a variant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A temperature, a bound, a factor.
    Number(f64),
    /// A variant, as `k3` or `sequence-median`, spelled as freely as an objective's name ([`Builtin::from_name`]).
    Name(&'a str),
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

/// Whether somebody means this name: in any case, and with `_` for `-` or the other way round.
fn is_named(given: &str, name: &str) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    given.bytes().map(plain).eq(name.bytes().map(plain))
}

/// A parameter that can be set by name.
trait Parameter: Sized {
    /// What it takes, for the error.
    const EXPECTED: &'static str;
    fn from_value(value: Value<'_>) -> Option<Self>;
}

impl Parameter for f64 {
    const EXPECTED: &'static str = "a number";
    fn from_value(value: Value<'_>) -> Option<Self> {
        if let Value::Number(number) = value { Some(number) } else { None }
    }
}

impl Parameter for Option<f64> {
    const EXPECTED: &'static str = "a number";
    fn from_value(value: Value<'_>) -> Option<Self> {
        f64::from_value(value).map(Some)
    }
}

/// Names the variants of a parameter.
macro_rules! named {
    ($type:ident: $expected:literal, $($name:literal => $variant:ident),*) => {
        impl Parameter for $type {
            const EXPECTED: &'static str = $expected;
            fn from_value(value: Value<'_>) -> Option<Self> {
                match value {
                    $(Value::Name(name) if is_named(name, $name) => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}
named!(Kl: "k1, k2, k3, k3-corrected or k3-clamped",
    "k1" => K1, "k2" => K2, "k3" => K3, "k3-corrected" => K3Corrected, "k3-clamped" => K3Clamped);
named!(TauFrom: "sequence-median, sequence-median-with-empty or token-median",
    "sequence-median" => SequenceMedian, "sequence-median-with-empty" => SequenceMedianWithEmpty, "token-median" => TokenMedian);
named!(SequenceProbability: "geometric-mean or product", "geometric-mean" => GeometricMean, "product" => Product);
named!(Normalize: "none, sum1-sequence, sum1-batch or mean1-batch",
    "none" => None, "sum1-sequence" => Sum1Sequence, "sum1-batch" => Sum1Batch, "mean1-batch" => Mean1Batch);

fn assign<P: Parameter>(
    name: &'static str,
    parameter: &mut P,
    value: Value<'_>,
) -> Result<(), Error> {
    let number = if let Value::Number(number) = value { number } else { f64::NAN };
    let error = Error::Parameter { name, value: number, expected: P::EXPECTED };
    *parameter = P::from_value(value).ok_or(error)?;
    Ok(())
}

macro_rules! builtins {
    ($($name:literal => $objective:ident { $($parameter:ident),* }),* $(,)?) => {
        /// Any objective of the library, chosen at run time. A caller that knows the objective uses its own type instead.
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Builtin {
            $(#[doc = concat!("[`", stringify!($objective), "`], named `", $name, "`.")]
            $objective($objective),)*
        }

        impl Builtin {
            /// Every objective's name, in the order of the documentation.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The objective of this name with its default parameters. Case does not matter, and `_` may stand for `-`: `talr-auto` is also found as
            /// `TALR_Auto`.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(given if is_named(given, $name) => Some(Self::$objective($objective::default())),)*
                    _ => None,
                }
            }

            /// The names of its parameters, as [`Builtin::set`] takes them.
            #[must_use]
            pub const fn parameters(&self) -> &'static [&'static str] {
                match self {
                    $(Self::$objective(_) => &[$(stringify!($parameter)),*],)*
                }
            }

            /// Sets a parameter by the name of its field, for instance `set("tau", 0.5)` or `set("kl", "k1")`. Names, also those of values, may be spelled
            /// as freely as in [`Builtin::from_name`].
            ///
            /// # Errors
            /// [`Error::UnknownParameter`]; [`Error::Parameter`] where a number stands for a name or the other way round. The range is
            /// checked when the objective is used.
            pub fn set<'v>(
                &mut self,
                parameter: &str,
                value: impl Into<Value<'v>>,
            ) -> Result<(), Error> {
                let (value, objective) = (value.into(), self.name());
                match self {
                    $(Self::$objective(_o) => match parameter {
                        $(given if is_named(given, stringify!($parameter)) => assign(stringify!($parameter), &mut _o.$parameter, value),)*
                        _ => Err(Error::UnknownParameter { objective }),
                    },)*
                }
            }

            /// The objective's name.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$objective(_) => $name,)*
                }
            }
        }

        impl Objective for Builtin {
            fn loss<R: Real>(&self, token: &Token<R>) -> R {
                match self { $(Self::$objective(o) => o.loss(token),)* }
            }

            fn inputs(&self) -> &'static [Input] {
                match self { $(Self::$objective(o) => o.inputs(),)* }
            }

            fn reduction(&self) -> Reduction {
                match self { $(Self::$objective(o) => o.reduction(),)* }
            }

            fn check(&self) -> Result<(), Error> {
                match self { $(Self::$objective(o) => o.check(),)* }
            }

            fn group_plan(&self) -> Option<GroupPlan> {
                match self { $(Self::$objective(o) => o.group_plan(),)* }
            }

            fn step<R: Real>(&self, index: usize, token: &Token<R>) -> R {
                match self { $(Self::$objective(o) => o.step(index, token),)* }
            }

            fn temperature<R: Real>(&self, token: &Token<R>) -> Option<R> {
                match self { $(Self::$objective(o) => o.temperature(token),)* }
            }
        }

        $(impl From<$objective> for Builtin {
            fn from(objective: $objective) -> Self {
                Self::$objective(objective)
            }
        })*
    };
}

builtins! {
    "sft" => Sft {},
    "dft" => Dft {},
    "talr" => Talr { tau, floor, p_min },
    "focal" => Focal { gamma },
    "focal-detached" => FocalDetached { gamma },
    "power" => Power { alpha },
    "infosft" => InfoSft { p_max },
    "eaft" => Eaft { power, classes },
    "deft" => Deft {},
    "iw-token" => IwToken { temperature, low, high },
    "psft" => Psft { clip_high },
    "ppo" => Ppo { clip_low, clip_high, dual_clip },
    "grpo" => Grpo { clip_low, clip_high, beta, kl },
    "dapo" => Dapo { clip_low, clip_high },
    "cispo" => Cispo { clip_high },
    "talr-auto" => TalrAuto { floor, p_min, tau_from, normalize },
    "iw-sequence" => IwSequence { temperature, max },
    "flow" => Flow { tau },
    "dft-sequence" => DftSequence { probability },
    "gspo" => Gspo { clip_low, clip_high },
    "dpo" => Dpo { beta },
    "rft" => Rft {},
    "rho1" => Rho1 { keep },
    "sft-go" => SftGo { worst_weight },
}

impl Builtin {
    /// Every objective with its default parameters.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().filter_map(|name| Self::from_name(name))
    }
}
