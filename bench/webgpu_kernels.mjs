/**
 * Times WGSL kernels one by one on whatever GPU runs this module (webgpu_kernels.py makes the job).
 *
 * Each kernel runs alone in compute passes of several dispatches between timestamps; the least time of
 * the passes counts. Kernels of one group must agree: the first 4,096 words of their outputs are
 * compared with those of the group's first.
 *
 * @typedef {{ code: number, group: string, label: string, slots: { bytes: number, dtype: string, write: boolean }[], params: number[], grid: number[], flops: number }} Task
 */

/** @param {any} gpu @param {{ codes: string[], tasks: Task[] }} job @param {(line: string) => void} log */
export default async function measure(gpu, job, log) {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  const limits = { maxStorageBufferBindingSize: adapter.limits.maxStorageBufferBindingSize, maxBufferSize: adapter.limits.maxBufferSize };
  const device = await adapter.requestDevice({ requiredFeatures: ['timestamp-query', ...['shader-f16', 'subgroups'].filter((f) => adapter.features.has(f))], requiredLimits: limits });
  device.addEventListener('uncapturederror', (/** @type {any} */ e) => log(`error: ${e.error.message.slice(0, 400)}`));
  const { STORAGE = 0x80, COPY_SRC = 4, COPY_DST = 8, MAP_READ = 1, UNIFORM = 0x40, QUERY_RESOLVE = 0x200 } = globalThis.GPUBufferUsage ?? {};
  const make = (/** @type {number} */ size, /** @type {number} */ usage) => device.createBuffer({ size: Math.max(16, Math.ceil(size / 16) * 16), usage });
  const start = performance.now();
  const pipelines = await Promise.all(job.codes.map(async (code) => {
    const module = device.createShaderModule({ code });
    return device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint: 'main' } })
      .catch((/** @type {Error} */ e) => { log(`error: ${e.message.slice(0, 400)}`); return null; });
  }));
  log(`${adapter.info?.description ?? ''}: ${job.codes.length} pipelines in ${Math.round(performance.now() - start)} ms`);

  // Inputs come from one pool of numbers in [-0.5, 0.5), or small integers, bound from its start.
  /** @type {Record<string, any>} */
  const pool = {};
  const most = Math.max(...job.tasks.flatMap((t) => t.slots.map((s) => s.bytes)));
  for (const dtype of new Set(job.tasks.flatMap((t) => t.slots.map((s) => s.dtype)))) {
    const words = new Float32Array(Math.ceil(most / 4));
    const whole = new Int32Array(words.buffer);
    let seed = 1;
    for (let i = 0; i < words.length; i++) {
      seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
      if (dtype === 'f32') words[i] = (seed >>> 8) / 2 ** 24 - 0.5;
      else whole[i] = (seed >>> 8) & 3;
    }
    pool[dtype] = make(words.byteLength, STORAGE | COPY_DST);
    device.queue.writeBuffer(pool[dtype], 0, words);
  }
  const outputs = [0, 1, 2, 3].map(() => make(most, STORAGE | COPY_SRC | COPY_DST));
  const queries = device.createQuerySet({ type: 'timestamp', count: 2 });
  const resolved = make(16, QUERY_RESOLVE | COPY_SRC);
  const reader = make(16, MAP_READ | COPY_DST);
  const words = make(16384, MAP_READ | COPY_DST);

  /** @type {Map<string, Float32Array>} */
  const firsts = new Map();
  const results = [];
  for (const task of job.tasks) {
    const pipeline = pipelines[task.code];
    if (!pipeline) { results.push(null); continue; }
    let written = 0;
    const entries = task.slots.map((s, binding) => ({ binding, resource: { buffer: s.write ? outputs[written++] : pool[s.dtype], size: Math.max(16, s.bytes) } }));
    if (task.params.length) {
      const data = new Int32Array(Math.ceil(task.params.length / 4) * 4);
      data.set(task.params);
      const uniform = make(data.byteLength, UNIFORM | COPY_DST);
      device.queue.writeBuffer(uniform, 0, data);
      entries.push({ binding: entries.length, resource: { buffer: uniform, size: data.byteLength } });
    }
    const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
    let best = Infinity;
    let repeat = 1;
    for (let round = 0; round < 4; round++) {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass({ timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } });
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      for (let i = 0; i < repeat; i++) pass.dispatchWorkgroups(...task.grid);
      pass.end();
      encoder.resolveQuerySet(queries, 0, 2, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, reader, 0, 16);
      device.queue.submit([encoder.finish()]);
      await reader.mapAsync(1);
      const [a, b] = new BigInt64Array(reader.getMappedRange().slice(0));
      reader.unmap();
      const us = Number(b - a) / 1e3 / repeat;
      if (round) best = Math.min(best, us);
      repeat = Math.max(1, Math.min(30, Math.round(400 / us)));
    }
    const encoder = device.createCommandEncoder();
    const bytes = Math.min(16384, Math.floor((task.slots.find((s) => s.write)?.bytes ?? 0) / 16) * 16);
    encoder.copyBufferToBuffer(outputs[0], 0, words, 0, bytes);
    device.queue.submit([encoder.finish()]);
    await words.mapAsync(1);
    const found = new Float32Array(words.getMappedRange().slice(0, bytes));
    words.unmap();
    const first = firsts.get(task.group);
    let difference = 0;
    if (first) found.forEach((x, i) => { difference = Math.max(difference, Math.abs(x - first[i])); });
    else firsts.set(task.group, found);
    results.push({ us: best, difference, size: Math.sqrt(found.reduce((s, x) => s + x * x, 0) / found.length) });
  }
  return results;
}
