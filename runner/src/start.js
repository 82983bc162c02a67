/**
 * The workers' scripts, and a module that few models need. They stand beside this module and beside
 * `index.js`, so that the addresses are right in a bundle too; and in the one form that bundlers
 * understand.
 *
 * @typedef {{ start(): Worker, script: string }} Door  script: its address, for messages
 */
import { WebDNNError, say } from './errors.js';

/** @param {string} name */
const beside = (name) => import.meta.url.replace(/[^/]*$/, name);

/** Of the wasm backend. @type {Door} */
export const worker = {
  start: () => new Worker(new URL('./worker.js', import.meta.url), { type: 'module' }),
  script: beside('worker.js'),
};

/** Of pictures. @type {Door} */
export const pictures = {
  start: () => new Worker(new URL('./pictures.js', import.meta.url), { type: 'module' }),
  script: beside('pictures.js'),
};

/** Of models with loops, on WebGPU. */
export const loops = () =>
  import('./loops-gpu.js').catch((error) => {
    throw new WebDNNError(
      'missing-file',
      `the model has loops, whose script ${beside('loops-gpu.js')} did not load: ${say(error)}. ` +
        'Serve it with the model.',
      error,
    );
  });
