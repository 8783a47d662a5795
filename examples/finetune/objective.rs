//! Objectives by name: the library's, with parameters, and one of this program's own.

use surprisal::objective::{Builtin, Input, Objective as _, Real, Sft, Token};

/// What this program can tell the loss besides the targets.
const SUPPLIED: [Input; 7] = [
    Input::RefLogProbs,
    Input::OldLogProbs,
    Input::Advantages,
    Input::Sequences,
    Input::Groups,
    // These two the library computes.
    Input::Entropy,
    Input::SumSquares,
];

/// An objective with its parameters, and what it is called here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Objective {
    name: String,
    pub(crate) kind: Kind,
}

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Builtin(Builtin),
    Anchored(Anchored),
}

/// An objective of this program's own: another one of single tokens, and β·KL to the reference model by the K3
/// estimator on the target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Anchored {
    objective: Builtin,
    beta: f64,
}

impl surprisal::objective::Objective for Anchored {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let k = t.ref_log_p - t.log_p;
        self.objective.loss(t) + (k.exp_m1() - k) * self.beta
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::RefLogProbs]
    }
}

impl Objective {
    /// What a base model is trained with.
    pub(crate) fn pretraining() -> Self {
        Self::of(Sft)
    }

    /// One of the library's objectives.
    pub(crate) fn of(objective: impl Into<Builtin>) -> Self {
        let builtin = objective.into();
        Self { name: builtin.name().to_owned(), kind: Kind::Builtin(builtin) }
    }

    /// An objective of single tokens that needs no input, anchored to the reference model.
    pub(crate) fn anchored(objective: impl Into<Builtin>, beta: f64) -> Self {
        let objective = objective.into();
        let name = format!("{}+kl", objective.name());
        Self { name, kind: Kind::Anchored(Anchored { objective, beta }) }
    }

    /// The library's objective of a name, with its default parameters or with some set, as in
    /// `talr:tau=0.7,floor=0`; else a sentence on why not.
    pub(crate) fn named(text: &str) -> Result<Self, String> {
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let Some(mut builtin) = Builtin::from_name(name) else {
            let names: Vec<String> = Self::supported().map(|one| one.name).collect();
            return Err(format!(
                "there is no objective \"{name}\"; choose from {}",
                names.join(", ")
            ));
        };
        for parameter in parameters.split(',').filter(|parameter| !parameter.is_empty()) {
            set(&mut builtin, parameter).map_err(|why| format!("{name}: {why}"))?;
        }
        builtin.check().map_err(|why| format!("{name}: {why}"))?;
        match builtin.inputs().iter().find(|input| !SUPPLIED.contains(input)) {
            Some(input) => {
                Err(format!("{name} needs {}, and this program has none to give", input.name()))
            }
            None => Ok(Self { name: text.to_owned(), kind: Kind::Builtin(builtin) }),
        }
    }

    /// Every objective that this program can run.
    pub(crate) fn supported() -> impl Iterator<Item = Self> {
        Builtin::NAMES.iter().filter_map(|name| Self::named(name).ok())
    }

    /// Its name, with the parameters that were set.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Sets a parameter given as `tau=0.7` or `kl=k1`.
fn set(builtin: &mut Builtin, parameter: &str) -> Result<(), String> {
    let (name, value) = parameter
        .split_once('=')
        .ok_or_else(|| format!("\"{parameter}\" is not of the form name=value"))?;
    let set = match value.parse::<f64>() {
        Ok(number) => builtin.set(name, number),
        Err(_) => builtin.set(name, value),
    };
    set.map_err(|why| match builtin.parameters() {
        [] => format!("{parameter}: it has no parameters"),
        known => format!("{parameter}: {why}; its parameters are {}", known.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::{Kind, Objective};
    use surprisal::objective::Talr;

    #[test]
    fn an_objective_that_cannot_be_run_is_said_to() {
        assert!(Objective::named("dpo").unwrap_err().contains("pairs"));
        assert!(Objective::named("nonsense").unwrap_err().contains("talr-auto"));
        for (text, word) in [
            ("talr:tau", "name=value"),
            ("talr:tua=1", "tau, floor"),
            ("dft:tau=1", "no parameters"),
            ("talr:tau=0", "tau"),
            ("talr:tau=fast", "number"),
        ] {
            let why = Objective::named(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
    }

    #[test]
    fn parameters_are_set_by_name() {
        let set = Objective::named("talr:tau=0.7,floor=0").expect("talr");
        assert_eq!(
            set.kind,
            Kind::Builtin(Talr { tau: 0.7, floor: 0.0, ..Talr::default() }.into())
        );
        assert_eq!(set.name(), "talr:tau=0.7,floor=0");
        let set = Objective::named("talr-auto:tau_from=token-median").expect("talr-auto");
        assert_ne!(set.kind, Objective::named("talr-auto").expect("talr-auto").kind);
    }
}
