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
import { check } from './descriptor.js';
import { WebDNNError } from './errors.js';
import { Model } from './model.js';
import { typeName } from './tensors.js';
import { inPlace, local } from './wasm/instance.js';

export { WebDNNError };

/** @param {Kit} kit @returns {Model} */
export function instantiate(kit) {
  const { descriptor, module, weights, variant, rejected } = Object(kit);
  if (!descriptor)
    throw new WebDNNError(
      'option',
      `instantiate: expected what prepare() returned, once it was awaited, found ${typeName(kit)}`,
    );
  const model = check(descriptor, 'kit.descriptor');
  const { bytes } = model.weights;
  if (typeName(module) !== 'WebAssembly.Module' || weights?.byteLength !== bytes)
    throw new WebDNNError(
      'option',
      `instantiate: expected what prepare() returned: a module and ${bytes} bytes of weights, ` +
        `found ${typeName(module)} and ${typeName(weights)} of ${weights?.byteLength} bytes`,
    );
  const engine = inPlace(local(model, module));
  engine.load(0, new Uint8Array(weights));
  engine.prepare();
  const reason = 'from a kit, in the calling thread';
  const f32 = /** @type {const} */ ('f32');
  const backend = { name: /** @type {const} */ ('wasm'), variant, precision: f32, threads: 1 };
  return new Model(model, engine, { ...backend, reason, rejected });
}
