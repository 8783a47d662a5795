// A linear layer without tiling or other art: what surrounds the loss in a program that has its own kernels.

// Rows of a batch, width of the hidden states, classes.
override ROWS: u32;
override WIDTH: u32;
override VOCAB: u32;
override LEARNING_RATE: f32;

// [ROWS x WIDTH], [WIDTH x VOCAB], [ROWS x VOCAB].
@group(0) @binding(0) var<storage, read> hidden: array<f32>;
@group(0) @binding(1) var<storage, read_write> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;

// logits = hidden x weights, an invocation an entry.
@compute @workgroup_size(64)
fn project(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let row = id.y;
    if column >= VOCAB {
        return;
    }
    var sum = 0.0;
    for (var k = 0u; k < WIDTH; k++) {
        sum += hidden[row * WIDTH + k] * weights[k * VOCAB + column];
    }
    logits[row * VOCAB + column] = sum;
}

// weights -= LEARNING_RATE * hidden^T x dlogits, an invocation an entry. The gradient now lies where the logits were.
@compute @workgroup_size(64)
fn descend(@builtin(global_invocation_id) id: vec3<u32>) {
    let column = id.x;
    let k = id.y;
    if column >= VOCAB {
        return;
    }
    var sum = 0.0;
    for (var row = 0u; row < ROWS; row++) {
        sum += hidden[row * WIDTH + k] * logits[row * VOCAB + column];
    }
    weights[k * VOCAB + column] -= LEARNING_RATE * sum;
}
