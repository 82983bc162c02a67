/**
 * The runner bound to one model: the code of each descriptor's `model.js`, in which the transpiler
 * writes the names of its files above it (`names.d.ts`). The runner is in there, and no import, so
 * that a page asks for the weights as soon as `model.js` has come.
 *
 * @typedef {import('./types.d.ts').LoadOptions} LoadOptions
 */
import * as runner from './index.js';

export { WebDNNError, instantiate } from './index.js';

/** @type {ReturnType<typeof FILES>} */
let known = {};
try {
  known = FILES();
} catch {} // `load` takes `base`, and says so

const where = { 'model.json': MODEL, ...known };

/** Loads the model from the files beside this module. @param {LoadOptions} [options] */
export const load = (options) => runner.load(where, options);

/** What `instantiate` needs in a worklet. @param {Parameters<typeof runner.prepare>[1]} [options] */
export const prepare = (options) => runner.prepare(where, options);

/**
 * What a GPUDevice must have to run the model.
 * @param {Parameters<typeof runner.requirements>[1]} [options]
 */
export const requirements = (options) => runner.requirements(where, options);

/**
 * Every file that a page may fetch, for a service worker. Empty where this module has no address.
 */
export const files = Object.values(known);
if (files.length)
  files.unshift(
    import.meta.url,
    ...MODULES.map((name) => import.meta.url.replace(/[^/]*$/, name)),
  );
