// Times the steps of one wasm module, each beside a measurement of the core's ceiling made at that moment.
export default async function ({ rounds }, io) {
  const load = async (name) => new WebAssembly.Module(await io.read(name));
  const run = (module, bytes) => {
    const memory = new WebAssembly.Memory({ initial: 1024 + (bytes >> 16), maximum: 1024 + (bytes >> 16) });
    return { memory, exports: new WebAssembly.Instance(module, { env: { memory } }).exports };
  };
  const sizes = new Int32Array(await io.read('sizes'));
  const { memory, exports } = run(await load('module'), sizes[0]);
  const base = exports.arena(), end = base + sizes[0] + 65536;
  exports.__stack_pointer.value = end;
  const values = new Float32Array(memory.buffer, base, sizes[0] >> 2);
  for (let k = 0; k < values.length; k++) values[k] = ((k * 7919) % 1000) / 1000 - 0.5;
  exports.setup(1, Math.ceil(end / 64) * 64);
  const peak = run(await load('peak'), 0).exports;
  const count = exports.step_count(), best = Array(count).fill(Infinity), repeats = [];
  let ceiling = Infinity;
  const time = (f) => { const start = performance.now(); f(); return performance.now() - start; };
  for (let k = 0; k < count; k++) {  // enough repeats to fill 4 ms
    let ms = time(() => exports.run_steps(0, k, k + 1));
    ms = Math.min(ms, time(() => exports.run_steps(0, k, k + 1)));
    repeats[k] = Math.max(1, Math.ceil(4 / Math.max(ms, 0.01)));
  }
  for (let r = 0; r < rounds; r++) {
    ceiling = Math.min(ceiling, time(() => peak.peak(200000, 1e-9)));
    for (let k = 0; k < count; k++)
      best[k] = Math.min(best[k], time(() => { for (let i = 0; i < repeats[k]; i++) exports.run_steps(0, k, k + 1); }) / repeats[k]);
  }
  return { best, ceiling: 200000 * 12 * 8 / ceiling / 1e6 };
}
