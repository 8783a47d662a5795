// Runs the cases of src/export.rs on a WebGPU implementation and compares what they leave with what is expected. For Node and for a page.

const READ = 1; // GPUMapMode.READ
const [MAP_READ, COPY_SRC, COPY_DST, UNIFORM, STORAGE] = [0x1, 0x4, 0x8, 0x40, 0x80]; // GPUBufferUsage

// The name of a buffer says how it is bound.
const isUniform = (name) => name.startsWith('uniform');
const NAN_BITS = { f32: 0x7fc00000, bf16: 0x7fc0, f16: 0x7e00 };

function element(words, type, index) {
  return type === 'f32' ? words[index] : (words[index >> 1] >>> (16 * (index & 1))) & 0xffff;
}

function number(bits, type) {
  if (type === 'f16') {
    const [sign, exponent, mantissa] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return mantissa ? NaN : sign * Infinity;
    return sign * (exponent ? (1 + mantissa / 1024) * 2 ** (exponent - 15) : mantissa * 2 ** -24);
  }
  return new Float32Array(new Uint32Array([type === 'bf16' ? bits << 16 : bits]).buffer)[0];
}

// What is wrong with a buffer, if anything. An expectation of null is NaN, by its bits.
function compare({ buffer, type, first, columns, stride, alone, values, bounds }, before, after) {
  const elements = after.length * (type === 'f32' ? 1 : 2);
  let checked = 0;
  for (let index = 0; index < elements; index++) {
    const [row, column] = [Math.floor((index - first) / stride), (index - first) % stride];
    const place = row * columns + column;
    const bits = element(after, type, index);
    if (index < first || column >= columns || place >= values.length) {
      if (alone && bits !== element(before, type, index)) return `${buffer}[${index}] is written`;
      continue;
    }
    checked += 1;
    const [found, expected] = [number(bits, type), values[place]];
    const same = expected === null ? bits === NAN_BITS[type] : Math.abs(found - expected) <= bounds[place];
    if (!same) return `${buffer}[${index}] is ${found} (0x${bits.toString(16)}) instead of ${expected}`;
  }
  return checked === values.length ? null : `${buffer}: ${checked} of ${values.length} values`;
}

async function read(device, buffer) {
  const staging = device.createBuffer({ size: buffer.size, usage: MAP_READ | COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, buffer.size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(READ);
  const words = new Uint32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return words;
}

async function runCase(device, pipelineOf, { buffers, steps, expected }) {
  const made = {};
  for (const [name, words] of Object.entries(buffers)) {
    const usage = (isUniform(name) ? UNIFORM : STORAGE) | COPY_SRC | COPY_DST;
    made[name] = device.createBuffer({ size: 4 * words.length, usage });
    device.queue.writeBuffer(made[name], 0, new Uint32Array(words));
  }
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (const step of steps) {
    const pipeline = await pipelineOf(step);
    const entries = step.bindings.map(([binding, name, offset, size]) => ({ binding, resource: { buffer: made[name], offset, size } }));
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(...step.groups);
  }
  pass.end();
  device.queue.submit([encoder.finish()]);
  for (const check of expected) {
    const wrong = compare(check, buffers[check.buffer], await read(device, made[check.buffer]));
    if (wrong) return wrong;
  }
  Object.values(made).forEach((buffer) => buffer.destroy());
  return null;
}

// Runs all cases; what came of them, in lines.
export async function run(gpu, { sources, cases }) {
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error('no adapter');
  // Without features or limits beyond those that every WebGPU device has.
  const device = await adapter.requestDevice();
  const modules = sources.map((code) => device.createShaderModule({ code }));
  const pipelines = new Map();
  const pipelineOf = async ({ source, entry, constants }) => {
    const compute = { module: modules[source], entryPoint: entry, constants };
    const key = JSON.stringify([source, entry, constants]);
    if (!pipelines.has(key)) {
      pipelines.set(key, await device.createComputePipelineAsync({ layout: 'auto', compute }));
    }
    return pipelines.get(key);
  };
  const failures = [];
  for (const one of cases) {
    device.pushErrorScope('validation');
    const wrong = await runCase(device, pipelineOf, one).catch((error) => error.message);
    const invalid = await device.popErrorScope();
    if (wrong || invalid) failures.push(`${one.name}: ${invalid ? invalid.message : wrong}`);
  }
  const { vendor, architecture, description } = adapter.info;
  const name = [vendor, architecture, description].filter(Boolean).join(' ');
  return { name, cases: cases.length, pipelines: pipelines.size, failures };
}
