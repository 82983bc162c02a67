/**
 * The page's half of race.py: two engines on one network and one graphics card, taking turns.
 *
 * What a page can know of a GPU's time is what timestamps around its compute passes say. Neither
 * engine is asked to write them: WebGPU's own methods are wrapped, for both alike.
 *
 * @typedef {{ name: string, dtype: string, shape: number[] }} Signature
 * @typedef {{ name: string, data: ArrayBufferView }} Output
 * @typedef {{
 *   full(): Promise<Output[]>, resident(): Promise<() => void>, close(): unknown,
 *   device: GPUDevice, notes: object,
 * }} Engine
 * @typedef {{
 *   engines: string[], rounds: number, burst: number, pause: number,
 *   inputs: Signature[], dims: Record<string, number>, onnx: string, descriptor: string,
 * }} Task
 * @typedef {{ read(name: string): Promise<ArrayBuffer>, write(name: string, data: ArrayBufferView): Promise<void> }} Io
 * @typedef {{ device: GPUDevice, set: GPUQuerySet, passes: number }} Recording
 */

const ARRAYS = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array };
const MOST_PASSES = 2048;
/** GPUBufferUsage and GPUMapMode.READ, as the specification numbers them. */
const [MAP_READ, COPY_SRC, COPY_DST, STORAGE, QUERY_RESOLVE, MODE_READ] = [1, 4, 8, 128, 512, 1];

const sleep = (/** @type {number} */ ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
/** @template T @param {() => Promise<T> | T} call */
async function timed(call) {
  const start = performance.now();
  const value = await call();
  return { ms: performance.now() - start, value };
}

/** @type {GPUDevice[]} every device that was made, in order */
const devices = [];
/** @type {WeakMap<GPUCommandEncoder, GPUDevice>} */
const owner = new WeakMap();
/** @type {Recording | null} */
let recording = null;
const counts = { dispatches: 0, passes: 0, submits: 0 };

/** Replaces a method by `wrapper(original)`. @param {any} prototype @param {string} name @param {(original: Function) => Function} wrapper */
function wrap(prototype, name, wrapper) { prototype[name] = wrapper(prototype[name]); }

function instrument() {
  wrap(GPUAdapter.prototype, 'requestDevice', (original) => async function (/** @type {any} */ ...a) {
    // @ts-ignore: `this` is the adapter
    const device = await original.apply(this, a);
    devices.push(device);
    return device;
  });
  wrap(GPUDevice.prototype, 'createCommandEncoder', (original) => function (/** @type {any} */ ...a) {
    // @ts-ignore: `this` is the device
    const encoder = original.apply(this, a);
    // @ts-ignore
    owner.set(encoder, this);
    return encoder;
  });
  wrap(GPUCommandEncoder.prototype, 'beginComputePass', (original) => function (/** @type {any} */ descriptor) {
    counts.passes++;
    // @ts-ignore: `this` is the encoder
    if (recording && owner.get(this) === recording.device && !descriptor?.timestampWrites && recording.passes < MOST_PASSES) {
      const at = 2 * recording.passes++;
      descriptor = { ...descriptor, timestampWrites: { querySet: recording.set, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 } };
    }
    // @ts-ignore
    return original.call(this, descriptor);
  });
  for (const name of ['dispatchWorkgroups', 'dispatchWorkgroupsIndirect']) {
    wrap(GPUComputePassEncoder.prototype, name, (original) => function (/** @type {any} */ ...a) {
      counts.dispatches++;
      // @ts-ignore
      return original.apply(this, a);
    });
  }
  wrap(GPUQueue.prototype, 'submit', (original) => function (/** @type {any} */ ...a) {
    counts.submits++;
    // @ts-ignore
    return original.apply(this, a);
  });
}

/** A recorder of one device: `busy` and `span` of the passes that `work` makes, in milliseconds. @param {GPUDevice} device */
function recorder(device) {
  const set = device.createQuerySet({ type: 'timestamp', count: 2 * MOST_PASSES });
  const resolved = device.createBuffer({ size: 16 * MOST_PASSES, usage: QUERY_RESOLVE | COPY_SRC });
  const target = device.createBuffer({ size: 16 * MOST_PASSES, usage: MAP_READ | COPY_DST });
  return async (/** @type {() => Promise<unknown>} */ work) => {
    recording = { device, set, passes: 0 };
    const { passes } = await work().then(() => /** @type {Recording} */ (recording)).finally(() => { recording = null; });
    if (!passes) throw new Error('no compute pass was seen');
    if (passes === MOST_PASSES) throw new Error(`more than ${MOST_PASSES} compute passes`);
    const encoder = device.createCommandEncoder();
    encoder.resolveQuerySet(set, 0, 2 * passes, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, target, 0, 16 * passes);
    device.queue.submit([encoder.finish()]);
    await target.mapAsync(MODE_READ);
    const stamps = new BigUint64Array(target.getMappedRange().slice(0, 16 * passes));
    target.unmap();
    let busy = 0n, first = stamps[0], last = stamps[1];
    for (let i = 0; i < 2 * passes; i += 2) {
      busy += stamps[i + 1] - stamps[i];
      if (stamps[i] < first) first = stamps[i];
      if (stamps[i + 1] > last) last = stamps[i + 1];
    }
    return { busy: Number(busy) / 1e6, span: Number(last - first) / 1e6 };
  };
}

/** A stream of multiply-adds of known length: the state of the GPU's clock, in TFLOP/s. @param {GPUDevice} device @param {ReturnType<typeof recorder>} record @param {number} groups */
async function clock(device, record, groups, rounds = 512) {
  const code = `@group(0) @binding(0) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(256) fn main(@builtin(global_invocation_id) id: vec3u) {
      var a = vec4f(f32(id.x)); var b = a + 1; var c = a + 2; var d = a + 3; let k = vec4f(0.999);
      for (var i = 0u; i < ${rounds}u; i++) { a = fma(a, k, b); b = fma(b, k, c); c = fma(c, k, d); d = fma(d, k, a); }
      y[id.x & 1023u] = dot(a + b + c + d, vec4f(1));
    }`;
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module: device.createShaderModule({ code }) } });
  const buffer = device.createBuffer({ size: 4096, usage: STORAGE });
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: [{ binding: 0, resource: { buffer } }] });
  let best = Infinity;
  for (let i = 0; i < 5; i++) {
    const { busy } = await record(async () => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(groups);
      pass.end();
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
    });
    best = Math.min(best, busy);
  }
  buffer.destroy();
  return (groups * 256 * rounds * 32) / best / 1e9;
}

