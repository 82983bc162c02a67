/**
 * The worker of the wasm backend. It either owns a model's memory (`own`: pages without isolation,
 * or one thread), or joins others on shared memory (`join`). Each message is a call
 * (wasm/messages.js); each is answered with its value or its error. Between calls it is parked in
 * its event loop.
 */
import { packError } from './errors.js';
import { checked, each, object, oneOf, whole } from './rules.js';
import { attach, guard, local, timeSteps } from './wasm/instance.js';
import { OWNER, PART, SAME, START } from './wasm/messages.js';

/**
 * @template {import('./wasm/messages.js').Table} T
 * @typedef {import('./wasm/messages.js').Operations<T>} Operations
 */

/**
 * This thread, as a dedicated worker knows it.
 * @type {{
 *   onmessage(event: MessageEvent<unknown>): void,
 *   postMessage(message: unknown, transfer: Transferable[]): void,
 * }}
 */
const scope = /** @type {any} */ (globalThis);

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

scope.onmessage = ({ data }) => {
  const { id, name: asked } = Object(data);
  try {
    const [table, operations] = role;
    const call = object({
      id: whole,
      name: oneOf(...Object.keys(table)),
      args: (value, at) => {
        const [, ...rules] = table[asked];
        return each(rules.length, (i) => rules[i])(value, at);
      },
    });
    const { name, args } = checked(call, data, 'a message to the worker', SAME, 'worker');
    const value = operations[name](...args);
    const arrays = [value]
      .flat()
      .flatMap((part) => (part?.outputs ? [...part.outputs, ...part.inputs] : part));
    scope.postMessage(
      { id, value },
      arrays.filter(ArrayBuffer.isView).map((array) => /** @type {ArrayBuffer} */ (array.buffer)),
    );
  } catch (error) {
    scope.postMessage({ id, error: packError(error) }, []);
  }
};
