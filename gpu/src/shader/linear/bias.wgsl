// The bias of an output layer: into the logits before the product that is added to them, and its gradient.

// Layout of `BiasParams` in layout.rs.
struct BiasParams {
    rows: u32,
    columns: u32,
    // Of the logits in what is bound, and of the bias, in elements.
    start: u32,
    stride: u32,
    bias_start: u32,
}

@group(0) @binding(0) var<uniform> params: BiasParams;
@group(0) @binding(2) var<storage, read> origin: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

// From the bias to every row of the logits.
@compute @workgroup_size(256)
fn spread(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = workgroup_of(group, groups) * GROUP + local;
    let row = index / params.columns;
    let column = index % params.columns;
    if row < params.rows {
        result[params.start + row * params.stride + column] = origin[params.bias_start + column];
    }
}

// From all rows of the gradient to the bias's own, to which their sum is added: a class an invocation.
@compute @workgroup_size(256)
fn sum_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let column = workgroup_of(group, groups) * GROUP + local;
    if column >= params.columns {
        return;
    }
    var sum = 0.0;
    for (var row = 0u; row < params.rows; row++) {
        sum += origin[params.start + row * params.stride + column];
    }
    result[params.bias_start + column] += sum;
}
