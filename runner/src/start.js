/**
 * The workers' scripts. They stand beside this module and beside `index.js`, so that the addresses
 * are right in a bundle too; and in the one form that bundlers understand.
 *
 * @typedef {{ start(): Worker, script: string }} Door  script: its address, for messages
 */

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
