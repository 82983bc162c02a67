/**
 * The workers' scripts, and a module that few models need. They stand beside this module and beside
 * `index.js`, so that the addresses are right in a bundle too; and in the one form that bundlers
 * understand. Where this module has no address, as in a bundle that is none and from a `blob:`, workers
 * are those of the model's folder.
 *
 * @typedef {{ start(): Worker, script: string }} Door  script: its address, for messages
 * @typedef {ReturnType<typeof doors>} Doors
 */
import { WebDNNError, say } from './errors.js';

/** Whether this module knows where it is. */
export const placed = () => {
  try {
    return !!new URL('.', import.meta.url);
  } catch {
    return false;
  }
};

/** @param {string} name */
const beside = (name) => `${import.meta.url}`.replace(/[^/]*$/, name);

/**
 * The scripts of workers.
 * @param {string} [folder]  where they are, if not here
 */
export function doors(folder) {
  /** @param {string} name @param {string} own @param {() => Worker} here @returns {Door} */
  const door = (name, own, here) => {
    const script = folder ? new URL(`${name}.js`, folder).href : beside(own);
    return { script, start: folder ? () => new Worker(script, { type: 'module' }) : here };
  };
  return {
    /** Of the wasm backend. */
    worker: door(
      'worker',
      'worker.js',
      () => new Worker(new URL('./worker.js', import.meta.url), { type: 'module' }),
    ),
    /** Of pictures. */
    pictures: door(
      'pictures',
      'pictures.js',
      () => new Worker(new URL('./pictures.js', import.meta.url), { type: 'module' }),
    ),
  };
}

/** Of models with loops, on WebGPU. */
export const loops = () =>
  import('./loops-gpu.js').catch((error) => {
    throw new WebDNNError(
      'missing-file',
      `the model has loops, whose script ${beside('loops-gpu.js')} did not load: ${say(error)}. ` +
        (placed()
          ? 'Serve it with the model.'
          : "A script from a blob has nothing beside it; {backend: 'wasm'} does without."),
      error,
    );
  });
