/**
 * Models in worklets (AudioWorklet): synchronous, from a kit that the page has prepared and posted.
 *
 *     // page:     node.port.postMessage(await prepare(url));
 *     // worklet:  const model = instantiate(kit); … model.runSync({ x });
 *
 * Imports nothing that needs URL, fetch, performance, timers or TextDecoder, which worklets lack.
 *
 * @typedef {import('./types.d.ts').Kit} Kit
 */
import { local } from './wasm/instance.js';
import { Model } from './model.js';

export { WebDNNError } from './errors.js';

/** @param {Kit} kit @returns {Model} */
export function instantiate({ descriptor, module, weights, variant, rejected }) {
  const model = /** @type {import('./descriptor.js').Descriptor} */ (descriptor);
  const engine = local(model, module);
  engine.load(0, new Uint8Array(weights));
  engine.prepare();
  return new Model(
    model,
    {
      ...engine,
      run: async (job) => engine.runSync(job),
      profile: async (job) => engine.profile(job),
      read: async (entry, first, count) => engine.read(entry, first, count),
    },
    { name: 'wasm', variant, threads: 1, reason: 'from a kit, in the calling thread', rejected },
  );
}
