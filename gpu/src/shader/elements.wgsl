// Elements and their transformation, four at a time.

// Elements of a packet.
fn packet_size(kind: u32) -> u32 {
    return select(8u, 4u, kind == 0u);
}

// A packet's first or second four logits, as bits of f32; f32 has no second ones.
fn quad_of(packet: vec4<u32>, second: bool) -> vec4<u32> {
    if LOGITS == 0u {
        return packet;
    }
    let words = select(packet.xy, packet.zw, second);
    return widened(LOGITS, vec4<u32>(words.x & 0xffffu, words.x >> 16u, words.y & 0xffffu, words.y >> 16u));
}

// The logit at an index, as bits of f32.
fn logit(index: u32) -> u32 {
    let size = packet_size(LOGITS);
    return quad_of(logits[index / size], index % size >= 4u)[index % 4u];
}

// Four logits from an index on.
fn logit_quad(index: u32) -> vec4<u32> {
    if index % 4u == 0u {
        let size = packet_size(LOGITS);
        return quad_of(logits[index / size], index % size >= 4u);
    }
    return vec4<u32>(logit(index), logit(index + 1u), logit(index + 2u), logit(index + 3u));
}

// Which logits leave their row without a softmax: NaN, and +inf unless it is capped.
fn are_invalid(bits: vec4<u32>) -> vec4<bool> {
    let are_nan = (bits & vec4<u32>(0x7fffffffu)) > vec4<u32>(INFINITY_BITS);
    return are_nan | ((bits == vec4<u32>(INFINITY_BITS)) & vec4<bool>(params.softcap == 0.0));
}

// Logits within the range of finite numbers.
fn finite(bits: vec4<u32>) -> vec4<f32> {
    let magnitude = min(bits & vec4<u32>(0x7fffffffu), bitcast<vec4<u32>>(vec4<f32>(LARGEST)));
    return bitcast<vec4<f32>>(magnitude | (bits & vec4<u32>(0x80000000u)));
}

// Logits as everything else sees them.
struct Mapped {
    // Where they stand: differences of levels times `params.spread` are exponents, without an offset's digits.
    level: vec4<f32>,
    // The derivative of the soft-cap, relative to the logit scale.
    slope: vec4<f32>,
}

fn mapped(bits: vec4<u32>) -> Mapped {
    if params.softcap > 0.0 {
        return capped(params.logit_scale * finite(bits) / params.softcap);
    }
    return Mapped(finite(bits), vec4<f32>(1.0));
}

// cap * tanh u, and the derivative of tanh without cancellation. WGSL's own tangent may be off by 1e-5. From e = e^(-2|u|) they are (1-e) / (1+e), near
// 0 a series in u^2 (the CPU's minimax fit), and 4e / (1+e)^2.
fn capped(argument: vec4<f32>) -> Mapped {
    // Beyond, nothing changes any more.
    let u = clamp(argument, vec4<f32>(-60.0), vec4<f32>(60.0));
    let e = exp(-2.0 * abs(u));
    let inverse = 1.0 / (1.0 + e);
    let square = u * u;
    let series = -0.3333328 + square * (0.13331442 + square * (-0.053739656 + square * (0.020638833 + square * -0.0057047494)));
    let large = sign(u) * ((1.0 - e) * inverse);
    let tangent = select(large, u + u * (square * series), abs(u) < vec4<f32>(0.625));
    return Mapped(params.softcap * tangent, 4.0 * e * (inverse * inverse));
}

// Weights of the classes of four columns.
fn class_weights_of(columns: vec4<u32>) -> vec4<f32> {
    if params.class_weights == 0u {
        return vec4<f32>(1.0);
    }
    let classes = columns + vec4<u32>(params.vocab_start);
    return vec4<f32>(
        class_weights[classes.x],
        class_weights[classes.y],
        class_weights[classes.z],
        class_weights[classes.w],
    );
}

// Two quads of rounded 16-bit results as a packet.
fn packed(low: vec4<u32>, high: vec4<u32>) -> vec4<u32> {
    let even = vec4<u32>(low.xz, high.xz);
    let odd = vec4<u32>(low.yw, high.yw);
    return even | (odd << vec4<u32>(16u));
}

// Puts a rounded result into a lane of a packet.
fn with_element(packet: vec4<u32>, lane: u32, bits: u32) -> vec4<u32> {
    var changed = packet;
    if RESULT == 0u {
        changed[lane] = bits;
    } else {
        changed[lane >> 1u] = with_half(changed[lane >> 1u], lane & 1u, bits);
    }
    return changed;
}
