/**
 * What both sides of race.mjs share: the two engines behind one interface, and what a page can know
 * of a GPU's time, which is what timestamps around compute passes say. Neither engine is asked to
 * write them: WebGPU's own methods are wrapped, for both alike.
 *
 * @typedef {{ name: string, dtype: 'float32' | 'int32', shape: number[], kept: boolean }} Signature
 *   `kept` inputs, such as a cache, stay on the device from run to run; others come from the page.
 * @typedef {{ name: string, data: ArrayBufferView }} Output
 * @typedef {{
 *   all(): Promise<Output[]>, full(): Promise<unknown>, resident(): Promise<() => void>,
 *   close(): unknown, device: GPUDevice, notes: object, oneAtATime: boolean,
 * }} Engine
 *   `all`: every input from the page, every output to it. `full`: all but what is kept. `resident`:
 *   everything on the device; resolves to what frees the outputs. `oneAtATime`: a run must not be
 *   started before the promise of the last one resolves.
 * @typedef {{ url: string, inputs: Signature[], captured: boolean, inPlace: boolean }} Entrant
 *   `inPlace`: outputs present_x are written where inputs past_x lie.
 * @typedef {{ device: GPUDevice, set: GPUQuerySet, passes: number }} Recording
 */

export const ARRAYS = { float32: Float32Array, int32: Int32Array };
const MOST_PASSES = 2048;
/** GPUBufferUsage and GPUMapMode.READ, as the specification numbers them. */
const [MAP_READ, COPY_SRC, COPY_DST, STORAGE, QUERY_RESOLVE, MODE_READ] = [1, 4, 8, 128, 512, 1];

