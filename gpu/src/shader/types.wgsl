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
    // binary16: exponent and mantissa in the places that f32 has for them; the product moves the bias.
    let magnitude = (halves & vec4<u32>(0x7fffu)) << vec4<u32>(13u);
    let sign = (halves & vec4<u32>(0x8000u)) << vec4<u32>(16u);
    let finite = bitcast<vec4<u32>>(bitcast<vec4<f32>>(magnitude) * 5.192296858534828e33);
    let special = magnitude | vec4<u32>(INFINITY_BITS);
    return select(finite, special, magnitude >= vec4<u32>(0x0f800000u)) | sign;
}

// Numbers rounded once, to nearest, ties to even; in the low bits.
fn rounded(kind: u32, values: vec4<f32>, invalid: bool) -> vec4<u32> {
    let bits = bitcast<vec4<u32>>(values);
    if kind == 0u {
        return select(bits, vec4<u32>(NAN_BITS), invalid);
    }
    if kind == 1u {
        let odd = (bits >> vec4<u32>(16u)) & vec4<u32>(1u);
        return select((bits + odd + 0x7fffu) >> vec4<u32>(16u), vec4<u32>(0x7fc0u), invalid);
    }
    let sign = (bits & vec4<u32>(0x80000000u)) >> vec4<u32>(16u);
    let magnitude = bits & vec4<u32>(0x7fffffffu);
    let odd = (magnitude >> vec4<u32>(13u)) & vec4<u32>(1u);
    let normal = (magnitude + odd + 0xc8000fffu) >> vec4<u32>(13u);
    let subnormal = bitcast<vec4<u32>>(bitcast<vec4<f32>>(magnitude) + 0.5) - 0x3f000000u;
    let finite = select(normal, subnormal, magnitude < vec4<u32>(0x38800000u));
    let limited = select(vec4<u32>(0x7c00u), finite, magnitude < vec4<u32>(0x477ff000u));
    return select(limited | sign, vec4<u32>(0x7e00u), invalid);
}

// A word with another element of 16 bits in its low half or, if `odd` is 1, its high one.
fn with_half(word: u32, odd: u32, bits: u32) -> u32 {
    return select((word & 0xffff0000u) | bits, (word & 0xffffu) | (bits << 16u), odd == 1u);
}