/** @type {Record<string, (task: Task, arrays: ArrayBufferView[]) => Promise<Engine>>} */
const ENGINES = {
  async ours({ descriptor, inputs }, arrays) {
    const { load } = await import(`${descriptor}model.js`);
    const model = await load({ backend: 'webgpu' });
    const feeds = Object.fromEntries(inputs.map(({ name }, i) => [name, arrays[i]]));
    const device = /** @type {GPUDevice} */ (devices.at(-1));
    const held = Object.fromEntries(inputs.map(({ name, shape }, i) => {
      const data = device.createBuffer({
        size: Math.max(4, arrays[i].byteLength), usage: STORAGE | COPY_SRC | COPY_DST,
      });
      device.queue.writeBuffer(data, 0, /** @type {any} */ (arrays[i]));
      return [name, { data, shape }];
    }));
    return {
      notes: { ...model.backend },
      device,
      async full() {
        const outputs = await model.run(feeds);
        return Object.entries(outputs).map(([name, { data }]) => ({ name, data }));
      },
      async resident() {
        const outputs = await model.run(held, { outputs: 'gpu' });
        return () => { for (const { data } of Object.values(outputs)) data.destroy(); };
      },
      close() {
        for (const { data } of Object.values(held)) data.destroy();
        model.dispose();
      },
    };
  },

  ort: (task, arrays) => ort(task, arrays, false),
  ort_captured: (task, arrays) => ort(task, arrays, true),
};

/**
 * ONNX Runtime Web, with its commands captured in the first run and replayed by all others, or
 * without. Only a provider given as an object captures; the string "webgpu" says nothing and does not.
 * What is captured reads its inputs from the buffers of the first run.
 * @param {Task} task @param {ArrayBufferView[]} arrays @param {boolean} captured @returns {Promise<Engine>}
 */
