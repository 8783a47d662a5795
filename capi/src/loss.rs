//! What to compute: an objective with its parameters, the reduction, the dense extras.

use core::ptr;

use surprisal::objective::{Builtin, Objective, Value};
use surprisal::{ExtrasScale, Loss, Reduction};

use crate::choices::{
    surprisal_extras_scale, surprisal_kl, surprisal_normalize, surprisal_reduction,
    surprisal_tau_from,
};
use crate::memory::{Checked, Input, Memory};
use crate::objective::{name, surprisal_objective};
use crate::probe;
use crate::status::{Failure, surprisal_status};
use crate::versioned::{Versioned, versioned};

/// The value of `SURPRISAL_DEFAULT` in the header.
const DEFAULT: f64 = -1e300;

/// What to compute. Begin with `SURPRISAL_LOSS_INIT`: plain sft, the objective's own reduction, no extras.
///
/// With u the token weight, w the class weights, e the label smoothing, c the z-loss and V the vocabulary, a token's loss is
/// `u ( w_t (1-e) objective(ln p_t) + x ( e/V sum_j w_j (-ln p_j) + c lse^2 ) )`, where x is 1, or the objective's coefficient (`extras_scale`).
///
/// A parameter of an objective that is `SURPRISAL_DEFAULT` has the objective's default; one that is set though the objective does not have
/// it is an error.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_loss {
    /// `sizeof(surprisal_loss)`.
    pub struct_size: usize,
    /// Weight of each class of the whole vocabulary, finite and not negative, or NULL.
    pub class_weights: *const f32,
    /// A `surprisal_objective`.
    pub objective: i32,
    /// A `surprisal_reduction`.
    pub reduction: i32,
    /// The divisor of `SURPRISAL_BY`, finite and above 0; only with that reduction.
    pub reduction_by: f64,
    /// Label smoothing in [0, 1], uniform over all classes.
    pub label_smoothing: f32,
    /// Multiplier of lse^2, not negative.
    pub z_loss: f32,
    /// Multiplies the logits before everything else, above 0; 1/T for a temperature T. The gradient is that of the raw logits.
    pub logit_scale: f32,
    /// Soft-cap: `cap tanh(logit_scale z / cap)` in place of `logit_scale z`; 0 for none.
    pub softcap: f32,
    /// A `surprisal_extras_scale`.
    pub extras_scale: i32,
    /// grpo: a `surprisal_kl`.
    pub kl: i32,
    /// talr-auto: a `surprisal_tau_from`.
    pub tau_from: i32,
    /// talr-auto: a `surprisal_normalize`.
    pub normalize: i32,
    /// talr, flow: temperature, above 0.
    pub tau: f64,
    /// talr, talr-auto: least weight, in [0, 1].
    pub floor: f64,
    /// focal, focal-detached: focusing parameter, not negative.
    pub gamma: f64,
    /// power: exponent, above 0.
    pub alpha: f64,
    /// infosft: probability in (0.5, 1) from which a token counts as learned.
    pub p_max: f64,
    /// iw-token: exponent of the ratio; iw-sequence: factor of the mean log-ratio; not negative.
    pub temperature: f64,
    /// iw-token: least weight, not negative.
    pub low: f64,
    /// iw-token: largest weight, at least `low`.
    pub high: f64,
    /// iw-sequence: largest weight, above 0.
    pub max: f64,
    /// ppo, grpo, dapo, gspo: clip below 1, in [0, 1].
    pub clip_low: f64,
    /// ppo, grpo, dapo, gspo, psft, cispo: clip above 1, not negative.
    pub clip_high: f64,
    /// ppo: dual clip, above 1.
    pub dual_clip: f64,
    /// grpo: weight of the KL term, not negative; dpo: inverse temperature, above 0.
    pub beta: f64,
    /// rho1: share of tokens to keep, in (0, 1].
    pub keep: f64,
    /// sft-go: weight of the worst group, in [0, 1].
    pub lambda: f64,
    /// eaft: exponent of the weight, not negative.
    pub power: f64,
    /// eaft: number of equally likely classes whose entropy has weight 1, above 1.
    pub classes: f64,
    /// Multiplies the gradient and nothing else, finite: the factor of loss scaling, or a framework's upstream gradient. Applied before the
    /// gradient is rounded to its type, so that small f16 entries survive.
    pub grad_scale: f32,
    /// 1: statistics also hold what `surprisal_stats_entropy` and `surprisal_stats_sum_squares` are made of, for another walk over each row;
    /// else 0. Objectives that need it ask by themselves.
    pub moments: i32,
}

