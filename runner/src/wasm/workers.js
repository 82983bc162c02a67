/**
 * Workers of the wasm backend, as the page sees them: functions that call their operations.
 *
 * @typedef {import('../types.d.ts').LoadOptions} LoadOptions
 * @typedef {ReturnType<typeof hire>} Crew
 */
import { WebDNNError } from '../errors.js';

/**
 * Starts workers; each becomes a function that calls one of its operations.
 * @param {number} count @param {LoadOptions['worker']} make
 */
export function hire(count, make) {
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
    const own = import.meta.url.replace(/wasm\/[^/]*$/, 'worker.js');
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
          : new Worker(new URL('../worker.js', import.meta.url), { type: 'module' });
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
