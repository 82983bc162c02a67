// Runs one wasm module of the graph transpiler in Node: node wasm_run.mjs JOB.json
// A job: {module, arena (file: the arena's first bytes), bytes, scratch?, threads, dims, sizes? (dims of further runs, which go
// first), repeat?, profile?}; the arena after the run is written to `${arena}.out`; on standard output: {result, ms, steps, digests
// (of the arena after each of `sizes`)}.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { Worker, isMainThread, workerData, parentPort } from 'node:worker_threads';

const PAGE = 65536, STACK = 65536;
const up = (x, n) => Math.ceil(x / n) * n;

// The fastest of `repeat` runs of each step. Each thread goes from one to the next by itself, as in the runner.
function eachStep(exports, thread, repeat) {
  const steps = Array(exports.step_count()).fill(Infinity);
  for (let r = 0; r < repeat; r++)
    for (let k = 0; k < steps.length; k++) {
      const start = performance.now();
      exports.run_steps(thread, k, k + 1);
      steps[k] = Math.min(steps[k], performance.now() - start);
    }
  return steps;
}

if (!isMainThread) {
  const { module, memory, stack, thread } = workerData;
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  exports.__stack_pointer.value = stack;
  const calls = { ...exports, each_step: (...args) => eachStep(exports, ...args) };
  parentPort.on('message', ({ name, args }) => parentPort.postMessage(calls[name](thread, ...args)));
  parentPort.postMessage('ready');
} else {
  const job = JSON.parse(fs.readFileSync(process.argv[2]));
  const module = new WebAssembly.Module(fs.readFileSync(job.module));
  const shared = job.shared;
  const probe = new WebAssembly.Instance(module, { env: { memory: shared
    ? new WebAssembly.Memory({ initial: 64, maximum: 64, shared }) : new WebAssembly.Memory({ initial: 64 }) } });
  const base = probe.exports.arena(), each = up(probe.exports.scratch(), 64);
  const stacks = up(base + job.bytes, 16), scratch = up(stacks + STACK * job.threads, 64);
  const pages = Math.ceil((scratch + each * job.threads + 64) / PAGE);
  const memory = new WebAssembly.Memory(shared ? { initial: pages, maximum: pages, shared } : { initial: pages, maximum: pages });
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  exports.__stack_pointer.value = stacks + STACK;
  new Uint8Array(memory.buffer).set(fs.readFileSync(job.arena), base);
  new Uint8Array(memory.buffer, scratch, each * job.threads + 64).fill(0xa5);
  exports.setup(job.threads, scratch, ...job.dims);
  const workers = [];
  for (let t = 1; t < job.threads; t++) {
    const w = new Worker(new URL(import.meta.url), { workerData: { module, memory, thread: t, stack: stacks + STACK * (t + 1) } });
    await new Promise((ok, no) => { w.once('message', ok); w.once('error', no); });
    workers.push(w);
  }
  // A run is over when one thread says so: nobody waits for the others, which may be late by several runs.
  const all = (name, ...args) => {
    for (const w of workers) w.postMessage({ name, args });
    return exports[name](0, ...args);
  };
  all('prepare');
  const digests = (job.sizes ?? []).map((dims) => {
    exports.setup(job.threads, scratch, ...dims);
    all('run');
    return createHash('sha256').update(new Uint8Array(memory.buffer).slice(base, base + job.bytes)).digest('hex');
  });
  exports.setup(job.threads, scratch, ...job.dims);
  let result = 0, ms = Infinity;
  for (let k = 0; k < (job.repeat ?? 1); k++) {
    const start = performance.now();
    result = all('run');
    ms = Math.min(ms, performance.now() - start);
  }
  for (const w of job.profile ? workers : []) w.postMessage({ name: 'each_step', args: [job.repeat ?? 1] });
  const steps = job.profile ? eachStep(exports, 0, job.repeat ?? 1) : [];
  const tail = new Uint8Array(memory.buffer, scratch + each * job.threads, 64);
  if (tail.some((x) => x !== 0xa5)) throw new Error('a kernel wrote beyond its scratch memory');
  fs.writeFileSync(job.arena + '.out', new Uint8Array(memory.buffer).slice(base, base + job.bytes));
  workers.forEach((w) => w.terminate());
  console.log(JSON.stringify({ result, ms, steps, digests }));
}