versioned!(surprisal_loss: "loss" then power, surprisal_loss {
    struct_size: size_of::<surprisal_loss>(),
    class_weights: ptr::null(),
    objective: surprisal_objective::SURPRISAL_SFT as i32,
    reduction: surprisal_reduction::SURPRISAL_REDUCTION_DEFAULT as i32,
    reduction_by: DEFAULT,
    label_smoothing: 0.0,
    z_loss: 0.0,
    logit_scale: 1.0,
    softcap: 0.0,
    extras_scale: surprisal_extras_scale::SURPRISAL_EXTRAS_ONE as i32,
    kl: surprisal_kl::SURPRISAL_KL_DEFAULT as i32,
    tau_from: surprisal_tau_from::SURPRISAL_TAU_FROM_DEFAULT as i32,
    normalize: surprisal_normalize::SURPRISAL_NORMALIZE_DEFAULT as i32,
    tau: DEFAULT,
    floor: DEFAULT,
    gamma: DEFAULT,
    alpha: DEFAULT,
    p_max: DEFAULT,
    temperature: DEFAULT,
    low: DEFAULT,
    high: DEFAULT,
    max: DEFAULT,
    clip_low: DEFAULT,
    clip_high: DEFAULT,
    dual_clip: DEFAULT,
    beta: DEFAULT,
    keep: DEFAULT,
    lambda: DEFAULT,
    power: DEFAULT,
    classes: DEFAULT,
    grad_scale: 1.0,
    moments: 0,
});

/// Fills a loss with its initial values, as `SURPRISAL_LOSS_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_loss_init(
    loss: *mut surprisal_loss,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_loss::init(loss, struct_size) }
}

/// A caller's loss whose arrays are declared.
pub(crate) struct LossInput<'call> {
    pub(crate) objective: Builtin,
    pub(crate) reduction: Reduction,
    options: surprisal_loss,
    extras_scale: ExtrasScale,
    class_weights: Option<Input<'call, f32>>,
}

impl<'call> LossInput<'call> {
    /// Reads a caller's loss and declares its class weights.
    ///
    /// # Safety
    /// As [`Memory::read_struct`], and as [`Memory::input`] for the class weights.
    pub(crate) unsafe fn read(
        loss: *const surprisal_loss,
        vocab_total: usize,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        let options = unsafe { memory.read_struct(surprisal_loss::NAME, loss) }?;
        let objective = options.objective()?;
        if !(0..=1).contains(&options.moments) {
            let failure = Failure::option("moments", "is neither 0 nor 1");
            return Err(failure.value(f64::from(options.moments)));
        }
        Ok(Self {
            objective,
            reduction: options.reduction(&objective)?,
            extras_scale: options.extras_scale()?,
            // SAFETY: passed on.
            class_weights: unsafe {
                memory.optional_input("class_weights", options.class_weights, vocab_total)
            }?,
            options,
        })
    }

    /// The loss.
    pub(crate) fn get(&self, checked: &Checked) -> Loss<'call, Builtin> {
        let options = &self.options;
        let mut loss = Loss::new(self.objective)
            .reduction(self.reduction)
            .label_smoothing(options.label_smoothing)
            .z_loss(options.z_loss)
            .logit_scale(options.logit_scale)
            .extras_scale(self.extras_scale)
            .grad_scale(options.grad_scale)
            .level(probe::level());
        if options.moments == 1 {
            loss = loss.with_moments();
        }
        if options.softcap != 0.0 {
            loss = loss.softcap(options.softcap);
        }
        if let Some(weights) = &self.class_weights {
            loss = loss.class_weights(weights.get(checked));
        }
        loss
    }
}

