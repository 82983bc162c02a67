/**
 * The wasm backend: which of the four modules, and where it runs.
 *
 * | place | memory | the page reaches it |
 * | --- | --- | --- |
 * | a pool of workers (isolated page) | shared | directly |
 * | one worker | the worker's | by transferred copies in recycled buffers |
 * | the calling thread (`worker: false`, Node, service workers) | its own | directly |
 *
 * The page's thread never blocks: it posts messages and awaits their answers.
 *
 * @typedef {import('./descriptor.js').Descriptor} Descriptor
 * @typedef {import('./descriptor.js').WasmTarget} WasmTarget
 * @typedef {import('./descriptor.js').WasmVariant} WasmVariant
 * @typedef {import('./fetch.js').Files} Files
 * @typedef {import('./tensors.js').Elements} Elements
 * @typedef {import('./model.js').Engine} Engine
 * @typedef {import('./model.js').Job} Job
 * @typedef {import('./types.d.ts').ErrorCode} ErrorCode
 * @typedef {import('./types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('./types.d.ts').Rejection} Rejection
 * @typedef {{
 *   variant: WasmVariant, threads: number, place: 'local' | 'worker', reason: string,
 * }} Choice
 * @typedef {{ code: ErrorCode, reason: string }} Refusal
 * @typedef {ReturnType<typeof hire>} Crew
 */
import { upper } from './descriptor.js';
import { WebDNNError } from './errors.js';
import { evaluate } from './int.js';
import {
  access,
  allocate,
  attach,
  configurator,
  kernelError,
  local,
  named,
  plan,
} from './instance.js';
import { elements } from './tensors.js';

/**
 * A module whose one function is a 128-bit instruction; `validate` says whether the engine knows
 * it.
 * @param {number[]} code
 */
const knows = (...code) =>
  WebAssembly.validate(
    Uint8Array.of(
      0,
      97,
      115,
      109,
      1,
      0,
      0,
      0,
      1,
      5,
      1,
      96,
      0,
      1,
      123,
      3,
      2,
      1,
      0,
      10,
      code.length + 4,
      1,
      code.length + 2,
      0,
      ...code,
      11,
    ),
  );
const hasSimd = () => knows(65, 0, 253, 15, 253, 98); // i8x16.popcnt(splat)
const hasRelaxed = () => knows(65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2); // relaxed_swizzle

/**
 * The best module for this place, or why there is none. Better ones that were passed over are added
 * to `rejected`.
 * @param {Descriptor} model
 * @param {LoadOptions} options
 * @param {Rejection[]} rejected
 * @returns {Choice | Refusal}
 */
export function settle(model, options, rejected) {
  const target = model.targets.wasm;
  if (!target)
    return {
      code: 'not-in-descriptor',
      reason: 'the descriptor was written without the wasm target (webdnn transpile --target wasm)',
    };
  if (!hasSimd())
    return { code: 'no-simd', reason: "this browser's WebAssembly has no 128-bit SIMD" };
  const noWorker = typeof Worker === 'undefined' && typeof options.worker !== 'function';
  const inThread = options.worker === false || noWorker;
  const threads = options.threads ?? Math.min(4, globalThis.navigator?.hardwareConcurrency ?? 1);

  /**
   * @param {string} name
   * @param {WasmVariant | undefined} variant
   * @returns {Refusal | undefined}
   */
  const refuse = (name, variant) => {
    if (!variant)
      return {
        code: 'not-in-descriptor',
        reason: `the descriptor was written without the variant "${name}"`,
      };
    if (variant.relaxed && !hasRelaxed())
      return { code: 'no-relaxed-simd', reason: "this browser's WebAssembly has no relaxed SIMD" };
    if (!variant.threads) return undefined;
    if (noWorker) return { code: 'no-worker', reason: 'there is no Worker in this place' };
    if (inThread) return { code: 'single-thread', reason: '`worker: false` was asked for' };
    if (threads === 1 && !options.variant) {
      return {
        code: 'single-thread',
        reason: options.threads ? '`threads: 1` was asked for' : 'this machine has one core',
      };
    }
    if (globalThis.crossOriginIsolated !== true) {
      return {
        code: 'not-isolated',
        reason:
          'the page is not cross-origin isolated, so it has no shared memory; send the headers ' +
          '"Cross-Origin-Opener-Policy: same-origin" and ' +
          '"Cross-Origin-Embedder-Policy: require-corp" with it',
      };
    }
    if (typeof SharedArrayBuffer === 'undefined') {
      // WebKitGTK, even when isolated
      return { code: 'no-shared-memory', reason: 'this browser has no SharedArrayBuffer' };
    }
    return undefined;
  };

  const names = options.variant
    ? [options.variant]
    : ['relaxed-threads', 'plain-threads', 'relaxed', 'plain'];
  /** @type {Refusal | undefined} */
  let refusal;
  for (const name of names) {
    const variant = target.variants.find((v) => v.name === name);
    refusal = refuse(name, variant);
    if (variant && !refusal) {
      const count = variant.threads ? threads : 1;
      const simd = variant.relaxed ? 'relaxed' : 'plain';
      const where = inThread ? ', the calling one' : '';
      return {
        variant,
        threads: count,
        place: inThread ? 'local' : 'worker',
        reason: `${simd} SIMD, ${count === 1 ? '1 thread' : `${count} threads`}${where}`,
      };
    }
    rejected.push({ name, .../** @type {Refusal} */ (refusal) });
  }
  return /** @type {Refusal} */ (refusal);
}

