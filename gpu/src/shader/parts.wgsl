// Parts of a row's statistics, and how those of a workgroup become one. Where a row has more lanes than memory is kept for (twice as many), the upper
// half hands what it has to the lower one first.

fn empty_part() -> Part {
    return Part(LOWEST, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, IGNORED, 0u);
}

// Statistics relative to a larger maximum.
fn rebased(part: Part, largest: f32) -> Part {
    var moved = part;
    if part.max == largest {
        return moved;
    }
    let x = (part.max - largest) * params.spread;
    let shift = max(x, VANISHED);
    let decay = exp(shift);
    moved.max = largest;
    moved.others = part.others * decay;
    // Its leader leads no more.
    moved.argmax = IGNORED;
    if MOMENTS {
        moved.rest = moved.others;
        moved.sum_exp_logits = (part.sum_exp_logits + part.others * shift) * decay;
        moved.sum_exp_squared = part.sum_exp_squared * decay * decay;
    }
    if SMOOTHING {
        moved.below_max = lowered(part.below_max, part.weight, x);
    }
    return moved;
}

// What lies below the maximum, with a weight's share at an exponent x.
fn lowered(below_max: f32, weight: f32, x: f32) -> f32 {
    return min(below_max + select(0.0, -weight * x, weight > 0.0), LARGEST);
}

// Parts with one maximum. A tie goes to the first class; the other leader is one of the rest.
fn added(a: Part, b: Part) -> Part {
    var both = a;
    both.others += b.others;
    both.target_logit += b.target_logit;
    both.argmax = min(a.argmax, b.argmax);
    both.invalid |= b.invalid;
    if MOMENTS {
        both.rest = select(b.rest + a.others, a.rest + b.others, a.argmax <= b.argmax);
        both.sum_exp_logits += b.sum_exp_logits;
        both.sum_exp_squared += b.sum_exp_squared;
    }
    if SMOOTHING {
        both.below_max = min(a.below_max + b.below_max, LARGEST);
        both.weight += b.weight;
    }
    return both;
}

fn merged(a: Part, b: Part) -> Part {
    let largest = max(a.max, b.max);
    return added(rebased(a, largest), rebased(b, largest));
}

// Apart by an odd number of words, so that the same word of several parts lies in several banks.
struct SharedPart {
    part: Part,
    odd: u32,
}

var<workgroup> shared_parts: array<SharedPart, GROUP>;
var<workgroup> shared_maxima: array<f32, GROUP>;

// The largest of the values of all lanes of a row.
fn row_maximum(value: f32, local: u32) -> f32 {
    let lane = local % LANES;
    var largest = value;
    if LANES > GROUP {
        if local >= GROUP {
            shared_maxima[local - GROUP] = value;
        }
        workgroupBarrier();
        if local < GROUP {
            largest = max(value, shared_maxima[local]);
        }
        workgroupBarrier();
    }
    if local < GROUP {
        shared_maxima[local] = largest;
    }
    workgroupBarrier();
    for (var width = min(LANES, GROUP) / 2u; width > 0u; width /= 2u) {
        if lane < width {
            shared_maxima[local] = max(shared_maxima[local], shared_maxima[local + width]);
        }
        workgroupBarrier();
    }
    return shared_maxima[local - lane];
}

// The statistics of all lanes of a row together, in the first of them.
fn row_sum(part: Part, local: u32) -> Part {
    let lane = local % LANES;
    var sum = part;
    if LANES > GROUP {
        if local >= GROUP {
            shared_parts[local - GROUP].part = part;
        }
        workgroupBarrier();
        if local < GROUP {
            sum = added(part, shared_parts[local].part);
        }
        workgroupBarrier();
    }
    if local < GROUP {
        shared_parts[local].part = sum;
    }
    workgroupBarrier();
    for (var width = min(LANES, GROUP) / 2u; width > 0u; width /= 2u) {
        if lane < width {
            shared_parts[local].part = added(shared_parts[local].part, shared_parts[local + width].part);
        }
        workgroupBarrier();
    }
    return shared_parts[local - lane].part;
}
