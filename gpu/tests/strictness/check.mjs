// Compiles every shader of a folder with Tint, as browsers do, and makes every pipeline with every set of constants. Dawn's null backend does this
// without a GPU. Naga lets through what Tint does not: barriers in control flow that may diverge, for one.
//
//   node check.mjs DIR

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { create } from 'webgpu';

// As in pipelines.rs: logits and gradients of any type; rows have a workgroup, or share it and everything is asked for.
const DTYPES = [0, 1, 2].flatMap((logits) => [0, 1, 2].map((result) => [logits, result]));
const LANES = [32, 256];

const folder = process.argv[2];
if (!folder) {
  console.error('usage: check.mjs DIR');
  process.exit(2);
}

// Kept: collected with its devices in use, it takes the process with it.
const gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
// Without features or limits beyond those that every WebGPU device has.
const device = await adapter.requestDevice();

let errors = 0;
let pipelines = 0;
function fail(where, what) {
  errors += 1;
  console.error(`error: ${where}: ${what}`);
}

async function checkPipelines(name, module, source) {
  const overrides = new Set([...source.matchAll(/^override (\w+)/gm)].map((match) => match[1]));
  const entryPoints = [...source.matchAll(/@compute[^{;]*?\bfn (\w+)/g)].map((match) => match[1]);
  if (entryPoints.length === 0) {
    fail(name, 'no entry point');
  }
  for (const entryPoint of entryPoints) {
    for (const [LOGITS, RESULT] of DTYPES) {
      for (const lanes of LANES) {
        const asked = lanes === 32 ? 1 : 0;
        const all = Object.entries({ LOGITS, RESULT, LANES: lanes, SOFTCAP: asked, SMOOTHING: asked, MOMENTS: asked });
        const constants = Object.fromEntries(all.filter(([key]) => overrides.has(key)));
        pipelines += 1;
        try {
          await device.createComputePipelineAsync({
            layout: 'auto',
            compute: { module, entryPoint, constants },
          });
        } catch (error) {
          fail(`${name} ${entryPoint} ${JSON.stringify(constants)}`, error.message);
        }
      }
    }
  }
}

const files = readdirSync(folder).filter((name) => name.endsWith('.wgsl')).sort();
for (const name of files) {
  const source = readFileSync(join(folder, name), 'utf8');
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code: source });
  const { messages } = await module.getCompilationInfo();
  for (const { type, lineNum, linePos, message } of messages) {
    const where = `${name}:${lineNum}:${linePos}`;
    if (type === 'error') {
      fail(where, message);
    } else {
      console.warn(`${type}: ${where}: ${message}`);
    }
  }
  const invalid = await device.popErrorScope();
  if (invalid && !messages.some(({ type }) => type === 'error')) {
    fail(name, invalid.message);
  }
  if (!invalid) {
    await checkPipelines(name, module, source);
  }
}
if (files.length === 0) {
  fail(folder, 'no shaders');
}

console.log(`strictness: ${files.length} shaders, ${pipelines} pipelines, ${errors} errors`);
// Dawn keeps the process alive.
process.exit(errors === 0 ? 0 : 1);
