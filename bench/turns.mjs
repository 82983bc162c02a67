/**
 * Opens every engine on one network in this page, then lets them take turns, so that whatever the
 * machine does meanwhile it does to all of them. One realm is one race: engines keep state for each
 * module, and their threads until the realm goes.
 *
 * @typedef {{ name: string, dtype: string, shape: number[] }} Signature
 * @typedef {{ name: string, data: ArrayBufferView<ArrayBuffer> }} Output
 * @typedef {{ run(): Promise<Output[]>, close(): unknown, notes: object }} Engine
 * @typedef {{
 *   engines: string[], backend: 'wasm' | 'webgpu', threads: number, rounds: number, burst: number, pause: number, patience?: number,
 *   inputs: Signature[], dims: Record<string, number>, onnx: string, tflite: string | null, descriptor: string | null, peak: string,
 * }} Task  URLs are relative to this module; after `patience` milliseconds two rounds are enough.
 * @typedef {{
 *   read(name: string): Promise<ArrayBuffer>, write(name: string, data: ArrayBufferView): Promise<void>,
 *   progress?(done: number, of: number): void,
 * }} Io
 */

const ARRAYS = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array };

const beside = (/** @type {string} */ url) => new URL(url, import.meta.url).href;

/** @type {Record<string, (task: Task, arrays: ArrayBufferView[]) => Promise<Engine>>} */
const ENGINES = {
  async ours({ backend, descriptor, threads, inputs }, arrays) {
    const { load } = await import(beside(`${descriptor}model.js`));
    const model = await load({ backend, ...backend === 'wasm' ? { threads } : {} });
    const feeds = Object.fromEntries(inputs.map(({ name }, i) => [name, arrays[i]]));
    return {
      notes: { ...model.backend },
      async run() {
        const outputs = await model.run(feeds);
        return Object.entries(outputs).map(([name, { data }]) => ({ name, data }));
      },
      close: () => model.dispose(),
    };
  },

  async ort({ backend, onnx, threads, inputs, dims }, arrays) {
    const ort = await import(beside(`../ort/ort.${backend}.bundle.min.mjs`));
    ort.env.wasm.wasmPaths = beside('../ort/');
    ort.env.wasm.numThreads = threads;
    ort.env.logLevel = 'fatal';
    const session = await ort.InferenceSession.create(beside(onnx), {
      executionProviders: [{ name: backend }], graphOptimizationLevel: 'all', logSeverityLevel: 4,
      freeDimensionOverrides: dims, // the sizes that ours is transpiled for
    });
    return {
      notes: { version: ort.env.versions.web },
      async run() {
        const feeds = Object.fromEntries(inputs.map(
          ({ name, dtype, shape }, i) => [name, new ort.Tensor(dtype, arrays[i], shape)]));
        const outputs = await session.run(feeds);
        return session.outputNames.map((/** @type {string} */ name) => ({ name, data: outputs[name].data }));
      },
      close: () => session.release(),
    };
  },

  async litert({ backend, tflite, threads, inputs }, arrays) {
    const { loadLiteRt, loadAndCompile, unloadLiteRt, Tensor } = await import(beside('../litert/index.js'));
    await loadLiteRt(beside('../litert-wasm/'), { threads: threads > 1 });
    const options = threads > 1 ? { cpuOptions: { numThreads: threads } } : {};
    const model = await loadAndCompile(beside(/** @type {string} */ (tflite)), { accelerator: backend, ...options });
    const names = model.getOutputDetails().map((/** @type {{ name: string }} */ { name }) => name);
    return {
      notes: {},
      async run() {
        const tensors = await Promise.all(inputs.map(async ({ shape }, i) => {
          const tensor = new Tensor(arrays[i], shape);
          return backend === 'webgpu' ? tensor.moveTo(backend) : tensor;
        }));
        const outputs = await model.run(tensors);
        const values = [];
        for (const [i, output] of outputs.entries()) values.push({ name: names[i], data: await output.data() });
        for (const tensor of [...tensors, ...outputs]) tensor.delete();
        return values;
      },
      close() { model.delete(); unloadLiteRt(); },
    };
  },
};

/** Seconds of one call, and what it returned. @template T @param {() => Promise<T> | T} call */
async function timed(call) {
  const start = performance.now();
  const value = await call();
  return { ms: performance.now() - start, value };
}

/** @param {Task} task @param {Io} io */
export default async function compare(task, io) {
  if (task.threads > 1 && !crossOriginIsolated) throw new Error('this page is not isolated: no threads');
  performance.setResourceTimingBufferSize(10_000);
  const { instance } = await WebAssembly.instantiateStreaming(fetch(beside(task.peak)));
  const peak = /** @type {(rounds: number, x: number) => number} */ (instance.exports.peak);
  /** @type {ArrayBufferView[]} */
  const arrays = [];
  for (const [i, { dtype }] of task.inputs.entries()) {
    const type = ARRAYS[/** @type {keyof typeof ARRAYS} */ (dtype)];
    if (!type) throw new Error(`no typed array for ${dtype}`);
    arrays.push(new type(await io.read(`input-${i}`)));
  }

  /** @type {{ name: string, engine: Engine | null, times: number[], report: object }[]} */
  const engines = [];
  for (const name of task.engines) {
    const before = performance.getEntriesByType('resource').length;
    try {
      const { ms: first, value } = await timed(async () => {
        const engine = await ENGINES[name](task, arrays);
        return { engine, outputs: await engine.run() };
      });
      for (const [i, { data }] of value.outputs.entries()) await io.write(`${name}-${i}`, data);
      const fetched = performance.getEntriesByType('resource').slice(before)
        .map((entry) => new URL(entry.name).pathname);
      engines.push({
        name, engine: value.engine, times: [],
        report: { first, fetched, notes: value.engine.notes, outputs: value.outputs.map((output) => output.name) },
      });
    } catch (error) {
      engines.push({ name, engine: null, times: [], report: { error: String(error) } });
    }
  }

  const ceiling = [];
  const start = performance.now();
  const rounds = 1_000_000;
  peak(rounds, 1e-9);
  for (let round = -1; round < task.rounds; round++) { // round -1 only warms up
    if (round > 1 && performance.now() - start > (task.patience ?? Infinity)) break;
    io.progress?.(round + 1, task.rounds + 1);
    ceiling.push(rounds * 96 / 1e6 / (await timed(() => peak(rounds, 1e-9))).ms);
    for (const entry of engines) {
      if (!entry.engine) continue;
      // The pool of the engine before may still spin for its next task: let it fall asleep.
      await new Promise((resolve) => { setTimeout(resolve, task.pause); });
      try {
        for (let i = 0; i < task.burst; i++) {
          const { ms } = await timed(() => entry.engine?.run());
          if (round >= 0) entry.times.push(ms);
        }
      } catch (error) {
        entry.engine = null;
        entry.report = { error: `run ${entry.times.length + 2}: ${error}` };
      }
    }
  }
  for (const { engine } of engines) await engine?.close();
  return {
    userAgent: navigator.userAgent, cores: navigator.hardwareConcurrency, ceiling,
    engines: engines.map(({ name, times, report }) => ({ name, times, ...report })),
  };
}
