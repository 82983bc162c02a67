/**
 * Times one descriptor: load, first run, warm runs, and each kernel: the page's half of
 * `webdnn bench`. Times are in milliseconds and include what a page pays, inputs and outputs copied.
 *
 * @typedef {import('./execute.js').Feed} Feed
 * @typedef {import('./boot.js').Io} Io
 * @typedef {{
 *   descriptor: string, options: object, inputs: Feed[],
 *   reps: number, seconds: number, profile: number,
 * }} Argument  `seconds` ends the warm runs early; `profile` is how many profiled runs to make
 */
import { PATIENCE, tensors } from './execute.js';

/** @param {Argument} argument @param {Io} io */
export default async function ({ descriptor, options, inputs: feeds, reps, seconds, profile }, io) {
  const { load } = await import(`${descriptor}model.js`);
  const inputs = await tensors(feeds, io);
  const begin = performance.now();
  const model = await load({ timeout: PATIENCE, ...options });
  const loaded = performance.now();
  try {
    await model.run(inputs);
    const first = performance.now();
    const warm = [];
    while (warm.length < reps && (warm.length === 0 || performance.now() - first < 1000 * seconds)) {
      const start = performance.now();
      await model.run(inputs);
      warm.push(performance.now() - start);
    }
    /** @type {{ name: string, origin: string, ms: number }[][]} */
    const profiles = [];
    for (let turn = 0; turn < profile; turn++) profiles.push(await model.profile(inputs));
    return { backend: model.backend, load: loaded - begin, first: first - loaded, warm, profiles };
  } finally {
    model.dispose();
  }
}
