//! Logits from arbitrary bytes, in each storage type.

use arbitrary::{Arbitrary, Result, Unstructured};
use half::{bf16, f16};
use surprisal_tests::rng::Rng;

/// Storage type of the logits. A target matches on it once and is generic from there on.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Storage {
    F32,
    Bf16,
    F16,
}

/// What the logits of a matrix look like. Cheap kinds come first: they take few bytes each.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Content {
    /// Multiples of 1/8 within ±16: many ties.
    Coarse,
    /// Multiples of 1/1024 within ±32.
    Fine,
    /// N(0, 2^2k) from a seed.
    Normal(u64, u8),
    /// One of a few values each: roundings that all go the same way.
    Palette([i16; 4]),
}

/// Any bit patterns, or any finite ones and −inf.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum WildContent {
    Bits,
    Finite,
    Moderate(Content),
}

impl Storage {
    /// The nearest value of this type.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::Bf16 => bf16::from_f32(value).to_f32(),
            Self::F16 => f16::from_f32(value).to_f32(),
        }
    }

    /// A value of this type from its bits.
    fn bits(self, u: &mut Unstructured<'_>) -> Result<f32> {
        Ok(match self {
            Self::F32 => f32::from_bits(u.arbitrary()?),
            Self::Bf16 => bf16::from_bits(u.arbitrary()?).to_f32(),
            Self::F16 => f16::from_bits(u.arbitrary()?).to_f32(),
        })
    }

    /// Finite logits of moderate size.
    pub fn moderate(
        self,
        u: &mut Unstructured<'_>,
        content: Content,
        count: usize,
    ) -> Result<Vec<f32>> {
        let mut rng = match content {
            Content::Normal(seed, _) => Rng::new(seed),
            _ => Rng::new(0),
        };
        let mut one = || -> Result<f32> {
            Ok(match content {
                Content::Coarse => f32::from(u.arbitrary::<i8>()?) / 8.0,
                Content::Fine => f32::from(u.arbitrary::<i16>()?) / 1024.0,
                Content::Normal(_, k) => rng.normal() * f32::from(1_u8 << (k % 4)),
                Content::Palette(palette) => {
                    f32::from(palette[usize::from(u.arbitrary::<u8>()? % 4)]) / 1024.0
                }
            })
        };
        (0..count).map(|_| Ok(self.round(one()?))).collect()
    }

    /// Logits without any promise.
    pub fn wild(
        self,
        u: &mut Unstructured<'_>,
        content: WildContent,
        count: usize,
    ) -> Result<Vec<f32>> {
        match content {
            WildContent::Moderate(content) => self.moderate(u, content, count),
            WildContent::Bits => (0..count).map(|_| self.bits(u)).collect(),
            WildContent::Finite => {
                let finite = |z: f32| if z.is_nan() || z == f32::INFINITY { 1.0 } else { z };
                (0..count).map(|_| Ok(finite(self.bits(u)?))).collect()
            }
        }
    }
}
