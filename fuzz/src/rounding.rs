//! What storing a gradient in its type adds to its error.

/// What storing a gradient adds.
#[derive(Clone, Copy, Debug)]
pub struct Rounding {
    /// Half an ULP relative to the smallest value of a binade.
    pub(crate) relative: f64,
    /// Half the spacing of subnormals.
    pub(crate) absolute: f64,
    /// Largest finite value: what lies beyond is infinite.
    pub(crate) largest: f64,
}

/// f32 gradients: their rounding is part of the contract.
pub const F32: Rounding = Rounding { relative: 0.0, absolute: 0.0, largest: f32::MAX as f64 };
/// bf16 gradients.
pub const BF16: Rounding =
    Rounding { relative: 1.0 / 256.0, absolute: 0.0, largest: 3.389_531_389_251_535_5e38 };
/// f16 gradients.
pub const F16: Rounding =
    Rounding { relative: 1.0 / 2048.0, absolute: 1.0 / (1 << 25) as f64, largest: 65_504.0 };
