// Stage 2: from a row's statistics to its loss, and to the coefficients of its gradient.

fn softmax_of(stats: Part) -> Softmax {
    let leads = stats.target_logit == stats.max;
    let x = clamp(kept(stats.target_logit - stats.max) * params.spread, LOWEST, 0.0);
    let decayed = select(0.0, exp(max(x, VANISHED)), stats.target_logit > LOWEST);
    let at_target = select(decayed, 1.0, leads);
    let sum = stats.others + at_target;
    // The leader is the 1 that the logarithm adds.
    var others = select(max(sum - 1.0, 0.0), stats.others, leads);
    if params.moments != 0u && !leads && stats.rest < 0.5 {
        others = stats.rest + at_target;
    }
    return Softmax(x, at_target, stats.others, logarithm_plus_1(others), 1.0 / sum);
}

fn token_of(input: RowInput, stats: Part, softmax: Softmax) -> Token {
    var token = Token();
    token.log_p = max(-nll_of(softmax), IMPOSSIBLE);
    token.ref_log_p = input.ref_log_p;
    token.old_log_p = input.old_log_p;
    token.advantage = input.advantage;
    token.extra = input.extra;
    if params.moments != 0u {
        token.entropy = max(entropy_of(softmax, stats.sum_exp_logits), 0.0);
        token.sum_squares = sum_squares_of(softmax, stats.sum_exp_squared);
    }
    return token;
}

// Whether a loss that is finite here stands for an infinite one: of an impossible target, or of an impossible class that smoothing wants.
fn is_infinite(value: f32, extras: f32, row: RowValues) -> bool {
    let of_objective = abs(value) > 1.0e12 && params.label_smoothing < 1.0 && row.class_weight != 0.0;
    let of_smoothing = row.smoothed > 1.0e30 && params.label_smoothing > 0.0 && extras != 0.0;
    return row.token_weight != 0.0 && (of_objective || of_smoothing);
}

fn finished(input: RowInput, stats: Part, planned: array<f32, 4>) -> RowOutput {
    var row: RowOutput;
    row.stats = stats;
    row.target_id = input.target_id;
    row.state = ZERO;
    if input.target_id == IGNORED {
        return row;
    }
    if stats.invalid != 0u || stats.max <= LOWEST {
        row.state = INVALID;
        return row;
    }
    let softmax = softmax_of(stats);
    row.nll = nll_of(softmax);
    if input.token_weight < 0.0 {
        // It takes no part.
        return row;
    }
    var token = token_of(input, stats, softmax);
    token.planned = planned;
    let outcome = objective(token);
    // Not -0, where the slope is 0.
    row.weight = 0.0 - outcome.y;
    let extras = select(1.0, row.weight, params.extras_scale == 1u);
    let largest = clamp(stats.max * params.spread, LOWEST, LARGEST);
    let values = values_of(softmax, largest, stats.below_max, input, input.scale * totals.factor);
    let term = term_of(outcome.x, row.weight, extras, values);
    row.infinite = select(0u, 1u, is_infinite(outcome.x, extras, values));
    row.loss = term.loss;
    row.coef = term.coef;
    row.dense = term.dense;
    if term.coef == 0.0 && term.dense == 0.0 {
        return row;
    }
    let coefs = coefs_of(term, values);
    row.state = ACTIVE;
    row.factor = limited(coefs.prob * softmax.inverse * params.logit_scale);
    row.uniform = limited(coefs.uniform * params.logit_scale);
    row.target_entry = limited(coefs.at_target * params.logit_scale);
    return row;
}

fn merged_parts(index: u32) -> Part {
    var stats = parts[index * params.splits];
    for (var split = 1u; split < params.splits; split++) {
        stats = merged(stats, parts[index * params.splits + split]);
    }
    return stats;
}

@compute @workgroup_size(256)
fn token_terms(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = workgroup_of(group, groups) * GROUP + local;
    if row >= params.rows {
        return;
    }
    let index = params.first_row + row;
    row_outputs[index] = finished(row_inputs[index], merged_parts(index), array<f32, 4>());
}
