// Sums as a number and what its rounding lost. A module that has them has `kept`, LOWEST and LARGEST.

fn plus(sum: vec2<f32>, x: f32) -> vec2<f32> {
    // Sums of huge losses end at the largest number, as the losses do.
    let total = kept(clamp(sum.x + x, LOWEST, LARGEST));
    let part = kept(total - sum.x);
    return vec2<f32>(total, sum.y + ((sum.x - kept(total - part)) + (x - part)));
}

fn together(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    let sum = plus(a, b.x);
    return vec2<f32>(sum.x, sum.y + b.y);
}
