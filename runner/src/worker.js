/**
 * The worker of the wasm backend. It either owns a model's memory (`own`: pages without isolation,
 * or one thread), or joins others on shared memory (`join`). Each message is a call by name; each
 * is answered with its value or its error. Between calls it is parked in its event loop.
 *
 * @typedef {import('./model.js').Job} Job
 * @typedef {import('./descriptor.js').Descriptor} Descriptor
 * @typedef {import('./wasm/instance.js').Layout} Layout
 * @typedef {{
 *   module: WebAssembly.Module, memory: WebAssembly.Memory, layout: Layout, thread: number,
 * }} Join
 * @typedef {ReturnType<typeof own> | ReturnType<typeof join>} Role
 * @typedef {{ id: number, name: string, args: any[] }} Call
 */
import { packError } from './errors.js';
import { attach, guard, local, timeSteps } from './wasm/instance.js';

/**
 * This thread, as a dedicated worker knows it.
 * @type {{
 *   onmessage(event: MessageEvent<Call>): void,
 *   postMessage(message: unknown, transfer: Transferable[]): void,
 * }}
 */
const scope = /** @type {any} */ (globalThis);

/** Alone, on memory of its own. @param {{ model: Descriptor, module: WebAssembly.Module }} setup */
function own({ model, module }) {
  const engine = local(model, module);
  return {
    load: engine.load,
    prepare: engine.prepare,
    /** The input buffers go back with the outputs, to be used again. @param {Job} job */
    run: (job) => ({ outputs: engine.runSync(job), inputs: job.inputs }),
    profile: engine.profile,
    reset: engine.reset,
    read: engine.read,
  };
}

/** One of several on shared memory; sizes are set by the page. @param {Join} setup */
function join({ module, memory, layout, thread }) {
  const exports = attach(module, memory, layout, thread);
  return {
    prepare: () => guard(() => exports.prepare(thread)),
    run: () => guard(() => exports.run(thread)),
    profile: () => guard(() => timeSteps(exports, thread)),
  };
}

/** @type {Record<string, (...args: any[]) => any>} */
let role = {};

scope.onmessage = ({ data: { id, name, args } }) => {
  try {
    const value =
      name === 'own'
        ? void (role = own(args[0]))
        : name === 'join'
          ? void (role = join(args[0]))
          : role[name](...args);
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
