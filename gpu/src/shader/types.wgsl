// What all shaders share: the types of elements, and where an invocation stands. Types: 0 f32, 1 bf16, 2 f16; conversions work on bits, four at a time.

const GROUP: u32 = 256u;
const INFINITY_BITS: u32 = 0x7f800000u;
const NAN_BITS: u32 = 0x7fc00000u;
const IGNORED: u32 = 0xffffffffu;

fn workgroup_of(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// Bits as f32 of 16-bit elements in the low halves.
fn widened(kind: u32, halves: vec4<u32>) -> vec4<u32> {
    if kind == 1u {
        return halves << vec4<u32>(16u);
    }
    // binary16: exponent and mantissa in the places that f32 has for them, with its bias; subnormals are multiples of 2^-24.
    let magnitude = halves & vec4<u32>(0x7fffu);
    let sign = (halves & vec4<u32>(0x8000u)) << vec4<u32>(16u);
    let moved = magnitude << vec4<u32>(13u);
    let subnormal = bitcast<vec4<u32>>(vec4<f32>(magnitude) * 5.9604644775390625e-8);
    let finite = select(moved + 0x38000000u, subnormal, magnitude < vec4<u32>(0x400u));
    return select(finite, moved | vec4<u32>(INFINITY_BITS), magnitude >= vec4<u32>(0x7c00u)) | sign;
}

// Bits of which the last `shift` may be cut off: to nearest, ties to even.
fn carried(bits: vec4<u32>, shift: vec4<u32>) -> vec4<u32> {
    let odd = (bits >> shift) & vec4<u32>(1u);
    return bits + odd + (vec4<u32>(1u) << (shift - 1u)) - 1u;
}

// Numbers rounded once, to nearest, ties to even; in the low bits. Every NaN becomes the same one.
fn rounded(kind: u32, values: vec4<f32>, invalid: bool) -> vec4<u32> {
    let magnitude = bitcast<vec4<u32>>(values) & vec4<u32>(0x7fffffffu);
    let are_nan = vec4<bool>(invalid) | (magnitude > vec4<u32>(INFINITY_BITS));
    let nan = select(select(0x7e00u, NAN_BITS >> 16u, kind == 1u), NAN_BITS, kind == 0u);
    return select(rounded_number(kind, values), vec4<u32>(nan), are_nan);
}

// The same of what is no NaN.
fn rounded_number(kind: u32, values: vec4<f32>) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(values);
    if kind == 0u {
        return bits;
    }
    if kind == 1u {
        return carried(bits, vec4<u32>(16u)) >> vec4<u32>(16u);
    }
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    let sign = (bits & vec4<u32>(0x80000000u)) >> vec4<u32>(16u);
    let normal = carried(magnitude - 0x38000000u, vec4<u32>(13u)) >> vec4<u32>(13u);
    // A multiple of 2^-24, from the significand with its leading bit; below half of one it is 0.
    let significand = (magnitude & vec4<u32>(0x7fffffu)) | vec4<u32>(0x800000u);
    let excess = 126u - clamp(magnitude >> vec4<u32>(23u), vec4<u32>(101u), vec4<u32>(112u));
    let subnormal = carried(significand, excess) >> excess;
    let within = select(normal, subnormal, magnitude < vec4<u32>(0x38800000u));
    return select(vec4<u32>(0x7c00u), within, magnitude < vec4<u32>(0x477ff000u)) | sign;
}

// A word with another element of 16 bits in its low half or, if `odd` is 1, its high one.
fn with_half(word: u32, odd: u32, bits: u32) -> u32 {
    return select((word & 0xffff0000u) | bits, (word & 0xffffu) | (bits << 16u), odd == 1u);
}
