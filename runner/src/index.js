/**
 * The descriptor runner: runs a transpiled neural network in a web page.
 *
 *     const model = await load('./models/style/');
 *     const { stylized } = await model.run({ image: { data, shape: [1, 3, 256, 256] } });
 *
 * | file | what |
 * | --- | --- |
 * | descriptor.js, rules.js, fetch.js, patience.js | what the transpiler wrote, fetched and checked |
 * | model.js, tensors.js, int.js | the model that a page holds: inputs, queue, outputs, views |
 * | options.js | what may be asked of `load`, `run` and `loop` |
 * | loop.js | runs on a stream of frames |
 * | picture/, pictures.js | pictures as inputs, and their worker; outputs with labels |
 * | pictures-gpu.js | pictures that are resized on the GPU |
 * | loops-gpu.js | loops on WebGPU whose end only the device finds |
 * | wasm/, worker.js, worklet.js | the wasm backend, and its scripts in other threads |
 * | start.js, serve.js | where the workers' scripts are; how they answer |
 * | webgpu/ | the WebGPU backend |
 * | types.d.ts, errors.js | the API's types; its one error |
 *
 * @typedef {import('./descriptor.js').Descriptor} Descriptor
 * @typedef {import('./fetch.js').Files} Files
 * @typedef {import('./types.d.ts').Where} Where
 * @typedef {import('./types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('./types.d.ts').Rejection} Rejection
 */
import { WebDNNError, ours } from './errors.js';
import { open } from './fetch.js';
import { PageModel } from './loop.js';
import { ASK, LOAD, PREPARE, options as checked } from './options.js';
import { Aside } from './picture/aside.js';
import { Pictures } from './picture/image.js';
import * as wasm from './wasm/engine.js';
import * as modules from './wasm/module.js';
import { hire } from './wasm/workers.js';
import * as device from './webgpu/device.js';
import * as webgpu from './webgpu/engine.js';

export { FORMAT } from './descriptor.js';
export { WebDNNError };
export { instantiate } from './worklet.js';

/** What the table cannot say of the options of `load`. @param {LoadOptions} options */
function together({ backend, device, precision, recover, threads, variant, worker }) {
  /** @param {unknown} wrong @param {string} message */
  const refuse = (wrong, message) => {
    if (wrong) throw new WebDNNError('option', message);
  };
  refuse(
    device && backend === 'wasm',
    'device: a GPU device was given, but the backend asked for is wasm',
  );
  refuse(
    precision === 'f16' && (backend === 'wasm' || variant === 'plain'),
    'precision: half precision is of WebGPU with shader-f16, which backend or variant leave out',
  );
  refuse(
    device && recover,
    'recover: the device is yours; load the model again with a new one',
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
    return await work(files, await files.until(files.descriptor()));
  } catch (error) {
    throw ours(error);
  } finally {
    files.close();
  }
}

/** Whether pictures should not be read in this thread. @param {LoadOptions} options */
const onPage = (options) => typeof document === 'object' && options.worker !== false;

const WORKER = 'the worker (is its script whole? `worker: false` does without)';
/** @param {number} ms @returns {Promise<undefined>} */
const sleep = (ms) =>
  new Promise((resolve) => {
    setTimeout(() => resolve(undefined), ms);
  });

/** What another backend may do better. */
const GPU_FAILS = ['kernel', 'driver', 'device-lost', 'memory', 'missing-file'];

