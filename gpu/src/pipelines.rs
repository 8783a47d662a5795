//! `Pipelines`: a loss, compiled for a device.

use std::sync::{Arc, OnceLock};

use surprisal::Loss;
use surprisal::objective::Objective;

use crate::batch::PlanPipelines;
use crate::binder::{Binder, GROUP, MOST_GROUPS};
use crate::error::Error;
use crate::layout::{Part, RowInput, RowOutput};
use crate::matrix::Dtype;
use crate::shader::{Destination, shader_source};

/// Rows that share a workgroup, where they do.
const SHARING: u32 = 8;
/// Bytes that `fused` keeps of them.
const SHARED_ROWS: u32 = SHARING * 24;

/// A pipeline for long rows, each of which has a workgroup, and one for short rows, which share it.
#[derive(Clone, Debug)]
pub(crate) struct ByLength {
    long: wgpu::ComputePipeline,
    short: wgpu::ComputePipeline,
}

impl ByLength {
    fn new(
        binder: &Binder,
        module: &wgpu::ShaderModule,
        entry_point: &str,
        types: (Dtype, Dtype),
    ) -> Self {
        Self {
            long: pipeline(binder, module, entry_point, types, GROUP),
            short: pipeline(binder, module, entry_point, types, GROUP / SHARING),
        }
    }

    /// The pipeline for rows of this length, and its invocations a row.
    pub(crate) fn of(&self, short: bool) -> (&wgpu::ComputePipeline, u32) {
        if short { (&self.short, GROUP / SHARING) } else { (&self.long, GROUP) }
    }
}

/// Pipelines that write a gradient.
#[derive(Clone, Debug)]
pub(crate) struct GradientPipelines {
    pub(crate) logits_grad: wgpu::ComputePipeline,
    pub(crate) fused: ByLength,
}

/// A loss, compiled for a device and for the element types of logits and gradient. Build it once.
///
/// Recording allocates small buffers of a few words a row, blocks nowhere, submits nothing, and installs no handlers.
#[derive(Debug)]
pub struct Pipelines<'l, O> {
    pub(crate) binder: Binder,
    pub(crate) loss: Loss<'l, O>,
    pub(crate) logits: Dtype,
    pub(crate) result: Dtype,
    pub(crate) row_stats: ByLength,
    pub(crate) token_terms: wgpu::ComputePipeline,
    /// By destination, compiled on first use; shared by all that [`Pipelines::with_loss`] made.
    gradients: Arc<[OnceLock<GradientPipelines>; Destination::ALL.len()]>,
    /// What runs the plan of a group objective, compiled on first use.
    plan: Arc<OnceLock<PlanPipelines>>,
    pub(crate) class_weights: wgpu::Buffer,
}

impl<O: Objective + PartialEq> Pipelines<'_, O> {
    /// The same pipelines for a loss with another reduction, other extras or other class weights, without compiling anything.
    ///
    /// # Errors
    /// [`Error::Objective`] where the objective is not the one that was compiled.
    pub fn with_loss<'m>(&self, loss: Loss<'m, O>) -> Result<Pipelines<'m, O>, Error> {
        if loss.objective() != self.loss.objective() {
            return Err(Error::Objective);
        }
        Ok(Pipelines {
            class_weights: class_weights(&self.binder, &loss),
            loss,
            binder: self.binder.clone(),
            row_stats: self.row_stats.clone(),
            token_terms: self.token_terms.clone(),
            gradients: Arc::clone(&self.gradients),
            plan: Arc::clone(&self.plan),
            logits: self.logits,
            result: self.result,
        })
    }
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
        let module = module(&binder, &loss, Destination::Separate);
        let types = (logits, result);
        Ok(Self {
            row_stats: ByLength::new(&binder, &module, "row_stats", types),
            token_terms: pipeline(&binder, &module, "token_terms", types, GROUP),
            gradients: Arc::default(),
            plan: Arc::default(),
            class_weights: class_weights(&binder, &loss),
            binder,
            loss,
            logits,
            result,
        })
    }

    /// The pipelines that write a gradient there.
    pub(crate) fn gradients(&self, destination: Destination) -> &GradientPipelines {
        let compile = || {
            let module = module(&self.binder, &self.loss, destination);
            let types = (self.logits, self.result);
            GradientPipelines {
                logits_grad: pipeline(&self.binder, &module, "logits_grad", types, GROUP),
                fused: ByLength::new(&self.binder, &module, "fused", types),
            }
        };
        self.gradients[destination as usize].get_or_init(compile)
    }

    /// What runs the plan of the objective, which has one.
    pub(crate) fn plan_pipelines(&self) -> &PlanPipelines {
        let compile = || {
            let module = module(&self.binder, &self.loss, Destination::Separate);
            PlanPipelines::new(&self.binder, &module)
        };
        self.plan.get_or_init(compile)
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

fn module<O: Objective>(
    binder: &Binder,
    loss: &Loss<'_, O>,
    destination: Destination,
) -> wgpu::ShaderModule {
    binder.module(shader_source(loss.objective(), destination))
}

/// A stage for logits and results of these types, with so many invocations a row.
fn pipeline(
    binder: &Binder,
    module: &wgpu::ShaderModule,
    entry_point: &str,
    (logits, result): (Dtype, Dtype),
    lanes: u32,
) -> wgpu::ComputePipeline {
    let constants = [
        ("LOGITS", f64::from(logits.number())),
        ("RESULT", f64::from(result.number())),
        ("LANES", f64::from(lanes)),
    ];
    binder.pipeline(module, entry_point, &constants)
}

/// The class weights on the device.
fn class_weights<O: Objective>(binder: &Binder, loss: &Loss<'_, O>) -> wgpu::Buffer {
    // A binding must not be empty.
    let weights = loss.given_class_weights().unwrap_or(&[1.0]);
    binder.filled(bytemuck::cast_slice(weights), wgpu::BufferUsages::STORAGE)
}

/// What the shaders need and wgpu does not check when it compiles them.
fn check_limits(limits: &wgpu::Limits) -> Result<(), Error> {
    let shared = GROUP * u32::try_from(size_of::<Part>()).unwrap_or(u32::MAX) + SHARED_ROWS;
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
