// What losses are divided by, and the report.

// What is added up, as a sum and what its rounding lost.
struct Sums {
    loss: vec2<f32>,
    nll: vec2<f32>,
    weight: vec2<f32>,
    scaled: vec2<f32>,
    tokens: u32,
    correct: u32,
    // The first row that counts and the first without a softmax, negated bit by bit.
    first: u32,
    invalid: u32,
    // 1 for a loss of +inf, 2 for one of -inf, 4 for a surprisal of +inf, 8 for a loss that is NaN though the row has a softmax.
    infinite: u32,
}

fn nothing() -> Sums {
    let zero = vec2<f32>();
    return Sums(zero, zero, zero, zero, 0u, 0u, 0u, 0u, 0u);
}

// The upper half of a number's digits.
fn upper(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

// With a product, of which no digit is lost: those of halves are exact.
fn with_product(sum: vec2<f32>, a: f32, b: f32) -> vec2<f32> {
    let x = upper(a);
    let y = upper(b);
    return plus(plus(plus(plus(sum, x * y), x * (b - y)), (a - x) * y), (a - x) * (b - y));
}

var<workgroup> lanes: array<Sums, GROUP>;

// The sums of all lanes, in the first of them.
fn reduce(sums: Sums, local: u32) {
    lanes[local] = sums;
    workgroupBarrier();
    for (var width = GROUP / 2u; width > 0u; width /= 2u) {
        if local < width {
            let a = lanes[local];
            let b = lanes[local + width];
            lanes[local] = Sums(
                together(a.loss, b.loss),
                together(a.nll, b.nll),
                together(a.weight, b.weight),
                together(a.scaled, b.scaled),
                a.tokens + b.tokens,
                a.correct + b.correct,
                max(a.first, b.first),
                max(a.invalid, b.invalid),
                a.infinite | b.infinite,
            );
        }
        workgroupBarrier();
    }
}

// What losses are divided by: one workgroup. Reductions: 0 sum, 1 by a number, 2 tokens, 3 weights, 4 sequences, 5 pairs.
@compute @workgroup_size(256)
fn divide(@builtin(local_invocation_index) local: u32) {
    var sums = nothing();
    for (var row = local; row < batch.rows; row += GROUP) {
        if counts(row) {
            sums.tokens += 1u;
            sums.weight = with_product(sums.weight, input(row, TOKEN_WEIGHT), input(row, CLASS_WEIGHT));
        }
    }
    reduce(sums, local);
    if local == 0u {
        let all = lanes[0];
        var divisor = 1.0;
        switch batch.reduction {
            case 1u: { divisor = batch.reduction_by; }
            case 2u: { divisor = f32(all.tokens); }
            case 3u: { divisor = all.weight.x + all.weight.y; }
            case 4u: { divisor = f32(atomicLoad(&totals.sequences)); }
            case 5u: { divisor = f32(batch.pairs); }
            default: {}
        }
        totals.divisor = divisor;
        totals.factor = select(0.0, batch.grad_scale / divisor, divisor > 0.0);
        totals.tokens = all.tokens;
        totals.weight_sum[0] = all.weight.x;
        totals.weight_sum[1] = all.weight.y;
    }
}

fn output(row: u32, field: u32) -> f32 {
    return bitcast<f32>(row_outputs[row * OUTPUT_WORDS + field]);
}

fn with_row(before: Sums, row: u32) -> Sums {
    var sums = before;
    sums.first = max(sums.first, ~row);
    if row_outputs[row * OUTPUT_WORDS + INVALID_STATS] != 0u || output(row, MAX) <= LOWEST {
        sums.invalid = max(sums.invalid, ~row);
        return sums;
    }
    let loss = output(row, LOSS);
    let nll = output(row, NLL);
    // What is infinite is told by a flag: it stands for too large a number here.
    if row_outputs[row * OUTPUT_WORDS + INFINITE] != 0u {
        sums.infinite |= select(1u, 2u, loss < 0.0);
    } else {
        sums.loss = plus(sums.loss, loss);
        sums.scaled = plus(sums.scaled, loss * input(row, SCALE));
    }
    if nll > 1.0e30 {
        sums.infinite |= 4u;
    } else {
        sums.nll = plus(sums.nll, nll);
    }
    sums.infinite |= select(0u, 8u, row_outputs[row * OUTPUT_WORDS + STATE] == INVALID);
    sums.correct += select(0u, 1u, output(row, TARGET_LOGIT) == output(row, MAX));
    return sums;
}

// The sums of all rows: one workgroup.
@compute @workgroup_size(256)
fn report(@builtin(local_invocation_index) local: u32) {
    var sums = nothing();
    for (var row = local; row < batch.rows; row += GROUP) {
        if counts(row) {
            sums = with_row(sums, row);
        }
    }
    reduce(sums, local);
    if local == 0u {
        let all = lanes[0];
        totals.correct = all.correct;
        totals.invalid = all.invalid;
        totals.infinite = all.infinite;
        totals.loss_sum[0] = all.loss.x;
        totals.loss_sum[1] = all.loss.y;
        totals.nll_sum[0] = all.nll.x;
        totals.nll_sum[1] = all.nll.y;
        totals.scaled[0] = all.scaled.x;
        totals.scaled[1] = all.scaled.y;
        let sum = select(all.loss.x + all.loss.y, all.scaled.x + all.scaled.y, batch.reduction == 4u);
        totals.loss = select(0.0, sum / totals.divisor, totals.divisor > 0.0);
        if batch.grouped != 0u && all.first != 0u {
            totals.tau = bitcast<f32>(tokens[5u * ~all.first + 4u]);
        }
    }
}
