/**
 * Times one descriptor: load, first run, warm runs, and each kernel: the page's half of
 * `webdnn bench`. Times are in milliseconds and include what a page pays, inputs and outputs copied.
 *
 * @typedef {import('./execute.js').Feed} Feed
 * @typedef {import('./boot.js').Io} Io
 * @typedef {{
 *   descriptor: string, options: { backend: string }, inputs: Feed[],
 *   reps: number, seconds: number, profile: number,
 * }} Argument  `seconds` ends the warm runs early; `profile` is how many profiled runs to make
 */
import { PATIENCE, tensors } from './execute.js';

const MOST_GROUPS = 65535;

/** @param {Argument} argument @param {Io} io */
export default async function ({ descriptor, options, inputs: feeds, reps, seconds, profile }, io) {
  const { load } = await import(`${descriptor}model.js`);
  const inputs = await tensors(feeds, io);
  if (options.backend === 'webgpu') await adapter();
  const begin = performance.now();
  const model = await load({ timeout: PATIENCE, ...options });
  const loaded = performance.now();
  try {
    await model.run(inputs);
    const first = performance.now();
    const warm = [];
    while (warm.length < reps && (warm.length === 0 || performance.now() - first < 1000 * seconds)) {
      const start = performance.now();
      await model.run(inputs);
      warm.push(performance.now() - start);
    }
    /** @type {{ name: string, origin: string, ms: number }[][]} */
    const profiles = [];
    const peak = profile && model.backend.name === 'webgpu' ? await multiplyAdds() : null;
    for (let turn = 0; turn < profile; turn++) profiles.push(await model.profile(inputs));
    const { backend } = model;
    return { backend, load: loaded - begin, first: first - loaded, warm, profiles, peak };
  } finally {
    model.dispose();
  }
}

/**
 * Waits for the graphics adapter: a browser that has just started may answer null for half a second,
 * and the runner, which asks once a page, would take that for its answer.
 */
async function adapter() {
  for (let i = 0; i < 50; i++) {
    const found = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
    if (found || !navigator.gpu) return found;
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
  return null;
}

/**
 * Floating-point operations a second of a stream of multiply-adds in registers: what this device
 * could do if nothing else cost time. The difference of two lengths, so that no waiting counts.
 */
async function multiplyAdds() {
  const found = await adapter();
  if (!found) return null;
  const device = await found.requestDevice();
  const [threads, rounds] = [256, 1024];
  const code = `@group(0) @binding(0) var<storage, read_write> y: array<f32>;
    @compute @workgroup_size(${threads}) fn main(@builtin(global_invocation_id) id: vec3u) {
      var a = vec4f(f32(id.x)); var b = a + 1; var c = a + 2; var d = a + 3; let k = vec4f(0.999);
      for (var i = 0; i < ${rounds}; i++) { a = fma(a, k, b); b = fma(b, k, c); c = fma(c, k, d); d = fma(d, k, a); }
      y[id.x & 1023u] = dot(a + b + c + d, vec4f(1));
    }`;
  const compute = { module: device.createShaderModule({ code }) };
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute });
  const buffer = device.createBuffer({ size: 4096, usage: 128 }); // GPUBufferUsage.STORAGE
  const entries = [{ binding: 0, resource: { buffer } }];
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const fastest = async (/** @type {number} */ groups) => {
    let best = Infinity;
    for (let i = 0; i < 4; i++) {
      const start = performance.now();
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      for (let left = groups; left > 0; left -= MOST_GROUPS) pass.dispatchWorkgroups(Math.min(left, MOST_GROUPS));
      pass.end();
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      best = Math.min(best, performance.now() - start);
    }
    return best;
  };
  let groups = 4;
  let longer = await fastest(groups);
  let shorter = 0;
  while (longer < 25 && groups < 1e7) [groups, shorter, longer] = [2 * groups, longer, await fastest(2 * groups)];
  if (!shorter) shorter = await fastest(groups / 2);
  device.destroy();
  return ((groups / 2) * threads * rounds * 32) / Math.max(longer - shorter, 0.01) * 1000;
}
