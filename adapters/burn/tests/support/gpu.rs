//! burn's default wgpu device, in CI lavapipe.

use std::sync::OnceLock;

use burn::tensor::{Device, DeviceKind, Int, Tensor};
use surprisal_burn::wgpu::{AutoGraphicsApi, TensorBatch, WgpuDevice, WgpuSetup, init_setup};

pub(crate) fn setup() -> &'static WgpuSetup {
    static SETUP: OnceLock<WgpuSetup> = OnceLock::new();
    SETUP.get_or_init(|| init_setup::<AutoGraphicsApi>(&WgpuDevice::default(), Default::default()))
}

pub(crate) fn device() -> Device {
    setup();
    Device::wgpu(DeviceKind::DefaultDevice).autodiff()
}

pub(crate) fn ids(ids: &[i64]) -> Tensor<1, Int> {
    Tensor::from_data(ids, &device())
}

/// Targets of which −100 is ignored.
pub(crate) fn batch(targets: &[i64]) -> TensorBatch {
    TensorBatch::new(ids(targets)).ignore_index(-100)
}
