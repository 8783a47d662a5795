//! `Pipelines`: a loss, compiled for a device.

use std::sync::{Arc, OnceLock};

use surprisal::Loss;
use surprisal::objective::Objective;

use crate::batch::PlanPipelines;
use crate::binder::{Binder, GROUP, MOST_GROUPS};
use crate::error::Error;
use crate::layout::{Params, RowInput, RowOutput};
use crate::matrix::Dtype;
use crate::shader::{Destination, Generated};

/// Rows that share a workgroup, where they do.
const SHARING: u32 = 8;
/// Bytes that `fused` keeps of them.
const SHARED_ROWS: u32 = SHARING * 24;
/// Words of an invocation in workgroup memory: a part, one that keeps parts in different banks, and a maximum.
const SHARED_WORDS: u32 = 12;

/// A pipeline for long rows, each of which has a workgroup, and one for short rows, which share it.
#[derive(Clone, Debug)]
pub(crate) struct ByLength {
    long: wgpu::ComputePipeline,
    short: wgpu::ComputePipeline,
}

impl ByLength {
    /// The pipeline for rows of this length, and its invocations a row.
    pub(crate) fn of(&self, short: bool) -> (&wgpu::ComputePipeline, u32) {
        if short { (&self.short, GROUP / SHARING) } else { (&self.long, GROUP) }
    }
}

/// Pipelines that write a gradient.
#[derive(Clone, Debug)]
pub(crate) struct GradientPipelines {
    pub(crate) logits_grad: ByLength,
    pub(crate) fused: ByLength,
}

/// What reads logits, compiled for some options when somebody first asks for it.
#[derive(Debug, Default)]
struct Kernels {
    row_stats: OnceLock<ByLength>,
    /// By destination.
    gradients: [OnceLock<GradientPipelines>; Destination::ALL.len()],
}

/// What may be asked for and costs nothing where it is not.
#[derive(Clone, Copy, Debug)]
struct Asked {
    softcap: bool,
    smoothing: bool,
    moments: bool,
}

impl Asked {
    fn by(params: &Params) -> Self {
        Self {
            softcap: params.softcap > 0.0,
            smoothing: params.label_smoothing > 0.0,
            moments: params.moments != 0,
        }
    }

    fn index(self) -> usize {
        usize::from(self.softcap)
            | usize::from(self.smoothing) << 1
            | usize::from(self.moments) << 2
    }
}

/// The kernels of one objective, compiled when somebody first asks for them.
#[derive(Debug)]
struct Compiled {
    binder: Binder,
    generated: Generated,
    logits: Dtype,
    result: Dtype,
    modules: [OnceLock<wgpu::ShaderModule>; Destination::ALL.len()],
    kernels: [Kernels; 8],
    token_terms: OnceLock<wgpu::ComputePipeline>,
    plan: OnceLock<PlanPipelines>,
}

impl Compiled {
    fn new(binder: &Binder, generated: Generated, logits: Dtype, result: Dtype) -> Self {
        Self {
            binder: binder.clone(),
            generated,
            logits,
            result,
            modules: Default::default(),
            kernels: Default::default(),
            token_terms: OnceLock::new(),
            plan: OnceLock::new(),
        }
    }

    fn module(&self, destination: Destination) -> &wgpu::ShaderModule {
        let compile = || self.binder.module(self.generated.source(destination));
        self.modules[destination as usize].get_or_init(compile)
    }

    fn by_length(&self, destination: Destination, entry_point: &str, asked: Asked) -> ByLength {
        let pipeline = |lanes: u32| {
            let constants = [
                ("LOGITS", f64::from(self.logits.number())),
                ("RESULT", f64::from(self.result.number())),
                ("LANES", f64::from(lanes)),
                ("SOFTCAP", f64::from(u8::from(asked.softcap))),
                ("SMOOTHING", f64::from(u8::from(asked.smoothing))),
                ("MOMENTS", f64::from(u8::from(asked.moments))),
            ];
            self.binder.pipeline(self.module(destination), entry_point, &constants)
        };
        ByLength { long: pipeline(GROUP), short: pipeline(GROUP / SHARING) }
    }

    fn row_stats(&self, asked: Asked) -> &ByLength {
        let compile = || self.by_length(Destination::Separate, "row_stats", asked);
        self.kernels[asked.index()].row_stats.get_or_init(compile)
    }

    fn gradients(&self, asked: Asked, destination: Destination) -> &GradientPipelines {
        let by_length = |entry_point| self.by_length(destination, entry_point, asked);
        let compile = || GradientPipelines {
            logits_grad: by_length("logits_grad"),
            fused: by_length("fused"),
        };
        self.kernels[asked.index()].gradients[destination as usize].get_or_init(compile)
    }
}

/// A loss, compiled for a device and for the element types of logits and gradient. Build it once.
///
/// A kernel is compiled by the first call that needs it, for the options that this call asks for (soft-cap, label smoothing, entropy), so that the
/// others cost nothing. The objective's numbers are uniforms: [`Pipelines::with_loss`] anneals them without compiling.
///
/// Recording blocks nowhere, submits nothing, and installs no handlers. Calls on host batches allocate small buffers of a few words a row.
#[derive(Debug)]
pub struct Pipelines<'l, O> {
    pub(crate) binder: Binder,
    pub(crate) loss: Loss<'l, O>,
    pub(crate) logits: Dtype,
    pub(crate) result: Dtype,
    compiled: Arc<Compiled>,
    /// The objective's numbers.
    pub(crate) literals: wgpu::Buffer,
    pub(crate) class_weights: wgpu::Buffer,
}

