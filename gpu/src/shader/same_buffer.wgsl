// Where results go: to another range of the logits' buffer.

@group(0) @binding(1) var<storage, read_write> logits: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> results: array<vec4<u32>>;

fn result_packet(index: u32) -> vec4<u32> {
    return results[index];
}

fn store_packet(index: u32, packet: vec4<u32>) {
    results[index] = packet;
}
