// Runs the cases in a headless browser: serves the page on localhost and waits for what it reports.
//
//   node chromium.mjs BROWSER CASES

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MINUTES = 8;
const [browser, cases] = process.argv.slice(2);
const beside = (name) => new URL(name, import.meta.url);
const files = {
  '/page.html': ['text/html', beside('page.html')],
  '/run.mjs': ['text/javascript', beside('run.mjs')],
  '/cases.json': ['application/json', cases],
};
const profile = mkdtempSync(join(tmpdir(), 'surprisal-browser-'));
let child;
let log = '';

// With all of the browser's processes, which write to the profile as long as they live.
function end(code) {
  try {
    process.kill(-child.pid, 'SIGKILL');
    rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  } catch {
    // Gone already, or in the way of nobody.
  }
  process.exit(code);
}

function giveUp(why) {
  console.error(`error: ${why}\n${log.slice(-4000)}`);
  end(1);
}

function finish({ name, cases, pipelines, failures }) {
  failures.forEach((failure) => console.error(`error: ${failure}`));
  console.log(`browser on ${name}: ${cases} cases, ${pipelines} pipelines, ${failures.length} failures`);
  end(cases > 0 && failures.length === 0 ? 0 : 1);
}

const server = createServer(async (request, response) => {
  if (request.method === 'POST' && request.url === '/result') {
    let text = '';
    for await (const chunk of request) text += chunk;
    response.end();
    finish(JSON.parse(text));
  } else if (files[request.url]) {
    const [type, file] = files[request.url];
    response.writeHead(200, { 'content-type': type }).end(readFileSync(file));
  } else {
    response.writeHead(404).end();
  }
});

server.listen(0, '127.0.0.1', () => {
  const arguments_ = [
    '--headless=new',
    // Containers have no user namespaces; the page is our own.
    '--no-sandbox',
    '--disable-dev-shm-usage',
    '--no-first-run',
    `--user-data-dir=${profile}`,
    '--enable-unsafe-webgpu',
    '--use-webgpu-adapter=swiftshader',
    '--enable-features=Vulkan,WebGPU',
    `http://127.0.0.1:${server.address().port}/page.html`,
  ];
  child = spawn(browser, arguments_, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.on('data', (data) => (log += data));
  child.stderr.on('data', (data) => (log += data));
  child.on('error', (error) => giveUp(`${browser}: ${error.message}`));
  child.on('exit', (code) => giveUp(`${browser} ended by itself (${code})`));
  setTimeout(() => giveUp(`no result after ${MINUTES} minutes`), MINUTES * 60_000);
});
