// Runs the cases through Dawn in Node, on the Vulkan device that VK_DRIVER_FILES names.
//
//   node dawn.mjs CASES

import { readFileSync } from 'node:fs';
import { create } from 'webgpu';
import { run } from './run.mjs';

// Kept: collected with its devices in use, it takes the process with it.
const gpu = create(['backend=vulkan']);
const { name, cases, pipelines, failures } = await run(gpu, JSON.parse(readFileSync(process.argv[2], 'utf8')));
failures.forEach((failure) => console.error(`error: ${failure}`));
console.log(`dawn on ${name}: ${cases} cases, ${pipelines} pipelines, ${failures.length} failures`);
// Dawn keeps the process alive.
process.exit(cases > 0 && failures.length === 0 ? 0 : 1);
