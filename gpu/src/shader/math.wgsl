// Functions that what is generated from Rust uses, finite everywhere.

// The value, whose origin is hidden from a compiler that reorders sums.
fn kept(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ params.zero);
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > INFINITY_BITS;
}

// A factor of what may be 0: finite, or NaN.
fn limited(x: f32) -> f32 {
    return select(clamp(x, LOWEST, LARGEST), x, is_nan(x));
}

fn exponential(x: f32) -> f32 {
    return exp(min(x, 88.0));
}

fn exponential_minus_1(x: f32) -> f32 {
    let series = x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666668 + x * (0.008333334 + x * 0.0013888889)))));
    return select(exponential(x) - 1.0, series, abs(x) < 0.35);
}

fn logarithm(x: f32) -> f32 {
    return log(clamp(x, 1.1754944e-38, LARGEST));
}

// ln(1 + x) for x >= -0.5.
fn logarithm_plus_1(x: f32) -> f32 {
    let s = x / (2.0 + x);
    let q = s * s;
    let series = 2.0 * s * (1.0 + q * (0.33333334 + q * (0.2 + q * (0.14285715 + q * (0.11111111 + q * 0.09090909)))));
    return select(log(1.0 + x), series, abs(x) < 0.5);
}

fn power(x: f32, exponent: f32) -> f32 {
    return select(0.0, pow(max(x, 1.1754944e-38), exponent), x > 0.0);
}

// The product, where a weight of 0 wins over everything.
fn weigh(weight: f32, value: f32) -> f32 {
    return select(weight * clamp(value, LOWEST, LARGEST), 0.0, weight == 0.0);
}