impl<'l, O: Objective> Pipelines<'l, O> {
    /// Compiles the loss for logits and gradients of one type.
    ///
    /// # Errors
    /// [`Error::Limit`] where the device's limits are below those that WebGPU guarantees, [`Error::Loss`].
    pub fn new(device: &wgpu::Device, loss: Loss<'l, O>, dtype: Dtype) -> Result<Self, Error> {
        Self::with_types(device, loss, dtype, dtype)
    }

    /// As [`Pipelines::new`], with gradients of a type of their own. Those can only go to another matrix.
    ///
    /// # Errors
    /// As [`Pipelines::new`].
    pub fn with_types(
        device: &wgpu::Device,
        loss: Loss<'l, O>,
        logits: Dtype,
        result: Dtype,
    ) -> Result<Self, Error> {
        check_limits(&device.limits())?;
        loss.objective().check()?;
        let binder = Binder::new(device);
        let (generated, literals) = Generated::new(loss.objective());
        Ok(Self {
            compiled: Arc::new(Compiled::new(&binder, generated, logits, result)),
            literals: binder.uniform(literals),
            class_weights: class_weights(&binder, &loss),
            binder,
            loss,
            logits,
            result,
        })
    }

    /// The same pipelines for another loss: with other numbers in the objective, another reduction, other extras or other class weights. What was
    /// compiled is shared, and nothing is compiled again.
    ///
    /// # Errors
    /// [`Error::Objective`] where the objective's shader is not the one that was compiled, [`Error::Loss`].
    pub fn with_loss<'m>(&self, loss: Loss<'m, O>) -> Result<Pipelines<'m, O>, Error> {
        loss.objective().check()?;
        let (generated, literals) = Generated::new(loss.objective());
        if generated != self.compiled.generated {
            return Err(Error::Objective);
        }
        Ok(Pipelines {
            compiled: Arc::clone(&self.compiled),
            literals: self.binder.uniform(literals),
            class_weights: class_weights(&self.binder, &loss),
            binder: self.binder.clone(),
            loss,
            logits: self.logits,
            result: self.result,
        })
    }

    /// The kernels of the stages, for the options of a call.
    pub(crate) fn stats_kernel(&self, params: &Params) -> &ByLength {
        self.compiled.row_stats(Asked::by(params))
    }

    pub(crate) fn terms_kernel(&self) -> &wgpu::ComputePipeline {
        let module = || self.compiled.module(Destination::Separate);
        let compile = || self.binder.pipeline(module(), "token_terms", &[]);
        self.compiled.token_terms.get_or_init(compile)
    }

    pub(crate) fn gradient_kernels(&self, params: &Params, to: Destination) -> &GradientPipelines {
        self.compiled.gradients(Asked::by(params), to)
    }

    /// What runs the plan of the objective, which has one.
    pub(crate) fn plan_kernels(&self) -> &PlanPipelines {
        let module = || self.compiled.module(Destination::Separate);
        self.compiled.plan.get_or_init(|| PlanPipelines::new(&self.binder, module()))
    }

    /// Binds at most so many bytes of a matrix at once, where the device would allow more (tests).
    #[must_use]
    pub fn binding_limit(mut self, bytes: u64) -> Self {
        self.binder.limit = self.binder.limit.min(bytes);
        self
    }

    /// The loss.
    pub fn loss(&self) -> &Loss<'l, O> {
        &self.loss
    }
}

/// The class weights on the device.
fn class_weights<O: Objective>(binder: &Binder, loss: &Loss<'_, O>) -> wgpu::Buffer {
    // A binding must not be empty.
    let weights = loss.given_class_weights().unwrap_or(&[1.0]);
    binder.filled(bytemuck::cast_slice(weights), wgpu::BufferUsages::STORAGE)
}

/// What the shaders need and wgpu does not check when it compiles them.
fn check_limits(limits: &wgpu::Limits) -> Result<(), Error> {
    let shared = GROUP * SHARED_WORDS * 4 + SHARED_ROWS;
    let least = [
        ("max_compute_workgroup_storage_size", shared, limits.max_compute_workgroup_storage_size),
        (
            "max_compute_invocations_per_workgroup",
            GROUP,
            limits.max_compute_invocations_per_workgroup,
        ),
        ("max_compute_workgroup_size_x", GROUP, limits.max_compute_workgroup_size_x),
        ("max_storage_buffers_per_shader_stage", 6, limits.max_storage_buffers_per_shader_stage),
        (
            "max_compute_workgroups_per_dimension",
            MOST_GROUPS,
            limits.max_compute_workgroups_per_dimension,
        ),
    ];
    for (name, needed, limit) in least {
        if limit < needed {
            return Err(Error::Limit { name, needed: needed.into(), limit: limit.into() });
        }
    }
    let (name, needed) = (
        "max_storage_buffer_binding_size",
        (size_of::<RowInput>() + size_of::<RowOutput>()) as u64,
    );
    if limits.max_storage_buffer_binding_size < needed {
        return Err(Error::Limit { name, needed, limit: limits.max_storage_buffer_binding_size });
    }
    Ok(())
}
