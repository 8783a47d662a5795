//! What a call records, for `export.rs`: kernels as other implementations of WebGPU take them, and the buffers that they are bound to.

use std::cell::RefCell;

use crate::recorder::Binding;

/// A kernel, as it was compiled.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) source: String,
    pub(crate) entry: String,
    pub(crate) constants: Vec<(String, f64)>,
}

/// A part of a buffer at a number of the shader.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) number: u32,
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// A dispatch.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) kernel: Kernel,
    pub(crate) bound: Vec<Bound>,
    pub(crate) groups: [u32; 2],
}

/// Everything since the thread began.
#[derive(Default)]
struct Trace {
    sources: Vec<(wgpu::ShaderModule, String)>,
    kernels: Vec<(wgpu::ComputePipeline, Kernel)>,
    filled: Vec<(wgpu::Buffer, Vec<u8>)>,
    steps: Vec<Step>,
}

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::default();
}

fn find<K: PartialEq, V: Clone>(known: &[(K, V)], key: &K) -> Option<V> {
    known.iter().find(|(of, _)| of == key).map(|(_, value)| value.clone())
}

pub(crate) fn module(module: &wgpu::ShaderModule, source: &str) {
    TRACE.with_borrow_mut(|trace| trace.sources.push((module.clone(), source.into())));
}

pub(crate) fn pipeline(
    pipeline: &wgpu::ComputePipeline,
    module: &wgpu::ShaderModule,
    entry: &str,
    constants: &[(&str, f64)],
) {
    TRACE.with_borrow_mut(|trace| {
        let source = find(&trace.sources, module).unwrap_or_default();
        let constants = constants.iter().map(|&(name, value)| (name.into(), value)).collect();
        let kernel = Kernel { source, entry: entry.into(), constants };
        trace.kernels.push((pipeline.clone(), kernel));
    });
}

pub(crate) fn filled(buffer: &wgpu::Buffer, bytes: &[u8]) {
    TRACE.with_borrow_mut(|trace| trace.filled.push((buffer.clone(), bytes.into())));
}

pub(crate) fn step(pipeline: &wgpu::ComputePipeline, bindings: &[Binding<'_>], groups: [u32; 2]) {
    TRACE.with_borrow_mut(|trace| {
        let Some(kernel) = find(&trace.kernels, pipeline) else { return };
        let bound = bindings.iter().filter_map(|(number, resource)| {
            let wgpu::BindingResource::Buffer(part) = resource else { return None };
            let rest = part.buffer.size() - part.offset;
            let (offset, size) = (part.offset, part.size.map_or(rest, u64::from));
            Some(Bound { number: *number, buffer: part.buffer.clone(), offset, size })
        });
        trace.steps.push(Step { kernel, bound: bound.collect(), groups });
    });
}

/// The steps since the last time that they were taken.
pub(crate) fn take() -> Vec<Step> {
    TRACE.with_borrow_mut(|trace| std::mem::take(&mut trace.steps))
}

/// What a buffer was made with, and holds: nothing writes to it.
pub(crate) fn contents(buffer: &wgpu::Buffer) -> Option<Vec<u8>> {
    TRACE.with_borrow(|trace| find(&trace.filled, buffer))
}