export const sleep = (/** @type {number} */ ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
/** @template T @param {() => Promise<T> | T} call */
export async function timed(call) {
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
export const counts = { dispatches: 0, passes: 0, submits: 0 };

/** Replaces a method by `wrapper(original)`. @param {any} prototype @param {string} name @param {(original: Function) => Function} wrapper */
function wrap(prototype, name, wrapper) { prototype[name] = wrapper(prototype[name]); }

export function instrument() {
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

/** A recorder of one device: for how many milliseconds the passes that `work` makes keep it busy. @param {GPUDevice} device */
export function recorder(device) {
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
    let busy = 0n;
    for (let i = 0; i < 2 * passes; i += 2) busy += stamps[i + 1] - stamps[i];
    return Number(busy) / 1e6;
  };
}

/** A stream of multiply-adds of known length: the state of the GPU's clock, in TFLOP/s. @param {GPUDevice} device @param {ReturnType<typeof recorder>} record @param {number} groups */
export async function clock(device, record, groups, rounds = 512) {
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
    const busy = await record(async () => {
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

/** @param {GPUDevice} device @param {GPUBuffer} buffer @param {number} size in bytes */
async function read(device, buffer, size) {
  const target = device.createBuffer({ size, usage: MAP_READ | COPY_DST });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, target, 0, size);
  device.queue.submit([encoder.finish()]);
  await target.mapAsync(MODE_READ);
  const data = new Uint8Array(target.getMappedRange().slice(0));
  target.destroy();
  return data;
}

/** The inputs' values in buffers of a device. @param {GPUDevice} device @param {Signature[]} inputs @param {ArrayBufferView[]} arrays */
function upload(device, inputs, arrays) {
  return Object.fromEntries(inputs.map(({ name }, i) => {
    const size = Math.ceil(arrays[i].byteLength / 16) * 16;
    const buffer = device.createBuffer({ size, usage: STORAGE | COPY_SRC | COPY_DST });
    device.queue.writeBuffer(buffer, 0, /** @type {any} */ (arrays[i]));
    return [name, buffer];
  }));
}

/** @type {Record<'ours' | 'ort', (entrant: Entrant, arrays: ArrayBufferView[]) => Promise<Engine>>} */
export const ENGINES = { ours, ort };

/** @param {Entrant} entrant @param {ArrayBufferView[]} arrays @returns {Promise<Engine>} */
async function ours({ url, inputs }, arrays) {
  const { load } = await import(`${url}model.js`);
  const model = await load({ backend: 'webgpu' });
  const device = /** @type {GPUDevice} */ (devices.at(-1));
  const feeds = Object.fromEntries(inputs.map(({ name }, i) => [name, arrays[i]]));
  const some = inputs.some(({ kept }) => kept);
  /** @type {Record<string, GPUBuffer> | undefined} */
  let buffers;
  const held = () => {
    buffers ??= upload(device, inputs, arrays);
    return Object.fromEntries(inputs.map(({ name, shape }) => [name, { data: /** @type {any} */ (buffers)[name], shape }]));
  };
  const free = (/** @type {Record<string, { data: GPUBuffer }>} */ outputs) => {
    for (const { data } of Object.values(outputs)) data.destroy();
  };
  const all = async () => Object.entries(await model.run(feeds)).map(([name, { data }]) => ({ name, data }));
  return {
    notes: { ...model.backend },
    device,
    oneAtATime: false,
    all,
    async full() {
      if (!some) return all();
      const onGpu = held();
      const mixed = Object.fromEntries(inputs.map(({ name, kept }) => [name, kept ? onGpu[name] : feeds[name]]));
      const outputs = await model.run(mixed, { outputs: 'gpu' });
      await read(device, outputs.y.data, outputs.y.data.size);
      free(outputs);
    },
    async resident() {
      const outputs = await model.run(held(), { outputs: 'gpu' });
      return () => free(outputs);
    },
    close() {
      for (const buffer of Object.values(buffers ?? {})) buffer.destroy();
      model.dispose();
    },
  };
}

/**
 * ONNX Runtime Web, with its commands captured in the first run and replayed by all others, or
 * without. Only a provider given as an object captures; the string "webgpu" says nothing and does not.
 * What is captured reads its inputs from the buffers of the first run.
 * @param {Entrant} entrant @param {ArrayBufferView[]} arrays @returns {Promise<Engine>}
 */
async function ort({ url, inputs, captured, inPlace }, arrays) {
  const ort = await import(new URL('/ort/ort.jspi.bundle.min.mjs', location.href).href);
  ort.env.wasm.wasmPaths = new URL('/ort/', location.href).href;
  ort.env.webgpu.powerPreference = 'high-performance';
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(url, {
    executionProviders: [{ name: 'webgpu' }], enableGraphCapture: captured,
    preferredOutputLocation: 'gpu-buffer', graphOptimizationLevel: 'all',
  });
  const device = /** @type {GPUDevice} */ (await ort.env.webgpu.device);
  const buffers = upload(device, inputs, arrays);
  const held = Object.fromEntries(inputs.map(({ name, dtype: dataType, shape: dims }) => [
    name, ort.Tensor.fromGpuBuffer(buffers[name], { dataType, dims })]));
  /** @type {Record<string, any> | undefined} */
  let targets;
  if (inPlace) {
    targets = Object.fromEntries(session.outputMetadata.map((/** @type {any} */ { name, shape: dims }) => {
      const past = held[name.replace('present', 'past')];
      if (past !== undefined) return [name, past];
      const size = dims.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 4);
      buffers[name] = device.createBuffer({ size: Math.ceil(size / 16) * 16, usage: STORAGE | COPY_SRC | COPY_DST });
      return [name, ort.Tensor.fromGpuBuffer(buffers[name], { dataType: 'float32', dims })];
    }));
  }
  const feeds = (/** @type {boolean} */ keep) => Object.fromEntries(inputs.map(({ name, dtype, shape, kept }, i) => {
    if (captured && !(keep && kept)) device.queue.writeBuffer(buffers[name], 0, /** @type {any} */ (arrays[i]));
    return [name, captured || inPlace || (keep && kept) ? held[name] : new ort.Tensor(dtype, arrays[i], shape)];
  }));
  const run = (/** @type {any} */ values) => (targets ? session.run(values, targets) : session.run(values));
  const free = (/** @type {any} */ outputs) => {
    if (!targets) for (const name of session.outputNames) outputs[name].dispose();
  };
  const take = async (/** @type {any} */ outputs, /** @type {string} */ name) => (targets
    ? read(device, buffers[name], 4 * targets[name].dims.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1))
    : outputs[name].getData());
  return {
    notes: { version: ort.env.versions.web, captured },
    device,
    oneAtATime: true,
    async all() {
      const outputs = await run(feeds(false));
      const values = [];
      for (const name of targets ? ['y'] : session.outputNames) values.push({ name, data: await take(outputs, name) });
      free(outputs);
      return values;
    },
    async full() {
      const outputs = await run(feeds(true));
      await take(outputs, 'y');
      free(outputs);
    },
    async resident() {
      const outputs = await run(held);
      return () => free(outputs);
    },
    async close() {
      await session.release();
      for (const buffer of Object.values(buffers)) buffer.destroy();
    },
  };
}
