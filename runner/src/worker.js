/**
 * The worker of the wasm backend. It either owns a model's memory (`own`: pages without isolation,
 * or one thread), or joins others on shared memory (`join`). Each message is a call
 * (wasm/messages.js). Between calls it is parked in its event loop.
 */
import { serve } from './serve.js';
import { ours } from './errors.js';
import { attach, local, timeSteps } from './wasm/instance.js';
import { OWNER, PART, START } from './wasm/messages.js';

/**
 * @template {import('./wasm/messages.js').Table} T
 * @typedef {import('./wasm/messages.js').Operations<T>} Operations
 */

/** @type {Operations<typeof START>} */
const start = {
  /** Alone, on memory of its own. */
  own({ model, module }) {
    const engine = local(model, module);
    /** @type {Operations<typeof OWNER>} */
    const operations = {
      ...engine,
      // The input buffers go back with the outputs, to be used again.
      run: (job) => ({ outputs: engine.runSync(job), inputs: job.inputs }),
    };
    role = [OWNER, operations];
    return engine.memory;
  },
  /** One of several on shared memory; sizes are set by the page. */
  join({ module, memory, layout, thread }) {
    const exports = attach(module, memory, layout, thread);
    /** A trap goes to the page, which knows the kernels' names. @template T @param {() => T} call */
    const guard = (call) => {
      try {
        return call();
      } catch (error) {
        throw ours(error, 'kernel');
      }
    };
    /** @type {Operations<typeof PART>} */
    const operations = {
      prepare: () => guard(() => exports.prepare(thread)),
      run: () => guard(() => exports.run(thread)),
      profile: () => guard(() => timeSteps(exports, thread)),
    };
    role = [PART, operations];
  },
};

/** @type {[import('./wasm/messages.js').Table, Operations<any>]} */
let role = [START, start];

serve(
  () => role,
  (value) =>
    [value]
      .flat()
      .flatMap((part) => (part?.outputs ? [...part.outputs, ...part.inputs] : part)),
);
