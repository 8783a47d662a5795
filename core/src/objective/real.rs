//! The number type that objectives are written over: evaluated as f64, differentiated as `Dual`.

use core::ops::{Add, Div, Mul, Neg, Sub};

use crate::math::exp;

/// The operations an objective may use, also with a plain `f64` on the right. Whoever implements it gives every objective a new meaning: a
/// value (`f64`), a value with its derivative ([`Dual`]), or text for a shader.
pub trait Real:
    Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Add<f64, Output = Self>
    + Sub<f64, Output = Self>
    + Mul<f64, Output = Self>
    + Div<f64, Output = Self>
{
    /// A constant.
    fn lit(value: f64) -> Self;
    /// e^self.
    #[must_use]
    fn exp(self) -> Self;
    /// e^self − 1, exact near 0.
    #[must_use]
    fn exp_m1(self) -> Self;
    /// Natural logarithm.
    #[must_use]
    fn ln(self) -> Self;
    /// ln(1 + self), exact near 0.
    #[must_use]
    fn ln_1p(self) -> Self;
    /// self^exponent for self ≥ 0. Where self is 0 its derivative counts as 0, unless the exponent is 1.
    #[must_use]
    fn powf(self, exponent: f64) -> Self;
    /// `then` where self < 0, else `otherwise`.
    #[must_use]
    fn if_negative(self, then: Self, otherwise: Self) -> Self;
    /// The same value, through which no gradient flows (stop-gradient, detach).
    #[must_use]
    fn stop(self) -> Self;

    /// The smaller one; the first where they are equal.
    #[must_use]
    fn min(self, other: Self) -> Self {
        (other - self).if_negative(other, self)
    }

    /// The larger one; the first where they are equal.
    #[must_use]
    fn max(self, other: Self) -> Self {
        (self - other).if_negative(other, self)
    }

    /// The value within two bounds; the upper one where they cross.
    #[must_use]
    fn clamp(self, low: f64, high: f64) -> Self {
        self.max(Self::lit(low)).min(Self::lit(high))
    }

    /// The product, where a 0 on either side wins over an infinity on the other: what has no weight costs nothing.
    #[must_use]
    fn weigh(self, value: Self) -> Self {
        let zero = Self::lit(0.0);
        let unless_zero = |x: Self, then| x.if_negative(then, (-x).if_negative(then, zero));
        unless_zero(self, unless_zero(value, self * value))
    }
}

/// Gives a number type of your own the operators with an `f64` on the right that `objective::Real` asks for, by way of
/// `Real::lit`.
#[macro_export]
macro_rules! real_with_f64 {
    ($type:ty: $($trait:ident $op:ident),*) => {$(
        impl core::ops::$trait<f64> for $type {
            type Output = Self;

            fn $op(self, other: f64) -> Self {
                core::ops::$trait::$op(self, <Self as $crate::objective::Real>::lit(other))
            }
        }
    )*};
    ($type:ty) => { $crate::real_with_f64!($type: Add add, Sub sub, Mul mul, Div div); };
}
impl Real for f64 {
    fn lit(value: f64) -> Self {
        value
    }

    fn exp(self) -> Self {
        let [value] = exp([self]);
        value
    }

    fn exp_m1(self) -> Self {
        libm::expm1(self)
    }

    fn ln(self) -> Self {
        libm::log(self)
    }

    fn ln_1p(self) -> Self {
        libm::log1p(self)
    }

    fn powf(self, exponent: f64) -> Self {
        libm::pow(self, exponent)
    }

    fn min(self, other: Self) -> Self {
        if other < self { other } else { self }
    }

    fn max(self, other: Self) -> Self {
        if other > self { other } else { self }
    }

    fn if_negative(self, then: Self, otherwise: Self) -> Self {
        if self < 0.0 { then } else { otherwise }
    }

    fn stop(self) -> Self {
        self
    }

    fn weigh(self, value: Self) -> Self {
        if self == 0.0 || value == 0.0 { 0.0 } else { self * value }
    }
}

/// A value and its derivative with respect to ln p of the target (forward-mode differentiation).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dual {
    /// The value.
    pub value: f64,
    /// ∂value/∂ln p.
    pub slope: f64,
}

impl Dual {
    /// The variable itself: slope 1.
    #[must_use]
    pub const fn variable(value: f64) -> Self {
        Self { value, slope: 1.0 }
    }

    /// A constant: slope 0.
    #[must_use]
    pub const fn constant(value: f64) -> Self {
        Self { value, slope: 0.0 }
    }

    /// f(self), where f has this value and this derivative there. A slope of 0 stays 0, also against an infinite derivative.
    fn chain(self, value: f64, derivative: f64) -> Self {
        let slope = if self.slope == 0.0 { 0.0 } else { derivative * self.slope };
        Self { value, slope }
    }
}

impl Add for Dual {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, slope: self.slope + other.slope }
    }
}

impl Sub for Dual {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { value: self.value - other.value, slope: self.slope - other.slope }
    }
}

impl Mul for Dual {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let value = self.value * other.value;
        let left = self.chain(value, other.value).slope;
        let right = other.chain(value, self.value).slope;
        Self { value, slope: left + right }
    }
}

impl Div for Dual {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        let above = self.chain(value, 1.0 / other.value).slope;
        let below = other.chain(value, -value / other.value).slope;
        Self { value, slope: above + below }
    }
}

impl Neg for Dual {
    type Output = Self;

    fn neg(self) -> Self {
        Self { value: -self.value, slope: -self.slope }
    }
}

real_with_f64!(Dual);

impl Real for Dual {
    fn lit(value: f64) -> Self {
        Self::constant(value)
    }

    fn exp(self) -> Self {
        let value = Real::exp(self.value);
        self.chain(value, value)
    }

    fn exp_m1(self) -> Self {
        // Not value + 1, which loses everything where the exponential is small.
        self.chain(libm::expm1(self.value), Real::exp(self.value))
    }

    fn ln(self) -> Self {
        self.chain(libm::log(self.value), 1.0 / self.value)
    }

    fn ln_1p(self) -> Self {
        self.chain(libm::log1p(self.value), 1.0 / (1.0 + self.value))
    }

    fn powf(self, exponent: f64) -> Self {
        let value = libm::pow(self.value, exponent);
        let derivative = if exponent == 1.0 {
            1.0
        } else if exponent == 0.0 || self.value == 0.0 {
            0.0
        } else {
            exponent * libm::pow(self.value, exponent - 1.0)
        };
        self.chain(value, derivative)
    }

    fn min(self, other: Self) -> Self {
        if other.value < self.value { other } else { self }
    }

    fn max(self, other: Self) -> Self {
        if other.value > self.value { other } else { self }
    }

    fn if_negative(self, then: Self, otherwise: Self) -> Self {
        if self.value < 0.0 { then } else { otherwise }
    }

    fn stop(self) -> Self {
        Self::constant(self.value)
    }
}
