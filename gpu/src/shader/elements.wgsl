// Elements and their transformation, four at a time: a quad. Four quads are a block, which an invocation takes in one go.

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
    if LOGITS == 0u {
        return logits[index / 4u][index % 4u];
    }
    let word = logits[index / 8u][index / 2u % 4u];
    return widened(LOGITS, vec4<u32>(select(word & 0xffffu, word >> 16u, index % 2u == 1u))).x;
}

// Four logits from an index on, which may be anywhere in a packet.
fn logit_quad(index: u32) -> vec4<u32> {
    return vec4<u32>(logit(index), logit(index + 1u), logit(index + 2u), logit(index + 3u));
}

// Sixteen elements, by the packets of 4 or 8 in which all invocations of a row read or write them side by side: those of an invocation are LANES
// packets apart. There is no array, whose elements a compiler might keep in memory.
struct Block {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

// Elements of the blocks of all lanes.
fn span() -> u32 {
    return 16u * LANES;
}

// The columns of a block whose first element is in this one.
fn columns_of(first: u32, kind: u32) -> Block {
    let a = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
    let near = vec4<u32>(select(4u, 4u * LANES, kind == 0u));
    let far = vec4<u32>(8u * LANES);
    return Block(a, a + near, a + far, a + far + near);
}

// A block of logits as it lies in memory: four packets, or two of 16 bits.
struct Packets {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

// The block that begins with a packet; none is read that lies behind the last.
fn logits_packets(packet: u32, last: u32) -> Packets {
    let a = logits[min(packet, last)];
    let b = logits[min(packet + LANES, last)];
    if LOGITS != 0u {
        return Packets(a, b, vec4<u32>(), vec4<u32>());
    }
    return Packets(a, b, logits[min(packet + 2u * LANES, last)], logits[min(packet + 3u * LANES, last)]);
}

fn block_of(packets: Packets) -> Block {
    if LOGITS == 0u {
        return Block(packets.a, packets.b, packets.c, packets.d);
    }
    return Block(quad_of(packets.a, false), quad_of(packets.a, true), quad_of(packets.b, false), quad_of(packets.b, true));
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
    let plain = bitcast<vec4<f32>>(bits);
    if SOFTCAP && params.softcap > 0.0 {
        let z = capped(params.logit_scale * finite(bits) / params.softcap);
        return Mapped(select(z.level, plain, bits == vec4<u32>(NOTHING)), z.slope);
    }
    return Mapped(plain, vec4<f32>(1.0));
}

// Levels without infinity. A row with NaN or +inf has a soft-cap or no softmax, so it is about -inf: among the bits of numbers below 0 the larger ones
// are further from it.
fn levels_of(bits: vec4<u32>) -> vec4<f32> {
    return mapped(min(bits, vec4<u32>(NOTHING))).level;
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

// What makes an exponent of 2 of a difference of levels.
fn rate() -> f32 {
    return params.spread * 1.442695;
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

// Two quads of results as a packet of 16 bits each, rounded.
fn packed(low: vec4<f32>, high: vec4<f32>) -> vec4<u32> {
    let even = vec4<f32>(low.xz, high.xz);
    let odd = vec4<f32>(low.yw, high.yw);
    if RESULT == 1u {
        // The halves are cut out where they are.
        let shift = vec4<u32>(16u);
        return (carried(bitcast<vec4<u32>>(even), shift) >> shift) | (carried(bitcast<vec4<u32>>(odd), shift) & vec4<u32>(0xffff0000u));
    }
    return rounded_number(RESULT, even) | (rounded_number(RESULT, odd) << vec4<u32>(16u));
}

// Puts a rounded result into a lane of a packet.
fn with_element(packet: vec4<u32>, lane: u32, bits: u32) -> vec4<u32> {
    let places = vec4<u32>(0u, 1u, 2u, 3u);
    if RESULT == 0u {
        return select(packet, vec4<u32>(bits), places == vec4<u32>(lane));
    }
    let low = (packet & vec4<u32>(0xffff0000u)) | vec4<u32>(bits);
    let high = (packet & vec4<u32>(0xffffu)) | vec4<u32>(bits << 16u);
    let changed = select(low, high, vec4<bool>(lane % 2u == 1u));
    return select(packet, changed, places == vec4<u32>(lane / 2u));
}
