//! `Pipelines`: a loss, compiled for a device.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use surprisal::Loss;
use surprisal::objective::Objective;

use crate::batch::prepare::Prepare;
use crate::binder::{Binder, GROUP, MOST_GROUPS};
use crate::error::Error;
use crate::layout::{Params, RowInput, RowOutput};
use crate::matrix::Dtype;
use crate::record::is_short;
use crate::shader::{Destination, Generated};

/// Rows that share a workgroup, where they do.
const SHARING: u32 = 8;
/// Bytes that `fused` keeps of them.
const SHARED_ROWS: u32 = SHARING * 24;
/// Words of an invocation in workgroup memory: a part, one that keeps parts in different banks, and a maximum.
const SHARED_WORDS: u32 = 12;

/// Most invocations of a workgroup, where a device has so many.
const WIDE: u32 = 2 * GROUP;
/// Elements of a block that an invocation takes in one go.
const BLOCK: u32 = 16;

/// Which pipeline reads the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Variant {
    entry_point: &'static str,
    destination: Destination,
    /// Invocations that share a row.
    lanes: u32,
    /// Blocks of it that each of them holds from the statistics to the gradient.
    held: u32,
    // What may be asked for, and costs nothing where it is not.
    softcap: bool,
    smoothing: bool,
    moments: bool,
}

/// A kernel of a call.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) pipeline: wgpu::ComputePipeline,
    /// Rows of a workgroup, where it takes whole ones.
    pub(crate) rows: u32,
}

/// Pipelines of one objective, each compiled when a call first asks for it.
#[derive(Debug)]
struct Compiled {
    generated: Generated,
    /// By destination.
    modules: [OnceLock<wgpu::ShaderModule>; Destination::ALL.len()],
    pipelines: Mutex<HashMap<Variant, wgpu::ComputePipeline>>,
    /// What checks and counts batches, for those that a call brings to the device.
    prepare: OnceLock<Prepare>,
}

/// A loss, compiled for a device and for the element types of logits and gradient. Build it once.
///
/// A kernel is compiled by the first call that needs it, for the options of that call (soft-cap, label smoothing, entropy), so that the others cost
/// nothing. The objective's numbers are uniforms: [`Pipelines::with_loss`] changes them without compiling.
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
        let compiled = Compiled {
            generated,
            modules: Default::default(),
            pipelines: Mutex::default(),
            prepare: OnceLock::new(),
        };
        Ok(Self {
            compiled: Arc::new(compiled),
            literals: binder.uniform(literals),
            class_weights: class_weights(&binder, &loss),
            binder,
            loss,
            logits,
            result,
        })
    }

    /// The same pipelines for another loss: with other numbers in the objective, another reduction, other extras or other class weights. What was
    /// compiled is shared.
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

    /// The kernel of an entry point for a call's rows and options.
    pub(crate) fn kernel(
        &self,
        entry_point: &'static str,
        destination: Destination,
        params: &Params,
    ) -> Kernel {
        let lanes = if is_short(params.vocab) { GROUP / SHARING } else { GROUP };
        let variant = Variant {
            entry_point,
            destination,
            lanes,
            held: 0,
            softcap: params.softcap > 0.0,
            smoothing: params.label_smoothing > 0.0,
            moments: params.moments != 0,
        };
        let variant = match entry_point {
            "fused" => self.holding(variant, params.vocab).unwrap_or(variant),
            _ => variant,
        };
        let mut pipelines = self.compiled.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        let pipeline = pipelines.entry(variant).or_insert_with(|| self.compile(variant));
        Kernel { pipeline: pipeline.clone(), rows: (GROUP / variant.lanes).max(1) }
    }

    /// The same with rows of so many columns held, if they can be: in 64 registers an invocation, and where nothing that is asked for needs those.
    fn holding(&self, variant: Variant, vocab: u32) -> Option<Variant> {
        let most = if self.logits == Dtype::F32 { 4 } else { 8 };
        if self.logits.packet() != self.result.packet() || variant.smoothing || variant.moments {
            return None;
        }
        let widest = self.binder.invocations;
        [variant.lanes, WIDE].into_iter().filter(|&lanes| lanes <= widest).find_map(|lanes| {
            let held = vocab.div_ceil(BLOCK * lanes);
            (held <= most).then_some(Variant { lanes, held, ..variant })
        })
    }

    /// What checks and counts batches.
    pub(crate) fn prepare(&self) -> Prepare {
        self.compiled.prepare.get_or_init(|| Prepare::new(&self.binder)).clone()
    }

    fn compile(&self, variant: Variant) -> wgpu::ComputePipeline {
        let Compiled { generated, modules, .. } = &*self.compiled;
        let to = variant.destination;
        let module = modules[to as usize].get_or_init(|| self.binder.module(generated.source(to)));
        let constants = [
            ("LOGITS", f64::from(self.logits.number())),
            ("RESULT", f64::from(self.result.number())),
            ("LANES", f64::from(variant.lanes)),
            ("HELD", f64::from(variant.held)),
            ("SOFTCAP", f64::from(u8::from(variant.softcap))),
            ("SMOOTHING", f64::from(u8::from(variant.smoothing))),
            ("MOMENTS", f64::from(u8::from(variant.moments))),
        ];
        self.binder.pipeline(module, variant.entry_point, &constants)
    }

    /// Keeps what is compiled from here on in a cache of the caller's, which can outlive the program (wgpu's feature `PIPELINE_CACHE`).
    #[must_use]
    pub fn cache(mut self, cache: &wgpu::PipelineCache) -> Self {
        self.binder.cache = Some(cache.clone());
        self
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
    let on_device =
        |weights| binder.filled(bytemuck::cast_slice(weights), wgpu::BufferUsages::STORAGE);
    loss.given_class_weights().map_or_else(|| binder.no_weights.clone(), on_device)
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
