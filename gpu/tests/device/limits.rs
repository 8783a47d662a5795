//! A device that promises no more than every WebGPU implementation must.

use half::bf16;
use surprisal::objective::Dft;
use surprisal::{Batch, Logits, LogitsMut, Loss};
use surprisal_gpu::{
    Column, DeviceBatch, Dtype, Gpu, Gradient, HostElement, Matrix, Pipelines, Workspace,
    read_buffer, wgpu,
};
use surprisal_tests::problem::Problem;
use surprisal_tests::storage::Storage;
use wgpu::util::DeviceExt;

/// The first adapter's device with the default limits and these features, if it has them.
fn with_features(required_features: wgpu::Features) -> Option<(wgpu::Device, wgpu::Queue)> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let adapters = wgpu::Instance::new(descriptor).enumerate_adapters(wgpu::Backends::all());
    let adapter = pollster::block_on(adapters).into_iter().next().unwrap();
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: wgpu::Limits::default(),
        required_features,
        ..wgpu::DeviceDescriptor::default()
    };
    let has_them = adapter.features().contains(required_features);
    has_them.then(|| pollster::block_on(adapter.request_device(&descriptor)).unwrap())
}

/// No feature, and no more than the default limits.
fn least() -> (wgpu::Device, wgpu::Queue) {
    let (device, queue) = with_features(wgpu::Features::empty()).unwrap();
    let found = device.limits();
    let numbers = |limits: &wgpu::Limits| {
        [
            limits.max_storage_buffer_binding_size,
            limits.max_storage_buffers_per_shader_stage.into(),
            limits.max_compute_invocations_per_workgroup.into(),
            limits.max_compute_workgroup_storage_size.into(),
            limits.min_storage_buffer_offset_alignment.into(),
        ]
    };
    assert_eq!(numbers(&found), [128 << 20, 8, 256, 16 << 10, 256]);
    (device, queue)
}

/// The gradient in place by both, and the losses. Rows begin anywhere in a packet, and after `first` elements.
fn agrees<T: HostElement + Storage>(
    (device, queue): &(wgpu::Device, wgpu::Queue),
    problem: &Problem,
    first: usize,
    ulp: f32,
) {
    let (rows, vocab, batch) = (problem.rows, problem.vocab, Batch::new(&problem.targets));
    let logits: Vec<T> = problem.logits.iter().map(|&z| T::round(z)).collect();
    let mut cpu = vec![0.0_f32; logits.len()];
    let out = LogitsMut::new(&mut cpu, rows, vocab).unwrap();
    let loss = Loss::new(Dft);
    let expected =
        loss.forward_backward(Logits::new(&logits, rows, vocab).unwrap(), &batch, out).unwrap();

    let mut padded = vec![T::round(0.0); (first + logits.len()).next_multiple_of(16)];
    padded[first..first + logits.len()].copy_from_slice(&logits);
    let buffer = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: None,
        contents: bytemuck::cast_slice(&padded),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC,
    });
    let offset = first as u64 * T::DTYPE.size();
    let matrix = Matrix::strided(&buffer, T::DTYPE, offset, rows, vocab, vocab).unwrap();
    let pipelines = Pipelines::new(device, loss, T::DTYPE).unwrap();
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let call = pipelines.forward_backward(&mut encoder, matrix, &batch, Gradient::InPlace).unwrap();
    queue.submit([encoder.finish()]);
    let report = call.read(device, queue).unwrap().report(&pipelines, &batch, vocab).unwrap();
    assert!((report.loss - expected.loss).abs() <= 1e-5 * expected.loss, "{report:?} {expected:?}");
    let bytes = read_buffer(device, queue, &buffer, 0, buffer.size()).unwrap();
    let found: Vec<T> = bytemuck::pod_collect_to_vec(&bytes);
    for (index, (d, e)) in found[first..].iter().zip(&cpu).enumerate() {
        let near = (d.widen() - e).abs() <= ulp * e.abs() + 1e-6 / rows as f32;
        assert!(near, "{:?}: dlogits[{index}] = {} instead of {e}", T::DTYPE, d.widen());
    }
}

pub(crate) fn the_limits_of_webgpu_suffice() {
    let device = least();
    // Fused with short rows, with long ones and with some that 256 invocations do not hold, and in stages; the last in two bindings.
    agrees::<f32>(&device, &Problem::random(20, 64, 1), 0, 0.0);
    agrees::<f32>(&device, &Problem::random(20, 20_000, 5), 0, 0.0);
    agrees::<bf16>(&device, &Problem::random(20, 4096, 2), 0, 1.0 / 256.0);
    agrees::<bf16>(&device, &Problem::random(9, 4099, 3), 3, 1.0 / 256.0);
    agrees::<f32>(&device, &Problem::random(1100, 32_003, 4), 1, 0.0);
}

/// A call says when it began and ended. Its kernels are compiled with a cache; what that holds is the driver's affair (lavapipe: nothing).
pub(crate) fn timestamps_and_a_cache() {
    let features = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::PIPELINE_CACHE;
    let Some((device, queue)) = with_features(features) else { return };
    let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
        label: None,
        ty: wgpu::QueryType::Timestamp,
        count: 3,
    });
    let descriptor = wgpu::PipelineCacheDescriptor { label: None, data: None, fallback: true };
    // SAFETY: there is no data.
    let cache = unsafe { device.create_pipeline_cache(&descriptor) };
    let gpu = Gpu::new(&device, &queue);
    let z = gpu.upload(&[0.5_f32; 4 * 8]).unwrap();
    let logits = Matrix::new(&z, Dtype::F32, 4, 8).unwrap();
    let targets = gpu.upload(&[1_u32, 2, 3, 0]).unwrap();
    let batch = DeviceBatch::new(Column::new(&targets, 0), 4);
    let workspace = Workspace::new(&device, 4).unwrap().timestamps(&queries, 1);
    let pipelines = Pipelines::new(&device, Loss::new(Dft), Dtype::F32).unwrap().cache(&cache);
    let times = gpu.buffer(16).unwrap();
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    pipelines.forward_with(&mut encoder, logits, &batch, &workspace).unwrap();
    let resolved = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 16,
        usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    encoder.resolve_query_set(&queries, 1..3, &resolved, 0);
    encoder.copy_buffer_to_buffer(&resolved, 0, &times, 0, 16);
    queue.submit([encoder.finish()]);
    let mut found = [0_u64; 2];
    gpu.download(&times, &mut found).unwrap();
    assert!(found[0] > 0 && found[1] > found[0], "{found:?}");
}
