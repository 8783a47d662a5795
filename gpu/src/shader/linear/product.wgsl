// c = a b, or c += a b: the product of whoever brings none. A workgroup makes a tile of c, an invocation 4 x 4 entries of it; the tiles of a and b that
// they share go through workgroup memory in f32, a few columns of a at a time. Nothing outside of the matrices is read or written.

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
// Quads of entries along a side of a tile.
const QUADS: u32 = 16u;
// One more, so that neighbours that fill a tile meet in no bank.
const PITCH: u32 = 17u;

// Layout of `ProductParams` in layout.rs.
struct ProductParams {
    // c is m x n, a is m x k.
    m: u32,
    n: u32,
    k: u32,
    // Whether c is added to; else it is not read.
    add: u32,
    // Types, as everywhere; that of c is f32.
    a_kind: u32,
    b_kind: u32,
    // Where the matrices begin in what is bound, and their strides, in elements.
    a_start: u32,
    a_row: u32,
    a_col: u32,
    b_start: u32,
    b_row: u32,
    b_col: u32,
    c_start: u32,
    c_row: u32,
    c_col: u32,
}

@group(0) @binding(0) var<uniform> params: ProductParams;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

// Tiles of a and b: for each of DEPTH columns of a, its rows; and for each row of b, its columns.
var<workgroup> a_tile: array<vec4<f32>, 272>;
var<workgroup> b_tile: array<vec4<f32>, 272>;

// Where the words with four elements are.
fn words_of(kind: u32, elements: vec4<u32>) -> vec4<u32> {
    return elements >> vec4<u32>(select(1u, 0u, kind == 0u));
}

// The elements at these places, which their words have been read of; 0 outside of the matrix.
fn elements_of(kind: u32, words: vec4<u32>, elements: vec4<u32>, inside: vec4<bool>) -> vec4<f32> {
    var bits = words;
    if kind != 0u {
        let shift = (elements & vec4<u32>(1u)) << vec4<u32>(4u);
        bits = widened(kind, (words >> shift) & vec4<u32>(0xffffu));
    }
    return bitcast<vec4<f32>>(select(vec4<u32>(), bits, inside));
}

// Four rows of a at a column.
fn a_quad(row: u32, depth: u32) -> vec4<f32> {
    let rows = vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u);
    let inside = (rows < vec4<u32>(params.m)) & vec4<bool>(depth < params.k);
    let within = select(vec4<u32>(), rows * params.a_row + depth * params.a_col, inside);
    let elements = within + params.a_start;
    let at = words_of(params.a_kind, elements);
    return elements_of(params.a_kind, vec4<u32>(a[at.x], a[at.y], a[at.z], a[at.w]), elements, inside);
}

// Four columns of b at a row.
fn b_quad(depth: u32, column: u32) -> vec4<f32> {
    let columns = vec4<u32>(column) + vec4<u32>(0u, 1u, 2u, 3u);
    let inside = (columns < vec4<u32>(params.n)) & vec4<bool>(depth < params.k);
    let within = select(vec4<u32>(), columns * params.b_col + depth * params.b_row, inside);
    let elements = within + params.b_start;
    let at = words_of(params.b_kind, elements);
    return elements_of(params.b_kind, vec4<u32>(b[at.x], b[at.y], b[at.z], b[at.w]), elements, inside);
}

// Which quad of a tile an invocation brings: its place along the side, and its depth. Neighbours read neighbours.
fn quad_of_tile(local: u32, along_depth: bool) -> vec2<u32> {
    return select(vec2<u32>(local % QUADS, local / QUADS), vec2<u32>(local / DEPTH, local % DEPTH), along_depth);
}

fn store(row: u32, column: u32, sum: f32) {
    if row >= params.m || column >= params.n {
        return;
    }
    let at = params.c_start + row * params.c_row + column * params.c_col;
    if params.add != 0u {
        c[at] += sum;
    } else {
        c[at] = sum;
    }
}

fn store_quad(row: u32, column: u32, sums: vec4<f32>) {
    store(row, column, sums.x);
    store(row, column + 1u, sums.y);
    store(row, column + 2u, sums.z);
    store(row, column + 3u, sums.w);
}

@compute @workgroup_size(256)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let first_row = group.y * TILE;
    let first_column = group.x * TILE;
    let of_a = quad_of_tile(local, params.a_col < params.a_row);
    let of_b = quad_of_tile(local, params.b_row < params.b_col);
    let quad_row = local / QUADS;
    let quad_column = local % QUADS;
    // By rows.
    var sums = mat4x4<f32>();
    for (var depth = 0u; depth < params.k; depth += DEPTH) {
        a_tile[of_a.y * PITCH + of_a.x] = a_quad(first_row + of_a.x * 4u, depth + of_a.y);
        b_tile[of_b.y * PITCH + of_b.x] = b_quad(depth + of_b.y, first_column + of_b.x * 4u);
        workgroupBarrier();
        for (var i = 0u; i < DEPTH; i++) {
            let left = a_tile[i * PITCH + quad_row];
            let right = b_tile[i * PITCH + quad_column];
            sums += mat4x4<f32>(left.x * right, left.y * right, left.z * right, left.w * right);
        }
        workgroupBarrier();
    }
    let row = first_row + quad_row * 4u;
    let column = first_column + quad_column * 4u;
    store_quad(row, column, sums[0]);
    store_quad(row + 1u, column, sums[1]);
    store_quad(row + 2u, column, sums[2]);
    store_quad(row + 3u, column, sums[3]);
}
