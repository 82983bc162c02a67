/**
 * The other side of a call: what a worker's script does with the messages of the page
 * (wasm/workers.js). Each is checked, and answered with its value or its error.
 *
 *     → { id: 3, name: 'read', args: [entry, 0, 8] }
 *     ← { id: 3, value: Float32Array }  or  { id: 3, error: { code, message } }
 */
import { packError } from './errors.js';
import { checked, each, object, oneOf, whole } from './rules.js';

/** What to do about a message that is none of these. */
export const SAME = 'Page and worker must run the same version of the runner.';

/**
 * This thread, as a dedicated worker knows it.
 * @type {{
 *   onmessage(event: MessageEvent<unknown>): void,
 *   postMessage(message: unknown, transfer: Transferable[]): void,
 * }}
 */
const scope = /** @type {any} */ (globalThis);

/**
 * Answers from now on.
 * @param {() => [import('./wasm/messages.js').Table, Record<string, (...args: any[]) => any>]} role
 *   the calls and their operations, at present
 * @param {(value: any) => unknown[]} arrays  of a value, those that are handed over with it
 */
export function serve(role, arrays) {
  scope.onmessage = async ({ data }) => {
    const { id, name: asked } = Object(data);
    try {
      const [table, operations] = role();
      const call = object({
        id: whole,
        name: oneOf(...Object.keys(table)),
        args: (value, at) => {
          const [, ...rules] = table[asked];
          return each(rules.length, (i) => rules[i])(value, at);
        },
      });
      const { name, args } = checked(call, data, 'a message to the worker', SAME, 'worker');
      const value = await operations[name](...args);
      const views = /** @type {ArrayBufferView[]} */ (arrays(value).filter(ArrayBuffer.isView));
      scope.postMessage(
        { id, value },
        views.map(({ buffer }) => /** @type {ArrayBuffer} */ (buffer)),
      );
    } catch (error) {
      scope.postMessage({ id, error: packError(error) }, []);
    }
  };
}