/** @param {Descriptor} model @param {WasmVariant} variant @param {Files} files */
export async function compile(model, variant, files) {
  const bytes = await files.file(model, variant.file);
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    throw kernelError(error);
  }
}

/**
 * The engine, its weights in place.
 * @param {Descriptor} model
 * @param {Choice} choice
 * @param {Files} files
 * @param {LoadOptions} options
 */
export async function build(model, choice, files, options) {
  const started = start();
  try {
    const [engine] = await Promise.all([
      started,
      files.weights(model, async (offset, bytes) => (await started).load(offset, bytes)),
    ]);
    await engine.prepare();
    return engine;
  } catch (error) {
    started.then(
      (engine) => engine.dispose(),
      () => {},
    );
    throw error;
  }

  async function start() {
    // Workers load their script while the module is fetched and compiled.
    const crew = choice.place === 'worker' ? hire(choice.threads, options.worker) : undefined;
    const dismiss = () => crew?.dismiss();
    files.stopped.addEventListener('abort', dismiss); // also while a script never answers
    try {
      const module = await compile(model, choice.variant, files);
      if (!crew) return inPlace(local(model, module));
      return await (choice.variant.threads
        ? pool(model, module, crew)
        : worker(model, module, crew));
    } catch (error) {
      dismiss();
      throw error;
    } finally {
      files.stopped.removeEventListener('abort', dismiss);
    }
  }
}

/**
 * The synchronous engine behind the asynchronous interface.
 * @param {ReturnType<typeof local>} engine
 */
export const inPlace = (engine) => ({
  ...engine,
  /** @param {Job} job */
  run: async (job) => engine.runSync(job),
  /** @param {Job} job */
  profile: async (job) => engine.profile(job),
  /** @param {any} entry @param {number} first @param {number} count */
  read: async (entry, first, count) => engine.read(entry, first, count),
});

/**
 * Several workers on shared memory.
 * @param {Descriptor} model @param {WebAssembly.Module} module @param {Crew} crew
 */
async function pool(model, module, crew) {
  const threads = crew.calls.length;
  const layout = plan(model, module, true, threads, threads + 1);
  const memory = allocate(model, layout, true);
  // The page's own instance sets sizes and writes `cancel`; it goes first, so that the static data
  // is in place before a worker could make this thread wait for it.
  const exports = attach(module, memory, layout, threads);
  const configure = configurator(model, exports, layout, threads);
  const cancelled = new Int32Array(memory.buffer, exports.cancel(), 1);
  const port = access(model, memory, layout);
  /** @param {string} name @param {(thread: number) => unknown[]} [args] */
  const all = (name, args = () => []) =>
    Promise.all(crew.calls.map((call, thread) => call(name, args(thread))));
  await all('join', (thread) => [{ module, memory, layout, thread }]);
  return {
    ...port,
    viewKind: /** @type {const} */ ('direct-shared'),
    stored: model.targets.wasm?.stored,
    failed: crew.failed,
    async prepare() {
      configure(upper(model));
      await all('prepare');
    },
    /** @param {Job} job */
    async run(job) {
      configure(job.dims);
      port.put(job);
      Atomics.store(cancelled, 0, 0);
      await all('run');
      return port.results(job);
    },
    /** @param {Job} job */
    async profile(job) {
      configure(job.dims);
      port.put(job);
      Atomics.store(cancelled, 0, 0);
      return named(model, (await all('profile'))[0]);
    },
    /** @param {any} entry @param {number} first @param {number} count */
    read: async (entry, first, count) => port.read(entry, first, count),
    cancel() {
      Atomics.store(cancelled, 0, 1);
    },
    dispose: crew.dismiss,
  };
}

/**
 * One worker that owns the memory.
 * @param {Descriptor} model @param {WebAssembly.Module} module @param {Crew} crew
 */
