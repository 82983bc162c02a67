/**
 * The worker's script. It stands beside this module and beside `index.js`, so that the address is
 * right in a bundle too; and in the one form that bundlers understand.
 */
export const start = () => new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });

/** Its address, for messages. */
export const script = import.meta.url.replace(/[^/]*$/, 'worker.js');
