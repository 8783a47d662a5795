// Rows that count, between a matrix of the caller's and a scratch in which they lie side by side.

// Layout of `RowsParams` in layout.rs.
struct RowsParams {
    // Of the matrix: its type, as everywhere, and its shape.
    kind: u32,
    rows: u32,
    columns: u32,
    // Its first row among those of the batch, and the slot of the scratch's first row.
    first_row: u32,
    first_slot: u32,
    // Where it begins in what is bound, and its stride, in elements; the words that are bound.
    start: u32,
    stride: u32,
    words: u32,
    // The stride of the scratch, in its elements.
    pitch: u32,
}

@group(0) @binding(0) var<uniform> params: RowsParams;
// A row's place among the active ones of the batch, or IGNORED.
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> origin: array<u32>;
@group(0) @binding(3) var<storage, read_write> result: array<u32>;

// Elements of a word.
fn word_size() -> u32 {
    return select(2u, 1u, params.kind == 0u);
}

fn element(index: u32) -> u32 {
    if params.kind == 0u {
        return origin[index];
    }
    return (origin[index / 2u] >> (16u * (index % 2u))) & 0xffffu;
}

// Active rows into the scratch, as they are: a word of a row an invocation.
@compute @workgroup_size(256)
fn gather(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let size = word_size();
    let width = (params.columns + size - 1u) / size;
    let index = workgroup_of(group, groups) * GROUP + local;
    let row = index / width;
    if row >= params.rows {
        return;
    }
    let slot = slots[params.first_row + row];
    if slot == IGNORED {
        return;
    }
    let column = index % width * size;
    let first = params.start + row * params.stride + column;
    var word = element(first);
    if size == 2u && column + 1u < params.columns {
        word |= element(first + 1u) << 16u;
    }
    result[((slot - params.first_slot) * params.pitch + column) / size] = word;
}

// Rows of f32 from the scratch to where they belong, rounded once, and zeros to the ignored ones: a word of the matrix an invocation, so that no two
// rows meet in one. What else is in a word keeps its value.
@compute @workgroup_size(256)
fn scatter(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let size = word_size();
    let place = params.start / size + workgroup_of(group, groups) * GROUP + local;
    if place >= params.words {
        return;
    }
    var word = result[place];
    for (var i = 0u; i < size; i++) {
        let index = place * size + i;
        if index < params.start {
            continue;
        }
        let row = (index - params.start) / params.stride;
        let column = (index - params.start) % params.stride;
        if row >= params.rows || column >= params.columns {
            continue;
        }
        let slot = slots[params.first_row + row];
        var bits = 0u;
        if slot != IGNORED {
            bits = origin[(slot - params.first_slot) * params.pitch + column];
        }
        let is_nan = (bits & 0x7fffffffu) > INFINITY_BITS;
        let value = rounded(params.kind, vec4<f32>(bitcast<f32>(bits)), is_nan).x;
        word = select(with_half(word, i, value), value, size == 1u);
    }
    result[place] = word;
}