impl surprisal_loss {
    /// Every number that may be a parameter, by name.
    fn numbers(&self) -> [(&'static str, f64); 17] {
        [
            ("tau", self.tau),
            ("floor", self.floor),
            ("gamma", self.gamma),
            ("alpha", self.alpha),
            ("p_max", self.p_max),
            ("temperature", self.temperature),
            ("low", self.low),
            ("high", self.high),
            ("max", self.max),
            ("clip_low", self.clip_low),
            ("clip_high", self.clip_high),
            ("dual_clip", self.dual_clip),
            ("beta", self.beta),
            ("keep", self.keep),
            ("lambda", self.lambda),
            ("power", self.power),
            ("classes", self.classes),
        ]
    }

    /// Every variant that may be a parameter, by name, with the names of its values from 1 on.
    fn variants(&self) -> [(&'static str, i32, &'static [&'static str]); 3] {
        [
            ("kl", self.kl, &["k1", "k2", "k3", "k3-corrected", "k3-clamped"]),
            ("tau_from", self.tau_from, &["sequence-median", "token-median"]),
            ("normalize", self.normalize, &["none", "sum1-sequence", "sum1-batch", "mean1-batch"]),
        ]
    }

    fn objective(&self) -> Result<Builtin, Failure> {
        let known = name(self.objective).and_then(|name| name.to_str().ok());
        let Some(mut objective) = known.and_then(Builtin::from_name) else {
            let failure = Failure::option("objective", "is not a surprisal_objective");
            return Err(failure.value(f64::from(self.objective)));
        };
        let mut set = |parameter: &'static str, number: f64, value: Value<'_>| {
            let failure = Failure::option(parameter, "is not a parameter of the objective");
            objective.set(parameter, value).map_err(|_| failure.value(number))
        };
        for (parameter, number) in self.numbers() {
            if number != DEFAULT {
                set(parameter, number, Value::Number(number))?;
            }
        }
        for (parameter, number, names) in self.variants() {
            if number == 0 {
                continue;
            }
            let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
            let Some(name) = index.and_then(|index| names.get(index)) else {
                let failure = Failure::option(parameter, "is not one of its enumerators");
                return Err(failure.value(f64::from(number)));
            };
            set(parameter, f64::from(number), Value::Name(name))?;
        }
        Ok(objective)
    }

    fn reduction(&self, objective: &Builtin) -> Result<Reduction, Failure> {
        let by = self.reduction_by;
        let reduction = match self.reduction {
            0 => objective.reduction(),
            1 => Reduction::MeanTokens,
            2 => Reduction::Sum,
            3 => Reduction::MeanSequences,
            4 => Reduction::MeanWeights,
            5 => Reduction::MeanPairs,
            6 if by > 0.0 && by.is_finite() => return Ok(Reduction::By(by)),
            6 if by == DEFAULT => return Err(Failure::option("reduction_by", "is not set")),
            6 => {
                let failure = Failure::option("reduction_by", "expected a finite number > 0");
                return Err(failure.value(by));
            }
            other => {
                let failure = Failure::option("reduction", "is not a surprisal_reduction");
                return Err(failure.value(f64::from(other)));
            }
        };
        if by != DEFAULT {
            let failure = Failure::option("reduction_by", "is set, but reduction is not BY");
            return Err(failure.value(by));
        }
        Ok(reduction)
    }

    fn extras_scale(&self) -> Result<ExtrasScale, Failure> {
        match self.extras_scale {
            0 => Ok(ExtrasScale::One),
            1 => Ok(ExtrasScale::Objective),
            other => {
                let failure = Failure::option("extras_scale", "is not a surprisal_extras_scale");
                Err(failure.value(f64::from(other)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_of_the_core_has_a_field() {
        let options = surprisal_loss::INIT;
        for objective in Builtin::all() {
            // The debug form names every field of the objective: `Talr(Talr { tau: 1.0, floor: 0.01 })`.
            let text = format!("{objective:?}");
            let fields = text.split_once('{').map_or("", |(_, fields)| fields);
            let names = fields.split(',').filter_map(|field| field.split_once(':'));
            for (name, _) in names {
                let name = name.trim();
                let number = options.numbers().iter().any(|(known, _)| *known == name);
                let variant = options.variants().iter().any(|(known, ..)| *known == name);
                assert!(number || variant, "{name} of {text}");
            }
        }
    }
}