async function ort({ onnx, inputs, dims }, arrays, captured) {
  const ort = await import(new URL('/ort/ort.jspi.bundle.min.mjs', location.href).href);
  ort.env.wasm.wasmPaths = new URL('/ort/', location.href).href;
  ort.env.webgpu.powerPreference = 'high-performance';
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(onnx, {
    executionProviders: [{ name: 'webgpu' }], enableGraphCapture: captured,
    preferredOutputLocation: 'gpu-buffer', graphOptimizationLevel: 'all',
    freeDimensionOverrides: dims, // the sizes that ours is transpiled for
  });
  const device = /** @type {GPUDevice} */ (await ort.env.webgpu.device);
  const buffers = inputs.map((_, i) => device.createBuffer({
    size: Math.ceil(arrays[i].byteLength / 16) * 16, usage: STORAGE | COPY_SRC | COPY_DST,
  }));
  const write = () => buffers.forEach((buffer, i) => device.queue.writeBuffer(buffer, 0, /** @type {any} */ (arrays[i])));
  write();
  const held = Object.fromEntries(inputs.map(({ name, dtype: dataType, shape }, i) => [
    name, ort.Tensor.fromGpuBuffer(buffers[i], { dataType, dims: shape })]));
  const feeds = () => Object.fromEntries(inputs.map(
    ({ name, dtype, shape }, i) => [name, new ort.Tensor(dtype, arrays[i], shape)]));
  return {
    notes: { version: ort.env.versions.web, captured },
    device,
    async full() {
      if (captured) write();
      const outputs = await session.run(captured ? held : feeds());
      const values = [];
      for (const name of session.outputNames) {
        values.push({ name, data: await outputs[name].getData() });
        outputs[name].dispose();
      }
      return values;
    },
    async resident() {
      const outputs = await session.run(held);
      return () => { for (const name of session.outputNames) outputs[name].dispose(); };
    },
    async close() {
      await session.release();
      for (const buffer of buffers) buffer.destroy();
    },
  };
}

/** @param {Task} task @param {Io} io */
export default async function race(task, io) {
  if (!navigator.gpu) throw new Error('this browser has no WebGPU');
  let adapter = null; // a browser that has just started may answer null
  for (let i = 0; i < 50 && !adapter; i++) {
    adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
    if (!adapter) await sleep(200);
  }
  if (!adapter) throw new Error('no graphics adapter');
  if (!adapter.features.has('timestamp-query')) throw new Error('the graphics adapter has no timestamps');
  const { vendor, architecture, description } = adapter.info;
  instrument();

  /** @type {ArrayBufferView[]} */
  const arrays = [];
  for (const [i, { dtype }] of task.inputs.entries()) {
    arrays.push(new ARRAYS[/** @type {keyof typeof ARRAYS} */ (dtype)](await io.read(`input-${i}`)));
  }
  const own = await adapter.requestDevice({ requiredFeatures: ['timestamp-query'] });
  const clockRecord = recorder(own);
  const groups = architecture === 'swiftshader' ? 16 : 4096;
  const clocks = [await clock(own, clockRecord, groups)];

  /** @type {{ name: string, engine: Engine | null, record: ReturnType<typeof recorder> | null, times: Record<string, number[]>, report: object }[]} */
  const entrants = [];
  for (const name of task.engines) {
    const times = { busy: [], span: [], done: [], full: [] };
    try {
      const { ms: first, value } = await timed(async () => {
        const engine = await ENGINES[name](task, arrays);
        return { engine, outputs: await engine.full() };
      });
      for (const [i, { data }] of value.outputs.entries()) await io.write(`${name}-${i}`, data);
      entrants.push({
        name, engine: value.engine, record: recorder(value.engine.device), times,
        report: { first, notes: value.engine.notes, outputs: value.outputs.map((output) => output.name) },
      });
    } catch (error) {
      entrants.push({ name, engine: null, record: null, times, report: { error: String(error) } });
    }
  }

  for (let round = -1; round < task.rounds; round++) { // round -1 only warms up
    for (const entrant of entrants) {
      const { engine, record, times } = entrant;
      if (!engine || !record) continue;
      await sleep(task.pause);
      const done = async () => {
        const free = await engine.resident();
        await engine.device.queue.onSubmittedWorkDone();
        return free;
      };
      try {
        for (let i = 0; i < task.burst; i++) {
          const { busy, span } = await record(async () => (await done())());
          const { ms: resident, value: free } = await timed(done);
          free();
          const { ms: full } = await timed(() => engine.full());
          if (round < 0) continue;
          times.busy.push(busy);
          times.span.push(span);
          times.done.push(resident);
          times.full.push(full);
        }
        if (round === 0) {
          Object.assign(counts, { dispatches: 0, passes: 0, submits: 0 });
          (await done())();
          entrant.report = { ...entrant.report, counts: { ...counts } };
        }
      } catch (error) {
        entrant.engine = null;
        entrant.report = { error: `run ${times.full.length + 2}: ${error}` };
      }
    }
  }
  clocks.push(await clock(own, clockRecord, groups));
  for (const { engine } of entrants) await engine?.close();
  own.destroy();
  return {
    adapter: { vendor, architecture, description }, clocks, userAgent: navigator.userAgent,
    engines: entrants.map(({ name, times, report }) => ({ name, times, ...report })),
  };
}
