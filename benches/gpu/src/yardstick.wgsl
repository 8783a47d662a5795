// What moves bytes and does nothing else: the same packets, by the same workgroups.

@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> target_packets: array<vec4<u32>>;

const GROUP: u32 = 256u;
// Packets that an invocation has in flight.
const FLIGHT: u32 = 4u;

@compute @workgroup_size(256)
fn copy_all(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let count = arrayLength(&source);
    let step = groups.x * GROUP * FLIGHT;
    for (var i = group.x * GROUP * FLIGHT + local; i < count; i += step) {
        let a = source[i];
        let b = source[min(i + GROUP, count - 1u)];
        let c = source[min(i + 2u * GROUP, count - 1u)];
        let d = source[min(i + 3u * GROUP, count - 1u)];
        target_packets[i] = a;
        target_packets[min(i + GROUP, count - 1u)] = b;
        target_packets[min(i + 2u * GROUP, count - 1u)] = c;
        target_packets[min(i + 3u * GROUP, count - 1u)] = d;
    }
}

@compute @workgroup_size(256)
fn read_all(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let count = arrayLength(&source);
    let step = groups.x * GROUP * FLIGHT;
    var sum = vec4<u32>();
    for (var i = group.x * GROUP * FLIGHT + local; i < count; i += step) {
        sum ^= source[i];
        sum ^= source[min(i + GROUP, count - 1u)];
        sum ^= source[min(i + 2u * GROUP, count - 1u)];
        sum ^= source[min(i + 3u * GROUP, count - 1u)];
    }
    // Seldom, and no compiler knows when.
    if all(sum == vec4<u32>(0x9e3779b9u)) {
        target_packets[0] = sum;
    }
}
