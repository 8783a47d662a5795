//! The list of the library's objectives, by name: for command lines, the C ABI and tests that must see every one.

use super::{
    Cispo, Dapo, Dft, DftSequence, Dpo, Flow, Focal, FocalDetached, Group, Grpo, Gspo, InfoSft,
    IwSequence, IwToken, Objective, Power, Ppo, Psft, Real, Rft, Rho1, Scope, Sft, SftGo, Talr,
    TalrAuto, Token, TokenTerm,
};
use crate::error::{Argument, Error};

macro_rules! builtins {
    ($($name:literal => $objective:ident),* $(,)?) => {
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

            /// The objective of this name with its default parameters.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$objective($objective::default())),)*
                    _ => None,
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

            fn scope(&self) -> Scope {
                match self { $(Self::$objective(o) => o.scope(),)* }
            }

            fn inputs(&self) -> &'static [Argument] {
                match self { $(Self::$objective(o) => o.inputs(),)* }
            }

            fn check(&self) -> Result<(), Error> {
                match self { $(Self::$objective(o) => o.check(),)* }
            }

            fn group_pass(&self, group: &Group<'_>, terms: &mut [TokenTerm]) {
                match self { $(Self::$objective(o) => o.group_pass(group, terms),)* }
            }

            fn counts(&self, scalars: &TokenTerm) -> bool {
                match self { $(Self::$objective(o) => o.counts(scalars),)* }
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
    "sft" => Sft,
    "dft" => Dft,
    "talr" => Talr,
    "focal" => Focal,
    "focal-detached" => FocalDetached,
    "power" => Power,
    "infosft" => InfoSft,
    "iw-token" => IwToken,
    "psft" => Psft,
    "ppo" => Ppo,
    "grpo" => Grpo,
    "dapo" => Dapo,
    "cispo" => Cispo,
    "talr-auto" => TalrAuto,
    "iw-sequence" => IwSequence,
    "flow" => Flow,
    "dft-sequence" => DftSequence,
    "gspo" => Gspo,
    "dpo" => Dpo,
    "rft" => Rft,
    "rho1" => Rho1,
    "sft-go" => SftGo,
}

impl Builtin {
    /// Every objective with its default parameters.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().filter_map(|name| Self::from_name(name))
    }
}