/** @type {typeof import('./types.d.ts').load} */
export const load = async (where, options = {}) => {
  together(checked('load', LOAD, options));
  return opened(where, options, async (files, model) => {
    const { weights } = model;
    const wanted = options.backend ?? (options.device || options.precision === 'f16' ? 'webgpu' : undefined);
    /** @type {Rejection[]} */
    const rejected = [];
    /** Variants of wasm that were passed over. @type {Rejection[]} */
    const passed = [];
    const doors = files.doors(model);
    const noWorker = modules.whyNoWorker(options, doors.worker.script);
    const choice = wanted !== 'webgpu' && modules.settle(model, options, passed, noWorker);
    /** @type {ReturnType<typeof onWasm> | undefined} */
    let early;

    if (wanted !== 'wasm') {
      // Before the graphics adapter, which keeps this thread for a while.
      if (choice && !('code' in choice)) files.begin(model);
      /** @type {() => void} */
      let slow = () => {};
      /** @type {Promise<undefined>} */
      const soon = new Promise((resolve) => {
        slow = () => resolve(undefined);
      });
      const settling = device.settle(model, options, slow);
      const looking = files.until(
        files.during('driver', 'the graphics adapter', settling),
        device.release,
      );
      let settled = looking.catch(lateGpu);
      if (choice && !('code' in choice)) {
        if (!(await Promise.race([settled, soon]))) {
          early = onWasm(choice);
          const usable = settled.then((found) => ('device' in found ? found : Promise.reject()));
          const first = await Promise.any([usable, early]).catch(() => undefined);
          if (first && 'engine' in first) {
            settling.then(device.release, () => {});
            const reason = 'WebAssembly was ready before a graphics adapter was found';
            settled = Promise.resolve({ code: 'no-adapter', reason });
          }
        }
      }
      const found = await settled;
      if ('device' in found) {
        early?.then(
          ({ engine }) => engine.dispose(),
          () => {},
        );
        early = undefined;
        try {
          return loaded(await onGpu(found));
        } catch (error) {
          if (!choice || 'code' in choice) throw error;
          rejected.push({ name: 'webgpu', ...lateGpu(error) });
        }
      } else rejected.push({ name: 'webgpu', ...found });
    }
    if (choice && !('code' in choice)) {
      files.finish();
      const built = await (early ?? onWasm(choice));
      rejected.push(...passed);
      return loaded(built);
    }
    if (choice) rejected.push({ name: 'wasm', ...choice });
    throw refusal(rejected);

    /** A failure of WebGPU as a reason against it; others are thrown. @param {any} error */
    function lateGpu(error) {
      if (wanted || !GPU_FAILS.includes(error.code)) throw error;
      return { code: /** @type {WebDNNError} */ (error).code, reason: `${error.message}` };
    }

    /** @param {modules.Choice} choice */
    async function onWasm(choice) {
      const expect = () => files.expect(model, [choice.variant.file, ...weights.shards]);
      /**
       * The calling thread, where workers do not start and the page does not insist.
       * @param {WebDNNError} error
       */
      const instead = (error) => {
        const { code, message } = error;
        const local = options.worker === undefined && modules.settle(model, options, [], message);
        if (!local || 'code' in local) throw error;
        passed.push({ name: choice.variant.name, code, reason: message });
        choice = local;
        expect();
        return local;
      };
      expect();
      const building = wasm.build(model, choice, files, options, instead);
      const what = choice.place === 'worker' ? WORKER : 'WebAssembly';
      const engine = await files.until(files.during('worker', what, building), (late) =>
        late.dispose(),
      );
      const { variant, threads, reason } = choice;
      return { engine, name: /** @type {const} */ ('wasm'), variant: variant.name, threads, reason };
    }

    /** @param {device.Choice} choice */
    async function onGpu(choice) {
      const { precision, passed: half, reason, target } = choice;
      files.expect(model, [target.file, ...weights.shards]);
      const engine = await gpuEngine(choice, files);
      const { variant } = engine;
      if (half) rejected.push({ name: 'webgpu-f16', ...half });
      const name = /** @type {const} */ ('webgpu');
      return { engine, name, precision, variant, threads: 1, reason };
    }

    /** @param {device.Choice} choice @param {Files} files */
    function gpuEngine(choice, files) {
      const building = webgpu.build(model, choice, files, options);
      const what = files.during('driver', 'the graphics driver', painting(building, choice));
      return files.until(what, (late) => late.dispose());
    }

    /**
     * The engine, and what reads pictures on its device, if the model takes any.
     * @param {ReturnType<typeof webgpu.build>} building @param {device.Choice} choice
     */
    async function painting(building, { device }) {
      if (!model.inputs.some(({ image }) => image)) return building;
      const made = import('./pictures-gpu.js').then(({ Painter }) => Painter.on(device));
      made.catch(() => {}); // pictures are read elsewhere
      const engine = await building;
      const painter = await Promise.race([made, sleep(1000)]).catch(() => undefined);
      if (!painter) return engine;
      /** @template A @param {(job: A) => Promise<any>} run */
      const used = (run) => async (/** @type {A & { inputs: object[] }} */ job) => {
        const [done] = await Promise.allSettled([run(job)]);
        await painter.again(job.inputs);
        if (done.status === 'rejected') throw done.reason;
        return done.value;
      };
      return {
        ...engine,
        run: used(engine.run),
        profile: used(engine.profile),
        paint: painter.paint.bind(painter),
        dispose() {
          painter.dispose();
          engine.dispose();
        },
      };
    }

    /** An engine on a new device, after a loss. The files are in the browser's cache, if anywhere. */
    async function again(/** @type {import('./types.d.ts').Precision} */ precision) {
      const rest = { ...options, backend: /** @type {const} */ ('webgpu'), precision };
      delete rest.progress;
      delete rest.signal;
      const files = open(where, rest, { cache: 'force-cache' });
      try {
        const settling = device.settle(model, rest);
        const settled = await files.until(settling, device.release);
        if ('code' in settled) throw refusal([{ name: 'webgpu', ...settled }]);
        return await gpuEngine(settled, files);
      } finally {
        files.close();
      }
    }

    /**
     * @param {Omit<import('./types.d.ts').Backend, 'rejected' | 'precision'> & {
     *   engine: import('./model.js').Engine, precision?: import('./types.d.ts').Precision,
     * }} built
     * @returns {import('./types.d.ts').Model<any, any>}
     */
    function loaded({ engine, precision = 'f32', ...backend }) {
      const { checks, targets } = model;
      if (targets['webgpu-f16'])
        console.info(`webdnn: ${model.name} computes in ${precision} on ${backend.name}`);
      if (options.debug && !checks) {
        engine.dispose();
        const how = 'transpile the model with --debug (in Python debug=True)';
        throw new WebDNNError('option', `debug: the model computes positions; ${how} to check them`);
      }
      const mend = options.recover && backend.name === 'webgpu' ? () => again(precision) : undefined;
      const held = options.debug ? checks : [];
      const pictures = new Pictures();
      const aside =
        onPage(options) && !noWorker
        ? new Aside(() => hire(1, options.worker, doors.pictures), pictures)
        : undefined;
      return new PageModel(model, engine, { ...backend, precision, rejected }, mend, held, pictures, aside);
    }
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
    const settled = modules.settle(model, { ...options, worker: false }, rejected, '');
    if ('code' in settled) throw refusal([{ name: 'wasm', ...settled }]);
    files.expect(model, [settled.variant.file, ...model.weights.shards]);
    const weights = new Uint8Array(model.weights.bytes);
    const [module] = await files.until(
      Promise.all([
        modules.compile(model, settled.variant, files),
        files.weights(model, (offset, bytes) => weights.set(bytes, offset)),
      ]),
    );
    return {
      descriptor: model,
      variant: settled.variant.name,
      module,
      weights: weights.buffer,
      rejected,
    };
  });
