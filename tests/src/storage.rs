//! Storage types, rounded and widened independently of the library.

/// Rounds to a storage type and back, independently of the library.
pub trait Storage: Sized {
    /// Nearest value, ties to even.
    fn round(value: f32) -> Self;
    /// Exact.
    fn widen(self) -> f32;
}

impl Storage for f32 {
    fn round(value: f32) -> Self {
        value
    }

    fn widen(self) -> f32 {
        self
    }
}

impl Storage for half::bf16 {
    fn round(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn widen(self) -> f32 {
        self.to_f32()
    }
}

impl Storage for half::f16 {
    fn round(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn widen(self) -> f32 {
        self.to_f32()
    }
}