async function worker(model, module, crew) {
  const target = /** @type {WasmTarget} */ (model.targets.wasm);
  const [call] = crew.calls;
  await call('own', [{ model, module }]);
  /** Buffers of the largest size of each input, on their way or waiting. @type {ArrayBuffer[][]} */
  const spare = target.inputs.map(() => []);
  return {
    viewKind: /** @type {const} */ ('staging'),
    stored: target.stored,
    failed: crew.failed,
    /** @param {'inputs' | 'outputs'} kind @param {number} i */
    view: (kind, i) =>
      elements(target[kind][i].dtype, evaluate(target[kind][i].elements, upper(model))),
    /** @param {number} offset @param {Uint8Array<ArrayBuffer>} bytes */
    load: (offset, bytes) => call('load', [offset, bytes], [bytes.buffer]),
    prepare: () => call('prepare'),
    reset: () => call('reset'),
    /** @param {number} i @param {number} length @returns {Elements} */
    take(i, length) {
      const buffer =
        spare[i].pop() ?? new ArrayBuffer(4 * evaluate(target.inputs[i].elements, upper(model)));
      return elements(target.inputs[i].dtype, buffer).subarray(0, length);
    },
    /** @param {Job} job @returns {Promise<Elements[]>} */
    async run(job) {
      const { inputs, outputs } = await call('run', [job], buffers(job));
      inputs.forEach((/** @type {Elements} */ array, /** @type {number} */ i) =>
        spare[i].push(/** @type {ArrayBuffer} */ (array.buffer)),
      );
      return outputs;
    },
    /** @param {Job} job */
    profile: (job) => call('profile', [job], buffers(job)),
    /** @param {any} entry @param {number} first @param {number} count */
    read: (entry, first, count) => call('read', [entry, first, count]),
    cancel() {},
    dispose: crew.dismiss,
  };
}

/** @param {Job} job */
const buffers = (job) =>
  job.inputs.map((array) => /** @type {ArrayBuffer} */ (/** @type {Elements} */ (array).buffer));

/**
 * Starts workers; each becomes a function that calls one of its operations.
 * @param {number} count @param {LoadOptions['worker']} make
 */
function hire(count, make) {
  /** @type {Worker[]} */
  const workers = [];
  /** @type {(error: WebDNNError) => void} */
  let fail = () => {};
  /** @type {Promise<WebDNNError>} */
  const failed = new Promise((resolve) => {
    fail = resolve;
  });
  /** @type {WebDNNError | undefined} */
  let dead;
  const dismiss = () => workers.forEach((w) => w.terminate());
  /** @param {unknown} event @returns {WebDNNError} */
  const notStarted = (event) => {
    const own = import.meta.url.replace(/[^/]*$/, 'worker.js');
    const script = typeof make === 'function' ? 'made by the `worker` option' : own;
    const { message } = /** @type {{ message?: string }} */ (event);
    return new WebDNNError(
      'worker',
      `the worker ${script} did not start${message ? ` (${message})` : ''}. Browsers do not say ` +
        'which: the file is missing or on another origin; the Content-Security-Policy lacks ' +
        '"worker-src \'self\'"; or, on a page with Cross-Origin-Embedder-Policy, the script is ' +
        'served without that header. `worker: false` runs without one.',
      event,
    );
  };

  const calls = Array.from({ length: count }, () => {
    let next = 0;
    /** @type {Map<number, { resolve(value: any): void, reject(error: unknown): void }>} */
    const waiting = new Map();
    /** @type {Worker} */
    let thread;
    try {
      thread =
        typeof make === 'function'
          ? make()
          : new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
    } catch (error) {
      dismiss();
      throw notStarted(error);
    }
    workers.push(thread);
    thread.onmessage = ({ data: { id, value, error } }) => {
      const call = waiting.get(id);
      waiting.delete(id);
      if (error) call?.reject(new WebDNNError(error.code, error.message));
      else call?.resolve(value);
    };
    thread.onmessageerror = thread.onerror = (/** @type {Event} */ event) => {
      event.preventDefault();
      const error = (dead = notStarted(event));
      for (const call of waiting.values()) call.reject(error);
      waiting.clear();
      dismiss();
      fail(error);
    };
    /**
     * @param {string} name
     * @param {unknown[]} [args]
     * @param {Transferable[]} [transfer]
     * @returns {Promise<any>}
     */
    return (name, args = [], transfer = []) =>
      new Promise((resolve, reject) => {
        if (dead) throw dead;
        waiting.set(next, { resolve, reject });
        thread.postMessage({ id: next++, name, args }, transfer);
      });
  });
  return { calls, failed, dismiss };
}
