//! What to compute: an objective with its parameters, the reduction, the dense extras.

use core::ptr;

use surprisal::objective::{Builtin, Objective};
use surprisal::{ExtrasScale, Loss, Reduction};

use crate::choices::{
    extras_scale_value, reduction_value, surprisal_extras_scale, surprisal_reduction,
};
use crate::memory::{Checked, Input, Memory};
use crate::objective::{builtin, objective_value, surprisal_objective};
use crate::parameter::{self, SURPRISAL_MOST_PARAMETERS, surprisal_parameter};
use crate::probe;
use crate::status::{Failure, surprisal_status};
use crate::versioned::{Versioned, versioned};

/// What to compute. Begin with `SURPRISAL_LOSS_INIT`: plain sft, the objective's own reduction, no extras.
///
/// With u the token weight, w the class weights, e the label smoothing, c the z-loss and V the vocabulary, a token's loss is
/// `u ( w_t (1-e) objective(ln p_t) + x ( e/V sum_j w_j (-ln p_j) + c lse^2 ) )`, where x is 1, or the objective's coefficient (`extras_scale`).
///
/// The parameters of the objective are set by `surprisal_loss_set`; those that are not have the objective's defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_loss {
    /// `sizeof(surprisal_loss)`.
    pub struct_size: usize,
    /// Weight of each class of the whole vocabulary, finite and not negative, or NULL.
    pub class_weights: *const f32,
    /// The divisor of `SURPRISAL_REDUCTION_BY`, finite and above 0; 0 with any other reduction.
    pub reduction_by: f64,
    /// How much each token counts.
    pub objective: objective_value,
    /// How the tokens' losses become one number.
    pub reduction: reduction_value,
    /// What multiplies label smoothing and z-loss.
    pub extras_scale: extras_scale_value,
    /// 1: statistics also hold what `surprisal_stats_entropy` and `surprisal_stats_sum_squares` are made of, for another walk over each row;
    /// else 0. Objectives that need it ask by themselves.
    pub moments: i32,
    /// Label smoothing in [0, 1], uniform over all classes.
    pub label_smoothing: f32,
    /// Multiplier of lse^2, not negative.
    pub z_loss: f32,
    /// Multiplies the logits before everything else, above 0; 1/T for a temperature T. The gradient is that of the raw logits.
    pub logit_scale: f32,
    /// Soft-cap: `cap tanh(logit_scale z / cap)` in place of `logit_scale z`; 0 for none.
    pub softcap: f32,
    /// Multiplies the gradient and nothing else, finite: the factor of loss scaling, or a framework's upstream gradient. Applied before the
    /// gradient is rounded to its type, so that small f16 entries survive.
    pub grad_scale: f32,
    /// Zero.
    pub reserved: i32,
    /// The objective's parameters, as `surprisal_loss_set` keeps them; all zero where none is set.
    pub parameters: [surprisal_parameter; SURPRISAL_MOST_PARAMETERS],
}

versioned!(surprisal_loss: "loss", {
    struct_size: size_of::<surprisal_loss>(),
    class_weights: ptr::null(),
    reduction_by: 0.0,
    objective: surprisal_objective::SURPRISAL_OBJECTIVE_SFT as i32,
    reduction: surprisal_reduction::SURPRISAL_REDUCTION_DEFAULT as i32,
    extras_scale: surprisal_extras_scale::SURPRISAL_EXTRAS_SCALE_ONE as i32,
    moments: 0,
    label_smoothing: 0.0,
    z_loss: 0.0,
    logit_scale: 1.0,
    softcap: 0.0,
    grad_scale: 1.0,
    reserved: 0,
    parameters: [surprisal_parameter::NONE; SURPRISAL_MOST_PARAMETERS],
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
    fn objective(&self) -> Result<Builtin, Failure> {
        let mut objective = builtin(self.objective)?;
        parameter::apply(&self.parameters, &mut objective)?;
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
            6 if by == 0.0 => return Err(Failure::option("reduction_by", "is not set")),
            6 => {
                let failure = Failure::option("reduction_by", "expected a finite number > 0");
                return Err(failure.value(by));
            }
            other => {
                let failure = Failure::option("reduction", "is not a surprisal_reduction");
                return Err(failure.value(f64::from(other)));
            }
        };
        if by != 0.0 {
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
