/**
 * The wasm engines: the same module in three places.
 *
 * | place | memory | the page reaches it |
 * | --- | --- | --- |
 * | a pool of workers (isolated page) | shared | directly |
 * | one worker | the worker's | by transferred copies in recycled buffers |
 * | the calling thread (`worker: false`, Node, service workers) | its own | directly |
 *
 * The page's thread never blocks: it posts messages and awaits their answers.
 *
 * @typedef {import('../descriptor.js').Descriptor} Descriptor
 * @typedef {import('../descriptor.js').WasmTarget} WasmTarget
 * @typedef {import('../fetch.js').Files} Files
 * @typedef {import('../tensors.js').Elements} Elements
 * @typedef {import('../model.js').Job} Job
 * @typedef {import('../types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('./module.js').Choice} Choice
 * @typedef {import('./workers.js').Crew} Crew
 * @typedef {import('../errors.js').WebDNNError} WebDNNError
 */
import { bytesOf, upper } from '../descriptor.js';
import { evaluate } from '../int.js';
import { elements } from '../tensors.js';
import {
  access,
  allocate,
  attach,
  configurator,
  footprint,
  inPlace,
  kernelError,
  local,
  named,
  plan,
  working,
} from './instance.js';
import { OWNER, PART, START } from './messages.js';
import { compile } from './module.js';
import { hire } from './workers.js';

/**
 * The engine, its weights in place.
 * @param {Descriptor} model
 * @param {Choice} choice
 * @param {Files} files
 * @param {LoadOptions} options
 * @param {(error: WebDNNError) => Choice} instead  what is built where the workers do not start
 */
export async function build(model, choice, files, options, instead) {
  const { worker: door } = files.doors(model);
  /** @type {Record<string, Promise<WebAssembly.Module>>} */
  const modules = {};
  const started = start();
  try {
    const [engine] = await Promise.all([
      started,
      files.weights(model, async (offset, bytes) => (await started).load(offset, bytes)),
    ]);
    files.preparing();
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
    for (let turn = 0; choice.place === 'worker'; turn++)
      try {
        return await hired(choice);
      } catch (error) {
        if (/** @type {WebDNNError} */ (error).code !== 'worker') throw error;
        // The browser may keep a damaged copy for a year; but who makes the workers may do more.
        if (turn || typeof options.worker === 'function' || !(await fetchedAnew(door.script, files)))
          choice = instead(/** @type {WebDNNError} */ (error));
      }
    return inPlace(local(model, await compiled(choice)));
  }

  /** @param {Choice} choice */
  function compiled({ variant }) {
    return (modules[variant.file] ??= compile(model, variant, files));
  }

  /** @param {Choice} choice */
  async function hired(choice) {
    const { variant, threads } = choice;
    // Workers load their script while the module is fetched and compiled.
    const crew = hire(threads, options.worker, door);
    files.stopped.addEventListener('abort', crew.dismiss); // also while a script never answers
    try {
      const module = await compiled(choice);
      const join = async () => (variant.threads ? pool : worker)(model, module, crew);
      return await (typeof options.worker === 'function' ? join() : files.soon(join()));
    } catch (error) {
      crew.dismiss();
      throw error;
    } finally {
      files.stopped.removeEventListener('abort', crew.dismiss);
    }
  }
}

/** Whether the server has a script for workers, which the browser keeps now. @param {string} script @param {Files} files */
async function fetchedAnew(script, files) {
  if (!/^https?:/.test(script)) return false;
  const asking = fetch(script, { cache: 'reload', signal: files.stopped });
  const whole = asking.then(
    async (response) => response.ok && /\bonmessage\b/.test(await response.text()),
  );
  try {
    return await files.soon(files.during('worker', script, whole)); // the model can do without it
  } catch {
    return false;
  }
}

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
  /** @template T @param {(call: Crew['calls'][number], thread: number) => Promise<T>} ask */
  const all = (ask) => Promise.all(crew.calls.map(ask));
  /** @param {WebDNNError} error @returns {never} */
  const trapped = (error) => {
    throw error.code === 'kernel' ? kernelError(Error(error.message), working(model, exports)) : error;
  };
  // A run is over when one thread says so; one that is not on a processor may come late. Modules of
  // 0.1.0 wait for each other, and know no `late`.
  /** @param {'prepare' | 'run'} name */
  const together = (name) => {
    const answers = crew.calls.map((call) => call(PART, name, []).catch(trapped));
    return exports.late ? Promise.race(answers) : Promise.all(answers);
  };
  await all((call, thread) => call(START, 'join', [{ module, memory, layout, thread }]));
  return {
    ...port,
    viewKind: /** @type {const} */ ('direct-shared'),
    memory: footprint(model, layout.pages),
    stored: model.targets.wasm?.stored,
    failed: crew.failed,
    async prepare() {
      configure(upper(model));
      await together('prepare');
    },
    /** @param {Job} job */
    async run(job) {
      configure(job.dims);
      port.put(job);
      Atomics.store(cancelled, 0, 0);
      await together('run');
      return port.results(job);
    },
    /** @param {Job} job */
    async profile(job) {
      configure(job.dims);
      port.put(job);
      Atomics.store(cancelled, 0, 0);
      const times = await all((call) => call(PART, 'profile', []).catch(trapped));
      // The thread that was there from the start has seen all of a step.
      return named(model, times[0].map((_, step) => Math.max(...times.map((t) => t[step]))));
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
  const taken = await call(START, 'own', [{ model, module }]);
  /** Buffers of the largest size of each input, on their way or waiting. @type {ArrayBuffer[][]} */
  const spare = target.inputs.map(() => []);
  return {
    viewKind: /** @type {const} */ ('staging'),
    memory: taken,
    inputs: target.inputs,
    stored: target.stored,
    failed: crew.failed,
    /** @param {'inputs' | 'outputs'} kind @param {number} i */
    view: (kind, i) =>
      elements(target[kind][i].dtype, evaluate(target[kind][i].elements, upper(model))),
    /** @param {number} offset @param {Uint8Array<ArrayBuffer>} bytes */
    load: (offset, bytes) => call(OWNER, 'load', [offset, bytes], [bytes.buffer]),
    prepare: () => call(OWNER, 'prepare', []),
    reset: () => call(OWNER, 'reset', []),
    /** @param {number} i @param {number} length @returns {Elements} */
    take(i, length) {
      const { dtype, elements: most } = target.inputs[i];
      const buffer =
        spare[i].pop() ?? new ArrayBuffer(bytesOf(dtype, evaluate(most, upper(model))));
      return elements(dtype, buffer).subarray(0, length);
    },
    /** @param {Job} job @returns {Promise<Elements[]>} */
    async run(job) {
      const { inputs, outputs } = await call(OWNER, 'run', [job], buffers(job.inputs));
      buffers(inputs).forEach((buffer, i) => spare[i].push(buffer));
      return outputs;
    },
    /** @param {Job} job */
    profile: (job) => call(OWNER, 'profile', [job], buffers(job.inputs)),
    /** @param {any} entry @param {number} first @param {number} count */
    read: (entry, first, count) => call(OWNER, 'read', [entry, first, count]),
    cancel() {},
    dispose: crew.dismiss,
  };
}

/** @param {Job['inputs']} inputs */
const buffers = (inputs) =>
  inputs.map((array) => /** @type {ArrayBuffer} */ (/** @type {Elements} */ (array).buffer));
