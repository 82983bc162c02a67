/**
 * Workers of the wasm backend, as the page sees them: functions that call their operations.
 *
 * @typedef {import('../types.d.ts').ErrorCode} ErrorCode
 * @typedef {import('../types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('./messages.js').Table} Table
 * @typedef {ReturnType<typeof hire>} Crew
 */
import { WebDNNError, ours, say } from '../errors.js';
import { checked, is, object, text } from '../rules.js';
import { SAME } from '../serve.js';

/**
 * @template {readonly [Rule<any>, ...Rule<any>[]]} C
 * @typedef {import('./messages.js').Args<C>} Args
 */
/**
 * @template T
 * @typedef {import('../rules.js').Rule<T>} Rule
 */

/** What the page's function made. @param {any} worker @param {Worker[]} others @returns {Worker} */
function made(worker, others) {
  if (others.includes(worker))
    throw new WebDNNError('option', 'worker: the function is to make a new Worker each time');
  if (typeof worker?.postMessage === 'function' && typeof worker.terminate === 'function')
    return worker;
  const found = String(worker);
  throw new WebDNNError('option', `worker: the function is to return a Worker, found ${found}`);
}

/** A script of this origin that imports another. @param {string} url */
const imported = (url) =>
  URL.createObjectURL(new Blob([`import ${JSON.stringify(url)}`], { type: 'text/javascript' }));

/**
 * Starts workers; each becomes a function that calls one of its operations.
 * @param {number} count @param {LoadOptions['worker']} make
 * @param {import('../start.js').Door} door
 */
export function hire(count, make, { start, script }) {
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
    const which = typeof make === 'function' ? 'made by the `worker` option' : script;
    const { message } = /** @type {{ message?: string }} */ (event);
    if (message?.includes('TrustedScriptURL'))
      return new WebDNNError(
        'policy',
        "the page's Content-Security-Policy (require-trusted-types-for 'script') refuses the " +
          'address of a worker. Add "trusted-types webdnn" to it, and load with {worker: (script) => ' +
          "new Worker(policy.createScriptURL(script), {type: 'module'})} after const policy = " +
          "trustedTypes.createPolicy('webdnn', {createScriptURL: (url) => url}).",
        event,
      );
    return new WebDNNError(
      'worker',
      `the worker ${which} did not start${message ? ` (${message})` : ''}. Browsers do not say ` +
        'which: the file is missing or on another origin; the Content-Security-Policy lacks ' +
        `"worker-src ${make === 'blob' ? 'blob:' : "'self'"}"; or, on a page with ` +
        'Cross-Origin-Embedder-Policy, the script is served without that header. `worker: false` ' +
        'runs without one.',
      event,
    );
  };

  const calls = Array.from({ length: count }, () => {
    let next = 0;
    /**
     * @type {Map<number, {
     *   resolve(value: any): void, reject(error: unknown): void, rule: Rule<any>,
     * }>}
     */
    const waiting = new Map();
    /** @param {WebDNNError} error */
    const die = (error) => {
      dead = error;
      for (const call of waiting.values()) call.reject(error);
      waiting.clear();
      dismiss();
      fail(error);
    };
    /** @type {Worker} */
    let thread;
    try {
      thread =
        typeof make === 'function'
          ? made(make(script), workers)
          : make === 'blob'
            ? new Worker(imported(script), { type: 'module' })
            : start();
    } catch (error) {
      dismiss();
      throw error instanceof WebDNNError ? error : notStarted(error);
    }
    workers.push(thread);
    const answer = object({
      id: is('the number of a call', (id) => waiting.has(id)),
      'error?': object({ code: /** @type {Rule<ErrorCode>} */ (text), message: text }),
    });
    thread.onmessage = ({ data }) => {
      try {
        const { id, error } = checked(answer, data, "a worker's message", SAME, 'worker');
        const call = /** @type {any} */ (waiting.get(/** @type {number} */ (id)));
        waiting.delete(/** @type {number} */ (id));
        if (error) call.reject(new WebDNNError(error.code, error.message));
        else call.resolve(checked(call.rule, data.value, "a worker's answer", SAME, 'worker'));
      } catch (error) {
        die(/** @type {WebDNNError} */ (error));
      }
    };
    thread.onmessageerror = thread.onerror = (/** @type {Event} */ event) => {
      event.preventDefault();
      die(notStarted(event));
    };
    /**
     * @template {Table} T @template {keyof T & string} K
     * @param {T} table @param {K} name @param {Args<T[K]>} args @param {Transferable[]} [transfer]
     * @returns {Promise<ReturnType<T[K][0]>>}
     */
    return (table, name, args, transfer = []) =>
      new Promise((resolve, reject) => {
        if (dead) throw dead;
        waiting.set(next, { resolve, reject, rule: table[name][0] });
        try {
          thread.postMessage({ id: next++, name, args }, transfer);
        } catch (error) {
          throw ours(error, 'worker', `the worker takes no message: ${say(error)}. ${SAME}`);
        }
      });
  });
  return { calls, failed, dismiss };
}
