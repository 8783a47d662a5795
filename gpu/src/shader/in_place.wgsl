// Where results go: over the logits.

@group(0) @binding(1) var<storage, read_write> logits: array<vec4<u32>>;

fn result_packet(index: u32) -> vec4<u32> {
    return logits[index];
}

fn store_packet(index: u32, packet: vec4<u32>) {
    logits[index] = packet;
}
