/**
 * The descriptor runner: runs a transpiled neural network in a web page.
 *
 *     const model = await load('./models/style/');
 *     const { stylized } = await model.run({ image: { data, shape: [1, 3, 256, 256] } });
 *
 * | file | what |
 * | --- | --- |
 * | descriptor.js, rules.js, fetch.js | what the transpiler wrote, fetched and checked |
 * | model.js, tensors.js, int.js | the model that a page holds: inputs, queue, outputs, views |
 * | options.js | what may be asked of `load` and `run` |
 * | picture/ | pictures as inputs; outputs with labels |
 * | wasm/, worker.js, worklet.js | the wasm backend, and its scripts in other threads |
 * | webgpu/ | the WebGPU backend |
 * | types.d.ts, errors.js | the API's types; its one error |
 *
 * @typedef {import('./descriptor.js').Descriptor} Descriptor
 * @typedef {import('./fetch.js').Files} Files
 * @typedef {import('./types.d.ts').Where} Where
 * @typedef {import('./types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('./types.d.ts').Rejection} Rejection
 */
import { WebDNNError } from './errors.js';
import { open } from './fetch.js';
import { Model } from './model.js';
import { ASK, LOAD, PREPARE, options as checked } from './options.js';
import * as wasm from './wasm/engine.js';
import * as modules from './wasm/module.js';
import * as device from './webgpu/device.js';
import * as webgpu from './webgpu/engine.js';

export { FORMAT } from './descriptor.js';
export { WebDNNError };
export { instantiate } from './worklet.js';

/** What the table cannot say of the options of `load`. @param {LoadOptions} options */
function together({ backend, device, threads, worker }) {
  /** @param {unknown} wrong @param {string} message */
  const refuse = (wrong, message) => {
    if (wrong) throw new WebDNNError('option', message);
  };
  refuse(
    device && backend === 'wasm',
    'device: a GPU device was given, but the backend asked for is wasm',
  );
  refuse(
    worker === false && threads !== undefined && threads > 1,
    `threads: ${threads} threads need workers, but \`worker: false\` was asked for`,
  );
}

/**
 * Fetches model.json, then works under the abort signal; downloads end with it.
 * @template T
 * @param {Where} where
 * @param {LoadOptions} options
 * @param {(files: Files, model: Descriptor) => Promise<T>} work
 */
async function opened(where, options, work) {
  const files = open(where, options);
  try {
    return await work(files, await files.descriptor());
  } finally {
    files.close();
  }
}

/** What another backend may do better. */
const GPU_FAILS = ['kernel', 'driver', 'device-lost', 'memory'];

/** @type {typeof import('./types.d.ts').load} */
export const load = async (where, options = {}) => {
  together(checked('load', LOAD, options));
  return opened(where, options, async (files, model) => {
    /** @type {Rejection[]} */
    const rejected = [];
    const wanted = options.backend ?? (options.device ? 'webgpu' : undefined);
    if (!wanted) files.keep();
    for (const name of /** @type {const} */ (['webgpu', 'wasm'])) {
      if (wanted && wanted !== name) continue;
      const refused = rejected.length;
      const settled =
        name === 'webgpu'
          ? await files.until(device.settle(model, options), device.release)
          : modules.settle(model, options, rejected);
      if ('code' in settled) {
        rejected.length = refused;
        rejected.push({ name, ...settled });
        continue;
      }
      const onGpu = 'device' in settled;
      const main = onGpu ? /** @type {any} */ (model.targets.webgpu).file : settled.variant.file;
      files.expect(model, [main, ...model.weights.shards]);
      /** @type {Promise<import('./model.js').Engine & { variant?: string }>} */
      const building = onGpu
        ? webgpu.build(model, settled, files, options)
        : wasm.build(model, settled, files, options);
      let engine;
      try {
        engine = await files.until(building, (late) => late.dispose());
      } catch (error) {
        const { code, message } = /** @type {WebDNNError} */ (error);
        if (wanted || !onGpu || !model.targets.wasm || !GPU_FAILS.includes(code)) throw error;
        rejected.push({ name, code, reason: message });
        continue;
      }
      const variant = engine.variant ?? /** @type {modules.Choice} */ (settled).variant.name;
      const threads = onGpu ? 1 : settled.threads;
      /** @type {import('./types.d.ts').Model<any, any>} */
      const loaded = new Model(model, engine, {
        name,
        variant,
        threads,
        reason: settled.reason,
        rejected,
      });
      return loaded;
    }
    throw refusal(rejected);
  });
};

/** The error that says why nothing can run the model. @param {Rejection[]} rejected */
function refusal(rejected) {
  const [{ code }] = rejected.slice(-1);
  const reasons = rejected.map(({ name, reason }) => `${name}: ${reason}`);
  return new WebDNNError(code, `this model cannot run here: ${reasons.join('; ')}`);
}

/** @type {typeof import('./types.d.ts').requirements} */
export const requirements = async (where, options = {}) =>
  opened(where, checked('requirements', ASK, options), async (_, { targets }) => {
    if (!targets.webgpu)
      throw refusal([
        {
          name: 'webgpu',
          code: 'not-in-descriptor',
          reason: 'the descriptor was written without the webgpu target',
        },
      ]);
    const { features, limits } = targets.webgpu;
    return {
      requiredFeatures: features,
      requiredLimits: limits,
      optionalFeatures: device.OPTIONAL,
    };
  });

/** @type {typeof import('./types.d.ts').prepare} */
export const prepare = async (where, options = {}) =>
  opened(where, checked('prepare', PREPARE, options), async (files, model) => {
    /** @type {Rejection[]} */
    const rejected = [];
    const settled = modules.settle(model, { ...options, worker: false }, rejected);
    if ('code' in settled) throw refusal([{ name: 'wasm', ...settled }]);
    files.expect(model, [settled.variant.file, ...model.weights.shards]);
    const weights = new Uint8Array(model.weights.bytes);
    const [module] = await Promise.all([
      modules.compile(model, settled.variant, files),
      files.weights(model, (offset, bytes) => weights.set(bytes, offset)),
    ]);
    return {
      descriptor: model,
      variant: settled.variant.name,
      module,
      weights: weights.buffer,
      rejected,
    };
  });
