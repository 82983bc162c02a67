/**
 * Loads one descriptor with one choice of target and runs it on given inputs: the page's half of
 * `webdnn check`.
 *
 * @typedef {{ name: string, dtype: string, shape: number[], array: string }} Feed
 *   `array` names the bytes to read; the dtype `raster` is a picture, RGBA
 * @typedef {{ descriptor: string, options: object, runs: { inputs: Feed[] }[], layers: boolean }} Argument
 *   `layers` asks for the imported values that are still in memory after a run
 * @typedef {import('./boot.js').Io} Io
 */

/** Public dtype → the typed array whose bytes are sent. @type {Record<string, any>} */
const ARRAYS = {
  float32: Float32Array, float16: Float32Array, float64: Float64Array, bfloat16: Float32Array,
  float8_e4m3fn: Float32Array, float8_e4m3fnuz: Float32Array, float8_e5m2: Float32Array,
  float8_e5m2fnuz: Float32Array, float8_e8m0fnu: Float32Array, float4_e2m1fn: Float32Array,
  int2: Int8Array, uint2: Uint8Array, int4: Int8Array, uint4: Uint8Array,
  int8: Int8Array, uint8: Uint8Array, bool: Uint8Array, int16: Int16Array, uint16: Uint16Array,
  int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array,
};

/** Milliseconds: an adapter that computes on the processor may compile one kernel for minutes. */
export const PATIENCE = 600_000;

/** Reads a run's inputs. @param {Feed[]} feeds @param {Io} io */
export async function tensors(feeds, io) {
  /** @type {Record<string, object>} */
  const inputs = {};
  for (const { name, dtype, shape, array } of feeds) {
    const bytes = await io.read(array);
    inputs[name] =
      dtype === 'raster'
        ? { data: new Uint8ClampedArray(bytes), width: shape[1], height: shape[0] }
        : { dtype, shape, data: new ARRAYS[dtype](bytes) };
  }
  return inputs;
}

/** @param {Argument} argument @param {Io} io */
export default async function ({ descriptor, options, runs, layers }, io) {
  /** @param {string} prefix @param {Record<string, any>} values */
  async function written(prefix, values) {
    const described = [];
    for (const [position, [name, tensor]] of Object.entries(values).entries()) {
      const array = `${prefix}/${position}`;
      await io.write(array, tensor.data);
      described.push({ name, dtype: tensor.dtype, shape: tensor.shape, type: tensor.data.constructor.name, array });
    }
    return described;
  }
  const { load } = await import(`${descriptor}model.js`);
  const begin = performance.now();
  const model = await load({ timeout: PATIENCE, ...options });
  const loadMs = performance.now() - begin;
  try {
    const results = [];
    for (const [index, run] of runs.entries()) {
      const inputs = await tensors(run.inputs, io);
      await model.reset(); // what a run remembers must not reach the next one
      const start = performance.now();
      const outputs = await model.run(inputs);
      const ms = performance.now() - start;
      results.push({
        ms,
        outputs: await written(`out/${index}`, outputs),
        layers: layers ? await written(`layer/${index}`, await model.stored()) : [],
      });
    }
    return { backend: model.backend, loadMs, runs: results };
  } finally {
    model.dispose();
  }
}
