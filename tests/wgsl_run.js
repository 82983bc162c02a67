/**
 * Runs WGSL kernels on the page's GPU for the tests of the WebGPU target.
 *
 * The argument: `kernels` (WGSL texts), `buffers` (bytes; `data` names an array to fill it with),
 * `steps` (kernel, buffers, params, grid), `read` (buffers to send back as "out<i>"). Every buffer lies
 * between guard words; the reply lists the buffers whose guards were overwritten. With `validate` the
 * texts are only checked by the browser's WGSL compiler.
 */
const GUARD = 256; // bytes on either side: an offset that every device can bind
const WORD = 0xdeadbeef;

let device;
const pipelines = new Map(); // by their text: compiling takes longer than running

async function start() {
  for (let attempt = 0; ; attempt++) {
    const adapter = await navigator.gpu?.requestAdapter();
    if (adapter) {
      const wanted = ['shader-f16', 'subgroups', 'timestamp-query'].filter((f) => adapter.features.has(f));
      device = await adapter.requestDevice({ requiredFeatures: wanted });
      pipelines.clear();
      device.lost.then(() => { device = undefined; });
      return;
    }
    if (attempt === 20) throw new Error('no WebGPU adapter');
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

async function compile(code, only) {
  if (pipelines.has(code)) return pipelines.get(code);
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const info = await module.getCompilationInfo();
  const error = await device.popErrorScope();
  const messages = info.messages.filter((m) => m.type === 'error').map((m) => `${m.lineNum}:${m.linePos} ${m.message}`);
  if (error || messages.length) throw new Error(`${messages.join('\n') || error.message}\n${code}`);
  if (only) return undefined;
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } });
  pipelines.set(code, pipeline);
  return pipeline;
}

export default async function (job, io) {
  if (!device) await start();
  const used = [];
  for (const code of job.kernels) used.push(await compile(code, job.validate));
  if (job.validate) return {};
  const buffers = [];
  for (const { bytes, data } of job.buffers) {
    const words = new Uint32Array((2 * GUARD + bytes) / 4).fill(WORD);
    if (data) new Uint8Array(words.buffer).set(new Uint8Array(await io.read(data)), GUARD);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = device.createBuffer({ size: words.byteLength, usage });
    device.queue.writeBuffer(buffer, 0, words);
    buffers.push({ buffer, bytes });
  }
  device.pushErrorScope('validation');
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (const { kernel, bind, params, grid } of job.steps) {
    if (grid.some((g) => g === 0)) continue;
    const entries = bind.map((b, binding) => (
      { binding, resource: { buffer: buffers[b].buffer, offset: GUARD, size: buffers[b].bytes } }));
    if (params.length) {
      const words = new Int32Array(Math.ceil(params.length / 4) * 4);
      words.set(params);
      const uniform = device.createBuffer({ size: words.byteLength, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
      device.queue.writeBuffer(uniform, 0, words);
      entries.push({ binding: bind.length, resource: { buffer: uniform } });
    }
    const group = device.createBindGroup({ layout: used[kernel].getBindGroupLayout(0), entries });
    pass.setPipeline(used[kernel]);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(...grid);
  }
  pass.end();
  const readers = buffers.map(({ bytes }) => device.createBuffer(
    { size: bytes + 2 * GUARD, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST }));
  buffers.forEach(({ buffer }, i) => encoder.copyBufferToBuffer(buffer, 0, readers[i], 0, readers[i].size));
  device.queue.submit([encoder.finish()]);
  const error = await device.popErrorScope();
  if (error) throw new Error(error.message);
  const broken = [];
  for (const [i, reader] of readers.entries()) {
    await reader.mapAsync(GPUMapMode.READ);
    const words = new Uint32Array(reader.getMappedRange());
    const n = GUARD / 4;
    if (![...words.subarray(0, n), ...words.subarray(-n)].every((w) => w === WORD)) broken.push(i);
    if (job.read.includes(i)) await io.write(`out${i}`, words.slice(n, -n));
    reader.destroy();
  }
  for (const { buffer } of buffers) buffer.destroy();
  return { broken, features: [...device.features] };
}
