/**
 * Options: what each may be. One that is not known is refused, with the name that is nearest.
 *
 *     options('load', LOAD, { backends: 'wasm' });
 *     // load: no option is called "backends"; the nearest is "backend", of backend, …
 *
 * @typedef {Record<string, import('./rules.js').Rule<any>>} Table
 */
import { between, checked, flag, is, oneOf, record, text } from './rules.js';

const func = is('a function', (value) => typeof value === 'function');
const signal = is(
  'an AbortSignal',
  (value) => typeof value?.addEventListener === 'function' && 'aborted' in value,
);
/** Of `requirements`. */
export const ASK = {
  base: is('an address', (value) => typeof value === 'string' || value instanceof URL),
  fetch: func,
  signal,
  timeout: is('milliseconds', (value) => typeof value === 'number' && value > 0),
};
/** Of `prepare`. */
export const PREPARE = { ...ASK, progress: func, variant: text };
export const LOAD = {
  ...PREPARE,
  backend: oneOf('webgpu', 'wasm'),
  device: is('a GPUDevice', (value) => typeof value?.createBuffer === 'function' && value.limits),
  precision: oneOf('f32', 'f16'),
  recover: flag,
  debug: flag,
  threads: between(1, 64),
  worker: is(
    "true, false, 'blob' or a function",
    (value) => value === 'blob' || /^(bool|func)/.test(typeof value),
  ),
};
/** `outputs` depends on the model's backend. */
export const RUN = { signal, outputs: is('', () => true) };

/** Edits that make one word the other. @param {string} a @param {string} b */
function apart(a, b) {
  let row = [...b, ''].map((_, i) => i);
  [...a].forEach((letter, i) => {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++)
      next.push(Math.min(next[j] + 1, row[j + 1] + 1, row[j] + Number(letter !== b[j])));
    row = next;
  });
  return row[b.length];
}

/**
 * Options that are as they should be. One that is undefined is as good as absent.
 * @template T
 * @param {string} of  whose they are @param {Table} table @param {T} given @returns {T}
 */
export function options(of, table, given) {
  const each = record((value, at) => {
    const name = at.slice(1);
    if (!Object.hasOwn(table, name)) {
      const names = Object.keys(table);
      const [near] = [...names].sort((a, b) => apart(a, name) - apart(b, name));
      throw new Error(
        `no option is called "${name}"; the nearest is "${near}", of ${names.sort().join(', ')}`,
      );
    }
    return value === undefined || table[name](value, at);
  });
  checked(each, given, of, 'See types.d.ts beside the runner.', 'option');
  return given;
}
