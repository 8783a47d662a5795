//! A device that promises no more than every WebGPU implementation must.

use half::bf16;
use surprisal::objective::Dft;
use surprisal::{Batch, Logits, LogitsMut, Loss};
use surprisal_gpu::{Gradient, HostElement, Matrix, Pipelines, read_buffer, wgpu};
use surprisal_tests::problem::Problem;
use surprisal_tests::storage::Storage;
use wgpu::util::DeviceExt;

/// The first adapter's device with the default limits and no feature.
fn least() -> (wgpu::Device, wgpu::Queue) {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let adapters = wgpu::Instance::new(descriptor).enumerate_adapters(wgpu::Backends::all());
    let adapter = pollster::block_on(adapters).into_iter().next().unwrap();
    let limits = wgpu::Limits::default();
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: limits.clone(),
        ..wgpu::DeviceDescriptor::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
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
    // Fused with short rows and with long ones, and in stages; the last in two bindings.
    agrees::<f32>(&device, &Problem::random(20, 64, 1), 0, 0.0);
    agrees::<bf16>(&device, &Problem::random(20, 4096, 2), 0, 1.0 / 256.0);
    agrees::<bf16>(&device, &Problem::random(9, 4099, 3), 3, 1.0 / 256.0);
    agrees::<f32>(&device, &Problem::random(1100, 32_003, 4), 1, 0.0);
}
