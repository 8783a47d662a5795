//! `Sym`: a number that writes itself down as WGSL, with its derivative beside it.
//!
//! A function over [`Real`] is evaluated once on symbols. Each symbol is a value and its derivative with respect to ln p, both nodes of an
//! expression graph; what a result uses is printed as one `let` a node.

mod graph;

use std::ops::{Add, Div, Mul, Neg, Sub};

use surprisal::objective::Real;

pub(crate) use graph::{Expr, Literals, MOST_LITERALS, body, inputs, on_new_graph};
use graph::{add, call, call2, chain, div, input, literal, mul, select, sub, weigh};

/// A value and its derivative with respect to ln p of the target, as expressions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sym {
    value: Expr,
    slope: Expr,
}

impl Sym {
    /// The variable of the shader that is differentiated for.
    pub(crate) fn variable(name: &'static str) -> Self {
        Self { value: input(name), slope: literal(1.0) }
    }

    /// Another variable of the shader.
    pub(crate) fn input(name: &'static str) -> Self {
        Self { value: input(name), slope: literal(0.0) }
    }

    /// The value.
    pub(crate) fn value(self) -> Expr {
        self.value
    }

    /// The derivative.
    pub(crate) fn slope(self) -> Expr {
        self.slope
    }

    /// f(self), given the value and the derivative of f there.
    fn of(self, value: Expr, derivative: Expr) -> Self {
        Self { value, slope: chain(derivative, self.slope) }
    }

    /// One symbol or another, by `left < right`.
    fn pick(left: Expr, right: Expr, then: Self, otherwise: Self) -> Self {
        Self {
            value: select(left, right, then.value, otherwise.value),
            slope: select(left, right, then.slope, otherwise.slope),
        }
    }
}

impl Add for Sym {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { value: add(self.value, other.value), slope: add(self.slope, other.slope) }
    }
}

impl Sub for Sym {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { value: sub(self.value, other.value), slope: sub(self.slope, other.slope) }
    }
}

impl Mul for Sym {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let slope = add(chain(other.value, self.slope), chain(self.value, other.slope));
        Self { value: mul(self.value, other.value), slope }
    }
}

impl Div for Sym {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let value = div(self.value, other.value);
        let above = div(self.slope, other.value);
        let below = chain(div(value, other.value), other.slope);
        Self { value, slope: sub(above, below) }
    }
}

impl Neg for Sym {
    type Output = Self;

    fn neg(self) -> Self {
        let zero = literal(0.0);
        Self { value: sub(zero, self.value), slope: sub(zero, self.slope) }
    }
}

surprisal::real_with_f64!(Sym);

impl Real for Sym {
    fn lit(value: f64) -> Self {
        Self { value: literal(value), slope: literal(0.0) }
    }

    fn exp(self) -> Self {
        let value = call("exponential", self.value);
        self.of(value, value)
    }

    fn exp_m1(self) -> Self {
        let value = call("exponential_minus_1", self.value);
        self.of(value, call("exponential", self.value))
    }

    fn ln(self) -> Self {
        self.of(call("logarithm", self.value), div(literal(1.0), self.value))
    }

    fn ln_1p(self) -> Self {
        let derivative = div(literal(1.0), add(self.value, literal(1.0)));
        self.of(call("logarithm_plus_1", self.value), derivative)
    }

    fn powf(self, exponent: f64) -> Self {
        if exponent == 1.0 {
            return self;
        }
        if exponent == 0.0 {
            return Self::lit(1.0);
        }
        let power = |e: f64| call2("power", self.value, literal(e));
        let below = if exponent == 2.0 { self.value } else { power(exponent - 1.0) };
        self.of(power(exponent), mul(literal(exponent), below))
    }

    fn if_negative(self, then: Self, otherwise: Self) -> Self {
        Self::pick(self.value, literal(0.0), then, otherwise)
    }

    fn stop(self) -> Self {
        Self { value: self.value, slope: literal(0.0) }
    }

    fn min(self, other: Self) -> Self {
        Self::pick(other.value, self.value, other, self)
    }

    fn max(self, other: Self) -> Self {
        Self::pick(self.value, other.value, other, self)
    }

    fn weigh(self, value: Self) -> Self {
        let (zero, slope) = (literal(0.0), (self * value).slope);
        let slope_above = select(zero, self.value, slope, zero);
        let slope = select(self.value, zero, slope, slope_above);
        Self { value: weigh(self.value, value.value), slope }
    }
}
