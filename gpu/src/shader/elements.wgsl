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

// Where logits stand: differences of levels times `params.spread` are exponents, without an offset's digits.
fn level(bits: vec4<u32>) -> vec4<f32> {
    let z = bitcast<vec4<f32>>(bits);
    if params.softcap > 0.0 {
        // Beyond 15 the hyperbolic tangent is 1 in f32.
        let argument = params.logit_scale * z / params.softcap;
        return params.softcap * tanh(clamp(argument, vec4<f32>(-15.0), vec4<f32>(15.0)));
    }
    return clamp(z, vec4<f32>(LOWEST), vec4<f32>(LARGEST));
}

// The derivative of the soft-cap, relative to the logit scale: 4e / (1+e)^2 without cancellation.
fn slope(bits: vec4<u32>) -> vec4<f32> {
    let argument = abs(params.logit_scale * bitcast<vec4<f32>>(bits) / params.softcap);
    let decay = exp(-2.0 * min(argument, vec4<f32>(60.0)));
    return 4.0 * decay / ((1.0 + decay) * (1.0 + decay));
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
